"""What `user move` has a module know: where a user's mail is from now on (`lead` of the contract)."""

import time
from dataclasses import dataclass
from typing import Any

from popular.pdm.contract import UserAt
from popular.proxy.settings.accounts import UNKNOWN, FoundUser
from popular.proxy.settings.cluster import CLUSTER
from popular.proxy.settings.modules import ModuleSpec
from supervisor.control.language.context import CommandContext
from supervisor.control.language.lookups import AskWorker
from supervisor.control.language.outcome import MoveStep

MARGIN_SECONDS = 60
MODULE = "module"
"""In a route: the one that was told."""


@dataclass(frozen=True)
class UserToLead:
    """For a worker: what this module is to be told."""

    module: str
    at: UserAt
    back: bool = False
    """He is led back to where he was: one that cannot be told has led him nowhere."""


def steps(context: CommandContext, whom: FoundUser, *, here: str, to: str) -> tuple[MoveStep, ...]:
    """The steps by which a module leads him, as part of a move; none where the proxy itself does."""
    if not leads(context, whom):
        return ()
    told = AskWorker(UserToLead(whom.module, UserAt(whom.namespace, whom.account, to)))
    back = AskWorker(UserToLead(whom.module, UserAt(whom.namespace, whom.account, here), back=True))
    return (MoveStep(told, back),)


def leads(context: CommandContext, whom: FoundUser) -> bool:
    """Whether the module that knows the user is to be told, and it is known what takes that back. Not if it has a file,
    where there is a cluster: the other proxies have files of their own, and would lead him to the old place again when
    the proxies do not lead him any more.
    """
    module = context.config.things["pdm"].get(whom.module)
    if module is None or not module.terms.moves or whom.backend == UNKNOWN:
        return False
    return not (context.config.variables[CLUSTER] and _has_a_file(module))


def not_told_notes(context: CommandContext, whom: FoundUser) -> tuple[str, ...]:
    """That the proxy alone leads him, where modules are to be told of moves."""
    moving = [module.id for module in context.config.things["pdm"].values() if module.terms.moves]
    is_of_another = whom.backend != UNKNOWN and whom.module and whom.module not in moving
    if not moving or is_of_another or leads(context, whom):
        return ()
    named = [whom.module] if whom.module in moving else moving
    return (f"no module was told where the user is, though {', '.join(named)} has `moves on`: the proxy leads him",)


def _has_a_file(module: ModuleSpec) -> bool:
    return module.mod == "cdb" or any(word.startswith("sqlite:") for word in module.args[:1])


def route(context: CommandContext, whom: FoundUser, *, here: str, to: str, seconds: int) -> dict[str, Any] | None:
    """Where the proxy itself leads a user whose module is told: until no worker can have its answer of before any more,
    so many seconds for the move included. None: it is not told.
    """
    if not leads(context, whom):
        return None
    module = context.config.things["pdm"][whom.module]
    watch: int = context.config.variables["pdmwatch"]
    left = seconds + watch + module.terms.cache + module.terms.stale + MARGIN_SECONDS
    now = time.time()
    return {"to": to, "from": here, "since": now, "until": now + left if watch else None, MODULE: whom.module}
