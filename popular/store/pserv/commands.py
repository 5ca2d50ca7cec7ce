"""The commands of `pserv`: those of every program, and server, capa, tls."""

from collections.abc import Sequence

from popular.store.pserv import capabilities
from popular.store.pserv.server import SERVER
from popular.tls.commands import tls_commands
from popular.tls.users import SORT as TLS_SORT
from supervisor.config import Config
from supervisor.control.commands import things
from supervisor.control.commands.commands import common_commands
from supervisor.control.commands.thing_commands import commands_of
from supervisor.control.language.context import ControlCommand

SORTS = (capabilities.SORT, SERVER.name, TLS_SORT)
"""The sorts of things in a config, in the order in which an rc file makes them."""

FILTERS = ("mailbox", "client", "state")
"""Columns that `sessions` can be asked for."""


def rc_lines(config: Config) -> list[str]:
    """The commands that make all things of a config anew, in an order that works."""
    return [*capabilities.rc_lines(config), *things.rc_lines(SERVER, config)]


COMMANDS: Sequence[ControlCommand] = (
    *common_commands(FILTERS),
    *commands_of(SERVER),
    *capabilities.capa_commands(),
    *tls_commands(),
)
