"""A round through the sessions: who is ended, who is only counted, and by what they are found. Pure."""

import itertools

import pytest

from supervisor.serving.session import CutCost, Whose
from supervisor.worker.sweeper import NETWORK, sweep
from supervisor.workerline import Aim, Cut, SweepFound


class OneSession:
    """A session of joe, by default."""

    sid = "p.1.1"

    def __init__(self, cost: CutCost, *, since: float = 1.0, address: str = "192.0.2.7", user: str = "joe") -> None:
        self.cost = cost
        self._whose = Whose(since, address, (("user", user), ("store", "s1")))
        self.ending = ""

    def end(self, ending: str) -> None:
        assert not self.ending
        self.ending = ending

    def cut_cost(self) -> CutCost:
        return self.cost

    def whose(self) -> Whose:
        return self._whose

    def displaceable(self) -> None: ...

    def refresh(self) -> None: ...

    def fault(self, error: Exception) -> None: ...


def every() -> list[OneSession]:
    return [OneSession(cost) for cost in CutCost]


@pytest.mark.parametrize(
    ("cut", "ended"),
    [
        (Cut.NONE, []),
        (Cut.GENTLE, [CutCost.NOT_LOGGED_IN, CutCost.IDLE]),
        (Cut.ALL, [cost for cost in CutCost if cost is not CutCost.COMMITTING]),
        (Cut.COMMITTING_TOO, list(CutCost)),
    ],
)
def test_who_is_ended(cut: Cut, ended: list[CutCost]) -> None:
    """Gently who loses nothing; at the deadline all, but after QUIT only who has had a minute more."""
    sessions = every()
    (found,) = sweep(sessions, [Aim("user", "joe", 2.0, cut)])
    assert [one.cost for one in sessions if one.ending == "kicked"] == ended
    assert found == SweepFound((1,) * len(CutCost), len(CutCost) - len(ended))


@pytest.mark.parametrize(
    ("aim", "hit"),
    [
        (("user", "joe"), True),
        (("user", "ann"), False),
        (("store", "s1"), True),
        (("vserv", "s1"), False),
        ((NETWORK, "192.0.2.0/24"), True),
        ((NETWORK, "192.0.3.0/24"), False),
        ((NETWORK, "2001:db8::/32"), False),
    ],
)
def test_by_what_they_are_found(aim: tuple[str, str], hit: bool) -> None:
    """A mark, or the client's address."""
    session = OneSession(CutCost.IDLE)
    (found,) = sweep([session], [Aim(*aim, 2.0, Cut.GENTLE)])
    assert (bool(session.ending), sum(found.counts)) == (hit, int(hit))


@pytest.mark.parametrize("address", ["::ffff:192.0.2.7", "fe80::1%eth0", "2001:db8::7"])
def test_addresses_of_all_forms(address: str) -> None:
    """An IPv4 address in an IPv6 one is itself; a zone is left out."""
    network = {"::": "192.0.2.0/24", "fe": "fe80::/10", "20": "2001:db8::/32"}[address[:2]]
    session = OneSession(CutCost.IDLE, address=address)
    sweep([session], [Aim(NETWORK, network, 2.0, Cut.GENTLE)])
    assert session.ending


def test_several_may_want_the_same_to_be_gone() -> None:
    """A move of joe waits for his session also while he is kicked: each aim is told of it."""
    session = OneSession(CutCost.UNCOMMITTED)
    moved, kicked = Aim("user", "joe", 2.0, Cut.GENTLE), Aim("user", "joe", 3.0, Cut.GENTLE)
    assert [found.left for found in sweep([session], [moved, kicked])] == [1, 1]


def test_who_came_later_stays() -> None:
    """A kick is about those that were there."""
    session = OneSession(CutCost.IDLE, since=2.5)
    assert sweep([session], [Aim("user", "joe", 2.0, Cut.ALL)]) == (SweepFound((0,) * len(CutCost), 0),)
    assert not session.ending


def test_several_at_once() -> None:
    """Each counts its own; one that two want is ended once, and counts for both as gone."""
    sessions = [OneSession(CutCost.IDLE), OneSession(CutCost.IDLE, user="ann"), OneSession(CutCost.UNCOMMITTED)]
    aims = [Aim("user", "joe", 2.0, Cut.GENTLE), Aim("store", "s1", 2.0, Cut.NONE), Aim("user", "bob", 2.0, Cut.ALL)]
    found = sweep(sessions, aims)
    assert [one.ending for one in sessions] == ["kicked", "", ""]
    assert [(sum(one.counts), one.left) for one in found] == [(2, 1), (3, 2), (0, 0)]


def test_rounds_of_workers_add_up() -> None:
    """In whatever order they come."""
    parts = [SweepFound((1, 0, 2), 3), SweepFound((0, 5), 5), SweepFound()]
    sums = {parts[a].plus(parts[b]).plus(parts[c]) for a, b, c in itertools.permutations(range(3))}
    assert sums == {SweepFound((1, 5, 2), 8)}
