"""Which sessions are to end by an order, said here or elsewhere, and when."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from popular.proxy.settings.order_sorts import (
    BACKEND,
    DRAINED_BACKEND,
    DRAINED_VSERV,
    LOCKED_USER,
    USER,
    VSERV,
    seconds_to_deadline,
)
from supervisor.control.language.outcome import SessionSweep
from supervisor.operatorstate import OrderEntry


class _Sweeping(NamedTuple):
    """Whose sessions an order is about, and whether those that lose nothing end at once."""

    sort: str
    gentle: bool


_SWEEPING = {
    DRAINED_BACKEND: _Sweeping(BACKEND, gentle=False),
    DRAINED_VSERV: _Sweeping(VSERV, gentle=False),
    LOCKED_USER: _Sweeping(USER, gentle=True),
}
"""The orders by which sessions end. A hold ends none but in a move, which is no order for long."""


def sweep_by(entry: OrderEntry, text: str, **more: Any) -> SessionSweep:
    """The sweep by one of these orders; `more`: see SessionSweep."""
    sort, gentle = _SWEEPING[entry.sort]
    return SessionSweep(text, sort=sort, id=entry.id, gentle=gentle, **{"entries": (entry,), **more})


def sweeps_of(entries: Iterable[OrderEntry], now: float) -> list[SessionSweep]:
    """See Program."""
    return [
        sweep_by(entry, f"{entry.sort} {entry.id}", deadline=seconds_to_deadline(entry.sort, entry.value or {}, now))
        for entry in entries
        if entry.sort in _SWEEPING
    ]
