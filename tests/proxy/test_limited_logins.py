"""What the limits, and the counters of limits, hear of a login."""

from typing import Any

import pytest

from popular.pdm.contract import CannotTell, UserLimits
from popular.pdm.decision import Decision, NobodyKnows, RefusedLogin
from popular.protocol.replies import Code
from popular.proxy.session.limits.contracts import Hindrance, NoLimits
from popular.proxy.session.machine.phases import SIMULATING
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import OF_VSERV, USER_SESSIONS
from tests.proxy.session_double import PureSession
from tests.proxy.test_session_machine import Limited, admitted, after, asking, at_backend, logging_in


class Listening(NoLimits):
    """Limits that hinder by one of them, if any, and note of which row they heard that its user stays out."""

    counts_sessions = True

    def __init__(self, hinders: str = "") -> None:
        self.hinders = hinders
        self.out: list[int] = []

    def comes_in(self, row_number: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        del row_number, who, own
        return Hindrance(self.hinders, Code.SYS_TEMP) if self.hinders else None

    def stays_out(self, row_number: int) -> None:
        self.out.append(row_number)


def fails(how: str, limits: Listening) -> PureSession:
    """A login that comes to nothing."""
    decisions: dict[str, Any] = {
        "wrong": NobodyKnows(),
        "not for now": RefusedLogin("m", code="SYS/TEMP"),
        "nobody can tell": CannotTell("m: away"),
    }
    if how in decisions:
        return after(asking(limits=limits), "decided", decisions[how])
    if how == "deferred":
        return after(logging_in(limits=limits), "backend_says", b"-ERR [IN-USE] locked\r\n")
    return after(at_backend(limits=limits), "backend_failed", "refused")


@pytest.mark.parametrize("how", ["wrong", "not for now", "nobody can tell", "deferred", "failed"])
def test_of_each_login_that_fails_is_heard_once(how: str) -> None:
    """Else what was taken for it ahead would stay taken, and keep others out."""
    limits = Listening()
    fails(how, limits)
    assert limits.out == [0]


@pytest.mark.parametrize("decision", [CannotTell("m: away"), admitted("pop")])
def test_an_empty_mailbox_instead_of_an_error_is_no_guess(decision: Decision) -> None:
    """With `softfail` nobody could tell either whether the password is right."""
    limits = Limited()
    session = after(asking(limits=limits, softfail=True), "decided", decision)
    if session.verbs.waits:
        session.backend_failed("refused")
    assert session.machine.phase is SIMULATING
    assert limits.words() == ["charge_guess", "give_guess_back"]


@pytest.mark.parametrize("counts", ["counts_guesses", "counts_sessions"])
def test_who_comes_in_is_told_to_limits_of_either_kind(counts: str) -> None:
    """A right password ends what wrong ones have cost; a session counts among the user's."""
    limits = Limited()
    limits.counts_guesses = limits.counts_sessions = False
    setattr(limits, counts, True)
    at_backend("fake", limits=limits)
    assert limits.words()[-1] == "comes_in"


def test_of_who_comes_in_it_is_not() -> None:
    """His session counts for as long as it lasts."""
    limits = Listening()
    at_backend("fake", limits=limits)
    assert limits.out == []


@pytest.mark.parametrize("limit", [*OF_VSERV, USER_SESSIONS])
def test_a_limit_of_a_virtual_server_is_counted_for_it(limit: str) -> None:
    """A limit of another kind is counted once, under its name."""
    session = asking(limits=Listening(limit))
    counted = [verb[1:] for verb in session.decided(admitted("fake")) if verb[0] == "count"]
    assert counted == [("limited", limit, ""), *[("vserv_limited", limit, "v1")] * (limit in OF_VSERV)]
