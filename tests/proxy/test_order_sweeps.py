"""The sessions that are to end by an order that was said elsewhere."""

from typing import Any

import pytest

from popular.proxy.settings.order_sorts import LONGEST_DEADLINE
from popular.proxy.settings.order_sweeps import sweeps_of
from supervisor.operatorstate import OrderEntry


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (OrderEntry("backend drain", "b1", {"deadline": 160.0}), [("backend", "b1", False, 60.0)]),
        (OrderEntry("backend drain", "b1", {"deadline": None}), [("backend", "b1", False, None)]),
        (OrderEntry("vserv drain", "v1", {"deadline": 90.0}), [("vserv", "v1", False, 0.0)]),
        (OrderEntry("vserv drain", "v1", {"deadline": 1e12}), [("vserv", "v1", False, float(LONGEST_DEADLINE))]),
        (OrderEntry("user lock", "default:joe", {"deadline": "x"}), [("user", "default:joe", True, 10.0)]),
        (OrderEntry("user hold", "default:joe", {}), []),
        (OrderEntry("block", "192.0.2.0/24", {"until": None}), []),
    ],
)
def test_it_is_as_if_it_had_been_said_here(order: OrderEntry, found: list[tuple[Any, ...]]) -> None:
    """Until the same moment, be that over; what people have written there is a time that could have been said."""
    sweeps = sweeps_of([order], 100.0)
    assert [(one.sort, one.id, one.gentle, one.deadline) for one in sweeps] == found
    assert all(one.entries == (order,) for one in sweeps)
