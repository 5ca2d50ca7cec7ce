"""The lines of Dovecot's authentication protocol (major version 1): written and read. Pure.

One command a line, its words separated by tabs; octet 1 escapes what would break that. Source: Dovecot's documentation,
"Authentication Protocol".
"""

import base64
import binascii
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from popular.pdm.contract import (
    Answer,
    Authenticated,
    CannotTell,
    KeysWanted,
    Question,
    QuestionFailed,
    Refused,
    Route,
    Secret,
    UserLimits,
)
from popular.protocol.sasl import saslname
from popular.protocol.scram import ScramKeys

LONGEST_LINE = 16384
MAJOR, MINOR = "1", "2"
"""Minor 2 is what every server speaks; from 3 on, channel binding is offered, which nobody here can."""

_ESCAPES = {"\0": "0", "\1": "1", "\t": "t", "\r": "r", "\n": "n"}
_ESCAPED = {letter: octet for octet, letter in _ESCAPES.items()}
_TEMPORARY = frozenset({"temp_fail", "temp"})
_NONCE, _LETTERS = 64, 93
_SCRAM_CHALLENGE = re.compile(rb",s=([A-Za-z0-9+/]+={0,2}),i=(\d{1,9})$")


def escaped(text: str) -> str:
    """A value as it may stand within a line."""
    return "".join("\1" + _ESCAPES[letter] if letter in _ESCAPES else letter for letter in text)


def unescaped(text: str) -> str:
    """The value that was so written."""
    first, *rest = text.split("\1")
    return first + "".join(_ESCAPED.get(part[:1], part[:1]) + part[1:] for part in rest)


def line(words: Iterable[str]) -> bytes:
    """A command. Raises QuestionFailed if no server would take it: it would close the connection to all questions."""
    written = "\t".join(words).encode(errors="surrogateescape") + b"\n"
    if len(written) > LONGEST_LINE:
        raise QuestionFailed("what the client has said is too long for the authentication server")
    return written


def greeting(pid: int) -> bytes:
    """What a client begins with, without waiting for the server."""
    return line(("VERSION", MAJOR, MINOR)) + line(("CPID", str(pid)))


class Begun(NamedTuple):
    """How a login begins: by a mechanism, with an initial response."""

    mechanism: str
    response: bytes

    def __repr__(self) -> str:
        return f"Begun({self.mechanism}, ****)"


def begun(question: Question) -> Begun:
    """What the client has shown, as a mechanism of SASL has it: PLAIN (RFC 4616), XOAUTH2, OAUTHBEARER (RFC 7628), or
    SCRAM's first message. Raises QuestionFailed.
    """
    user, password = question.user.encode(errors="surrogateescape"), question.password.reveal()
    if b"\0" in user or b"\0" in password:
        raise QuestionFailed("a name or password with NUL in it is none")
    if isinstance(question.proof, KeysWanted):
        return Begun(question.proof.mechanism, question.proof.first)
    if question.token is None:
        return Begun("PLAIN", b"\0" + user + b"\0" + password)
    mechanism, token = question.token
    head = b"user=" + user if mechanism == "XOAUTH2" else b"n,a=" + saslname(user) + b","
    return Begun(mechanism, b"\1".join((head, b"auth=Bearer " + token.reveal(), b"", b"")))


def request(number: int, question: Question, login: Begun) -> bytes:
    """What begins a login. Raises QuestionFailed."""
    words = ["AUTH", str(number), login.mechanism, "service=pop3", f"rip={escaped(question.client_ip)}", "no-penalty"]
    if question.tls_version:
        words += ["secured=tls", f"tls_protocol={escaped(question.tls_version)}"]
        words += [f"tls_cipher={escaped(question.tls_cipher)}"]
    else:
        words += ["secured"]  # whether a vserv takes passwords in clear is the proxy's to say
    return line([*words, f"resp={base64.b64encode(login.response).decode()}"])


