"""What clients connect to, as far as it decides whether anybody is let in: the state of each, with its drain. Pure.

    servers_told(view, facts, table)     who knows the configuration
    servers_in_table(view)               who has the table only; None where nothing of it stands there

A drain is an order, and no part of the configuration: the master writes it into the table (SERVERS in
supervisor/table/contents.py).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from supervisor.table.contents import SERVERS
from supervisor.table.segment import View
from supervisor.watched import ThingTable

ONLINE, FAKE, DRAINED = "online", "fake", "drained"
"""States in which clients are let in, and what stands in place of the first while nobody new is: in the second a drain
changes nothing.
"""


class ServersSeen(NamedTuple):
    """All of them."""

    one: str
    """What one is called."""
    states: tuple[str, ...]

    @property
    def are_closed(self) -> bool:
        """Whether nobody is let in anywhere."""
        return not any(state in (ONLINE, FAKE) for state in self.states)


def servers_told(view: View, facts: Mapping[str, Any], table: ThingTable) -> ServersSeen | None:
    """As the configuration has them; None before it is known."""
    there = facts.get(table.things.facts)
    if there is None:
        return None
    records = _records(view)
    return ServersSeen(table.one, tuple(_state(one["state"], records.get(one["id"], {})) for one in there))


def servers_in_table(view: View) -> ServersSeen | None:
    """As the master has written them down: with the word that commands have for one."""
    shape = next((row for row in view.layout.records if row.name == SERVERS), None)
    if shape is None:
        return None
    return ServersSeen(shape.by, tuple(_state(record["state"], record) for record in _records(view).values()))


def _records(view: View) -> dict[str, dict[str, Any]]:
    """Those that are configured: of another the record is empty, or somebody else's."""
    return {ident: record for ident, record in view.records(SERVERS).items() if record["ident"] == ident}


def _state(state: str, record: Mapping[str, Any]) -> str:
    return DRAINED if state == ONLINE and record.get(DRAINED) else state
