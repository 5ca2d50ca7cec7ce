"""A secret for the command that follows: asked for at the terminal, or read from a file; never on a command line."""

import base64
import os
from argparse import Namespace

from supervisor.control.files.rcfile import UnreadableFile
from supervisor.control.words import SECRET
from supervisor.pcontrol.connection import Connection

_LONGEST = 4096


def wanted(options: Namespace) -> bytes | None:
    """The secret, if the options want one. Raises UnreadableFile."""
    if options.secretfile is not None:
        return _read(options.secretfile)
    if not options.secret:
        return None
    try:
        return asked()
    except EOFError:
        raise UnreadableFile("no secret was given, and nothing was said: standard input has ended") from None


def asked() -> bytes:
    """What is typed, which the terminal does not show. Raises EOFError, KeyboardInterrupt."""
    from getpass import getpass

    return os.fsencode(getpass("Secret: "))


def _read(path: str) -> bytes:
    """The content of a file, without its last line end."""
    try:
        with open(path, "rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from None
    if len(content) > _LONGEST:
        raise UnreadableFile(f"{path}: a secret has {_LONGEST} octets at most")
    return content.removesuffix(b"\n").removesuffix(b"\r")


def say(connection: Connection, secret: bytes) -> str:
    """Has the program keep it for the next command; why it does not, or "". Raises NoConnection, TimedOut."""
    answer = connection.say(f"{SECRET} {base64.b64encode(secret).decode() or chr(34) * 2}")
    return "" if answer.ok else answer.text
