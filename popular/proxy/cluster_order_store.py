"""Orders of the operator that hold at all proxies of a cluster: blocks, holds, locks and moved users, as they are now.

    popular:orders     hash: for each order, as [SORT, ID], its value and the proxy that has said it; and `epoch`,
                       `serial` and `changes`, by which it is seen that it has lost something (storeseen.py)
    popular:proxies    sorted set: each proxy, by when it was last there (milliseconds)
    popular:names      sorted set: name, identity and host of each, scored alike: no two may have one name, and who has
                       another one now is not waited for under the old one
    popular:gone:MOVE  set: the proxies at which nobody is left of the user who is being moved; and, marked, those that
                       lack the backend to which he is to come

What is in the hash is in force, at whichever proxy it was said; so who was away reads what there is, and misses no end
of an order. Where the server has lost all it knew, or its last writes, orders have not ended by that: each proxy tells
again what it has (`reconciled`). What lies there anybody may have written who reaches the server: `stored_order` lets
nothing pass that could not have been said here.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, NamedTuple

from popular.pdm.contract import ModuleFailed
from popular.proxy import leases
from popular.proxy.settings.order_sorts import HELD_USER, LOCKED_USER, ROUTED_USER
from popular.proxy.storeseen import CHANGES, EPOCH, MARK, MOST_MARKS, SERIAL, StoreState
from supervisor.operatorstate import PENDING, SHARED, UNDO, OrderEntry, is_over
from supervisor.table.blocked import BLOCKED

ORDERS, PROXIES, GONE = "popular:orders", "popular:proxies", "popular:gone:"
NAMES = "popular:names"
SORTS = (BLOCKED, HELD_USER, LOCKED_USER, ROUTED_USER)
MOVE, BACKEND = "move", "to"
"""In the value of a hold: the move by which it is; in that, and of a moved user: where he is to be."""
LACKS = "\0"
"""After the name of a proxy that lacks it, which no name has in it."""
ORDERED = "ordered"
"""What news are called that something is in the hash, or no longer."""
MOST_OCTETS = 4096
"""How long an order, or an entry of the news, may be: what is longer is none."""
MOST_ORDERS = 100_000
"""Where there are more they are not looked at: a worker would be busy with nothing else."""
AWAY_SECONDS = 600.0
"""So long a proxy counts as there that is not heard of: a move waits for it, and fails."""
_STALE_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_LATEST = 253402300799

CHANGE = f"""
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
for at = 2, #ARGV, 2 do
  local there = string.sub(ARGV[at + 1], 1, 1) == '+' and redis.call('HGET', KEYS[1], ARGV[at])
  if there and there ~= string.sub(ARGV[at + 1], 2) and string.find(there, '"move": "', 1, true) then return '' end
end
for at = 2, #ARGV, 2 do
  local field, value = ARGV[at], ARGV[at + 1]
  if string.sub(value, 1, 1) == '+' then value = string.sub(value, 2) end
  if string.sub(value, 1, 1) == '=' then
    if redis.call('HGET', KEYS[1], field) == string.sub(value, 2) then value = '' else value = nil end
  end
  if value == '' then redis.call('HDEL', KEYS[1], field)
  elseif value then redis.call('HSET', KEYS[1], field, value) end
end
local serial = string.format('%.0f', (tonumber(redis.call('HGET', KEYS[1], 'serial')) or 0) + 1)
local marks = (redis.call('HGET', KEYS[1], 'changes') or '') .. string.sub(ARGV[1], 1, {MARK})
marks = string.sub(marks, -{MARK * MOST_MARKS})
redis.call('HSET', KEYS[1], 'serial', serial, 'changes', marks)
return epoch .. ' ' .. serial .. ' ' .. marks
"""
"""KEYS: the hash. ARGV: a random text, which is the epoch if there is none, and its beginning the mark of the change;
and fields with their values: "" for the end of an order, `=VALUE` for its end if it still has this value, `+VALUE` for
the hold of a move: if there is another one already nothing is changed, and "" is returned; else where the store
stands. All at once: nobody sees a user whose hold has ended and who is led where he was. Sent twice it changes nothing
but the serial, and the mark is there twice.
"""

READ_ORDERS = """
local time, all, found = redis.call('TIME'), redis.call('HGETALL', KEYS[1]), {}
for at = 1, #all, 2 do
  if #all[at] + #all[at + 1] <= tonumber(ARGV[1]) then
    found[#found + 1], found[#found + 2] = all[at], all[at + 1]
  end
end
return {time[1], found}
"""
"""KEYS: the hash. ARGV: how many octets a field and its value may have together; what has more fills no worker. Gives
the server's time, in seconds, and the fields with their values.
"""

THERE = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
return 0
"""
"""KEYS: the proxies. ARGV: one of them, which is there."""

NAMED = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[4])))
redis.call('ZADD', KEYS[1], now, ARGV[1])
local said, silent = {}, {}
local found = redis.call('ZREVRANGE', KEYS[1], 0, 999, 'WITHSCORES')
for at = 1, #found, 2 do
  local to = tonumber(found[at + 1]) >= now - tonumber(ARGV[2]) and said or silent
  if #found[at] <= tonumber(ARGV[3]) then to[#to + 1] = found[at] end
