"""The commands of `pproxy`: those of every program, and its own, each from the file that has its rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from popular.proxy.settings import capabilities, modules
from popular.proxy.settings.backend_checks import BACKEND
from popular.proxy.settings.blocking import blocking_commands
from popular.proxy.settings.cluster import cluster_commands
from popular.proxy.settings.explain import explain_command
from popular.proxy.settings.lastlogins import last_login_commands
from popular.proxy.settings.moving import move_commands
from popular.proxy.settings.operating import operator_commands
from popular.proxy.settings.reports import report_commands
from popular.proxy.settings.resolving import lookup_command, resolve_command
from popular.proxy.settings.tracing import trace_commands
from popular.proxy.settings.vserv import VSERV
from popular.tls.commands import tls_commands
from popular.tls.users import SORT as TLS_SORT
from supervisor.config import Config
from supervisor.control.commands import things
from supervisor.control.commands.commands import common_commands
from supervisor.control.commands.thing_commands import commands_of
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.kinds import File, Int
from supervisor.control.language.lookups import Unfit
from supervisor.control.language.outcome import Change, Outcome
from supervisor.control.words import CommandRefused, phrase

PRNG_CHAPTER = "Runtime configuration: the prng command"

SORTS = ("prng", "capa", "backend", "pdm", "vserv", TLS_SORT)
"""The sorts of things in a config, in the order in which an rc file makes them."""

CEILINGS = {"vserv": 32, "backend": 32}

_SEED_OCTETS = 1024
_MOST_SEED_OCTETS = 1_048_576


@dataclass(frozen=True)
class Seed:
    """A file that the TLS generator was seeded from, and how many octets were taken."""

    id: str
    octets: int


def _prng(context: CommandContext, arguments: Arguments) -> Outcome:
    filename, octets = arguments["filename"], arguments["bytes"] or _SEED_OCTETS
    config = context.config.with_thing("prng", filename, Seed(filename, octets))
    is_fed_already = context.config is not context.in_force and filename in context.in_force.things["prng"]
    try:
        seed = context.lookups.read(filename, octets)
    except Unfit:
        if is_fed_already:  # a copy of what is in force must not be refused for a file that has done its work
            return Change(f"the generator was fed with {filename} before, which cannot be read now", config=config)
        raise
    if len(seed) < octets:
        raise CommandRefused(f"{filename} holds only {len(seed)} octets; {octets} are wanted")
    return Change(f"the generator is fed with {octets} octets of {filename}", config=config, seed=seed)


def prng_command() -> ControlCommand:
    """The row of `prng`."""
    return ControlCommand(
        "prng <filename> [<bytes>]",
        _prng,
        f"Feeds octets of a file to the random number generator of TLS ({_SEED_OCTETS} if no number is said).\n"
        "Not needed for security: the generator is seeded by the operating system, and this only adds to it.\n"
        "`show config` has it from then on; a file that is applied without it takes it out.",
        {"filename": File(), "bytes": Int(1, _MOST_SEED_OCTETS)},
        changes=True,
        source=PRNG_CHAPTER,
    )


def rc_lines(config: Config) -> list[str]:
    """The commands that make all things of a config anew, in an order that works."""
    return [
        *(phrase(["prng", seed.id, str(seed.octets)]) for seed in config.things["prng"].values()),
        *capabilities.rc_lines(config),
        *things.rc_lines(BACKEND, config),
        *modules.rc_lines(config),
        *things.rc_lines(VSERV, config),
    ]


COMMANDS: Sequence[ControlCommand] = (
    *common_commands(filters=("user", "vserv", "backend", "state")),
    *commands_of(VSERV),
    *commands_of(BACKEND),
    resolve_command(),
    lookup_command(),
    *modules.pdm_commands(),
    *capabilities.capa_commands(),
    explain_command(),
    *tls_commands(),
    prng_command(),
    *blocking_commands(),
    *operator_commands(),
    *move_commands(),
    *report_commands(),
    *last_login_commands(),
    *trace_commands(),
    *cluster_commands(),
)
