"""The configuration: one frozen value with a generation number, replaced whole, never edited.

A handler of the control language makes a new Config out of the old one with the `with_…` methods; the master then tries
it, hands it to all workers, and only then calls it the running one (see `change.py`). Mappings in here are never
changed after the value was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self


class Report(NamedTuple):
    """What a worker found when it made a service of a config: notes are for people, facts for the program."""

    subject: str
    """What it is about, as "module users"."""
    notes: tuple[str, ...] = ()
    facts: Any = None
    """Hashable, and equal if nothing is new."""


@dataclass(frozen=True)
class Config:
    """Everything that can be configured while the program runs.

    `variables` holds the parsed value of every read-write variable; `things` the named things of the program by sort
    and id, in the order in which they were made (`things["vserv"]["v1"]`); `debug` the debug options that are on;
    `given` the variables that were set by a command, be it to what is their default.
    """

    generation: int
    variables: Mapping[str, Any]
    debug: frozenset[str] = frozenset()
    things: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    counter_indexes: Mapping[str, Mapping[str, int]] = field(default_factory=dict, compare=False)
    """Where in the table each thing counts, by sort and id; the master fills it in (table/indexes.py)."""
    reports: tuple[Report, ...] = field(default=(), compare=False)
    """What the workers found when they tried it, each once; the master fills it in when it is the running one."""

    def reports_on(self, subject: str) -> list[Report]:
        """Several if the workers did not all find the same."""
        return [report for report in self.reports if report.subject == subject]

    def with_variable(self, name: str, value: object) -> Self:
        return replace(self, variables={**self.variables, name: value}, given=self.given | {name})

    def with_debug(self, options: frozenset[str]) -> Self:
        return replace(self, debug=options)

    def with_thing(self, sort: str, ident: str, thing: object) -> Self:
        """Adds a thing at the end of its sort, or replaces it where it stands."""
        return replace(self, things={**self.things, sort: {**self.things[sort], ident: thing}})

    def without_thing(self, sort: str, ident: str) -> Self:
        rest = {key: thing for key, thing in self.things[sort].items() if key != ident}
        return replace(self, things={**self.things, sort: rest})

    def without_things(self, sort: str) -> Self:
        return replace(self, things={**self.things, sort: {}})
