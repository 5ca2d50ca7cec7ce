"""Sockets, one level above the system calls: a connection in clear or in TLS, and moving bytes between two of them.

    channel          one non-blocking connection, in clear or in TLS
    client           the connection to a client
    deadlines        the deadlines of a session
    handshake        the server's side of a TLS handshake
    logged_channels  connections that show their system calls
    make             makes the connections of a session
    networks         networks as a kind of the control language
    splice           moves bytes inside the kernel
    syscall_log      system calls in the log (debug option IO)
    tlschannel       a connection in TLS
    tlscore          how OpenSSL is asked; there twice (`tlscore.pyx`)
    tlsmodule        TLS through Python's ssl module

Contracts: `TlsEnd` (tlsmodule) is kept by `TlsThroughModule` and `TlsDirect` (tlscore); `HandshakeOwner` (handshake) by
`ClientConnection`.
"""
