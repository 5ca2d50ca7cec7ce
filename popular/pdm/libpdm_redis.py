"""The module `redis URL [NAME VALUE]…`: users in Redis or Valkey, a hash for each. With the extra `redis`.

    pdm add users redis redis://cache.example.org/0 key mail:%u backend store1

The fields of a user's hash are those of `record.py` (`password`, `backend` …); a hash without fields is no user.
`URL` is redis://[USER@]HOST[:PORT][/DB], rediss:// for TLS, or unix:/PATH.

`key KEY` is the key of a user's hash: `%u` is his name as given, `%n` and `%d` its parts, `%%` a percent sign; usually
`user:%u`. `sentinel NAME` takes URL for a sentinel's (several: HOST:PORT,HOST:PORT), and asks the master of that name;
`cluster on` takes it for a node of a cluster. `passwordfile FILE` holds the server's password, `backend ID` and
`target TARGET` are what counts where a hash does not say it, `takes KIND,…` is as in `sql`, `connections N` is how many
a worker has (default 4). `cafile FILE` has the authorities' certificates to believe in TLS (default: the system's). The
server's must be for its name; with sentinels and in a cluster, for the names or addresses that these give.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from popular.pdm import linefile
from popular.pdm.arguments import PASSWORDFILE, needs, number, pairs, refuse_password_in, secret_from, text_of
from popular.pdm.contract import Answer, AsyncModule, KnownUser, ModuleFailed, Question, QuestionFailed
from popular.pdm.record import ROUTING, TAKES, Defaults, StoredUser, Verifier, is_name, stored_user, takes_of
from popular.pdm.target import filled

_WORDS = ("key", "sentinel", "cluster", PASSWORDFILE, *ROUTING, TAKES, "connections", "cafile")
_SECONDS = 2.0
"""For a connect, and for an answer; the module's own deadline is behind it."""
_PORT, _SENTINEL_PORT = 6379, 26379
_MOST_CONNECTIONS = 64


class Redis(AsyncModule):
    """Asks one server, the master that sentinels know, or a cluster."""

    by_address = False

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        self._library = needs("redis.asyncio", extra="redis")
        self._errors = needs("redis.exceptions", extra="redis")
        if not arguments:
            raise ModuleFailed("redis: URL is wanted: redis://HOST[:PORT][/DB], rediss://…, or unix:/PATH")
        self.ident, self.arguments = ident, tuple(arguments)
        self._url = arguments[0]
        refuse_password_in("redis", self._url)
        words = pairs("redis", arguments[1:], _WORDS)
        self._key = filled("redis", words.get("key", "user:%u"))
        self._defaults = Defaults.of("redis", words)
        self.takes = takes_of("redis", words)
        self._verifier = Verifier(self._url)
        self._words = words
        self._settings: dict[str, Any] = {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS}
        self._places = asyncio.Semaphore(number("redis", words, "connections", usual=4, most=_MOST_CONNECTIONS))
        if PASSWORDFILE in words:
            secret, self.files = secret_from(words[PASSWORDFILE])
            self._settings["password"] = text_of("redis", secret)
        self._parts = _parts(self._url)
        if "sentinel" in words and "cluster" in words:
            raise ModuleFailed("redis: one of `sentinel NAME` and `cluster on` is allowed")
        if words.get("cluster", "on") != "on":
            raise ModuleFailed("redis: cluster: only `on` is allowed")
        clustered = {"sentinel", "cluster"} & words.keys()
        if clustered and self._parts.scheme == "unix":
            raise ModuleFailed("redis: sentinel and cluster want redis:// or rediss://")
        if clustered and self._parts.scheme == "rediss":
            self._settings["ssl"] = True  # elsewhere the library takes it from the URL
        if "cafile" in words:
            if self._parts.scheme != "rediss":
                raise ModuleFailed("redis: cafile is for TLS: it wants rediss://")
            self._settings["ssl_ca_certs"] = os.path.abspath(words["cafile"])
            _content, status = linefile.read(self._settings["ssl_ca_certs"])
            self.files = {**self.files, self._settings["ssl_ca_certs"]: status}
        self._client: Any = None
        self._sentinels: Any = None

    async def ready(self) -> None:
        """See AsyncModule. Nothing is connected yet: the client does that when it is asked, and anew by itself."""
        if "sentinel" in self._words:
            self._client = self._sentinel()
        elif "cluster" in self._words:
            host, port = self._parts.hostname or "", self._parts.port or _PORT
            self._client = self._library.RedisCluster(host=host, port=port, **self._user(), **self._settings)
        else:
            from_url = self._library.Redis.from_url
            self._client = from_url(self._url, **self._no_retry(), **self._settings)

    def _sentinel(self) -> Any:
        library = needs("redis.asyncio.sentinel", extra="redis")
        nodes = [_host_and_port(node) for node in self._parts.netloc.rpartition("@")[2].split(",")]
        kept = ("socket_timeout", "socket_connect_timeout", "ssl", "ssl_ca_certs")
        settings = {name: self._settings[name] for name in kept if name in self._settings}
        self._sentinels = library.Sentinel(nodes, sentinel_kwargs={**settings, **self._no_retry()})
        db = self._parts.path.lstrip("/") or "0"
        settings = {**self._user(), **self._no_retry(), **self._settings}
        return self._sentinels.master_for(self._words["sentinel"], db=int(db), **settings)

    def _user(self) -> dict[str, str]:
        return {"username": unquote(self._parts.username)} if self._parts.username else {}

    def _no_retry(self) -> dict[str, Any]:
        """Once more, at once: a connection that stood unused may be gone. The library's ten times take too long."""
        retry = needs("redis.asyncio.retry", extra="redis").Retry
        backoff = needs("redis.backoff", extra="redis").NoBackoff
        return {"retry": retry(backoff(), 1)}

    async def check(self, question: Question) -> Answer:
        """See AsyncModule."""
        user = await self._found(question.user) if is_name(question.user) else None
        return await self._verifier.decide_later([] if user is None else [user], question)

    async def lookup(self, _namespace: str, user: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        found = await self._found(user) if is_name(user) else None
        return None if found is None else found.known()

    async def _found(self, user: str) -> StoredUser | None:
        try:
            async with self._places:
                record = await self._client.hgetall(self._key(user))
        except self._errors.ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise ModuleFailed(f"the server: {type(error).__name__}") from None
            raise QuestionFailed("the user's key is no hash") from None
        except (self._errors.RedisError, self._errors.RedisClusterException, OSError) as error:
            raise ModuleFailed(f"the server: {type(error).__name__}") from None
        return stored_user(user, record, self._defaults) if record else None

    def reload(self) -> "Redis":
        """See AsyncModule."""
        return Redis(self.ident, self.arguments)

    async def close(self) -> None:
        """See AsyncModule."""
        if self._client is not None:
            await self._client.aclose()
        if self._sentinels is not None:
            for sentinel in self._sentinels.sentinels:
                await sentinel.aclose()
        self._verifier.close()


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.netloc or parts.path):
        raise ModuleFailed("redis: URL is redis://HOST[:PORT][/DB], rediss://…, or unix:/PATH")
    return parts


def _host_and_port(node: str) -> tuple[str, int]:
    host, colon, port = node.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() else (node, _SENTINEL_PORT)


def open_module(ident: str, arguments: Sequence[str]) -> Redis:
    """See the top of this file."""
    return Redis(ident, arguments)
