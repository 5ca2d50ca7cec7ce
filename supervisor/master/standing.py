"""What the operator has made of each configured thing, written where every reader of the table finds it.

A watcher that has the table only knows no configuration and no orders: `pstatus`, also of a copied file. The master
writes a record for each thing when something of it has changed.
"""

import time
from collections.abc import Sequence

from supervisor.config import Config
from supervisor.operatorstate import OperatorState
from supervisor.program import ThingStanding
from supervisor.table.contents import RecordShape
from supervisor.table.records import Records
from supervisor.table.segment import Segment

AGAIN_SECONDS = 5.0
"""Orders end by themselves, and nobody says so."""


class StandingBoard:
    """The records of all sorts that have such ones."""

    def __init__(self, segment: Segment, standings: Sequence[ThingStanding]) -> None:
        self._standings = [(one, Records(segment.layout, segment.map, one.record.name)) for one in standings]
        self._configured: dict[str, set[int]] = {one.record.name: set() for one in standings}
        """Where a record stands that says something, by its name."""
        self._seen: tuple[int, int] = (-1, -1)
        self._due = 0.0

    def look(self, config: Config, operator: OperatorState, now: float) -> None:
        """Writes what is new. To be called once a second; `now`: of the monotonic clock."""
        seen = (config.generation, operator.changes)
        if not self._standings or (seen == self._seen and now < self._due):
            return
        self._seen, self._due = seen, now + AGAIN_SECONDS
        entries = operator.entries(time.time())
        for standing, records in self._standings:
            indexes = config.counter_indexes.get(standing.record.by, {})
            for ident, told in standing.told(config, entries).items():
                columns = {"ident": ident, **told}
                if ident in indexes and records.read(indexes[ident]) != columns:
                    records.write(indexes[ident], columns)
            self._clear(standing.record, records, set(indexes.values()))

    def _clear(self, shape: RecordShape, records: Records, configured: set[int]) -> None:
        """An index keeps its name when its thing is removed, and nothing is made of that any more."""
        for index in self._configured[shape.name] - configured:
            records.write(index, {one.name: "" if one.form.endswith("s") else 0 for one in shape.columns})
        self._configured[shape.name] = configured
