"""What the operator has ordered beside the configuration: networks that are blocked, and what a program adds to that.

An order is an entry: its sort, its id, and a value of JSON; `until` in it is its end (seconds since 1970). The master
holds all of them and keeps them in a file (runtime/statedir.py), and every worker has a copy, which the master changes
over the lifeline (master/keeping.py). Pure.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

VERSION = 1
"""Version of the file."""
LATEST = 253402300799
"""No order ends later than the year 9999: after it there is no date for people."""

UNDO = "undo"
"""In the value of what is under way, and is nothing before it is finished: the orders that belong to it, as a list of
[sort, id].
"""

SHARED, PENDING = "cluster", "not told yet"
"""In the value of what other programs of a cluster know too; and what stands there while they could not be told."""

FILE = "file"
"""In the value of an order for which something is recorded: the path of that file."""

Orders = Mapping[str, Mapping[str, Any]]
"""The orders of one sort: their values, by id."""


class OrderEntry(NamedTuple):
    """One order; without a value: the end of it."""

    sort: str
    id: str
    value: Mapping[str, Any] | None = None


OrderKey = tuple[str, str]
"""Sort and id of an order."""


class DamagedState(ValueError):
    """The file cannot be read as what it should be; the text is for people."""


class OperatorState:
    """All orders. The mapping of a sort stays the same one, so that it may be held on to."""

    def __init__(self, entries: Iterable[OrderEntry] = ()) -> None:
        self._sorts: dict[str, dict[str, Mapping[str, Any]]] = {}
        self.changes = 0
        """How often it was changed: who has looked sees whether there is anything new."""
        self.change(entries)

    def of(self, sort: str) -> Orders:
        """The orders of a sort, by id, as they are now and will be."""
        return self._sorts.setdefault(sort, {})

    def change(self, entries: Iterable[OrderEntry]) -> None:
        self.changes += 1
        for sort, ident, value in entries:
            orders = self._sorts.setdefault(sort, {})
            if value is None:
                orders.pop(ident, None)
            else:
                orders[ident] = value

    def ended(self, sort: str, now: float) -> list[OrderEntry]:
        """The ends of those of a sort that are over by now: who orders often has them go, here and in each worker."""
        return [OrderEntry(sort, ident) for ident, value in self.of(sort).items() if is_over(value, now)]

    def entries(self, now: float) -> list[OrderEntry]:
        """All that have not ended by now."""
        return [
            OrderEntry(sort, ident, value)
            for sort, orders in self._sorts.items()
            for ident, value in orders.items()
            if not is_over(value, now)
        ]


def difference(before: Iterable[OrderEntry], after: Iterable[OrderEntry]) -> list[OrderEntry]:
    """What makes the second of the first: the ends of what is there no more, and what is new or another."""
    old, new = ({entry[:2]: entry for entry in entries} for entries in (before, after))
    ends = [OrderEntry(*key) for key in old if key not in new]
    return [*ends, *(entry for key, entry in new.items() if old.get(key) != entry)]


def said_elsewhere(before: Iterable[OrderEntry], changes: Iterable[OrderEntry]) -> list[OrderEntry]:
    """Which of these are new orders, others than before, or ends. One of which a cluster knows by now is the same."""
    old = {entry[:2]: _as_given(entry) for entry in before}
    return [entry for entry in changes if entry[:2] not in old or old[entry[:2]] != _as_given(entry)]


def _as_given(entry: OrderEntry) -> dict[str, Any] | None:
    return None if entry.value is None else {word: said for word, said in entry.value.items() if word != SHARED}


def pending(entries: Iterable[OrderEntry]) -> tuple[OrderEntry, ...]:
    """The orders, marked as ones of which the others could not be told."""
    return tuple(
        one._replace(value={**one.value, SHARED: PENDING}) if one.value is not None and SHARED in one.value else one
        for one in entries
    )


def is_over(value: Mapping[str, Any], now: float) -> bool:
    """Whether the end of an order has come."""
    until = value.get("until")
    return until is not None and until <= now


def files_of(entries: Iterable[OrderEntry]) -> frozenset[str]:
    """The names of the files in which something is recorded for these orders."""
    paths = ((entry.value or {}).get(FILE) for entry in entries)
    return frozenset(path.rpartition("/")[2] for path in paths if isinstance(path, str))


def to_octets(entries: Iterable[OrderEntry]) -> bytes:
    """The content of the file."""
    sorts: dict[str, dict[str, Any]] = {}
    for sort, ident, value in entries:
        sorts.setdefault(sort, {})[ident] = value
    return json.dumps({"version": VERSION, "state": sorts}, indent=1, sort_keys=True).encode() + b"\n"


def from_octets(content: bytes) -> list[OrderEntry]:
    """What is in the file. Raises DamagedState."""
    try:
        said = json.loads(content)
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()  # no number, or text, that cannot be told again
    except (ValueError, RecursionError):
        raise DamagedState("it is no JSON") from None
    if not isinstance(said, dict) or said.get("version") != VERSION:
        raise DamagedState(f"it is not of version {VERSION}")
    sorts = said.get("state")
    if not isinstance(sorts, dict) or not all(isinstance(orders, dict) for orders in sorts.values()):
        raise DamagedState("it has no orders by sort and id")
    entries = [OrderEntry(sort, ident, value) for sort, orders in sorts.items() for ident, value in orders.items()]
    for _sort, ident, value in entries:
        until = value.get("until") if isinstance(value, dict) else LATEST + 1
        if not isinstance(until, int | float | None) or (until or 0) > LATEST:
            raise DamagedState(f"the order {ident[:80]!r} is none")
        if not isinstance((value or {}).get(UNDO), list | None):
            raise DamagedState(f"of the order {ident[:80]!r} nobody knows how it is undone")
    return entries


def unfinished(entries: Iterable[OrderEntry]) -> list[OrderEntry]:
    """What takes back that which was under way (`undo` in a value) when a program was killed: the ends of all orders
    that belong to it, and its own.
    """
    ends = []
    for sort, ident, value in entries:
        undo = (value or {}).get(UNDO)
        if undo is not None:
            ends += [
                OrderEntry(str(pair[0]), str(pair[1])) for pair in undo if isinstance(pair, list) and len(pair) == 2
            ]
            ends.append(OrderEntry(sort, ident))
    return ends
