"""What several proxies keep together at a server of Redis or Valkey: leases of sessions, which end by themselves, and
news of who guesses and who is kicked. What is ordered at all of them: cluster_order_store.py.

    popular:{USER}:s     sorted set: a member for each session, scored by when its lease ends (milliseconds since 1970)
    popular:{USER}:d     there as long as this user may not log in again; the session by which that is so
    popular:sessions     sorted set: all sessions of users who are logged in, as JSON, scored alike
    popular:news         stream: what has happened at one proxy that the others are to know, the last of it

USER is a digest, so that no name chooses a slot of a cluster or has to be escaped. All times are the server's: clocks
of proxies do not matter. A script decides and adds in one step, so that of two proxies at the same moment one is let
in.

Whatever is sent may be carried out twice: where an answer fails to come the library sends it once more
(redisclient.py), though the first one was heard. So nothing here counts up, and who finds what he has put there himself
has it.
"""

import asyncio
import hashlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from popular.pdm.arguments import needs, refuse_password_in, secret_from, text_of
from popular.pdm.contract import ModuleFailed
from popular.pdm.redisclient import LIBRARY, Connected, place_of, reason_of

LEASE_SECONDS = 30.0
RENEW_SECONDS = LEASE_SECONDS / 3
ANSWER_SECONDS = 1.0
"""For a connect, and for an answer."""
_COMMAND_SECONDS = 4.0
"""For an answer that a command waits for, however many sentinels or nodes are tried for it: its connection is new."""

FREE, FULL, TOO_SOON = range(3)
"""What TAKE returns."""

TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local most, delay, lease = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local has_it = redis.call('ZSCORE', KEYS[1], ARGV[1])
if most > 0 and not has_it and redis.call('ZCARD', KEYS[1]) >= most then return 1 end
local last = redis.call('GET', KEYS[2])
if delay > 0 and last and last ~= ARGV[1] then return 2 end
redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
redis.call('PEXPIRE', KEYS[1], lease)
if delay > 0 then redis.call('SET', KEYS[2], ARGV[1], 'PX', math.min(delay, lease)) end
return 0
"""
"""Lua, run by the server. KEYS: the user's `:s` and `:d`. ARGV: the session's id, how many sessions there may be (0:
any number), milliseconds until he may come again (0: at once), milliseconds of the lease.
Nobody knows yet whether he comes in: until then the delay is no longer than the lease. A session that has one already
was sent twice, and is not beyond the limit by itself: so none may be there before it was asked for.
"""

LOOK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {redis.call('ZCOUNT', KEYS[1], now, '+inf'), redis.call('PTTL', KEYS[2])}
"""
"""KEYS: as for TAKE. How many sessions the user has, and how many milliseconds until he may come (below 0: he may)."""

STAY_OUT = """
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 0
"""
"""KEYS: as for TAKE. ARGV: the session, which was not let in: it leaves nothing behind."""

RENEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local ended = 2 + tonumber(ARGV[2])
for at = 3, ended do redis.call('ZREM', KEYS[1], ARGV[at]) end
for at = ended + 1, #ARGV do redis.call('ZADD', KEYS[1], now + lease, ARGV[at]) end
redis.call('PEXPIRE', KEYS[1], lease)
return 0
"""
"""KEYS: a sorted set. ARGV: see `renewal`."""

ALL = "popular:sessions"


def renewal(there: Sequence[str], ended: Sequence[str] = ()) -> list[str | int]:
    """The arguments of RENEW: members of the set whose leases a worker renews, and others that are taken out of it."""
    return [int(1000 * LEASE_SECONDS), len(ended), *ended, *there]


def keys_of(namespace: str, user: str) -> tuple[str, str]:
    """The keys of a user's sessions, and of his delay."""
    digest = hashlib.sha256(f"{namespace}\0{user}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"popular:{{{digest}}}:s", f"popular:{{{digest}}}:d"


LISTED = """
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')
"""
"""KEYS: a sorted set. Its members whose leases have not ended."""


NEWS_SINCE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = ARGV[1] == '' and string.format('%.0f', now - tonumber(ARGV[3])) or '(' .. ARGV[1]
local found = redis.call('XRANGE', KEYS[1], since, '+', 'COUNT', ARGV[2])
for _, one in ipairs(found) do
  local octets = 0
  for _, word in ipairs(one[2]) do octets = octets + #word end
  if octets > tonumber(ARGV[4]) then one[2] = {} end
end
return {now, found}
"""
"""KEYS: the stream. ARGV: the id of the last one known, "" for none; how many; how far back to begin then; how many
octets an entry may have: of one that has more there is only the id.
"""

ADD_NEWS = """
local time = redis.call('TIME')
local latest = time[1] * 1000 + 60000
local function add()
  return redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 2))
end
local id = add()
if type(id) == 'table' and string.find(id.err, 'OOM', 1, true) then return id end
if type(id) == 'table' or tonumber(string.match(id, '^%d+')) > latest then
  redis.call('DEL', KEYS[1])
  id = add()
end
return id
"""
"""KEYS: the stream. ARGV: how many it keeps, and the fields of an entry with their values. Ids only grow: an entry of
the future, which anybody may have written who reaches the server, would be the last one for ever; so the stream begins
anew. Where the server is full it does not: what lies there was not read by all.
"""
AHEAD_SECONDS = 60.0
"""How far ahead of the server's time an entry may be; one that is further ahead is none."""

