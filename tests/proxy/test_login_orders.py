"""What the operator orders about logins: drains, holds, locks and moves, on the pure machine."""

from dataclasses import replace
from typing import Any

import pytest

from popular.pdm.contract import Route, Secret, UserLimits
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.proxy.session.backend.contracts import BackendFailure, HealthKnowledge
from popular.proxy.session.limits.login_orders import AskedLogin, WorkerOrders
from popular.proxy.session.machine.phases import (
    ASKING,
    CHECKING,
    CONNECTING,
    ENDED,
    GREETED,
    HELD,
    LOGGING_IN,
    SIMULATING,
)
from popular.proxy.session.row import cost_of, marks_of
from popular.proxy.settings.secretfiles import KeptSecret
from supervisor.operatorstate import OperatorState, OrderEntry
from supervisor.serving.session import CutCost
from supervisor.system import wall
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import backend, rules

LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later\r\n"
WRONG = b"-ERR [AUTH] the user name or the password is wrong\r\n"
KEY = "default:ann"
ADMITTED = Admitted(Route("pop"), "m", "m")


class Site:
    """The orders of a worker, and logins of ann under them."""

    def __init__(self, *entries: OrderEntry) -> None:
        self.operator = OperatorState(entries)
        self.later: list[Any] = []
        self.orders = WorkerOrders(self.operator, self.later.append)

    def order(self, *entries: OrderEntry) -> None:
        self.operator.change(entries)
        self.orders.changed(entries)

    def session(self) -> PureSession:
        """Ann has said her password, and the modules are asked."""
        session = PureSession(rules(), orders=self.orders)
        session.begin()
        session.says(b"USER ann\r\nPASS secret\r\n")
        assert session.machine.phase is ASKING
        return session


def ended(session: PureSession) -> tuple[bytes, str]:
    assert session.machine.phase is ENDED
    return session.verbs.to_client[len(b"+OK ready\r\n") :], session.verbs.ending


def test_nothing_ordered_nothing_asked() -> None:
    """As if there were no orders at all."""
    site = Site()
    assert not site.orders.any
    session = site.session()
    session.decided(ADMITTED)
    assert session.machine.phase is CONNECTING


@pytest.mark.parametrize(
    "entry", [OrderEntry("backend drain", "pop", {"new": "refuse"}), OrderEntry("vserv drain", "v1", {})]
)
def test_a_drain_refuses_who_comes_in(entry: OrderEntry) -> None:
    """[SYS/TEMP], and the session ends; a wrong password is wrong, and the fallback obeys too."""
    site = Site(entry)
    session = site.session()
    session.decided(ADMITTED)
    assert session.verbs.to_client.endswith(LATER)
    assert ended(session)[1] == "drained"
    wrong = site.session()
    wrong.decided(RefusedLogin("m"))
    assert wrong.verbs.to_client.endswith(WRONG)
    site.order(OrderEntry(entry.sort, entry.id))
    assert not site.orders.any
    again = site.session()
    again.decided(ADMITTED)
    assert again.machine.phase is CONNECTING


def test_a_drain_concerns_nobody_else() -> None:
    """Users of other backends, at other virtual servers."""
    site = Site(OrderEntry("backend drain", "other", {"new": "refuse"}), OrderEntry("vserv drain", "other", {}))
    session = site.session()
    session.decided(ADMITTED)
    assert session.machine.phase is CONNECTING


def test_a_lock_counts_however_he_writes_his_name() -> None:
    """Where his module says as whom it has him; else JOE is another one than joe."""
    for account, refused in (("ann", True), ("", False)):
        session = PureSession(rules(), orders=Site(OrderEntry("user lock", KEY, {})).orders)
        session.begin()
        session.says(b"USER ANN\r\nPASS secret\r\n")
        session.decided(ADMITTED._replace(limits=UserLimits(account=account)))
        assert session.verbs.to_client.endswith(WRONG) is refused
        assert (session.machine.phase is CONNECTING) is not refused


def test_who_has_waited_as_long_as_may_be_is_not_released_again() -> None:
    """His time is over in the turn in which the hold ends: he has come in by then."""
    site = Site(OrderEntry("user hold", KEY, {"seconds": 5}))
    session = site.session()
    session.decided(ADMITTED)
    site.operator.change([OrderEntry("user hold", KEY)])
    assert session.machine.awaits_release()
    session.expired("step")
    assert session.machine.phase is CONNECTING
    assert not session.machine.awaits_release(), "the deadline is that of the connection"
    session.machine.released()
    assert session.machine.phase is CONNECTING


def test_who_is_held_back_for_a_wrong_password_waits_for_no_order() -> None:
    """It would be a way round the pause."""
    session = Site().session()
    session.decided(RefusedLogin("m", wait=3.0))
    assert session.machine.phase is HELD
    assert not session.machine.awaits_release()
    session.machine.released()
    assert session.machine.phase is HELD


