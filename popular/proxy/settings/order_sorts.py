"""What the operator may order about logins: the sorts of orders, as the state file has them; and words about users."""

import time
from collections.abc import Mapping
from typing import Any

from supervisor.control.commands.variables import DAY
from supervisor.control.language.context import CommandContext
from supervisor.operatorstate import is_over

DRAINED_BACKEND, DRAINED_VSERV = "backend drain", "vserv drain"
HELD_USER, LOCKED_USER, ROUTED_USER, MOVING_USER = "user hold", "user lock", "user route", "user move"

USER, BACKEND, VSERV = "user", "backend", "vserv"
"""The marks of a session (`Session.whose`)."""

NEW = "new"
"""In a drain: what becomes of those who want to come in."""

LONGEST_DEADLINE = DAY

HOLD_SECONDS = 30.0
"""For so long a login waits that is held, if nothing else was said; but not beyond authtimeout."""
LONGEST_HOLD = 600
"""What may be said."""
LOCK_SECONDS = 10
"""For so long a session of a user who was locked goes on that would lose something, if nothing else was said."""


def user_key(namespace: str, user: str) -> str:
    """The id of orders about a user."""
    return f"{namespace}:{user}"


def iso(moment: float | None) -> str | None:
    """A moment for people and programs; None: there is none. What is none, in a state file that people have written in,
    is told as it is.
    """
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) if moment else None
    except (TypeError, ValueError, OverflowError):
        return str(moment)


def hold_seconds(said: object) -> float:
    """For how long a login waits that is held: as was said, if that is a time."""
    return float(said) if isinstance(said, int | float) and 0 <= said <= LONGEST_HOLD else HOLD_SECONDS


def seconds_to_deadline(sort: str, value: Mapping[str, Any], now: float) -> float | None:
    """In how many seconds all sessions are ended by an order that another proxy, or instance, has told; None: they end
    by themselves. A proxy whose clock is another one keeps nobody for longer than may be said.
    """
    deadline = value.get("deadline")
    if not isinstance(deadline, int | float):
        return float(LOCK_SECONDS) if sort == LOCKED_USER else None
    return min(max(0.0, deadline - now), float(LONGEST_DEADLINE))


def _drained_since(context: CommandContext, sort: str, ident: str) -> str | None:
    """Since when a backend or a virtual server lets nobody new in; None: it does not do so."""
    drain = context.status.operator.of(sort).get(ident)
    return None if drain is None or is_over(drain, time.time()) else iso(drain.get("since")) or "the beginning"


def drain_note(context: CommandContext, sort: str, ident: str) -> str | None:
    """That nobody new comes in, and how that ends; None: everybody may."""
    since = _drained_since(context, sort, ident)
    return since and f"drained since {since}: nobody new comes in; `{sort.replace('drain', 'undrain')} {ident}` ends it"


def drain_of(context: CommandContext, sort: str, ident: str) -> tuple[Mapping[str, object], list[str]]:
    """For `show`: as JSON has it, and as a comment for people."""
    note = drain_note(context, sort, ident)
    return {"drained_since": _drained_since(context, sort, ident)}, [f"# {note}"] if note else []
