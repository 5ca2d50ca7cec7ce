"""Ends sessions that somebody wants to be gone, as far as it costs them little; and tells what there was. Pure, but for
the ends of sessions.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from supervisor.control.language.outcome import EVERYBODY
from supervisor.serving.session import CutCost, Session, Whose
from supervisor.table.blocked import Network
from supervisor.workerline import Aim, Cut, SweepFound

NETWORK = "network"
"""The sort of what is found by the client's address; all else, by the marks of a session."""
KICKED = "kicked"

_CUT = {
    Cut.NONE: frozenset[CutCost](),
    Cut.GENTLE: frozenset({CutCost.NOT_LOGGED_IN, CutCost.IDLE}),
    Cut.ALL: frozenset(CutCost) - {CutCost.COMMITTING},
    Cut.COMMITTING_TOO: frozenset(CutCost),
}
"""What is ended. Who has said QUIT has his reply, whatever is wanted, if it comes in time."""


def sweep(sessions: Iterable[Session], aims: Sequence[Aim]) -> tuple[SweepFound, ...]:
    """One round: for each aim what was found, and how many of them are left."""
    by_mark: dict[tuple[str, str], list[int]] = {}
    for place, aim in enumerate(aims):
        by_mark.setdefault((aim.sort, aim.id), []).append(place)  # a user may be moved and kicked at once
    everybody = [place for place, aim in enumerate(aims) if aim.sort == EVERYBODY]
    networks: list[tuple[Network, int]] = [
        (ipaddress.ip_network(aim.id), place) for place, aim in enumerate(aims) if aim.sort == NETWORK
    ]
    found = [[0] * len(CutCost) for _ in aims]
    left = [0] * len(aims)
    for session in list(sessions):
        whose = session.whose()
        places = [place for mark in whose.marks for place in by_mark.get(mark, ())]
        places += _of_networks(whose, networks)
        places += everybody
        places = [place for place in places if whose.since <= aims[place].before]
        if not places:
            continue
        cost = session.cut_cost()
        is_cut = any(cost in _CUT[aims[place].cut] for place in places)
        for place in places:
            found[place][cost] += 1
            left[place] += not is_cut
        if is_cut:
            session.end(KICKED)
    return tuple(SweepFound(tuple(one), rest) for one, rest in zip(found, left, strict=True))


def _of_networks(whose: Whose, networks: Sequence[tuple[Network, int]]) -> list[int]:
    if not networks:
        return []
    address = ipaddress.ip_address(whose.address.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return [place for network, place in networks if address in network]
