"""How pproxy logs in at a POP3 backend otherwise than by USER and PASS: AUTH (RFC 5034), and master users.

    login plain       AUTH PLAIN with the user's own password (RFC 4616)
    login master      USER user*master and the master's password, or AUTH PLAIN with the user as authorization id
    login external    AUTH EXTERNAL with the user as authorization id (RFC 4422): our certificate says who we are
    login xoauth2     the token that the client has shown, by XOAUTH2 or OAUTHBEARER (RFC 7628)

What the backend is asked to believe stands in `Credentials`; `login_for` makes the dialogue of it. Pure.
"""

import re
from binascii import b2a_base64
from typing import NamedTuple

from popular.pdm.contract import Secret, Token
from popular.proxy.session.backend.backend_login import AUTHENTICATING, Broken, Pop3Login, Progress
from popular.proxy.session.who import FALLBACK, VOUCHED, Routing
from popular.proxy.settings.backend import (
    EXTERNAL,
    MASTER,
    OURS_ALONE,
    PLAIN,
    SEPARATOR,
    STARTTLS,
    USER,
    XOAUTH2,
    Backend,
)

OAUTHBEARER = "OAUTHBEARER"

_LONGEST_LINE = 255
"""Octets of a command with its end (RFC 2449 section 4); an initial response that does not fit is sent after it."""
_BEGINNING = 16
"""By so many octets a response is recognised where a backend repeats it."""
_LINE_ENDS = re.compile(b"[\r\n\0]")
_TOKEN = re.compile(rb"[!-~]+")


class Credentials(NamedTuple):
    """What there is to show a backend for a user. `secret`: a password, the module's or the user's own."""

    user: str
    secret: Secret | None
    token: Token | None = None


def lacks_secret(routing: Routing, backend: Backend, shows: Secret | Token | None) -> bool:
    """Whether there is nothing that this backend could be shown. What the client has shown (`shows`) is of use if it is
    the user's own, not that of somebody who was vouched for, and of the right kind, a password or a token.
    """
    route, basis = routing
    wanted = Token if backend.login == XOAUTH2 else Secret
    if backend.login in OURS_ALONE:
        return basis is FALLBACK  # no module has let this user in, and what is ours would
    return route.secret is None and (basis is VOUCHED or not isinstance(shows, wanted))


class AuthLogin(Pop3Login):
    """AUTH with one response, after STLS and XCLIENT where they are wanted."""

    __slots__ = ("_last_word", "_response", "_secrets")

    def __init__(
        self,
        mechanism: str,
        response: bytes,
        *,
        stls: bool,
        xclient: bytes,
        secret: bytes = b"",
        last_word: bytes | None = None,
        initial: bool = True,
    ) -> None:
        """`secret`: what of the response nobody may see; `last_word`: what is said when the backend explains, by one
        more challenge, why it refuses (RFC 7628 section 3.2.3); `initial`: the response is sent with AUTH if it fits.
        """
        Pop3Login.__init__(self, b"", b"", stls=stls, xclient=xclient)
        encoded = b2a_base64(response, newline=False)
        line = f"AUTH {mechanism}".encode()
        fits = initial and len(line) + len(encoded) + 3 <= _LONGEST_LINE
        self._response = b"" if fits else encoded + b"\r\n"
        self._last_word = last_word
        self._secrets = (secret, encoded[:_BEGINNING]) if secret else ()
        said = line + b" " + encoded + b"\r\n" if fits else line + b"\r\n"
        # In the place of USER and PASS, the last two.
        self._say = (*self._say[:-2], said)
        self._steps = (*self._steps[:-2], AUTHENTICATING)
        self._last -= 1

    def _refused(self, line: bytes) -> Progress:
        """No +OK: a challenge, which is answered, or a rejection."""
        challenge = line[1:].strip(b" ") if line == b"+" or line.startswith(b"+ ") else None
        if challenge is None or self._step != self._last:
            return Pop3Login._refused(self, line)
        if self._lines.held:
            return Broken(f"more than one reply while {AUTHENTICATING}", "auth")
        if self._response:
            response, self._response = self._response, b""
            return response
        if challenge and self._last_word is not None:
            last_word, self._last_word = self._last_word, None
            return last_word
        return Broken("it asks for more than there is to be said", "auth")

    def _repeats(self, line: bytes) -> bool:
        return any(secret in line for secret in self._secrets)


