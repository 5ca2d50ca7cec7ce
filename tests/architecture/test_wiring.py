"""Parts are put together in one way: what a part calls is given to it when it is made."""

from tests.architecture.tree import sources
from tests.architecture.wiring import set_from_outside

TREES = sources("supervisor", "metrics", "popular")


def test_nothing_that_is_called_is_set_later() -> None:
    """Who reads how a part is made has seen all that it calls; no attribute waits to be filled."""
    assert set_from_outside(TREES) == []
