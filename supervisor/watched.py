"""What watchers show of a program beside its metrics, row by row: so that `pstatus`, the exporter and the status page
know no word of what the program does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from supervisor.metric import Things
from supervisor.table.contents import Health, Rate, ThingLook

GOOD, BUSY = "good", "busy"
"""Tones of a state: it is what the program is for; or somebody waits for us."""


class Graph(NamedTuple):
    """A counter whose rate is drawn."""

    key: str
    """Its name in the document of the status page."""
    title: str
    counter: str


class CountedColumn(NamedTuple):
    """A counter that stands in the line of each thing."""

    key: str
    title: str
    counter: str


class ThingTable(NamedTuple):
    """A sort of things that has a table on the status page, under the name of its facts."""

    things: Things
    title: str
    one: str
    """What one of them is called in the middle of a text."""
    host: str
    """Which fact is its address."""
    counted: tuple[CountedColumn, ...] = ()
    health: Health | None = None
    durations: tuple[tuple[str, str], ...] = ()
    """Title and histogram of what each of them takes its time for."""
    standing: str = ""
    """The record in which the master says what the operator has made of each of them, if there is one."""
    found: tuple[str, ...] = ()
    """Further records of what was found of each, for its page: until their column `until`."""
    kick: tuple[str, ...] = ()
    """See ThingLook."""

    @property
    def look(self) -> ThingLook:
        """How it looks to who has the table only."""
        counted = tuple((one.title, one.counter) for one in self.counted)
        return ThingLook(
            self.things.sort,
            self.title,
            self.things.column,
            counted=counted,
            durations=self.durations,
            standing=self.standing,
            kick=self.kick,
        )


@dataclass(frozen=True)
class Watched:
    """All of a program."""

    servers: ThingTable
    """Those that clients connect to."""
    others: tuple[ThingTable, ...] = ()
    graphs: tuple[Graph, ...] = ()
    rates: tuple[Rate, ...] = ()
    tones: Mapping[str, str] = field(default_factory=dict)
    """State of a session → tone."""
    kick: tuple[str, ...] = ()
    """The command that ends the sessions of who has one; see Layout."""
    orders: Mapping[str, str] = field(default_factory=dict)
    """Sorts of what the operator orders beside the configuration → what such an order does, in a word or two."""

    @property
    def tables(self) -> tuple[ThingTable, ...]:
        return (self.servers, *self.others)

    @property
    def looks(self) -> tuple[ThingLook, ...]:
        return tuple(table.look for table in self.tables if table.health is not None)

    @property
    def healths(self) -> tuple[Health, ...]:
        return tuple(table.health for table in self.tables if table.health is not None)
