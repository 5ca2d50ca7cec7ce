"""The module `oauth2 NAME VALUE…`: lets in who shows a token of an identity provider. With the extra `oauth2`.

    pdm add tokens oauth2 jwks https://id.example.org/keys issuer https://id.example.org audience popular backend store1
    pdm add tokens oauth2 introspect https://id.example.org/introspect clientid popular passwordfile FILE backend store1

It takes tokens (XOAUTH2, OAUTHBEARER) and no passwords. One of the two says how a token is judged:

`jwks URL` or `jwks FILE`: as a signed JWT, here, by the provider's public keys. `issuer` and `audience` must be in the
token; `algorithms A,B` are those that may have signed it (RS256,ES256). The keys are fetched anew every hour, and, once
a minute at most, when a token names one that is not known.

`introspect URL`: by asking the provider (RFC 7662), as `clientid ID` with the first line of `passwordfile FILE`;
`issuer` and `audience`, where they are given, must be in the answer.

`userclaim NAME` is where the user's name is (`email` in a JWT, `username` in an answer): the client must have said this
name; the proxy asks about nobody who has said none. An `email` of which the provider says that it is not verified is no
name. `scope "A B"` must be among the token's scopes; `leeway SECONDS` is how far clocks may differ (30). `backend ID`,
or `backendclaim NAME`, is where his mail is, `target TARGET` his name there. `cafile FILE` is whom to trust behind
https:// instead of the system's authorities; `connections N` is how many a worker has at most (4). A URL is https://,
or http:// to this host.

A token of another issuer, or one that the provider does not know, is of an unknown user; one that is expired, for
another audience or wrongly signed is refused. A provider that is down is "cannot tell".
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from time import time
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from popular.pdm import linefile
from popular.pdm.arguments import (
    PASSWORDFILE,
    is_at_host,
    needs,
    number,
    pairs,
    refuse_password_in,
    secret_from,
    text_of,
)
from popular.pdm.cafile import trusted
from popular.pdm.contract import (
    TOKEN,
    UNKNOWN,
    Answer,
    AsyncModule,
    Authenticated,
    ModuleFailed,
    Question,
    QuestionFailed,
    Refused,
    Route,
)
from popular.pdm.httpclient import MOST_CONNECTIONS, client, http_library
from popular.pdm.jwtkeys import KeySet
from popular.pdm.target import filled
from popular.pdm.tokens import LONGEST_TOKEN, BadToken, NotOurs, Wanted, algorithms_in, signed_claims

_WORDS = (
    "jwks",
    "introspect",
    "issuer",
    "audience",
    "algorithms",
    "clientid",
    PASSWORDFILE,
    "userclaim",
    "scope",
    "leeway",
    "backend",
    "backendclaim",
    "target",
    "cafile",
    "connections",
)
_MOST_OCTETS = 1 << 18
"""How long an answer of the provider may be, or a set of keys."""
_MOST_LEEWAY = 600
_STATUSES_OF_ALL = frozenset({401, 403, 404, 429, 503})
"""What an answer to introspection says of us, or of the provider, whatever the token."""


class Oauth2(AsyncModule):
    """Judges the tokens of one provider."""

    takes = frozenset({TOKEN})
    by_address = False

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        self._http = http_library("oauth2")
        self._jwt = needs("jwt", extra="oauth2")
        needs("cryptography", extra="oauth2")
        self.ident, self.arguments = ident, tuple(arguments)
        words = pairs("oauth2", arguments, _WORDS)
        _check_words(words)
        self._words = words
        self._wanted = Wanted(
            userclaim=words.get("userclaim", "email" if "jwks" in words else "username"),
            issuer=words.get("issuer", ""),
            audience=words.get("audience", ""),
            scopes=frozenset(words.get("scope", "").split()),
            leeway=number("oauth2", words, "leeway", usual=30, most=_MOST_LEEWAY),
        )
        self._algorithms = algorithms_in(words.get("algorithms", ""))
        self._fill = filled("oauth2", words["target"]) if "target" in words else None
        self._trust, self.files = trusted("oauth2", words)
        self._connections = number("oauth2", words, "connections", usual=4, most=MOST_CONNECTIONS)
        self._credentials = ""
        self._client: Any = None
        self._keys: KeySet | None = None
        if "introspect" in words:
            _check_url(words["introspect"])
            secret, files = secret_from(words[PASSWORDFILE])
            self.files = {**self.files, **files}
            pair = f"{quote(words['clientid'], safe='')}:{quote(text_of('oauth2', secret), safe='')}"
            self._credentials = f"Basic {b64encode(pair.encode()).decode()}"  # RFC 6749 section 2.3.1
        elif words["jwks"].startswith("/"):
            octets, status = linefile.read(words["jwks"])
            self.files = {**self.files, words["jwks"]: status}
            self._keys = KeySet.fixed(octets)
        else:
            _check_url(words["jwks"])
            self._keys = KeySet(self._fetch_keys)

    async def ready(self) -> None:
        """See AsyncModule. Nothing is connected yet."""
        self._client = client(self._http, connections=self._connections, trusted=self._trust)

    async def check(self, question: Question) -> Answer:
        """See AsyncModule."""
        if question.token is None:
            return UNKNOWN
        try:
            user, claims = await self._shown(question)
            return Authenticated(self._route(question, user, claims), cache=self._wanted.seconds_left(claims, time()))
        except NotOurs:
            return UNKNOWN
        except BadToken as bad:
            return Refused(reason=f"the token is {bad}")

    async def authenticate(self, question: Question, route: Route) -> bool:
        """Whether the token is this user's, whom another module has found. See AsyncModule."""
        del route
        if question.token is None or not question.user:
            return False
        try:
            await self._shown(question)
        except (NotOurs, BadToken):
            return False
        return True

    async def _shown(self, question: Question) -> tuple[str, Mapping[str, Any]]:
        """Whose token it is, and what it says. Raises NotOurs, BadToken, ModuleFailed."""
        assert question.token is not None
        token = question.token.secret.reveal()
        if len(token) > LONGEST_TOKEN:
            raise BadToken("too long")
        try:
            text = token.decode("ascii")
        except UnicodeDecodeError:
            raise NotOurs from None
        if self._keys is None:
            claims = await self._introspected(text)
            self._wanted.check(claims, time())
        else:
            claims = await signed_claims(
                self._jwt, text, keys=self._keys, algorithms=self._algorithms, wanted=self._wanted
            )
        user = question.own_name(self._wanted.user_of(claims))
        if not user or question.user not in ("", user):
            raise BadToken("another user's")
        return user, claims

    def _route(self, question: Question, user: str, claims: Mapping[str, Any]) -> Route:
        backend = claims.get(self._words["backendclaim"]) if "backendclaim" in self._words else self._words["backend"]
        if not isinstance(backend, str) or not linefile.IDENTIFIER.fullmatch(backend):
            raise BadToken("without a backend")
        if self._fill is not None:
            return Route(backend, self._fill(user))
        return Route(backend, None if question.user else user)

    async def _introspected(self, token: str) -> Mapping[str, Any]:
        """What the provider says of it. Raises NotOurs, ModuleFailed; QuestionFailed where only this token fails there,
        which whoever likes may have made up.
        """
        body = urlencode({"token": token, "token_type_hint": "access_token"})
        try:
            said = json.loads(await self._answer("POST", self._words["introspect"], body))
        except (ValueError, RecursionError):
            raise QuestionFailed("the provider's answer is no JSON") from None
        if not isinstance(said, dict) or not isinstance(said.get("active"), bool):
            raise QuestionFailed("the provider's answer has no `active` that is true or false")
        if not said["active"]:
            raise NotOurs
        return said

    async def _fetch_keys(self) -> bytes:
        return await self._answer("GET", self._words["jwks"], None)

    async def _answer(self, method: str, url: str, body: str | None) -> bytes:
        """What comes with status 200, of bounded length. Raises ModuleFailed; QuestionFailed where the provider has
        answered, and it may be what was sent.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            headers |= {"Authorization": self._credentials, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            asked = self._client.request(method, url, data=body, headers=headers, allow_redirects=False)
            async with asked as response:
                if response.status != 200:
                    is_of_one = body is not None and response.status not in _STATUSES_OF_ALL
                    raise (QuestionFailed if is_of_one else ModuleFailed)(_status_told(response.status))
                octets = bytearray()
                async for piece in response.content.iter_any():
                    octets += piece
                    if len(octets) > _MOST_OCTETS:
                        raise ModuleFailed(f"the provider's answer is longer than {_MOST_OCTETS} octets")
                return bytes(octets)
        except (self._http.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ModuleFailed(f"the provider: {type(error).__name__}") from None

    def reload(self) -> "Oauth2":
        """See AsyncModule."""
        return Oauth2(self.ident, self.arguments)

    async def close(self) -> None:
        """See AsyncModule."""
        if self._keys is not None:
            self._keys.close()
        if self._client is not None:
            await self._client.close()


def _check_words(words: Mapping[str, str]) -> None:
    if ("jwks" in words) == ("introspect" in words):
        raise ModuleFailed("oauth2: one of `jwks URL`, `jwks FILE` and `introspect URL` is wanted")
    if ("backend" in words) == ("backendclaim" in words):
        raise ModuleFailed("oauth2: one of `backend ID` and `backendclaim NAME` is wanted")
    belong = {"jwks": ("issuer", "audience"), "introspect": ("clientid", PASSWORDFILE)}
    other = {"jwks": ("clientid", PASSWORDFILE), "introspect": ("algorithms",)}
    way = "jwks" if "jwks" in words else "introspect"
    for name in belong[way]:
        if not words.get(name):
            raise ModuleFailed(f"oauth2: {way} wants `{name}` too")
    for name in other[way]:
        if name in words:
            raise ModuleFailed(f"oauth2: {name} does not go with {way}")


def _check_url(url: str) -> None:
    """A token must not travel in clear, nor may anybody on the way exchange the keys. Raises ModuleFailed."""
    refuse_password_in("oauth2", url)
    parts = urlsplit(url)
    if not is_at_host(parts) or parts.scheme not in ("http", "https"):
        raise ModuleFailed("oauth2: a URL is https://HOST[:PORT]/PATH; a file begins with /")
    if parts.scheme == "http" and not _is_this_host(parts.hostname or ""):
        raise ModuleFailed("oauth2: http:// is allowed to this host only; say https://")


def _is_this_host(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _status_told(status: int) -> str:
    if status in (401, 403):
        return f"the provider does not take our clientid and secret (HTTP status {status})"
    return f"the provider's answer has the HTTP status {status}"


def open_module(ident: str, arguments: Sequence[str]) -> Oauth2:
    """See the top of this file."""
    return Oauth2(ident, arguments)
