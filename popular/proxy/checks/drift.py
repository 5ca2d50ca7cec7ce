"""Capabilities that a virtual server announces and a backend lacks. Pure.

Only of what the backend answers for itself, after the login: before it the proxy speaks.
"""

from collections.abc import Iterable

from popular.protocol import capabilities
from popular.proxy.settings.announced import tags
from popular.proxy.settings.vserv import FROM_SET
from supervisor.config import Config
from supervisor.control.commands.things import OFFLINE

KEPT_BY_BACKENDS = frozenset({"TOP", "UIDL", "PIPELINING", "EXPIRE"})

Promised = tuple[tuple[str, frozenset[str]], ...]

Missing = frozenset[tuple[str, str]]
"""Virtual servers by id, each with the names of the capabilities that it announces and a backend lacks."""


def promised(config: Config) -> Promised:
    """The capabilities that each virtual server in use announces and a backend has to keep, by the server's id; one
    that follows its backends promises nothing that they do not.
    """
    sets = config.things["capa"]
    vservs = [one for one in config.things["vserv"].values() if one.state != OFFLINE and one.capafrom == FROM_SET]
    lines = {one.id: sets[one.capa].lines if one.capa in sets else capabilities.DEFAULT for one in vservs}
    return tuple((ident, tags("\n".join(said)) & KEPT_BY_BACKENDS) for ident, said in lines.items())


def undelivered(
    announced: Iterable[tuple[str, frozenset[str]]], before: tuple[str, ...], after: tuple[str, ...] | None
) -> Missing:
    """The announced capabilities that a backend lacks. `after`: its CAPA after the login; None if it was not asked."""
    has = tags("\n".join(before if after is None else after))
    return frozenset((vserv, " ".join(sorted(names - has))) for vserv, names in announced if names - has)
