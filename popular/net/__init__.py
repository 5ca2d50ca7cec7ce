"""Sockets, one level above the system calls: a connection in clear or in TLS, and moving bytes between two of them."""
