"""Where several modules are asked all refusals take as long, whoever knows the user; on a clock that is turned."""

import base64
from typing import Any

import pytest

from popular.pdm.contract import PASSWORD, SCRAM, TOKEN, CannotTell, Module, Route, Secret
from popular.pdm.decision import Admitted, Decision, NobodyKnows, RefusedLogin, ToProve, Undecided
from popular.protocol.scram import ScramClient, keys_of
from popular.proxy.session.limits.contracts import NoLimits
from popular.proxy.session.limits.login_orders import WorkerOrders
from popular.proxy.session.limits.refusal_times import (
    AT_FIRST_SECONDS,
    MOST_SECONDS,
    STEP_SECONDS,
    RefusalTimes,
    alike,
    refusal_times,
)
from popular.proxy.session.machine.phases import EXCHANGING, GREETED, HELD, LEGAL, SIMULATING
from popular.proxy.session.who import Who
from supervisor.operatorstate import OperatorState, OrderEntry
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import rules
from tests.proxy.test_session_scram import handed_on

WRONG = b"-ERR [AUTH] the user name or the password is wrong\r\n"
KNOWN, UNKNOWN, LOCKED = RefusedLogin("first"), NobodyKnows(), RefusedLogin("first", locked=True)
BY_ITSELF: dict[str, tuple[Decision, float]] = {
    "wrong": (KNOWN, 0.01),
    "locked": (LOCKED, 0.02),
    "unknown": (UNKNOWN, 0.33),
}
"""What is decided, and after how many seconds, where the first module is quick and the second one slow."""


