"""SASL as a client of POP3 meets it (RFC 4422, RFC 5034): what is said for each mechanism, and what it shows. Pure.

    exchange = Exchange(MECHANISMS["PLAIN"], challenge=b"<1@example.org>")
    said = exchange.begin(initial)      # octets are the challenge to send; Presented: it is over
    said = exchange.answer(response)    # … and so on

An exchange says nothing about whether what was shown is right: that is for modules. What a client says that the
mechanism does not allow is a BadResponse. An exchange keeps nothing of what it has returned.

Lines are in base64, strictly (RFC 5034 section 4): `decoded` and `encoded`. An initial response of "=" is an empty
one; a line "*" cancels, which is the caller's to see.
"""

import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Generator, Mapping
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

LONGEST_RESPONSE = 1 << 16
"""Octets of a line with its CRLF while a challenge waits to be answered: tokens are long, and RFC 5034 has no limit."""
LONGEST_NAME = 250
"""Octets of a user name: no longer than one that fits after USER."""
LONGEST_PASSWORD = 1024
CANCEL = b"*"
_EMPTY = b"="

_LINE_ENDS = re.compile(rb"[\0\r\n]")
_HEX_MD5 = re.compile(rb"[0-9a-f]{32}")
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
"""No octet fits two parts of it, so that what fits nearly is seen in one pass: it may be 48 KiB, from anybody."""
_PART = b"\x01"


class BadResponse(Exception):
    """What a client says does not fit its mechanism. The text is for it, and holds nothing of what it said."""


class Presented(NamedTuple):
    """Who the client says it is, and what it shows for that.

    `user` is whose mailbox is wanted, "" if only what is shown can tell. `proof` is a password, a token or a digest, as
    the mechanism has it. `actor` is whose proof it is, where that is somebody else.
    """

    user: bytes
    proof: bytes = b""
    actor: bytes = b""

    def __repr__(self) -> str:
        return "Presented(****)"


Dialogue: TypeAlias = Generator[bytes, bytes, Presented]
"""Yields challenges, is sent the responses, and returns what was shown."""


class Mechanism(NamedTuple):
    """One mechanism. `dialogue` is called with a challenge that nobody could foretell, which most do not need; with
    `asks_first` it begins with that, and takes no initial response. `source`: where it is specified. `refusal`: why, in
    one more challenge that the client has to answer, before it is refused.
    """

    name: str
    dialogue: Callable[[bytes], Dialogue]
    source: str
    asks_first: bool = False
    refusal: bytes = b""


class Exchange:
    """One exchange with one client."""

    __slots__ = ("_dialogue", "mechanism")

    def __init__(self, mechanism: Mechanism, *, challenge: bytes) -> None:
        self.mechanism = mechanism
        self._dialogue = mechanism.dialogue(challenge)

    def begin(self, initial: bytes | None) -> bytes | Presented:
        """After AUTH: the first challenge, or what came of the initial response. Raises BadResponse."""
        first = next(self._dialogue)
        if initial is None:
            return first
        if self.mechanism.asks_first:
            raise BadResponse(f"{self.mechanism.name} takes no initial response")
        return self.answer(initial)

    def answer(self, response: bytes) -> bytes | Presented:
        """What comes of a response: the next challenge, or what was shown. Raises BadResponse."""
        try:
            return self._dialogue.send(response)
        except StopIteration as end:
            shown: Presented = end.value
            return shown


# --- mechanisms -----------------------------------------------------------------------------------------------------


def _plain(_challenge: bytes) -> Dialogue:
    parts = (yield b"").split(b"\0")
    if len(parts) != 3:
        raise BadResponse("PLAIN is [authorization id] NUL user name NUL password")
    wanted, name, password = parts
    return _with_password(wanted or name, password, actor=name if wanted and wanted != name else b"")


def _login(_challenge: bytes) -> Dialogue:
    name = yield b"Username:"
    password = yield b"Password:"
    return _with_password(name, password)


def _with_password(user: bytes, password: bytes, *, actor: bytes = b"") -> Presented:
    if len(password) > LONGEST_PASSWORD:
        raise BadResponse(f"the password is too long; allowed: {LONGEST_PASSWORD} octets")
    if not password:
        raise BadResponse("the password is empty")
    if _LINE_ENDS.search(password):
        raise BadResponse("the password has a line end or NUL in it")
    return Presented(user, password, actor)


def _cram_md5(challenge: bytes) -> Dialogue:
    name, _, digest = (yield challenge).rpartition(b" ")
    return Presented(name, hex_md5(digest))


def apop(argument: bytes) -> Presented:
    """What the argument of APOP shows. Raises BadResponse."""
    name, _, digest = argument.rpartition(b" ")
    return Presented(name, hex_md5(digest))


def hex_md5(digest: bytes) -> bytes:
    """A digest as it is compared: 32 hexadecimal digits, in lower case. Raises BadResponse."""
    digest = digest.lower()
    if not _HEX_MD5.fullmatch(digest):
        raise BadResponse("a user name, a blank and 32 hexadecimal digits are wanted")
    return digest


