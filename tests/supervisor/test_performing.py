"""What another proxy of the cluster has told: it is on record if it holds here. The rest of the master is played."""

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.control.language.outcome import Block
from supervisor.master.performing import Performer
from supervisor.operatorstate import OrderEntry

BLOCK = Block(
    "block 192.0.2.0/24",
    network=ip_network("192.0.2.0/24"),
    seconds=None,
    entries=(OrderEntry("block", "192.0.2.0/24", {}),),
    told_by="other",
)


@pytest.mark.parametrize("has_room", [True, False])
def test_what_cannot_hold_here_is_not_said_to(has_room: bool) -> None:
    """More networks than can be blocked: that is told with its reason, and stands in no audit log."""
    said: list[str] = []
    recorded: list[str] = []
    played = cast(
        Any,
        SimpleNamespace(
            block=lambda _network, _seconds: has_room,
            state=SimpleNamespace(ended=lambda _sort, _now: ()),
            tell_others=lambda _action, entries, _answer, *, then: then(entries, ""),
            keep=lambda text, _entries, answer, *, note: answer(True, text + note, ()),
            told=lambda _proxy, order: recorded.append(order),
        ),
    )
    performer = Performer(
        played,
        played,
        played,
        keeper=played,
        shutdown=played,
        recycling=played,
        moves=played,
        orders=played,
        log=cast(Any, lambda message, **_fields: said.append(message.name)),
        audit=played,
    )
    performer.perform_told(BLOCK)
    assert said == ["order_told" if has_room else "order_not_told"]
    assert recorded == [BLOCK.text] * has_room