class Turned:
    """A clock, with what is made by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.times = RefusalTimes((), lambda: self.now, challenges=True)

    def session(self, **other: Any) -> PureSession:
        """One that has said USER."""
        session = PureSession(rules(), times=self.times, **other)
        session.begin()
        session.says(b"USER ann\r\n")
        return session

    def decided(self, session: PureSession, decision: Decision, after: float) -> list[tuple[Any, ...]]:
        """The modules have said so after so many seconds."""
        self.now += after
        return session.decided(decision)

    def refused(self, decision: Decision, after: float, **other: Any) -> float:
        """When the client hears that it is refused, in seconds from its PASS on."""
        session = self.session(**other)
        session.says(b"PASS wrong\r\n")
        verbs = self.decided(session, decision, after)
        assert "note" in [verb[0] for verb in verbs], "the failure is told at once"
        assert session.machine.phase is HELD
        assert not session.verbs.to_client.endswith(WRONG)
        (waits,) = [verb[1] for verb in verbs if verb[0] == "hold"]
        self.now += waits
        assert session.expired("step")[-1] == ("send", WRONG)
        assert session.machine.phase is GREETED
        assert all(move in LEGAL[before] for before, move in session.moves)
        return float(after + waits)


@pytest.fixture
def turned() -> Turned:
    return Turned()


class Slowed(NoLimits):
    """Each failure is held back for two seconds."""

    counts_guesses = True

    def charge_failure(self, _who: Who, _secret: Secret | None) -> float:
        return 2.0


# How long


@pytest.mark.parametrize(
    ("longest", "all_take"), [(0.0, STEP_SECONDS), (0.42, 0.45), (0.99, MOST_SECONDS), (7.0, MOST_SECONDS)]
)
def test_it_is_rounded_up_and_has_an_end(longest: float, all_take: float) -> None:
    """So who takes a little longer than all before is late for nothing, and a module that hangs holds nobody up."""
    assert alike(longest) == pytest.approx(all_take)


def test_quick_refusals_make_nobody_forget(turned: Turned) -> None:
    """Whatever their reason, and however quiet the night."""
    turned.refused(UNKNOWN, 0.33)
    for decision in (UNKNOWN, KNOWN, LOCKED) * 3:
        turned.now += 3600.0
        assert turned.refused(decision, 0.001) == pytest.approx(0.35)


def test_it_waits_that_long_also_where_the_login_ends_by_it(turned: Turned) -> None:
    """Or who says PASS in the last second of `authtimeout` would hear at once what others wait for."""
    session = turned.session(limits=Slowed())
    session.says(b"PASS wrong\r\n")
    turned.decided(session, KNOWN, 0.01)
    assert session.verbs.at_least == pytest.approx(AT_FIRST_SECONDS - 0.01)


# Where


class Quick(Module):
    """Answers at once."""

    blocking = False
    ident = "quick"


class Slow(Module):
    """May take long."""

    ident = "slow"
    takes = frozenset({PASSWORD, SCRAM})


class Tokens(Module):
    """Looks at no passwords."""

    ident = "tokens"
    takes = frozenset({TOKEN})


def test_where_it_is_worth_while() -> None:
    """One module, one for each kind, and modules that answer at once, have nothing to make alike; and what was seen
    stays for as long as the modules do.
    """
    clock = Turned()
    quick, slow, tokens = Quick(), Slow(), Tokens()
    for modules in ([], [slow], [slow, tokens], [quick, quick]):
        assert refusal_times(modules, lambda: clock.now) is None
    times = refusal_times([quick, slow], lambda: clock.now)
    assert times is not None
    assert refusal_times([quick, slow], lambda: clock.now, before=times) is times
    assert refusal_times([slow, quick], lambda: clock.now, before=times) is not times
    assert times.left_to_challenge(clock.now, NobodyKnows()) == 0.0, "only one of them has keys"


# Sessions


def test_all_refusals_take_as_long(turned: Turned) -> None:
    """As long as the longest, whatever the modules have needed for each."""
    turned.refused(UNKNOWN, BY_ITSELF["unknown"][1])
    heard = {who: turned.refused(*took) for who, took in BY_ITSELF.items()}
    assert heard == pytest.approx(dict.fromkeys(BY_ITSELF, 0.35))


def test_the_first_ones_too(turned: Turned) -> None:
    """Right after the start, when nothing was seen."""
    heard = [turned.refused(decision, after) for decision, after in ((KNOWN, 0.001), (UNKNOWN, 0.1), (LOCKED, 0.05))]
    assert heard == pytest.approx([AT_FIRST_SECONDS] * 3)


def test_the_delay_of_a_guesser_comes_on_top(turned: Turned) -> None:
    """Once, and for all the same."""
    heard = [turned.refused(decision, after, limits=Slowed()) for decision, after in ((KNOWN, 0.001), (UNKNOWN, 0.1))]
    assert heard == pytest.approx([AT_FIRST_SECONDS + 2.0] * 2)


def test_a_stalled_module_makes_nobody_wait(turned: Turned) -> None:
    """Who cannot be told about is told so at once, and what that took is no measure; one that takes for ever to answer
    is one up to the most.
    """
    session = turned.session()
    session.says(b"PASS wrong\r\n")
    assert turned.decided(session, CannotTell("db: no answer within 5 s"), 5.0)[-1] == ("finish", "module_failed")
    assert turned.refused(KNOWN, 0.01) == pytest.approx(AT_FIRST_SECONDS)
    session = turned.session()
    session.says(b"PASS wrong\r\n")
    assert turned.decided(session, UNKNOWN, 4.0)[-1] == ("send", WRONG)
    assert turned.refused(KNOWN, 0.01) == pytest.approx(MOST_SECONDS)


def test_what_the_operator_holds_is_no_measure(turned: Turned) -> None:
    """Else whoever is refused after that would wait for as long as one user was held."""
    operator = OperatorState([OrderEntry("user hold", "default:ann", {"seconds": 30})])
    session = turned.session(orders=WorkerOrders(operator, lambda _: None))
    session.says(b"PASS right\r\n")
    turned.decided(session, Admitted(Route("pop"), "first", "first"), 0.01)
    turned.now += 20.0
    operator.change([OrderEntry("user hold", "default:ann")])
    session.released()
    for reply in (b"+OK\r\n", b"+OK\r\n", b"-ERR [AUTH] no\r\n"):
        session.backend_says(reply)
    assert turned.times.of_refusals() == AT_FIRST_SECONDS


def test_who_is_right_waits_for_nothing(turned: Turned) -> None:
    """Whatever refusals take."""
    turned.refused(UNKNOWN, 0.88)
    session = turned.session()
    session.says(b"PASS right\r\n")
    verbs = turned.decided(session, Admitted(Route("fake"), "first", "first"), 0.01)
    assert session.machine.phase is SIMULATING
    assert "hold" not in [verb[0] for verb in verbs]


def test_who_hangs_up_has_failed(turned: Turned) -> None:
    """The failure is in the log when the client could not have heard of it yet."""
    session = turned.session()
    session.says(b"PASS wrong\r\n")
    verbs = turned.decided(session, UNKNOWN, 0.01)
    assert [verb[1] for verb in verbs if verb[0] == "note"] == ["login_failed"]
    assert session.leaves()[-1] == ("finish", "client_closed")


def keyed() -> ToProve:
    made = keys_of(b"secret", b"0123456789abcdef")
    assert made is not None
    return ToProve(made, Route("fake"), "first")


@pytest.mark.parametrize(
    ("decision", "after"),
    [(keyed(), 0.01), (KNOWN, 0.02), (UNKNOWN, 0.12), (Undecided("db: it hangs"), 0.15)],
    ids=["known", "without keys", "unknown", "nobody can tell"],
)
def test_challenges_of_scram_take_as_long(turned: Turned, decision: Decision, after: float) -> None:
    """Before anything is proven, for everybody; and after the proof the refusals."""
    session = PureSession(rules(takes=frozenset({SCRAM}), mechanisms=("scram-sha-256",)), times=turned.times)
    client, began = ScramClient("ann", "wrong", "nonce"), turned.now
    session.begin()
    session.says(b"AUTH SCRAM-SHA-256 " + base64.b64encode(client.first()) + b"\r\n")
    verbs = turned.decided(session, decision, after)
    assert [verb[0] for verb in verbs] == ["hold"]
    assert turned.now + verbs[0][1] - began == pytest.approx(AT_FIRST_SECONDS)
    ((_send, said),) = session.expired("step")
    assert session.machine.phase is EXCHANGING
    final = client.final(base64.b64decode(said.removeprefix(b"+ ")))
    (verb,) = session.says(base64.b64encode(final) + b"\r\n")
    verbs = session.decided(verb[1])
    if isinstance(decision, Undecided):
        assert verbs[-1] == ("finish", "module_failed")
    else:
        assert verbs[-1] == ("hold", pytest.approx(AT_FIRST_SECONDS))
    assert all(move in LEGAL[before] for before, move in session.moves)


def test_what_a_server_says_to_a_proof_waits_for_nothing(turned: Turned) -> None:
    """Only who has the password comes so far."""
    session = PureSession(rules(takes=frozenset({SCRAM}), mechanisms=("scram-sha-256",)), times=turned.times)
    session.begin()
    session.says(b"AUTH SCRAM-SHA-256 " + base64.b64encode(ScramClient("ann", "x", "nonce").first()) + b"\r\n")
    assert session.decided(handed_on(b"one"))[-1][0] == "hold"
    session.expired("step")
    session.says(base64.b64encode(b"two") + b"\r\n")
    assert session.decided(handed_on(b"three")) == [("send", b"+ " + base64.b64encode(b"three") + b"\r\n")]


def test_a_challenge_that_waits_is_let_go_of(turned: Turned) -> None:
    """A client that hangs up meanwhile has ended its session, and nothing comes after it."""
    session = PureSession(rules(takes=frozenset({SCRAM}), mechanisms=("scram-sha-256",)), times=turned.times)
    session.begin()
    session.says(b"AUTH SCRAM-SHA-256 " + base64.b64encode(ScramClient("ann", "x", "nonce").first()) + b"\r\n")
    session.decided(UNKNOWN)
    assert session.machine.phase is HELD
    assert session.leaves()[-1] == ("finish", "client_closed")
