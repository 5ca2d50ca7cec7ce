"""What the operator has made of each backend, for watchers: its state, drain, traces, and the users who were moved; and
of each virtual server: its state and drain.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from popular.proxy.settings.order_sorts import BACKEND, DRAINED_BACKEND, DRAINED_VSERV, ROUTED_USER, VSERV
from popular.proxy.settings.tracing import TRACE
from supervisor.config import Config
from supervisor.operatorstate import LATEST, OrderEntry
from supervisor.program import ThingStanding
from supervisor.table.contents import SERVERS, Column, RecordShape

RECORD = RecordShape(
    "standing",
    BACKEND,
    (
        Column("ident", "64s", "the backend"),
        Column("state", "12s", "its state, as it is configured"),
        Column("drained", "d", "since when nobody new is let in, seconds since 1970; 0: everybody is"),
        Column("moved_here", "I", "users who are moved to it"),
        Column("moved_away", "I", "users who are moved away from it"),
        Column("traces", "I", "traces of its sessions that are at work"),
    ),
)

SERVERS_RECORD = RecordShape(
    SERVERS,
    VSERV,
    (
        Column("ident", "64s", "the virtual server"),
        Column("state", "12s", "its state, as it is configured"),
        Column("drained", "d", "since when nobody new is let in, seconds since 1970; 0: everybody is"),
    ),
)


def told(config: Config, entries: Sequence[OrderEntry]) -> Mapping[str, Mapping[str, object]]:
    """The columns of each backend, by id."""
    here, away, traces = Counter[str](), Counter[str](), Counter[str]()
    drained: dict[str, float] = {}
    for sort, ident, said in entries:
        value = said or {}
        if sort == DRAINED_BACKEND:
            drained[ident] = _moment(value.get("since"))
        elif sort == ROUTED_USER:
            here[str(value.get("to"))] += 1
            away[str(value.get("from"))] += 1
        elif sort == TRACE and value.get("of") == BACKEND:
            traces[str(value.get("name"))] += 1
    return {
        backend.id: {
            "state": backend.state,
            "drained": drained.get(backend.id, 0.0),
            "moved_here": here[backend.id],
            "moved_away": away[backend.id],
            "traces": traces[backend.id],
        }
        for backend in config.things[BACKEND].values()
    }


def told_of_vservs(config: Config, entries: Sequence[OrderEntry]) -> Mapping[str, Mapping[str, object]]:
    """What the operator has made of the virtual servers, by id."""
    drained = {ident: _moment((value or {}).get("since")) for sort, ident, value in entries if sort == DRAINED_VSERV}
    return {
        vserv.id: {"state": vserv.state, "drained": drained.get(vserv.id, 0.0)}
        for vserv in config.things[VSERV].values()
    }


def _moment(said: object) -> float:
    """People may have written anything into the file that orders are read from: of that we know that it is there."""
    return float(said) if isinstance(said, int | float) and 0 < said <= LATEST else 1.0


STANDING = ThingStanding(RECORD, told)
VSERV_STANDING = ThingStanding(SERVERS_RECORD, told_of_vservs)
