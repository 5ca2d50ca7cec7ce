"""A session as the supervisor knows it: what it asks of one, how it finds it, what it would lose, why it ends.

The classes are the programs'; the supervisor keeps them by token (`WorkerContext.sessions`), and ends them.
"""

import enum
from typing import NamedTuple, Protocol

BASE_ENDINGS = ("killed", "shutdown", "worker_died", "internal_error", "displaced", "kicked")
"""Endings that every program has; a program's own follow. Displaced is who was silent, and not logged in, when others
waited at maxsession; kicked, whom the operator wanted gone.
"""


class CutCost(enum.IntEnum):
    """What would be lost if a session ended now; the order in which a shutdown's deadline ends them."""

    NOT_LOGGED_IN = 0
    IDLE = 1
    COMING_IN = 2
    IN_TRANSFER = 3
    UNCOMMITTED = 4
    COMMITTING = 5


COMMITTING_SECONDS = 60.0
"""So long a session is spared that has asked for what it deleted to be gone, when its time is up: then it is cut like
all others, for the answer may never come.
"""

COST_PHRASES = {
    CutCost.NOT_LOGGED_IN: "not come in yet",
    CutCost.IDLE: "idle",
    CutCost.COMING_IN: "coming in",
    CutCost.IN_TRANSFER: "in a transfer",
    CutCost.UNCOMMITTED: "with uncommitted deletes",
    CutCost.COMMITTING: "committing",
}


class Whose(NamedTuple):
    """By what a session can be found: since when it is there (monotonic), the client's address, and its marks, each a
    sort and an id.
    """

    since: float
    address: str
    marks: tuple[tuple[str, str], ...]


class Session(Protocol):
    """What the supervisor asks of a session."""

    sid: str

    def end(self, ending: str) -> None:
        """Ends it now, for this reason."""

    def cut_cost(self) -> CutCost:
        """What would be lost if it ended now."""

    def whose(self) -> Whose:
        """By what it can be found."""

    def displaceable(self) -> tuple[str, float] | None:
        """If it waits for nothing but its client, who has not logged in: whose it is, and since when he has not brought
        his login any further, whatever he may send.
        """

    def refresh(self) -> None:
        """Writes its row if there is something new to show; called once in a while."""

    def fault(self, error: Exception) -> None:
        """An error of ours: it ends this session and nothing else."""
