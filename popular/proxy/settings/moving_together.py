"""What a move does at the other proxies of a cluster, so that nobody comes in at the old place while his mail is moved.

The hold is told to all of them, each ends the sessions that it has of the user and says so, or that it lacks the new
place (cluster_order_store.py), and the end of the hold and the new way come to them as one. If it fails, or we are
killed, the hold ends there too.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from popular.proxy.cluster_order_store import BACKEND, MOVE, StoredOrder, text_of
from popular.proxy.namesakes import namesake_of
from popular.proxy.settings.cluster import AwaitGone, tell_ordered
from popular.proxy.settings.order_sorts import HELD_USER, HOLD_SECONDS, ROUTED_USER
from supervisor.control.language.context import CommandContext
from supervisor.control.language.outcome import MoveStep
from supervisor.control.words import CommandRefused
from supervisor.operatorstate import SHARED, OrderEntry, is_over

LONGEST_MOVE = 3600
"""Seconds that may be said."""
_MARGIN_SECONDS = 60.0
"""For the command, and the end: so much longer the others hold a user who is forgotten by who moves him."""
_BEFORE_THE_END_SECONDS = 1.0


class Together(NamedTuple):
    """The steps of one move that the proxies of a cluster take together."""

    everywhere: bool = False
    announced: tuple[MoveStep, ...] = ()
    alone: tuple[MoveStep, ...] = ()
    switched: tuple[MoveStep, ...] = ()


def steps(context: CommandContext, routed: OrderEntry, *, to: str, seconds: int, deadline: int | None) -> Together:
    """`routed`: how the user is led after it, to the backend `to`. Nothing where there is no cluster. Raises
    CommandRefused.
    """
    now, operator, key = time.time(), context.status.operator, routed.id
    move = os.urandom(8).hex()
    hold = {"seconds": HOLD_SECONDS, "since": now, "until": now + seconds + _MARGIN_SECONDS, MOVE: move}
    hold |= {BACKEND: to} if to in context.config.things["backend"] else {}
    hold |= {} if deadline is None else {"deadline": now + deadline}
    told = tell_ordered(context, [])
    if told is None:
        return Together()
    if host := namesake_of(operator.of(SHARED), now):
        raise CommandRefused(
            f"another proxy of the cluster, at {host}, has our name too: nobody could tell whose sessions are gone; "
            "give one of them another `set sidprefix NAME`; nothing was changed"
        )
    begun = OrderEntry(HELD_USER, key, hold)
    holds = replace(told, begins=(begun,))
    held, led = _shared(operator.of(HELD_USER).get(key)), _shared(operator.of(ROUTED_USER).get(key))
    was_held, was_led = OrderEntry(HELD_USER, key, held), OrderEntry(ROUTED_USER, key, led)
    ends = replace(told, stale=(StoredOrder(begun, told.us, text_of(begun, told.us)),))
    if held is not None:
        ends = replace(told, entries=(was_held,))
    switch = replace(told, entries=(routed, was_held))
    until = now + seconds - _BEFORE_THE_END_SECONDS
    waits = AwaitGone(holds.url, holds.passwordfile, move, us=holds.us, until=until, ends=deadline is not None)
    return Together(
        everywhere=True,
        announced=(MoveStep(holds, ends),),
        alone=(MoveStep(waits),),
        switched=(MoveStep(switch, replace(told, entries=(was_led, was_held))),),
    )


def is_moved_elsewhere(context: CommandContext, key: str) -> bool:
    """Whether a user is held because another proxy of the cluster moves him. A hold without end, or with one that no
    move has, is of none: whoever reaches the server may have written it, and the operator can end it.
    """
    hold = context.status.operator.of(HELD_USER).get(key, {})
    return MOVE in hold and 0 < (hold.get("until") or 0) - time.time() <= LONGEST_MOVE + 2 * _MARGIN_SECONDS


def _shared(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """As the others know it; None: they do not."""
    return value if value is not None and value.get(SHARED) and not is_over(value, time.time()) else None
