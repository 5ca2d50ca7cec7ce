"""Where the store of a cluster's orders stands, and whether it has gone back: the server was exchanged for one that had
not heard the last writes (a failover), or an old copy of its data was put in place.

Each change of the store has a number and a random mark; the store keeps the last marks. So who remembers the last
change that he knows of sees by the next look whether it is still there. Pure.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from supervisor.operatorstate import SHARED, OrderEntry, is_over

EPOCH, SERIAL, CHANGES = "epoch", "serial", "changes"
"""Fields of the hash, and the words under which what is known is kept here."""
MARK = 8
"""Letters of a mark."""
MOST_MARKS = 500
ENDS_KEPT_SECONDS = 600
"""For so long a proxy remembers that it has ended an order: it says so again to a store that has gone back."""


class KnownChange(NamedTuple):
    """The last change of the store that this proxy knows of."""

    epoch: str = ""
    serial: int = 0
    mark: str = ""

    @classmethod
    def of(cls, orders: Mapping[str, Mapping[str, Any]]) -> "KnownChange":
        """As it is kept among what is shared."""
        kept = orders.get(EPOCH, {})
        serial = kept.get(SERIAL)
        return cls(str(kept.get(EPOCH, "")), serial if isinstance(serial, int) else 0, str(kept.get(CHANGES, "")))

    def entry(self) -> OrderEntry:
        """To be kept."""
        return OrderEntry(SHARED, EPOCH, {EPOCH: self.epoch, SERIAL: self.serial, CHANGES: self.mark})


NOTHING_KNOWN = KnownChange()


class StoreState(NamedTuple):
    """Where the store stands."""

    epoch: str = ""
    serial: int = 0
    marks: str = ""
    """The marks of the last changes, the latest after."""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> "StoreState":
        """As the hash has it. Anybody may have written there."""
        serial = fields.get(SERIAL, "")
        number = int(serial) if serial.isascii() and serial.isdigit() and len(serial) < 16 else 0
        return cls(fields.get(EPOCH, ""), number, fields.get(CHANGES, ""))

    @property
    def known(self) -> KnownChange:
        """What is known of it when it was looked at."""
        return KnownChange(self.epoch, self.serial, self.marks[-MARK:])

    def follows(self, known: KnownChange) -> bool:
        """Whether that change was made in it, as far as it can be told: whoever was away for more changes than there
        are marks takes its word for it. If not, it has lost something that was known here.
        """
        if self.epoch != known.epoch:
            return False
        end = len(self.marks) - MARK * (self.serial - known.serial)
        return not known.serial or end < MARK or self.marks[end - MARK : end] == known.mark


def end_of(field: str, since: float) -> OrderEntry:
    """That an order was ended here, to be kept for a while."""
    return OrderEntry(SHARED, f"{_ENDED}{field}", {"since": since, "until": since + ENDS_KEPT_SECONDS})


def ended(orders: Mapping[str, Mapping[str, Any]], now: float) -> dict[str, float]:
    """The fields of the orders that were ended here of late, and when."""
    return {
        ident.removeprefix(_ENDED): float(value["since"])
        for ident, value in orders.items()
        if ident.startswith(_ENDED) and isinstance(value.get("since"), int | float) and not is_over(value, now)
    }


_ENDED = "end of "
