"""Makes room where `maxsession` is reached and clients wait: silent sessions of whoever has most of them end.

Silent is who has not brought his login any further for a while, whatever he sends (decision 16.11).

Each worker shows two numbers in its block: how many clients wait at its sockets, and how many silent sessions it has of
the network that has most of them there. Each looks at the numbers of all. The worker with the largest second number
ends sessions: as many as the largest first number says, not the sum, because workers may share sockets and then see the
same clients. If more clients wait, the next look is for them. So one worker at a time makes room, wherever the clients
wait; whoever has very many connections loses them before anybody else loses one; and while nobody waits, a look costs
as many reads as there are workers.
"""

from collections import deque
from collections.abc import Iterable

from supervisor.serving.context import WorkerContext
from supervisor.serving.network import network_of
from supervisor.serving.session import Session
from supervisor.table.contents import BASE_CELLS

LOOK_SECONDS = 0.25
"""Three looks at most, and a new client is greeted."""
SILENT_SECONDS = 2.0
"""For so long a session has not come any further before it may be ended for another."""

STUCK_SECONDS = 3.0
"""A worker whose heart has not beaten for so long is stuck. What it shows stays, but clients that wait there are not
served for room that others make, and it can end nobody.
"""

_HEARTBEAT = BASE_CELLS.index("heartbeat_ns")
_WAITING, _DISPLACEABLE = BASE_CELLS.index("waiting"), BASE_CELLS.index("displaceable")

Groups = dict[str, deque[Session]]
"""By network, the oldest in front."""


class Displacer:
    """One worker's part in making room."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    def look(self, waiting: int) -> None:
        """`waiting`: clients that wait at our sockets because no session is free; 0 too where nobody is to be ended."""
        context = self._context
        cells = context.cells
        cells[_WAITING] = waiting
        # Not the sum: workers may share a socket, and then all of them see the same clients.
        wanted = max(context.each(_WAITING)) and max(self._of_the_living(_WAITING))
        if not wanted:
            cells[_DISPLACEABLE] = 0
            return
        groups = groups_of(context.sessions.values(), context.clock.now - SILENT_SECONDS)
        could_end = self._of_the_living(_DISPLACEABLE)
        if cells[_DISPLACEABLE] and could_end.index(max(could_end)) == context.block:
            for session in chosen(groups, wanted):
                session.end("displaced")
        cells[_DISPLACEABLE] = max(map(len, groups.values()), default=0)

    def _of_the_living(self, cell: int) -> list[int]:
        """That cell by block; 0 for a worker that is stuck. We are not."""
        context = self._context
        oldest = (context.clock.now - STUCK_SECONDS) * 1e9
        beats = context.each(_HEARTBEAT)
        return [
            value if beat >= oldest or block == context.block else 0
            for block, (value, beat) in enumerate(zip(context.each(cell), beats, strict=True))
        ]


def groups_of(sessions: Iterable[Session], silent_since: float) -> Groups:
    """Those that may be ended; `sessions` are given from the oldest on."""
    groups: Groups = {}
    for session in sessions:
        found = session.displaceable()
        if found is not None and found[1] <= silent_since:
            groups.setdefault(network_of(found[0]), deque()).append(session)
    return groups


def chosen(groups: Groups, count: int) -> list[Session]:
    """So many, or all that there are, taken out of the groups: each time the oldest of the largest group."""
    taken: list[Session] = []
    while groups and len(taken) < count:
        network = max(groups, key=lambda one: len(groups[one]))
        taken.append(groups[network].popleft())
        if not groups[network]:
            del groups[network]
    return taken