def response(number: int, said: bytes) -> bytes:
    """What the client answers to a challenge. Raises QuestionFailed."""
    return line(("CONT", str(number), base64.b64encode(said).decode()))


def cancelled(number: int) -> bytes:
    """A login that goes no further."""
    return line(("CANCEL", str(number)))


class AuthReply(NamedTuple):
    """OK, FAIL or CONT for the request of this number, and its fields; one without a value is `""`. `challenge`: that
    of CONT, in base64.
    """

    word: str
    number: int
    fields: Mapping[str, str]
    challenge: str = ""

    def __repr__(self) -> str:
        return f"AuthReply({self.word}, {self.number}, ****)"


def reply_of(text: str) -> AuthReply | None:
    """A line of the server's; None if it answers no request."""
    word, *rest = text.split("\t")
    if word not in ("OK", "FAIL", "CONT") or not rest or not rest[0].isdigit():
        return None
    if word == "CONT":
        return AuthReply(word, int(rest[0]), {}, challenge=rest[1] if len(rest) > 1 else "")
    fields = {}
    for field in rest[1:]:
        name, _equals, value = field.partition("=")
        fields[name] = unescaped(value)
    return AuthReply(word, int(rest[0]), fields)


def challenge_of(reply: AuthReply) -> bytes:
    """What the client is to be told. Raises QuestionFailed."""
    try:
        return binascii.a2b_base64(reply.challenge, strict_mode=True)
    except ValueError:
        raise QuestionFailed("the authentication server's challenge is not base64") from None


def nonce() -> str:
    """The server's part of a nonce, as long as Dovecot's, and of the same letters."""
    letters = (chr(ord("!") + octet % _LETTERS) for octet in secrets.token_bytes(_NONCE))
    return "".join("~" if letter == "," else letter for letter in letters)


def form_shown(challenge: bytes) -> ScramKeys | None:
    """Keys that nobody has, of the form (length of the salt, iterations) that a challenge of SCRAM shows."""
    match = _SCRAM_CHALLENGE.search(challenge)
    if match is None:
        return None
    octets = len(match[1]) // 4 * 3 - match[1].count(b"=")
    keys = ScramKeys(bytes(octets), int(match[2]), bytes(32), server_key=bytes(32))
    return keys if keys.are_sound else None


def answer_of(reply: AuthReply, user: str, backend: str) -> Answer:
    """What a reply means. `backend`: instead of the server's `host`, "" if none was given. Raises
    QuestionFailed.

    Dovecot does not tell an unknown user from a wrong password, so FAIL is "refused". A route is in it if its database
    returns `proxy`; `host` alone is a referral for clients, and not for us.
    """
    fields = reply.fields
    if reply.word == "FAIL":
        code = fields.get("code", "")
        if code in _TEMPORARY or "temp" in fields:
            return CannotTell("the authentication server says that it cannot tell now")
        return Refused(locked="user_disabled" in (code, *fields) or "pass_expired" in (code, *fields))
    if reply.word != "OK":
        raise QuestionFailed("the authentication server asks for more than the mechanism has")
    if "nologin" in fields and "proxy" not in fields and "proxy_maybe" not in fields:
        return Refused(locked=True)
    proxied = "proxy" in fields or "proxy_maybe" in fields
    place = backend or (_place(fields) if proxied else "")
    if not place:
        raise QuestionFailed("the authentication server names no host to proxy to, and the module has no `backend ID`")
    named = fields.get("destuser") or fields.get("user", user)
    secret = fields.get("pass") if proxied else None
    return Authenticated(
        Route(
            place, named if named != user else None, Secret(secret.encode(errors="surrogateescape")) if secret else None
        ),
        UserLimits(account=fields["user"]) if fields.get("user", user) != user else None,
    )


def _place(fields: Mapping[str, str]) -> str:
    host = fields.get("hostip") or fields.get("host", "")
    port = fields.get("port", "110")
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if host else ""
