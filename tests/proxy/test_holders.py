"""A service is let go of when another one has taken over, and its last session is over."""

from popular.proxy.session.holders import Holders


def test_it_is_let_go_of_behind_the_last_session() -> None:
    """Not while one is left, nor while new ones may come."""
    released: list[int] = []
    holders = Holders(lambda: released.append(1))
    holders.come()
    holders.come()
    holders.leave()
    holders.leave()
    holders.come()
    assert released == []
    holders.retire()
    assert released == []
    holders.leave()
    assert released == [1]


def test_one_that_nobody_holds_is_let_go_of_at_once() -> None:
    """Such as one that was made, and never came into force."""
    released: list[int] = []
    Holders(lambda: released.append(1)).retire()
    assert released == [1]