end
return {said, silent}
"""
"""KEYS: the names. ARGV: that of a proxy which is there, milliseconds for which one counts that is not heard of, how
many octets one may have (a longer one is none), and milliseconds for which one is kept. Gives those that count, and
the others.
"""

WHO = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[1])))
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
"""KEYS: the proxies. ARGV: milliseconds for which one counts that is not heard of."""


class StoredOrder(NamedTuple):
    """What lies in the hash."""

    entry: OrderEntry
    by: str
    text: str = ""
    """As it lies there."""


class Reconciled(NamedTuple):
    """What makes the orders here and those of the cluster the same."""

    taken: list[StoredOrder]
    """To be in force here; without a value: no longer."""
    told: list[OrderEntry]
    """To be put into the hash."""
    stale: list[StoredOrder]
    """To be taken out of it."""


def field_of(sort: str, ident: str) -> str:
    """The field of the hash in which an order is kept."""
    return json.dumps([sort, ident])


def stored_order(field: str, text: str) -> StoredOrder | None:
    """What a field of the hash says; None: nothing that could have been said here."""
    try:
        sort, ident = json.loads(field)
        said = json.loads(text)
        value, by, until = said["value"], said["by"], said["value"].get("until")
        if sort == BLOCKED:
            ident = str(ip_network(ident))
        good = (
            len(text) <= MOST_OCTETS
            and sort in SORTS
            and all(isinstance(one, str) and one.isprintable() and 0 < len(one) <= MOST_OCTETS for one in (ident, by))
            and all(map(_is_plain, (*value, *value.values())))
            and isinstance(until, int | float | None)
            and (sort != ROUTED_USER or isinstance(value.get(BACKEND), str))
            and isinstance(value.get(MOVE, ""), str)
            and not value.keys() & {UNDO, SHARED}
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return StoredOrder(OrderEntry(sort, ident, value), by, text) if good else None


def _is_plain(said: object) -> bool:
    """A text, a number, or nothing: what is kept, told to all workers, and shown to people as it is. A state file that
    cannot be read again has all orders lost.
    """
    if isinstance(said, str):
        return said.isprintable()
    return said is None or (isinstance(said, int | float) and 0 <= said <= _LATEST)  # NaN is not


def arguments_of(
    entries: Iterable[OrderEntry], by: str, *, stale: Iterable[StoredOrder] = (), begins: Iterable[OrderEntry] = ()
) -> list[str]:
    """The arguments of CHANGE. `begins`: holds of moves, of which a user has one."""
    words = [os.urandom(8).hex()]
    for entry in entries:
        words += [field_of(*entry[:2]), "" if entry.value is None else text_of(entry, by)]
    for entry in begins:
        words += [field_of(*entry[:2]), f"+{text_of(entry, by)}"]
    for one in stale:
        words += [field_of(one.entry.sort, one.entry.id), f"={one.text}"]
    return words


def text_of(entry: OrderEntry, by: str) -> str:
    """An order as it lies in the hash."""
    return json.dumps({"value": bare(entry.value or {}), "by": by})


def bare(value: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is only for the proxy that has it."""
    return {word: said for word, said in value.items() if word != SHARED}


