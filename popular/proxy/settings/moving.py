"""The commands `user move` and `user unmove`: POPular moves the way, the operator's command moves the mail."""

import os
import time
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from popular.proxy.settings import leading, moving_together
from popular.proxy.settings.accounts import UNKNOWN, FoundUser, found_user
from popular.proxy.settings.cluster import with_mark
from popular.proxy.settings.order_sorts import (
    BACKEND,
    DRAINED_BACKEND,
    HELD_USER,
    HOLD_SECONDS,
    LONGEST_DEADLINE,
    MOVING_USER,
    ROUTED_USER,
    USER,
    drain_note,
)
from popular.proxy.settings.pairs import Said, listed_user, time_of, user_notes, user_of
from supervisor.control.commands.thing_commands import ids, named
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, Completer, ControlCommand
from supervisor.control.language.kinds import Choice, Kind
from supervisor.control.language.outcome import Change, Comparison, Move, Outcome, Replacement, Rollback, ThingName
from supervisor.control.language.replytext import noted
from supervisor.control.words import CommandRefused
from supervisor.operatorstate import UNDO, OrderEntry, Orders, is_over
from supervisor.runtime.messages import CONFIG_NOTE
from supervisor.runtime.plural import count_of

MOVE_SECONDS = 60
"""For the sessions to be gone, and the command to be done, if nothing else was said."""
_WORDS = ("timeout", "deadline", "namespace")
_command: list[str] = []
"""The start option's; one at most."""


def set_move_command(text: str) -> None:
    """Sets the command that the start option names. Raises ValueError."""
    path = Path(text)
    if not path.is_absolute() or not path.is_file() or not os.access(path, os.X_OK):
        raise ValueError(f"{text} is no program; allowed: the whole path of a file that can be executed")
    _command[:] = [text]


def _moved(context: CommandContext) -> Orders:
    return context.status.operator.of(ROUTED_USER)


def _route(context: CommandContext, key: str) -> Mapping[str, Any] | None:
    """Where the proxy itself leads a user."""
    route = _moved(context).get(key)
    return None if route is None or is_over(route, time.time()) else route


def _move(context: CommandContext, arguments: Arguments) -> Outcome:
    to = str(named(BACKEND, arguments["backend"], context).id)
    if (past := context.past) and past.seconds_left is not None and to not in past.config.things[BACKEND]:
        why = f"{to} awaits `confirm`, and goes in {past.seconds_left} s without it; nothing was changed"
        raise CommandRefused(why, arguments["backend"].column)
    said = Said(arguments, _WORDS)
    whom = found_user(context, *user_of(arguments["user"], said, context))
    route = _route(context, whom.key)
    here = str(route.get("to")) if route is not None else whom.backend
    if here == to:
        raise CommandRefused(f"user {whom.key} is at {to} already; nothing was changed", arguments["backend"].column)
    if route is not None:
        _refuse_where_its_module_cannot_be_told(context, whom, route, column=arguments["user"].column)
    home = here if route is None else str(route.get("from") or UNKNOWN)
    notes = user_notes(arguments["user"], said, whom.namespace, context=context)
    notes = (*notes, *leading.not_told_notes(context, whom))
    return _order(context, whom, said, here=here, to=to, home=home, notes=notes)


def _unmove(context: CommandContext, arguments: Arguments) -> Outcome:
    said = Said(arguments, _WORDS)
    typed = FoundUser(*listed_user(arguments["user"], said, context, listed=_moved(context)))
    whom = found_user(context, typed.namespace, typed.account)
    if _route(context, typed.key) is not None and whom.key != typed.key:
        whom = typed  # he is led by the name that was said then
    route = _route(context, whom.key)
    if route is None:
        text = f"user {whom.key} was not moved; `user list` lists those who were"
        raise CommandRefused(text, arguments["user"].column)
    _refuse_where_its_module_cannot_be_told(context, whom, route, column=arguments["user"].column)
    home = str(route.get("from") or UNKNOWN)
    if not route.get(leading.MODULE):
        whom = whom._replace(module="")  # what it says by now is where he is to be
    return _order(context, whom, said, here=str(route.get("to")), to=home, home=home)


def _refuse_where_its_module_cannot_be_told(
    context: CommandContext, whom: FoundUser, route: Mapping[str, Any], *, column: int
) -> None:
    """Raises CommandRefused where a module leads a user and cannot be told: it would lead him to where it was told
    before, as soon as the proxy's own route is over.
    """
    module = route.get(leading.MODULE)
    if module and not leading.leads(context, whom):
        text = f"the module {module} leads user {whom.key}, and cannot be told now; nothing was changed"
        raise CommandRefused(text, column)


