"""The authentication modules that ask a server, against the real ones."""
