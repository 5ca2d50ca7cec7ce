"""`backend resolve`: looks host names up again, as if they had been typed anew."""

from dataclasses import replace

from popular.proxy.settings.backend import BACKEND, Backend
from popular.proxy.settings.kinds import ResolvedHost, ServerHost
from supervisor.control.context import Arguments, CommandContext, ControlCommand
from supervisor.control.lookups import Unfit
from supervisor.control.outcome import Change, Outcome, noted
from supervisor.control.things import ids, moved_hosts, named
from supervisor.control.variables import BESIDE
from supervisor.control.words import CommandRefused


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
        new = replace(backend, host=_looked_up(context, backend))
        config = config.with_thing("backend", backend.id, new)
        resolved.append(new)
    notes = [BACKEND.check(context, config, backend) for backend in resolved]
    notes += [note for one in resolved for note in moved_hosts(context.config, config, ("backend", one.id))]
    return Change(noted(f"{len(resolved)} of {len(asked)} have a host name, which is looked up", *notes), config=config)


def _looked_up(context: CommandContext, backend: Backend) -> ResolvedHost:
    """Its host, as it would be if it were typed now."""
    try:
        return ServerHost().parse(backend.host.name, context.lookups)
    except Unfit as unfit:
        raise CommandRefused(f"backend {backend.id}: {unfit}") from None


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
        order=True,
    )
