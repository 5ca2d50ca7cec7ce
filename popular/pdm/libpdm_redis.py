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

`user move` sets the field `backend` (`pdm conf ID moves on`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from popular.pdm.arguments import PASSWORDFILE, needs, number, pairs, refuse_password_in, secret_from, text_of
from popular.pdm.cafile import CAFILE, trusted
from popular.pdm.contract import Answer, AsyncModule, KnownUser, ModuleFailed, Question, QuestionFailed
from popular.pdm.record import ROUTING, TAKES, Defaults, StoredUser, Verifier, is_name, stored_user, takes_of
from popular.pdm.redisclient import CLUSTER, LIBRARY, SENTINEL, Connected, RedisPlace, place_of, reason_of
from popular.pdm.target import filled, names_user

_WORDS = ("key", "sentinel", "cluster", PASSWORDFILE, *ROUTING, TAKES, "connections", CAFILE)
_LEAD = """
if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then return 0 end
redis.call('HSET', KEYS[1], 'backend', ARGV[1])
return 1
"""
"""Lua, run by the server. KEYS: a user's hash. ARGV: where he is from now on."""
_SECONDS = 2.0
"""For a connect, and for an answer; the module's own deadline is after it, and keptsocket.py's is before."""
_MOST_CONNECTIONS = 64


class Redis(AsyncModule):
    """Asks one server, the master that sentinels know, or a cluster."""

    by_address = False

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        needs(LIBRARY, extra="redis")
        self._errors = needs("redis.exceptions", extra="redis")
        if not arguments:
            raise ModuleFailed("redis: URL is wanted: redis://HOST[:PORT][/DB], rediss://…, or unix:/PATH")
        self.ident, self.arguments = ident, tuple(arguments)
        self._url = arguments[0]
        refuse_password_in("redis", self._url)
        words = pairs("redis", arguments[1:], _WORDS)
        key = words.get("key", "user:%u")
        if not names_user(key):
            raise ModuleFailed(f"redis: the key '{key}' is of no user: it needs %u, or %n and %d")
        self._key = filled("redis", key)
        self._defaults = Defaults.of("redis", words)
        self.takes = takes_of("redis", words)
        self._verifier = Verifier(self._url)
        self._settings: dict[str, Any] = {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS}
        self._places = asyncio.Semaphore(number("redis", words, "connections", usual=4, most=_MOST_CONNECTIONS))
        if PASSWORDFILE in words:
            secret, self.files = secret_from(words[PASSWORDFILE])
            self._settings["password"] = text_of("redis", secret)
        self._place = _place(self._url, words)
        if CAFILE in words:
            if self._place.parts.scheme != "rediss":
                raise ModuleFailed("redis: cafile is for TLS: it wants rediss://")
            _context, files = trusted("redis", words)
            (self._settings["ssl_ca_certs"],) = files
            self.files = {**self.files, **files}
        self._connected: Connected | None = None

    async def ready(self) -> None:
        """See AsyncModule. Nothing is connected yet: the client does that when it is asked, and anew by itself."""
        self._connected = Connected(self._place, self._settings, once_if_slow=True)

    async def check(self, question: Question) -> Answer:
        """See AsyncModule."""
        user = await self._found(question.user) if is_name(question.user) else None
        return await self._verifier.decide_later([] if user is None else [user], question)

    async def lookup(self, _namespace: str, user: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        found = await self._found(user) if is_name(user) else None
        return None if found is None else found.known(self.takes)

    async def _found(self, user: str) -> StoredUser | None:
        assert self._connected is not None
        try:
            async with self._places:
                record = await self._connected.client.hgetall(self._key(user))
        except self._errors.ResponseError as error:
            if (reason := _of_one(str(error))) is None:
                raise ModuleFailed(f"the server: {reason_of(error)}") from None
            raise QuestionFailed(reason) from None
        except (self._errors.RedisError, self._errors.RedisClusterException, OSError) as error:
            raise ModuleFailed(f"the server: {reason_of(error)}") from None
        return stored_user(user, record, self._defaults) if record else None

    async def lead(self, namespace: str, user: str, backend: str) -> bool:
        """See `contract.LEAD`. Whoever has a hash is a user; of one who was deleted just now nothing is left."""
        del namespace
        if not is_name(user):
            return False
        assert self._connected is not None
        try:
            async with self._places:
                is_there = await self._connected.client.eval(_LEAD, 1, self._key(user), backend)
        except (self._errors.RedisError, self._errors.RedisClusterException, OSError) as error:
            raise ModuleFailed(f"the server: {reason_of(error)}") from None
        return bool(is_there)

    def reload(self) -> "Redis":
        """See AsyncModule."""
        return Redis(self.ident, self.arguments)

    async def close(self) -> None:
        """See AsyncModule."""
        if self._connected is not None:
            await self._connected.aclose()
        self._verifier.close()


def _of_one(error: str) -> str | None:
    """What the server has against this user's key; None if it is against anything else."""
    if error.startswith("WRONGTYPE"):
        return "the user's key is no hash"
    if "one of the keys" in error:  # Redis 7 and Valkey leave the code out here
        return "the user's key is none that the server's user may read"
    return None


def _place(url: str, words: Mapping[str, str]) -> RedisPlace:
    """The form is a word's to say, not the URL's. Raises ModuleFailed."""
    try:
        place = place_of(url, several=SENTINEL in words)
    except ModuleFailed:
        place = None
    if place is None or place.form:
        raise ModuleFailed("redis: URL is redis://HOST[:PORT][/DB], rediss://…, or unix:/PATH")
    if "sentinel" in words and "cluster" in words:
        raise ModuleFailed("redis: one of `sentinel NAME` and `cluster on` is allowed")
    if words.get("cluster", "on") != "on":
        raise ModuleFailed("redis: cluster: only `on` is allowed")
    form = next((form for form in (SENTINEL, CLUSTER) if form in words), "")
    if form and place.parts.scheme == "unix":
        raise ModuleFailed("redis: sentinel and cluster want redis:// or rediss://")
    return place._replace(form=form, master=words.get(SENTINEL, ""))


def open_module(ident: str, arguments: Sequence[str]) -> Redis:
    """See the top of this file."""
    return Redis(ident, arguments)