def _order(
    context: CommandContext,
    whom: FoundUser,
    said: Said,
    *,
    here: str,
    to: str,
    home: str,
    notes: tuple[str, ...] = (),
) -> Move:
    """`home`: where he is led if the proxy does not lead him. A hold that was there before stays in any case. Raises
    CommandRefused.
    """
    if _command and any(name.startswith("-") for name in (whom.namespace, whom.account)):
        raise CommandRefused("a name that begins with - would be an option for the program of --move-command")
    key, now = whom.key, time.time()
    if moving_together.is_moved_elsewhere(context, key):
        raise CommandRefused(f"user {key} is being moved by another proxy of the cluster; nothing was changed")
    hold = context.status.operator.of(HELD_USER).get(key)
    is_held = hold is not None and not is_over(hold, now)
    released = () if is_held else (OrderEntry(HELD_USER, key),)
    begun = {"from": here, "to": to, "since": now, UNDO: [[one.sort, one.id] for one in released]}
    seconds = time_of(said.get("timeout"), 1, moving_together.LONGEST_MOVE) or MOVE_SECONDS
    deadline = time_of(said.get("deadline"), 0, LONGEST_DEADLINE)
    if deadline is not None and deadline >= seconds:
        raise CommandRefused(f"deadline: it must be before the timeout, {seconds} s", said["deadline"].column)
    route = leading.route(context, whom, here=here, to=to, seconds=seconds)
    if route is None and to != home:
        route = {"to": to, "from": home, "since": now}
    held = () if is_held else (OrderEntry(HELD_USER, key, {"seconds": HOLD_SECONDS, "since": now}),)
    routed = OrderEntry(ROUTED_USER, key, route)
    together = moving_together.steps(context, routed, to=to, seconds=seconds, deadline=deadline)
    if together.everywhere and route is not None:
        routed = with_mark(routed)
    return Move(
        f"user {key} is moved from {here} to {to}" if here != UNKNOWN else f"user {key} is moved to {to}",
        sort=USER,
        id=key,
        before=(OrderEntry(MOVING_USER, key, begun), *held),
        behind=(routed, *released, OrderEntry(MOVING_USER, key)),
        undone=(*released, OrderEntry(MOVING_USER, key)),
        command=(*_command, whom.namespace, whom.account, here, to) if _command else (),
        announced=together.announced,
        alone=together.alone,
        switched=(*leading.steps(context, whom, here=here, to=to), *together.switched),
        leads_to=ThingName(BACKEND, to) if to in context.config.things[BACKEND] else None,
        seconds=seconds,
        deadline=deadline,
        notes=(
            *notes,
            *_shut_notes(context, to),
            *(() if together.everywhere else ("it holds for this proxy only",)),
        ),
    )


def _shut_notes(context: CommandContext, ident: str) -> tuple[str, ...]:
    """Why a user who is led there cannot have his mail for now."""
    backend = context.config.things[BACKEND].get(ident)
    state = f"{backend.state}: nobody can have his mail there" if backend and backend.state != "online" else None
    why = (state, drain_note(context, DRAINED_BACKEND, ident))
    return tuple(f"backend {ident} is {one}" for one in why if one)


def check_nobody_is_led_astray(context: CommandContext, change: Change) -> Change:
    """The change. Raises CommandRefused where it takes away a backend to which users were moved, or are being moved:
    they could not log in from then on, and nobody would say so. What goes back to the configuration before, and what a
    start begins with, goes through; as that may happen by itself the log says it, too, and a move to there fails. What
    is only compared goes through as well.
    """
    there = change.config.things[BACKEND].keys()
    gone = context.config.things[BACKEND].keys() - there
    begins = context.starting and isinstance(change, Replacement)
    passes = begins or isinstance(change, Rollback)
    sorts = (ROUTED_USER,) if passes else (ROUTED_USER, MOVING_USER)
    led = _led_somewhere(context, sorts) if gone or begins else Counter[str]()
    astray = [(ident, led[ident]) for ident in sorted(led) if ident in gone or (begins and ident not in there)]
    if not astray:
        return change
    if passes:
        notes = {
            f"backend {ident}": f"{count_of(count, 'user')} moved to {ident} cannot log in from now on; `user list` "
            "tells who"
            for ident, count in astray
        }
        news = [(CONFIG_NOTE, {"of": subject, "note": note}) for subject, note in notes.items()]
        return replace(change, text=noted(change.text, *notes.values()), entries=(*change.entries, *news))
    named = ", ".join(f"{count_of(count, 'user')} moved to {ident}" for ident, count in astray)
    why = (
        f"{named} could not log in any more; `user list` tells who, `user move` or `user unmove` leads them elsewhere "
        "first"
    )
    if isinstance(change, Comparison):
        return replace(change, text=noted(change.text, why))
    raise CommandRefused(f"{why}; nothing was changed")


def _led_somewhere(context: CommandContext, sorts: Container[str]) -> Counter[str]:
    """How many users are led to each backend, by orders of these sorts."""
    entries = context.status.operator.entries(time.time())
    led = ((value or {}).get("to") for sort, _ident, value in entries if sort in sorts)
    return Counter(to for to in led if isinstance(to, str))


_row = partial(ControlCommand, source=BESIDE, changes=True, one_off=True)


def move_commands() -> list[ControlCommand]:
    """The rows."""

    def nothing(_context: CommandContext, _arguments: Arguments) -> list[str]:
        return []

    pairs: dict[str, Kind | Completer] = {"word": Choice(*_WORDS), "value": nothing}
    return [
        _row(
            "user move <user> <backend> [<word> <value>]…",
            _move,
            "Leads a user to another backend, while he is logged in.\nHis new logins wait; the sessions that are there "
            "are ended as by `kick`: who has deleted mail and not said QUIT, or keeps busy, at the `deadline 10s` "
            "only, and by himself where none is said; when the last one is gone the program of --move-command "
            "copies his mail (what it leaves running is not "
            "waited for); then he is led to the other backend, whatever modules say, and who waited goes on there; "
            "or the module that knows him is told, if `pdm conf ID moves` is on. If that is not done within `timeout "
            f"2m` (default {MOVE_SECONDS}s), or the program fails, all is as before, and the reply says where it "
            "stood. So it is if the proxy ends or is killed in the middle, or the backend "
            "goes by a rollback. The program must not remove anything at the old "
            "place: it may have to be taken back. It holds at all proxies of a cluster; without one, for this proxy "
            "only.",
            {"user": nothing, "backend": ids(BACKEND), **pairs},
        ),
        _row(
            "user unmove <user> [<word> <value>]…",
            _unmove,
            "Leads a user back to where the modules say, in the same steps.",
            {"user": lambda context, _arguments: [*_moved(context)], **pairs},
        ),
    ]
