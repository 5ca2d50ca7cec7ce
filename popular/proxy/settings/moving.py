"""The commands `user move` and `user unmove`: POPular moves the way, the operator's command moves the mail."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from popular.proxy.settings.explain import HERE, MECHANISMS, LoginToExplain
from popular.proxy.settings.orders import HELD_USER, HOLD_SECONDS, MOVING_USER, ROUTED_USER, USER, user_key
from popular.proxy.settings.pairs import Said, time_of, user_of
from popular.proxy.settings.variables import USER_NAMESPACE
from supervisor.control.context import Arguments, CommandContext, Completer, ControlCommand
from supervisor.control.kinds import Choice, Kind
from supervisor.control.lookups import AskWorker, Unfit
from supervisor.control.outcome import Move, Outcome
from supervisor.control.things import ids, named
from supervisor.control.variables import BESIDE
from supervisor.control.words import CommandRefused
from supervisor.operatorstate import UNDO, OrderEntry, Orders, is_over

MOVE_SECONDS = 60
"""For the sessions to be gone, and the command to be done, if nothing else was said."""
_LONGEST = 3600
UNKNOWN = "-"
"""For the command: no module that could be asked knows where the user is."""

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


def _place_now(context: CommandContext, namespace: str, user: str) -> str:
    """The backend to which the user is led now, as a worker finds it out from the modules; or UNKNOWN."""
    for vserv in context.config.things["vserv"].values():
        if vserv.namespace in (namespace, USER_NAMESPACE):
            name = f"{user}={namespace}" if vserv.namespace == USER_NAMESPACE else user
            question = AskWorker(LoginToExplain(name, HERE, vserv.id, mechanism=MECHANISMS[0]))
            try:
                data: Any = context.lookups.find(question)
            except Unfit:
                return UNKNOWN
            return str(data["backend"]["id"]) if data["backend"] else UNKNOWN
    return UNKNOWN


def _move(context: CommandContext, arguments: Arguments) -> Outcome:
    to = str(named("backend", arguments["backend"], context).id)
    said = Said(arguments, ("timeout", "namespace"))
    namespace, user = user_of(arguments["user"], said, context)
    key = user_key(namespace, user)
    moved = _moved(context).get(key)
    here = str(moved.get("to")) if moved is not None else _place_now(context, namespace, user)
    if here == to:
        raise CommandRefused(f"user {key} is at {to} already; nothing was changed", arguments["backend"].column)
    home = here if moved is None else moved.get("from")
    route = None if home == to else {"to": to, "from": home, "since": time.time()}
    return _order(context, (namespace, user), said, here=here, to=to, route=route)


def _unmove(context: CommandContext, arguments: Arguments) -> Outcome:
    said = Said(arguments, ("timeout", "namespace"))
    namespace, user = user_of(arguments["user"], said, context)
    moved = _moved(context).get(user_key(namespace, user))
    if moved is None:
        text = f"user {user_key(namespace, user)} was not moved; `user list` lists those who were"
        raise CommandRefused(text, arguments["user"].column)
    return _order(
        context, (namespace, user), said, here=str(moved.get("to")), to=str(moved.get("from") or UNKNOWN), route=None
    )


def _order(
    context: CommandContext,
    whom: tuple[str, str],
    said: Said,
    *,
    here: str,
    to: str,
    route: dict[str, Any] | None,
) -> Move:
    """The hold that was there before stays in any case. Raises CommandRefused."""
    if _command and any(name.startswith("-") for name in whom):
        raise CommandRefused("a name that begins with - would be an option for the program of --move-command")
    key, now = user_key(*whom), time.time()
    hold = context.status.operator.of(HELD_USER).get(key)
    is_held = hold is not None and not is_over(hold, now)
    released = () if is_held else (OrderEntry(HELD_USER, key),)
    begun = {"from": here, "to": to, "since": now, UNDO: [[one.sort, one.id] for one in released]}
    held = () if is_held else (OrderEntry(HELD_USER, key, {"seconds": HOLD_SECONDS, "since": now}),)
    return Move(
        f"user {key} is moved from {here} to {to}" if here != UNKNOWN else f"user {key} is moved to {to}",
        sort=USER,
        id=key,
        before=(OrderEntry(MOVING_USER, key, begun), *held),
        behind=(OrderEntry(ROUTED_USER, key, route), *released, OrderEntry(MOVING_USER, key)),
        undone=(*released, OrderEntry(MOVING_USER, key)),
        command=(*_command, *whom, here, to) if _command else (),
        seconds=time_of(said.get("timeout"), 1, _LONGEST) or MOVE_SECONDS,
        notes=("it holds for this proxy only",),
    )


_row = partial(ControlCommand, source=BESIDE, changes=True, order=True)


def move_commands() -> list[ControlCommand]:
    """The rows."""

    def nothing(_context: CommandContext, _arguments: Arguments) -> list[str]:
        return []

    pairs: dict[str, Kind | Completer] = {"word": Choice("timeout", "namespace"), "value": nothing}
    return [
        _row(
            "user move <user> <backend> [<word> <value>]…",
            _move,
            "Leads a user to another backend, while he is logged in.\nHis new logins wait; the sessions that are there "
            "are ended as by `kick`, without a deadline; when the last one is gone the program of --move-command "
            "copies his mail; then he is led to the other backend, whatever modules say, and who waited goes on there. "
            f"If that is not done within `timeout 2m` (default {MOVE_SECONDS}s), or the program fails, everything is "
            "as before, and the reply says where it stood. So it is if the proxy is killed in the middle. The program "
            "must not remove anything at the old place: it may have to be taken back. It holds for this proxy only.",
            {"user": nothing, "backend": ids("backend"), **pairs},
        ),
        _row(
            "user unmove <user> [<word> <value>]…",
            _unmove,
            "Leads a user back to where the modules say, in the same steps.",
            {"user": lambda context, _arguments: [one.partition(":")[2] for one in _moved(context)], **pairs},
        ),
    ]
