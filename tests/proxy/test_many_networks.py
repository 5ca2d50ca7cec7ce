"""Very many networks that guess: the memory stays as it is, who is guilty stays known, and nobody else pays for it."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest

from popular.pdm.contract import Secret
from popular.proxy.session.limits.contracts import Hindrance
from popular.proxy.session.limits.limits import Limits
from popular.proxy.session.who import Who
from supervisor.table.remembered import BUCKET_ENTRIES
from tests.proxy.test_limits import ANN, AT_HOME, JOE, Worker

LOOK_CALLS = 8
"""What it takes to read one entry, in calls."""
GUILTY = Who("203.0.113.9", "default", "joe")


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    os.close(made.locks)


def calls_of(work: Callable[[], object]) -> int:
    """How many functions it calls: what it costs, whatever else the machine does."""
    calls = 0

    def seen(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def guess(limits: Limits, who: Who, secret: bytes) -> Hindrance | None:
    """One wrong login, and whether it is even looked at."""
    _seconds, hindrance = limits.charge_guess(who)
    if hindrance is None:
        limits.charge_failure(who, Secret(secret))
    return hindrance


def come_and_go(limits: Limits, who: Who, *, row: int) -> None:
    assert limits.charge_guess(who) == (0.0, None)
    assert limits.comes_in(row, who, None) is None
    limits.leave(row)


@pytest.mark.parametrize("networks", [2_000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_guessers_from_everywhere(worker: Worker, networks: int) -> None:
    """Each network guesses once at the same user, while one guesses all the time: that one still has to wait its turn,
    who is spared at home still is, who has a session is counted; and nobody's login costs more than a look through the
    bucket of each of its entries.
    """
    limits = worker.limits(guessrate="10", authdelay="1s", authdelaymax="8s", usersessions="9", networksessions="9")
    octets, at_home, eve = len(worker.memory), JOE._replace(address=AT_HOME), Who(AT_HOME, "default", "eve")
    come_and_go(limits, at_home, row=1)
    assert limits.comes_in(2, ANN, None) is None
    for number in range(9):
        guess(limits, GUILTY, b"%d" % number)
    alone = calls_of(lambda: come_and_go(limits, at_home, row=1))
    for number in range(networks):
        worker.clock.now += 1 / networks
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        assert guess(limits, Who(address, "default", "joe"), b"guess") is None, "one guess is anybody's"

    assert guess(limits, GUILTY, b"one more") is not None
    assert limits.entries.is_spared(at_home)
    assert worker.open_remembered().look(limits.entries.network(ANN)).held == 1
    most = alone + len(("network", "pair", "user")) * BUCKET_ENTRIES * LOOK_CALLS
    for row, who in ((1, at_home), (3, eve)):
        assert calls_of(partial(come_and_go, limits, who, row=row)) <= most
    assert len(worker.memory) == octets
