"""What a client says to log in, by mechanism: line by line, each after a reply that let it go on. Pure.

Where no password is known, whatever is shown instead goes unseen: `explain` looks users up.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple, TypeAlias

from popular.protocol.sasl import BadResponse, saslname
from popular.protocol.scram import ScramClient

Lines: TypeAlias = Generator[bytes, bytes, None]
"""Yields what to say, and is sent the reply."""
Speak: TypeAlias = Callable[[bytes, bytes, bytes], Lines]
"""By the user's name, the secret (a password or a token), and the greeting."""

_CHALLENGE = re.compile(rb"<[^<>]*>")
DISMISSED = b"AQ=="
"""What a client answers who has heard why its token is no good (RFC 7628 section 3.2.3)."""


def _user(user: bytes, secret: bytes, _greeting: bytes) -> Lines:
    yield b"USER " + user
    yield b"PASS " + secret


def _apop(user: bytes, secret: bytes, greeting: bytes) -> Lines:
    """RFC 1939 section 7."""
    challenge = _CHALLENGE.search(greeting)
    shown = hashlib.md5((challenge[0] if challenge else b"") + secret, usedforsecurity=False)
    yield b"APOP " + user + b" " + shown.hexdigest().encode()


def _plain(user: bytes, secret: bytes, _greeting: bytes) -> Lines:
    yield b"AUTH PLAIN " + base64.b64encode(b"\0" + user + b"\0" + secret)


def _login(user: bytes, secret: bytes, _greeting: bytes) -> Lines:
    yield b"AUTH LOGIN"
    yield base64.b64encode(user)
    yield base64.b64encode(secret)


def _scram(user: bytes, secret: bytes, _greeting: bytes) -> Lines:
    """RFC 5802. Who has a name that SCRAM cannot have says it all the same."""
    try:
        client = ScramClient(user.decode(), secret.decode(), nonce="explained")
    except (BadResponse, UnicodeDecodeError):
        yield b"AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=" + saslname(user) + b",r=explained")
        return
    challenge = yield b"AUTH SCRAM-SHA-256 " + base64.b64encode(client.first())
    yield base64.b64encode(client.final(base64.b64decode(challenge.removeprefix(b"+ ").strip())))
    yield b""


def _cram_md5(user: bytes, secret: bytes, _greeting: bytes) -> Lines:
    """RFC 2195."""
    challenge = yield b"AUTH CRAM-MD5"
    asked = base64.b64decode(challenge.removeprefix(b"+ ").strip())
    yield base64.b64encode(user + b" " + hmac.new(secret, asked, hashlib.md5).hexdigest().encode())


def _xoauth2(user: bytes, secret: bytes, _greeting: bytes) -> Lines:
    yield b"AUTH XOAUTH2 " + base64.b64encode(b"user=" + user + b"\1auth=Bearer " + secret + b"\1\1")


def _oauthbearer(user: bytes, secret: bytes, _greeting: bytes) -> Lines:
    """RFC 7628."""
    yield b"AUTH OAUTHBEARER " + base64.b64encode(b"n,a=" + saslname(user) + b",\1auth=Bearer " + secret + b"\1\1")


def _external(user: bytes, _secret: bytes, _greeting: bytes) -> Lines:
    yield b"AUTH EXTERNAL " + (base64.b64encode(user) or b"=")


class LoginDialogue(NamedTuple):
    """`in_tls`: where TLS may be had, the client has it; `certified`: it shows a certificate with its name."""

    speak: Speak
    in_tls: bool = False
    certified: bool = False


DIALOGUES: Mapping[str, LoginDialogue] = {
    "USER": LoginDialogue(_user),
    "APOP": LoginDialogue(_apop),
    "PLAIN": LoginDialogue(_plain),
    "LOGIN": LoginDialogue(_login),
    "SCRAM-SHA-256": LoginDialogue(_scram),
    "CRAM-MD5": LoginDialogue(_cram_md5),
    "XOAUTH2": LoginDialogue(_xoauth2, in_tls=True),
    "OAUTHBEARER": LoginDialogue(_oauthbearer, in_tls=True),
    "EXTERNAL": LoginDialogue(_external, in_tls=True, certified=True),
}
"""`USER` is USER and PASS."""