def reconciled(
    before: Mapping[tuple[str, str], Mapping[str, Any]],
    now: Mapping[tuple[str, str], Mapping[str, Any]],
    stored: Iterable[StoredOrder],
    *,
    at: float,
    us: str,
    follows: bool,
    alone: bool = True,
    ended: Mapping[str, float] = MappingProxyType({}),
) -> Reconciled:
    """`before`: the orders here before the hash was read; `now`: after it. What has changed in between is left for the
    next time. `follows`: the hash has all that was known of it here. If it has lost something, what is said here counts
    if it is newer; `ended` are the fields of what was ended here, and when. `alone`: no other proxy has our name, whose
    a move could be of which we know nothing.
    `at`: the server's time, by which orders end for all; if ours is ahead they end here alone.
    """
    found = Reconciled([], [], [])
    there = {one.entry[:2]: one for one in stored}
    moment = time.time()
    for key, one in there.items():
        value, mine = one.entry.value or {}, now.get(key)
        is_ours = one.by == us and MOVE in value
        if is_over(value, at - _STALE_SECONDS) or (is_ours and alone and mine is None and key not in before):
            found.stale.append(one)  # it has ended by itself; or it is of a move of ours, in which we were killed
        elif (
            not follows
            and key not in before
            and mine is None
            and ended.get(field_of(*key), 0.0) > _since(value, math.inf)
        ):
            found.stale.append(one)
        elif mine != before.get(key) or is_over(value, moment) or is_ours or (mine and bare(mine) == value):
            continue
        elif not follows and mine is not None and mine.get(SHARED) and _since(mine, 0.0) > _since(value, 0.0):
            found.told.append(OrderEntry(*key, mine))
        elif mine is None or mine.get(SHARED) or MOVE in value:
            found.taken.append(one._replace(entry=one.entry._replace(value={**value, SHARED: True})))
    for key, mine in before.items():
        if not mine.get(SHARED) or now.get(key) != mine or key in there or is_over(mine, moment):
            continue
        entry = OrderEntry(*key)
        if not follows or mine[SHARED] == PENDING:
            found.told.append(entry._replace(value=mine))
            found.taken.append(StoredOrder(entry._replace(value={**mine, SHARED: True}), ""))
        else:
            found.taken.append(StoredOrder(entry, ""))
    return found


def _since(value: Mapping[str, Any], unsaid: float) -> float:
    since = value.get("since")
    return float(since) if isinstance(since, int | float) else unsaid


def state_from(said: str) -> StoreState:
    """Where the store stands, by what CHANGE has returned."""
    epoch, serial, marks = [*said.split(" ", 2), "", ""][:3]
    return StoreState.of({EPOCH: epoch, SERIAL: serial, CHANGES: marks})


def tell(url: str, passwordfile: str, words: Iterable[str], *, by: str) -> StoreState:
    """Puts orders in force at all proxies, or ends them, by the arguments of CHANGE. Blocks. Raises ModuleFailed."""
    with leases.blocking(url, passwordfile) as client:
        said: str = client.eval(CHANGE, 1, ORDERS, *words)
        if not said:
            raise ModuleFailed("another proxy of the cluster is moving him, or was until a minute ago")
        leases.add_news(client, {"by": leases.this_proxy(), "what": ORDERED, "proxy": by})
        return state_from(said)


def tell_gone(url: str, passwordfile: str, move: str, *, us: str) -> None:
    """That nobody is left here. Blocks. Raises ModuleFailed."""
    with leases.blocking(url, passwordfile) as client:
        client.sadd(GONE + move, us)
        client.expire(GONE + move, int(AWAY_SECONDS))


def wait_until_gone(url: str, passwordfile: str, move: str, *, us: str, until: float) -> list[str]:
    """The proxies that have not said by then that nobody is left. Blocks. Raises ModuleFailed, also if one of them
    lacks the backend to which he is to come.
    """
    with leases.blocking(url, passwordfile) as client:
        while True:
            proxies = set(client.eval(WHO, 1, PROXIES, int(1000 * AWAY_SECONDS)))
            said = client.smembers(GONE + move)
            if lacking := sorted(proxy for proxy in proxies if f"{proxy}{LACKS}" in said):
                raise ModuleFailed(f"the backend is not there at proxy {', '.join(lacking)}")
            silent = proxies - said - {us}
            if not silent or time.time() >= until:
                return sorted(silent)
            time.sleep(_LOOK_SECONDS)
