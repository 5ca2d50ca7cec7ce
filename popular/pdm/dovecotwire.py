"""The lines of Dovecot's authentication protocol (major version 1): written and read. Pure.

One command a line, its words separated by tabs; octet 1 escapes what would break that. Source: Dovecot's documentation,
"Authentication Protocol".
"""

import base64
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from popular.pdm.contract import (
    Answer,
    Authenticated,
    CannotTell,
    ModuleFailed,
    Question,
    Refused,
    Route,
    Secret,
    UserLimits,
)

LONGEST_LINE = 16384
MAJOR, MINOR = "1", "2"
"""Minor 2 is what every server speaks; from 3 on, channel binding is offered, which nobody here can."""

_ESCAPES = {"\0": "0", "\1": "1", "\t": "t", "\r": "r", "\n": "n"}
_ESCAPED = {letter: octet for octet, letter in _ESCAPES.items()}
_TEMPORARY = frozenset({"temp_fail", "temp"})


def escaped(text: str) -> str:
    """A value as it may stand within a line."""
    return "".join("\1" + _ESCAPES[letter] if letter in _ESCAPES else letter for letter in text)


def unescaped(text: str) -> str:
    """The value that was so written."""
    first, *rest = text.split("\1")
    return first + "".join(_ESCAPED.get(part[:1], part[:1]) + part[1:] for part in rest)


def line(words: Iterable[str]) -> bytes:
    """A command. Raises ModuleFailed if no server would take it: it would close the connection to all questions."""
    written = "\t".join(words).encode(errors="surrogateescape") + b"\n"
    if len(written) > LONGEST_LINE:
        raise ModuleFailed("the name and the password are too long for the authentication server")
    return written


def greeting(pid: int) -> bytes:
    """What a client begins with, without waiting for the server."""
    return line(("VERSION", MAJOR, MINOR)) + line(("CPID", str(pid)))


def plain_request(number: int, question: Question) -> bytes:
    """A login by the mechanism PLAIN (RFC 4616). Raises ModuleFailed."""
    user = question.user.encode(errors="surrogateescape")
    password = question.password.reveal()
    if b"\0" in user or b"\0" in password:
        raise ModuleFailed("a name or password with NUL in it is none")
    response = base64.b64encode(b"\0" + user + b"\0" + password).decode()
    words = ["AUTH", str(number), "PLAIN", "service=pop3", f"rip={escaped(question.client_ip)}", "no-penalty"]
    if question.tls_version:
        words += ["secured=tls", f"tls_protocol={escaped(question.tls_version)}"]
        words += [f"tls_cipher={escaped(question.tls_cipher)}"]
    else:
        words += ["secured"]  # whether a vserv takes passwords in clear is the proxy's to say
    return line([*words, f"resp={response}"])


class AuthReply(NamedTuple):
    """OK, FAIL or CONT for the request of this number, and its fields; one without a value is `""`."""

    word: str
    number: int
    fields: Mapping[str, str]


def reply_of(text: str) -> AuthReply | None:
    """A line of the server's; None if it answers no request."""
    word, *rest = text.split("\t")
    if word not in ("OK", "FAIL", "CONT") or not rest or not rest[0].isdigit():
        return None
    fields = {}
    for field in rest[1:]:
        name, _equals, value = field.partition("=")
        fields[name] = unescaped(value)
    return AuthReply(word, int(rest[0]), fields)


def answer_of(reply: AuthReply, user: str, backend: str) -> Answer:
    """What a reply means. `backend`: instead of the server's `host`, "" if none was given. Raises ModuleFailed.

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
        raise ModuleFailed("the authentication server asks for more than PLAIN has")
    if "nologin" in fields and "proxy" not in fields and "proxy_maybe" not in fields:
        return Refused(locked=True)
    proxied = "proxy" in fields or "proxy_maybe" in fields
    place = backend or (_place(fields) if proxied else "")
    if not place:
        raise ModuleFailed("the authentication server names no host to proxy to, and the module has no `backend ID`")
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