def test_a_lock_that_has_ended_hides_no_other() -> None:
    """One of the name that he has written is over; that of his account is not."""
    ended_lock, lock = OrderEntry("user lock", "default:ANN", {"until": wall() - 1}), OrderEntry("user lock", KEY, {})
    orders = Site(ended_lock, lock).orders
    assert orders.verdict(AskedLogin("v1", "default", "ANN", "pop", "ann"))[0] == "locked"
    assert orders.verdict(AskedLogin("v1", "default", "ANN", "pop"))[0] == ""


@pytest.mark.parametrize("seconds", ["soon", -1, 1e300, float("nan"), None, [1]])
def test_a_hold_that_somebody_wrote_into_the_state_file_ends(seconds: object) -> None:
    """After the time that a hold has if nothing else was said."""
    session = Site(OrderEntry("user hold", KEY, {"seconds": seconds})).session()
    session.decided(ADMITTED)
    assert session.machine.phase is HELD
    assert session.verbs.seconds == 30.0


def test_a_session_is_found_however_he_writes_his_name() -> None:
    """A move or a lock of ann waits for what ANN has open, or ends it, where his module says that this is ann."""
    for account, names in (("ann", {"default:ANN", KEY}), ("ANN", {"default:ANN"}), ("", {"default:ANN"})):
        session = PureSession(rules())
        session.begin()
        session.says(b"USER ANN\r\nPASS secret\r\n")
        session.decided(ADMITTED._replace(limits=UserLimits(account=account)))
        marks = marks_of(session.machine, "v1")
        assert sorted(ident for sort, ident in marks if sort == "user") == sorted(names)


def test_the_limits_of_one_login_are_not_those_of_the_next() -> None:
    """Who comes in by the fallback is nobody whom a module knows: not him who was refused before on this connection."""
    site = Site(OrderEntry("user lock", "default:bob", {}))
    session = PureSession(rules(fallback="pop"), orders=site.orders)
    session.begin()
    session.says(b"USER bob\r\nPASS secret\r\n")
    session.decided(ADMITTED._replace(limits=UserLimits(account="bob")))
    assert session.machine.phase is GREETED
    session.says(b"USER eve\r\nPASS secret\r\n")
    session.decided(NobodyKnows())
    assert session.machine.phase is CONNECTING


@pytest.mark.parametrize(("target", "shown"), [("", "ann"), ("ann2", "ann2")])
def test_a_drain_can_show_an_empty_mailbox(target: str, shown: str) -> None:
    """`new fake`: no backend is connected to; log and table show where he would be."""
    session = Site(OrderEntry("backend drain", "pop", {"new": "fake"})).session()
    session.decided(Admitted(Route("pop", target=target), "m", "m"))
    assert session.machine.phase is SIMULATING
    assert session.verbs.backend is None
    assert (session.machine.backend_id, session.machine.target) == ("pop", shown)


def test_the_fallback_obeys_too() -> None:
    """Whom no module knows is led to the fallback: drained, too."""
    site = Site(OrderEntry("backend drain", "pop", {"new": "refuse"}))
    session = PureSession(rules(fallback="pop"), orders=site.orders)
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(NobodyKnows())
    assert ended(session)[1] == "drained"


def test_a_lock_is_a_wrong_password() -> None:
    """To the octet, however right it is; until its end."""
    site = Site(OrderEntry("user lock", KEY, {"until": wall() + 100}), OrderEntry("user hold", KEY, {}))
    locked, wrong = site.session(), Site().session()
    assert locked.decided(ADMITTED)[-1] == wrong.decided(RefusedLogin("m"))[-1]
    assert locked.machine.phase is GREETED
    site.order(OrderEntry("user hold", KEY), OrderEntry("user lock", KEY, {"until": wall() - 1}))
    session = site.session()
    session.decided(ADMITTED)
    assert session.machine.phase is CONNECTING


def held(site: Site) -> PureSession:
    session = site.session()
    done = session.decided(ADMITTED)
    assert session.machine.phase is HELD
    asking = AskedLogin(vserv="v1", namespace="default", user="ann", backend="pop")
    assert done[-1] == ("await_release", asking, 30.0)

    def go_on() -> None:
        session.released()

    site.orders.keep(7, asking, go_on=go_on)
    return session


def test_who_is_held_goes_on_when_he_is_released() -> None:
    """At once, by the change itself, and no sooner."""
    site = Site(OrderEntry("user hold", KEY, {"seconds": 30}))
    session = held(site)
    site.order(OrderEntry("backend drain", "other", {}))
    assert site.later == []
    site.order(OrderEntry("user hold", KEY))
    (go_on,) = site.later
    go_on()
    assert session.machine.phase is CONNECTING
    assert session.verbs.backend is not None
    assert session.verbs.backend.id == "pop"


def test_who_was_moved_meanwhile_goes_there() -> None:
    """Hold and route change in one: no login reaches the old place."""
    site = Site(OrderEntry("user hold", KEY, {}))
    session = held(site)
    site.order(OrderEntry("user route", KEY, {"to": "xpop"}), OrderEntry("user hold", KEY))
    site.later[0]()
    assert session.machine.backend_id == "xpop"