NEWS = "popular:news"
MOST_NEWS = 10_000
BACK_SECONDS = 600.0
"""A proxy that begins learns what has happened for so long."""
FAILED, CAME_IN, KICKED = "failed", "came_in", "kicked"
NEWS_MARK = "mark"
"""A random text in each entry, by which one that was written twice is taken once."""


class HeldInCluster(NamedTuple):
    """How a user stands at all proxies together."""

    sessions: int
    """Leases that have not ended."""
    seconds: float
    """Until he may come again; 0: he may."""


def check_url(url: str) -> None:
    """Raises ModuleFailed with a text for people if it names no server, or holds a password."""
    if not url:
        return
    try:
        refuse_password_in("cluster", url)
    except ModuleFailed:
        raise ModuleFailed(
            "a URL with a password in it is shown by `show config`: leave it out, write it into a file, and "
            "`set clusterpasswordfile FILE`"
        ) from None
    place_of(url)
    needs(LIBRARY, extra="redis")


def connected(url: str, passwordfile: str) -> Connected:
    """A client, not connected yet, which reads the file for each connection: a new password counts from the next one
    on. Raises ModuleFailed.
    """
    settings: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    settings |= {"decode_responses": True, "encoding_errors": "replace"}
    if not passwordfile:
        return Connected(place_of(url), settings)
    password_in(passwordfile)
    return Connected(place_of(url), settings, password=partial(password_in, passwordfile))


def password_in(passwordfile: str) -> str:
    """The password of the cluster's server. Raises FaultyPasswordFile."""
    try:
        return text_of("cluster", secret_from(passwordfile).secret)
    except ModuleFailed as fault:
        raise FaultyPasswordFile(str(fault)) from None


class FaultyPasswordFile(ModuleFailed, OSError):
    """There is no password in it. For who asks the server that is as if it could not be reached."""


def errors() -> tuple[type[BaseException], ...]:
    """What a client raises when the server is away, or says no."""
    exceptions = needs("redis.exceptions", extra="redis")
    return (exceptions.RedisError, exceptions.RedisClusterException, OSError, asyncio.TimeoutError)


_FACTS = {"sid", "proxy", "namespace", "user"}


def member(sid: str, proxy: str, *, namespace: str, user: str) -> str:
    """A session as a member of `popular:sessions`."""
    return json.dumps({"sid": sid, "proxy": proxy, "namespace": namespace, "user": user}, sort_keys=True)


def kick(url: str, passwordfile: str, proxy: str, *, sort: str, ident: str, deadline: int | None) -> None:
    """Has all other proxies end the sessions of a user or a network, as an order has it. `proxy`: our name among them.
    Blocks. Raises ModuleFailed.
    """
    news = {
        "by": this_proxy(),
        "proxy": proxy,
        "what": KICKED,
        "sort": sort,
        "id": ident,
        "deadline": "" if deadline is None else str(deadline),
    }
    with blocking(url, passwordfile) as client:
        add_news(client, news)


def add_news(client: Any, news: Mapping[str, str]) -> None:
    """Adds news to the stream, by a client that blocks."""
    client.eval(ADD_NEWS, 1, NEWS, *news_arguments(news))


def news_arguments(news: Mapping[str, str]) -> list[str | int]:
    """The arguments of ADD_NEWS. If they are sent twice there are two entries, with one mark."""
    return [MOST_NEWS, *(word for pair in {**news, NEWS_MARK: os.urandom(8).hex()}.items() for word in pair)]


_RUN = os.urandom(8).hex()
"""Made in the master, and inherited by all its children. Several containers may have one host name and a master 1."""


def this_proxy() -> str:
    """Its name for what its master has told, the same in all its children."""
    return f"{socket.gethostname()}:{_RUN}"


def read_sessions(url: str, passwordfile: str) -> list[dict[str, str]]:
    """The sessions of all proxies. Blocks. Raises ModuleFailed."""
    with blocking(url, passwordfile) as client:
        return [row for text in client.eval(LISTED, 1, ALL) if (row := row_of(text)) is not None]


def row_of(text: str) -> dict[str, str] | None:
    """The session that a member of `popular:sessions` stands for; None if no proxy has written it."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(row, dict) and row.keys() == _FACTS and all(isinstance(fact, str) for fact in row.values())
    return row if is_ours else None


class _Blocking:
    """A client whose methods wait until they are answered."""

    def __init__(self, client: Any, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, command: str) -> Callable[..., Any]:
        return lambda *words: self._runner.run(_in_time(getattr(self._client, command), words))


async def _in_time(command: Callable[..., Awaitable[Any]], words: Iterable[Any]) -> Any:
    async with asyncio.timeout(_COMMAND_SECONDS):
        return await command(*words)


@contextmanager
def blocking(url: str, passwordfile: str) -> Iterator[Any]:
    """A client that blocks, as long as it lasts. Raises ModuleFailed."""
    failures: tuple[type[BaseException], ...] = (*errors(), ValueError)
    with asyncio.Runner() as runner:
        there: Connected | None = None
        try:
            there = connected(url, passwordfile)
            yield _Blocking(there.client, runner)
        except failures as error:
            raise ModuleFailed(f"the server of the cluster: {reason_of(error)}") from None
        finally:
            if there is not None:
                runner.run(there.aclose())