def _external(_challenge: bytes) -> Dialogue:
    return Presented((yield b""))


def _xoauth2(_challenge: bytes) -> Dialogue:
    fields = _fields((yield b""))
    return Presented(fields.get(b"user", b""), _token(fields))


def _oauthbearer(_challenge: bytes) -> Dialogue:
    head, _, rest = (yield b"").partition(_PART)
    if head[:1] in (b"y", b"p"):
        raise BadResponse("channel binding is not to be had with OAUTHBEARER")
    flag, _, name = head.partition(b",")
    if flag != b"n" or not name.endswith(b",") or not name.startswith(b"a="):
        raise BadResponse("n,a=NAME, is wanted in front of the token")
    return Presented(_saslname(name[2:-1]), _token(_fields(rest)))


def _fields(octets: bytes) -> Mapping[bytes, bytes]:
    """NAME=VALUE parts, each with ^A after it, and one ^A more."""
    if not octets.endswith(_PART * 2) and octets != _PART:
        raise BadResponse("fields are NAME=VALUE with ^A after each, and ^A after the last")
    parts = [part.partition(b"=") for part in octets[:-2].split(_PART)]
    return {name.lower(): value for name, _, value in parts}


def _token(fields: Mapping[bytes, bytes]) -> bytes:
    bearer = _BEARER.fullmatch(fields.get(b"auth", b""))
    if not bearer:
        raise BadResponse("a field auth=Bearer TOKEN is wanted")
    return bearer[1]


def _saslname(octets: bytes) -> bytes:
    """RFC 5801 section 4: a comma is =2C, an equals sign =3D."""
    if re.search(rb"=(?!2C|3D)|,", octets):
        raise BadResponse("in a name, =2C stands for a comma and =3D for an equals sign")
    return octets.replace(b"=2C", b",").replace(b"=3D", b"=")


def _scram(_challenge: bytes) -> Dialogue:
    """Only its first message: who that names, and how it goes on, is in `scram.py`."""
    first = yield b""
    if _LINE_ENDS.search(first):
        raise BadResponse("the message has a line end or NUL in it")
    return Presented(b"", first)


def saslname(name: bytes) -> bytes:
    """A name as it stands in a message: the way back."""
    return name.replace(b"=", b"=3D").replace(b",", b"=2C")


MECHANISMS: Mapping[str, Mechanism] = {
    row.name: row
    for row in (
        Mechanism("PLAIN", _plain, "RFC 4616"),
        Mechanism("LOGIN", _login, "draft-murchison-sasl-login"),
        Mechanism("SCRAM-SHA-256", _scram, "RFC 7677"),
        Mechanism("CRAM-MD5", _cram_md5, "RFC 2195", asks_first=True),
        Mechanism("XOAUTH2", _xoauth2, "Google", refusal=b'{"status":"401","schemes":"bearer"}'),
        Mechanism("OAUTHBEARER", _oauthbearer, "RFC 7628", refusal=b'{"status":"invalid_token"}'),
        Mechanism("EXTERNAL", _external, "RFC 4422 appendix A"),
    )
}
"""In the order in which they are offered: many clients take the first one that they know."""


# --- challenges -----------------------------------------------------------------------------------------------------


class Challenges:
    """Makes challenges that nobody can foretell, and no two alike: as Message-IDs, with `host` after the @."""

    __slots__ = ("_host", "_key")

    def __init__(self, host: str, key: bytes) -> None:
        """`key`: random, and of this process only."""
        self._host = host
        self._key = key

    def of(self, sid: str, number: int) -> bytes:
        """The challenge of this number in a session; ids of sessions are never used twice."""
        digest = blake2b(f"{sid} {number}".encode(), key=self._key, digest_size=12).hexdigest()
        return f"<{digest}.{number}@{self._host}>".encode()


def digest_of(mechanism: str, challenge: bytes, secret: bytes) -> bytes:
    """What a client with this secret answers to a challenge: CRAM-MD5 (RFC 2195), or APOP (RFC 1939 section 7)."""
    if mechanism == "CRAM-MD5":
        return hmac.new(secret, challenge, "md5").hexdigest().encode()
    return hashlib.md5(challenge + secret, usedforsecurity=False).hexdigest().encode()


# --- lines ----------------------------------------------------------------------------------------------------------


def encoded(challenge: bytes) -> bytes:
    """A challenge as a line of the server; of an empty one, the blank stays."""
    return b"+ " + binascii.b2a_base64(challenge, newline=False) + b"\r\n"


def decoded(line: bytes) -> bytes:
    """A response. Raises BadResponse."""
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise BadResponse("this is not base64") from None


def initial_response(word: bytes) -> bytes:
    """The word after AUTH and the mechanism. Raises BadResponse."""
    return b"" if word == _EMPTY else decoded(word)
