"""What went wrong with a server, for people: in words that quote nothing of what the server, or a user, has said."""

import errno
import socket
import ssl


def kind_of(error: BaseException) -> str:
    """A library's error: its class, and its number where it has one; and the system's error after it."""
    number: object = error.args[0] if error.args and isinstance(error.args[0], int) else None
    if isinstance(error, ssl.SSLCertVerificationError):
        number = f"{error.reason} {error.verify_message}"  # OpenSSL's words, and the name that we have asked for
    elif isinstance(error, ssl.SSLError):
        number = error.reason
    elif isinstance(error, socket.gaierror):
        number = error.strerror
    elif isinstance(error, OSError):
        number = errno.errorcode.get(error.errno or 0)
    number = number or getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    told = f"{type(error).__name__} {number}" if number else type(error).__name__
    return f"{told} ({kind_of(error.__cause__)})" if isinstance(error.__cause__, OSError) else told