def test_who_is_not_released_is_told_to_come_again() -> None:
    """When he has waited as long as may be; and he may be locked meanwhile."""
    session = held(Site(OrderEntry("user hold", KEY, {})))
    session.verbs.waits = "hold"
    session.expired("step")
    assert session.verbs.to_client.endswith(LATER)
    assert ended(session)[1] == "held"
    site = Site(OrderEntry("user hold", KEY, {}))
    other = held(site)
    site.order(OrderEntry("user lock", KEY, {}))
    site.later[0]()
    assert other.verbs.to_client.endswith(WRONG)


def test_who_has_gone_is_not_called() -> None:
    """A session that ends while it is held is forgotten."""
    site = Site(OrderEntry("user hold", KEY, {}))
    held(site)
    site.orders.forget(7)
    site.order(OrderEntry("user hold", KEY))
    assert site.later == []


def test_a_move_takes_password_and_name_along_and_no_server() -> None:
    """What a module said of the old place says nothing of the new one."""
    site = Site(OrderEntry("user route", KEY, {"to": "pop"}))
    session = site.session()
    session.decided(Admitted(Route("other", "mailbox", Secret(b"x"), server=("192.0.2.9", 1110)), "m", "m"))
    assert session.verbs.backend is not None
    assert (session.verbs.backend.id, session.machine.target) == ("pop", "mailbox")
    assert session.verbs.backend.host.address != "192.0.2.9"


@pytest.mark.parametrize("value", [{"new": 7}, {"new": None}, {}])
def test_what_somebody_wrote_into_the_file(value: dict[str, Any]) -> None:
    """A drain whose words nobody knows refuses."""
    session = Site(OrderEntry("backend drain", "pop", value)).session()
    session.decided(ADMITTED)
    assert ended(session)[1] == "drained"


def test_who_is_on_his_way_in_is_no_idle_session() -> None:
    """A kick waits until he is in; nobody is cut between his password and the reply to it."""
    assert {cost_of(phase) for phase in (CHECKING, CONNECTING, LOGGING_IN)} == {CutCost.COMING_IN}
    assert (cost_of(SIMULATING), cost_of(GREETED)) == (CutCost.IDLE, CutCost.NOT_LOGGED_IN)


@pytest.mark.parametrize(("to", "ending"), [("twin", ""), ("gone", "no_backend")])
def test_whose_password_nobody_has_looked_at_is_moved_to_who_looks_at_it(to: str, ending: str) -> None:
    """There he shows it, as he would have at the other one; unless that is not configured any more."""
    site = Site(OrderEntry("user route", KEY, {"to": to}))
    session = PureSession(rules(blind=frozenset({"pop"})), orders=site.orders)
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(ADMITTED)
    assert (session.machine.backend_id, session.verbs.ending) == (to, ending)


@pytest.mark.parametrize("to", ["xpop", "master"])
@pytest.mark.parametrize("is_moved", [True, False])
def test_whose_password_nobody_has_looked_at_opens_no_mailbox_elsewhere(to: str, is_moved: bool) -> None:
    """The module `any` leads ann to a backend that asks for her password; moved, or while it is down, she is led to one
    that asks nobody. Whom a module has let in by his password goes there, as does who is led to such a one anyhow.
    """

    class Down(HealthKnowledge):
        def takes(self, _address: str) -> bool:
            return False

        def failed(self, address: str, reason: str, *, user: str) -> None: ...

        def answered(self, address: str) -> None: ...

        def came_to_nothing(self, address: str) -> None: ...

        def is_down(self) -> bool:
            return True

        def why_not(self) -> BackendFailure:
            return BackendFailure("it is down", "down")

    master: dict[str, Any] = {
        "id": "master",
        "login": "master",
        "masteruser": "m",
        "mastersecret": KeptSecret("/m", b"s"),
    }
    home = backend("pop").with_parameters({"backup": to})
    backends = {"pop": home, "xpop": backend("xpop"), "master": replace(backend("other"), **master)}
    site = Site(OrderEntry("user route", KEY, {"to": to})) if is_moved else Site()

    def led(admitted: Admitted, *blind: str) -> PureSession:
        session = PureSession(
            rules(backends=backends, blind=frozenset(blind)),
            orders=site.orders,
            health={} if is_moved else {"pop": Down()},
        )
        session.begin()
        session.says(b"USER ann\r\nPASS guessed\r\n")
        session.decided(admitted)
        return session

    refused = led(ADMITTED, "pop")
    assert ended(refused)[1] == ("no_secret" if is_moved else "backend_failed")
    assert refused.machine.backend_id == (to if is_moved else "pop")
    assert led(ADMITTED).machine.phase is CONNECTING
    assert led(ADMITTED._replace(vouched=True), "pop").machine.phase is CONNECTING
    assert led(Admitted(Route(to), "m", "m"), "pop", to).machine.phase is CONNECTING