def login_for(
    backend: Backend, shown: Credentials, *, xclient: bytes, ahead: bool, offered: frozenset[str]
) -> Pop3Login:
    """The dialogue by which a backend is asked to let this user in. `offered`: the SASL mechanisms that it announces,
    as far as they are known. Raises ValueError where what there is to say would be more than one line, or somebody
    else's name.
    """
    stls = backend.tls == STARTTLS
    user = shown.user.encode()
    if backend.login == EXTERNAL:
        return AuthLogin("EXTERNAL", _one_line(user), stls=stls, xclient=xclient)
    if backend.login == XOAUTH2:
        return _by_token(shown, stls=stls, xclient=xclient, offered=offered)
    if backend.login == MASTER:
        return _as_master(backend, user, stls=stls, xclient=xclient, ahead=ahead)
    assert shown.secret is not None
    password = shown.secret.reveal()
    if backend.login == PLAIN:
        return _plain(b"", user, password, stls=stls, xclient=xclient)
    assert backend.login == USER
    return Pop3Login(user, password, ahead, stls=stls, xclient=xclient)


def _plain(acts_for: bytes, user: bytes, password: bytes, *, stls: bool, xclient: bytes) -> AuthLogin:
    parts = [_one_line(part) for part in (acts_for, user, password)]
    return AuthLogin("PLAIN", b"\0".join(parts), stls=stls, xclient=xclient, secret=password)


def _as_master(backend: Backend, user: bytes, *, stls: bool, xclient: bytes, ahead: bool) -> Pop3Login:
    master, password = backend.masteruser.encode(), backend.mastersecret.octets
    if backend.masterform != SEPARATOR:
        return _plain(user, master, password, stls=stls, xclient=xclient)
    separator = backend.masterseparator.encode()
    if separator in user:
        raise ValueError("the separator of master users is in the user name")
    return Pop3Login(user + separator + master, password, ahead, stls=stls, xclient=xclient)


def _by_token(shown: Credentials, *, stls: bool, xclient: bytes, offered: frozenset[str]) -> AuthLogin:
    # A secret is the module's then: a token that stands in the route.
    token = shown.token or Token("XOAUTH2", shown.secret or Secret(b""))
    octets = token.secret.reveal()
    if not _TOKEN.fullmatch(octets):
        raise ValueError("this is no token")
    user = _one_line(shown.user.encode())
    if _mechanism(token.mechanism, offered) == OAUTHBEARER:
        name = user.replace(b"=", b"=3D").replace(b",", b"=2C")
        response, last_word = b"n,a=%b,\x01auth=Bearer %b\x01\x01" % (name, octets), b"AQ==\r\n"
        mechanism = OAUTHBEARER
    else:
        response, last_word, mechanism = b"user=%b\x01auth=Bearer %b\x01\x01" % (user, octets), b"\r\n", "XOAUTH2"
    return AuthLogin(mechanism, response, stls=stls, xclient=xclient, secret=octets, last_word=last_word, initial=False)


def _mechanism(clients: str, offered: frozenset[str]) -> str:
    """The client's, unless the backend announces only the other one."""
    known = offered & {"XOAUTH2", OAUTHBEARER}
    return next(iter(known)) if len(known) == 1 else clients


def _one_line(part: bytes) -> bytes:
    """The part itself. Raises ValueError if it holds what could end a line, or a part (NUL, ^A)."""
    if _LINE_ENDS.search(part) or b"\x01" in part:
        raise ValueError("a name or password with a line end in it")
    return part
