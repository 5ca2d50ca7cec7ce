"""`backend resolve`: looks host names up again, as if they had been typed anew. `backend lookup`: only tells which
names have moved, and changes nothing else; the program says it to itself from time to time.

A name has moved when the address to which it was resolved is no longer one of its addresses: the first of several may
be another one each time, and means nothing. A name that cannot be looked up has not moved.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from popular import messages
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.backend_checks import BACKEND
from popular.proxy.settings.kinds import ResolvedHost, ServerHost, plain_address
from supervisor.control.commands.thing_commands import ids, named
from supervisor.control.commands.things import moved_hosts
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.lookups import Job, Unfit
from supervisor.control.language.outcome import Change, LogEntry, Outcome, Reply
from supervisor.control.language.replytext import noted
from supervisor.control.words import CommandRefused
from supervisor.program import PeriodicCommand

LOOKUP = "backend lookup"
PERIODIC = PeriodicCommand(LOOKUP, "hostwatch")
MOST_AT_ONCE = 16
"""Names that are looked up at a time: a site may have thousands, and a name server, or a host, not room for them."""
_LONGEST_SECONDS = 10.0
"""Who has no answer by then is not known."""


def _resolve(context: CommandContext, arguments: Arguments) -> Outcome:
    """All of them or none: what is refused changes nothing."""
    ident = arguments["id"]
    asked: list[Backend] = (
        [named("backend", ident, context)] if ident else list(context.config.things["backend"].values())
    )
    config = context.config
    resolved = []
    for backend in asked:
        if not backend.resolved():
            continue
        new = replace(backend, host=_looked_up(context, backend), strayed=())
        config = config.with_thing("backend", backend.id, new)
        resolved.append(new)
    notes = [BACKEND.check(context, config, backend) for backend in resolved]
    notes += [note for one in resolved for note in moved_hosts(context.config, config, ("backend", one.id))]
    return Change(noted(f"{len(resolved)} of {len(asked)} have a host name, which is looked up", *notes), config=config)


def _looked_up(context: CommandContext, backend: Backend) -> ResolvedHost:
    """Its host, as it would be if it were typed now."""
    try:
        return ServerHost().parse(str(backend.host), context.lookups)
    except Unfit as unfit:
        raise CommandRefused(f"backend {backend.id}: {unfit}") from None


@dataclass(frozen=True)
class LookHostsUp(Job):
    """All addresses of each name, as numeric text, sorted: a name server gives them in another order each time. Of a
    name that has no answer in time nothing.
    """

    names: tuple[str, ...]

    def perform(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        left = deque(self.names)
        number = min(MOST_AT_ONCE, len(left))
        threads = [threading.Thread(target=_look_all_up, args=(left, found), daemon=True) for _ in range(number)]
        for position, thread in enumerate(threads):
            try:
                thread.start()
            except RuntimeError:  # the kernel gives none: those that are there look all of them up
                threads = threads[:position]
                break
        until = time.monotonic() + _LONGEST_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return dict(found)


def _look_all_up(left: deque[str], found: dict[str, tuple[str, ...]]) -> None:
    with suppress(IndexError):
        while True:
            _look_up(left.popleft(), found)


def _look_up(name: str, found: dict[str, tuple[str, ...]]) -> None:
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    # Who black-holes a name by DNS says 0.0.0.0, which is none of a server (plain_address).
    found[name] = tuple(sorted({plain_address(str(row[4][0])) for row in rows} - {""}))


def _lookup(context: CommandContext, _arguments: Arguments) -> Outcome:
    backends: list[Backend] = list(context.config.things["backend"].values())
    names = {one.name for backend in backends for one in backend.host.all if one.name != one.address}
    if not names:
        return Reply("no backend has a host name")
    found: dict[str, tuple[str, ...]] = context.lookups.find(LookHostsUp(tuple(sorted(names))))
    config, entries = context.config, []
    for backend in backends:
        strayed = names_moved(backend, found)
        if strayed != backend.strayed:
            config = config.with_thing("backend", backend.id, replace(backend, strayed=strayed))
            entries += [_entry(backend, *one) for one in strayed if one not in backend.strayed]
    if config is context.config:
        return Reply("nothing has changed")
    moved = [backend.id for backend in config.things["backend"].values() if backend.strayed]
    text = f"moved, as `backend resolve` would take up: {', '.join(moved)}" if moved else "none has moved any more"
    return Change(text, config=config, entries=entries)


def names_moved(backend: Backend, found: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Which of its names have moved, and to where; of one that cannot be looked up what was known before. `found`: the
    addresses of each name now.
    """
    before = dict(backend.strayed)
    names = {one.name: one.address for one in backend.host.all if one.name != one.address}
    now = {name: found.get(name) for name in names}
    strayed = {name: addresses for name, addresses in now.items() if addresses and names[name] not in addresses}
    kept = {name: before[name] for name, addresses in now.items() if not addresses and name in before}
    return tuple(sorted((strayed | kept).items()))


def _entry(backend: Backend, name: str, addresses: tuple[str, ...]) -> LogEntry:
    was = next(one.address for one in backend.host.all if one.name == name)
    return messages.BACKEND_MOVED, {"backend": backend.id, "host": name, "address": ", ".join(addresses), "was": was}


def lookup_command() -> ControlCommand:
    """The row of `backend lookup`."""
    return ControlCommand(
        LOOKUP,
        _lookup,
        "Looks the host names of all backends up, and tells which stand for other addresses by now.\nNothing else "
        "changes: `backend resolve` takes the new addresses. The program says this to itself every hostwatch; what it "
        "finds is in `backend show`, in the log and in a metric.",
        changes=True,
        source=BESIDE,
        one_off=True,
    )


def resolve_command() -> ControlCommand:
    """The row of `backend resolve`."""
    return ControlCommand(
        "backend resolve [<id>]",
        _resolve,
        "Looks the host name of a backend up again, or those of all.\nA name is resolved when it is said, once, and "
        "stays at its first address until then. If a name cannot be resolved nothing is changed. The reply tells "
        "which have moved; sessions that are there stay where they are.",
        {"id": ids("backend")},
        changes=True,
        source=BESIDE,
        one_off=True,
    )
