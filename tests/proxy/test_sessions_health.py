"""What a session makes of how well its backend is, and what the breaker hears of the session."""

from binascii import b2a_base64
from dataclasses import replace
from typing import Any

import pytest

from popular.pdm.contract import Route, UserLimits
from popular.pdm.decision import Admitted
from popular.protocol.mailcheck import Mail
from popular.proxy.session.backend.contracts import AS_PROBE, NOT_NOW, WELCOME, BackendFailure, HealthKnowledge
from popular.proxy.session.limits.login_orders import WorkerOrders
from popular.proxy.session.machine.failed_logins import NO_ANSWER, NO_CONNECTION, NO_TIME
from popular.proxy.session.machine.phases import CONNECTING, ENDED, GREETED
from supervisor.operatorstate import OperatorState, OrderEntry
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import backend, rules

LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later\r\n"


class Ill(HealthKnowledge):
    """What is known of a backend that is down; and what it was told."""

    def __init__(self, *, down: bool, probes: bool = False) -> None:
        self._down = down
        self._takes = AS_PROBE if probes else WELCOME
        self.told: list[tuple[str, str]] = []

    def takes(self, address: str) -> int:
        return self._takes if address == "192.0.2.1" and not self._down else NOT_NOW

    def failed(self, address: str, reason: str, *, user: str) -> None:
        self.told.append((address, f"{user}: {reason}" if user else reason))

    def answered(self, address: str) -> None:
        self.told.append((address, "refused a user"))

    def came_to_nothing(self, address: str) -> None:
        self.told.append((address, "nothing"))

    def is_down(self) -> bool:
        return self._down

    def why_not(self) -> BackendFailure:
        return BackendFailure("it is down since noon (no answer)", "down")


def led(known: Ill, route: Route, **other: Any) -> tuple[PureSession, list[tuple[Any, ...]]]:
    """A session whose user has his mail at one of the tests' backends."""
    session = PureSession(rules(**other), health={"pop": known, "cxpop": known})
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    return session, session.decided(Admitted(route, "m", "m"))


@pytest.mark.parametrize("name", ["pop", "cxpop"])
def test_the_users_of_one_that_is_down_are_told_at_once(name: str) -> None:
    """Nobody is asked or connected to; it is logged and counted, and the breaker does not count it again."""
    known = Ill(down=True)
    _, done = led(known, Route(name))
    assert [verb[0] for verb in done] == ["note", "count", "count", "send", "finish"]
    assert done[0][2]["reason"] == "it is down since noon (no answer)"
    assert done[1] == ("count", "backend_failures", "down", name)
    assert done[3] == ("send", LATER)
    assert known.told == []


def test_with_softfail_they_see_an_empty_mailbox() -> None:
    """As with any other failure of a backend."""
    session, _ = led(Ill(down=True), Route("pop"), softfail=True)
    assert session.verbs.to_client.endswith(b"+OK 0 messages (0 octets)\r\n")


def test_the_breaker_hears_of_failures_of_the_backend_itself_only() -> None:
    """Not of too many who wait, nor of a server that a route names: that is another one."""
    known = Ill(down=False)
    led(known, Route("pop"))[0].backend_failed("no answer in time", "timeout")
    led(known, Route("pop"))[0].backend_failed("too many", "maxwaiting")
    assert known.told == [("192.0.2.1", "no answer in time")]
    ill = Ill(down=True)
    led(ill, Route("pop", server=("127.0.0.9", 110)))[0].backend_failed("no answer in time", "timeout")
    assert ill.told == []


@pytest.mark.parametrize(("missing", "heard"), [(NO_ANSWER, 1), (NO_CONNECTION, 1), (NO_TIME, 0)])
def test_the_end_of_authtimeout_is_a_failure_of_the_backend(missing: str, heard: int) -> None:
    """Where the client has left it next to no time it is logged and counted, but closes nothing for others."""
    known = Ill(down=False)
    session, _ = led(known, Route("pop"))
    done = session.expired("auth", missing)
    assert ("count", "backend_failures", "timeout", "pop") in done
    assert done[-2:] == [("send", LATER), ("finish", "backend_failed")]
    assert [told for _, told in known.told] == [missing] * heard


def test_what_becomes_of_a_login_elsewhere_is_not_held_against_who_has_referred_it() -> None:
    """He has answered; the failure is that of the other one."""
    known = Ill(down=False)
    session, _ = led(known, Route("pop"))
    session.backend_says(b"+OK ready\r\n")
    session.backend_says(b"-ERR [REFERRAL/ann@127.0.0.2:1111] moved\r\n")
    session.backend_failed("no answer in time", "timeout")
    assert known.told == [("192.0.2.1", "refused a user")]
    assert session.verbs.to_client.endswith(LATER)


@pytest.mark.parametrize(("name", "password", "heard"), [(248, 248, 1), (249, 1, 0), (1, 249, 0)])
def test_what_a_client_may_provoke_is_not_counted(name: int, password: int, heard: int) -> None:
    """By AUTH it can show what makes a longer command than there may be, and backends break off at one."""
    known = Ill(down=False)
    session = PureSession(rules(), health={"pop": known})
    session.begin()
    session.says(b"AUTH PLAIN\r\n")
    session.says(b2a_base64(b"\0" + b"a" * name + b"\0" + b"x" * password, newline=False) + b"\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    session.backend_says(b"+OK\r\n")
    session.backend_failed("it closed the connection", "closed")
    assert len(known.told) == heard


def test_a_backup_that_is_drained_takes_nobody_new() -> None:
    """The operator has sent them away from there; the drain of another one changes nothing."""
    for drained, phase in (("other", ENDED), ("pop", CONNECTING)):
        orders = WorkerOrders(OperatorState([OrderEntry("backend drain", drained, {"new": "refuse"})]), lambda _: None)
        session = PureSession(rules(), orders=orders, health={"twin": Ill(down=True)})
        session.begin()
        session.says(b"USER ann\r\nPASS secret\r\n")
        session.decided(Admitted(Route("twin"), "m", "m"))
        assert session.machine.phase is phase
        assert session.verbs.to_client.endswith(LATER) is (phase is ENDED)


@pytest.mark.parametrize("name", ["pop", "cxpop"])
def test_the_breaker_hears_of_whom_a_failure_is(name: str) -> None:
    """Once the backend was told whose mailbox is wanted; before that it is anybody's."""
    known = Ill(down=False)
    session, _ = led(known, Route(name, target="ann2"))
    if name == "cxpop":
        session.checked(Mail.NEW)
    session.backend_failed("no connection in time", "timeout")
    session, _ = led(known, Route(name, target="ann2"))
    if name == "cxpop":
        session.checked(Mail.NEW)
        session.connected()
    else:
        session.backend_says(b"+OK\r\n")
    session.backend_says(b"-ERR [SYS/TEMP] not now\r\n" if name == "cxpop" else b"+OK\r\n")
    if name == "pop":
        session.backend_says(b"-ERR [SYS/TEMP] not now\r\n")
    assert [reason for _, reason in known.told] == ["no connection in time", "ann2: -ERR [SYS/TEMP] not now"]


def test_a_greeting_that_is_none_is_nobodys() -> None:
    """The backend turns everybody away, and has not heard yet who this is."""
    known = Ill(down=False)
    led(known, Route("pop"))[0].backend_says(b"-ERR [SYS/TEMP] busy\r\n")
    assert known.told == [("192.0.2.1", "-ERR [SYS/TEMP] busy")]


@pytest.mark.parametrize("said", [b"-ERR [AUTH] no", b"-ERR no", b"-ERR [IN-USE] wait"])
def test_a_backend_that_refuses_a_user_is_there(said: bytes) -> None:
    """Whatever he has done wrong; where the fault is the backend's own, it has failed."""
    known = Ill(down=False)
    session, _ = led(known, Route("pop"))
    session.backend_says(b"+OK\r\n")
    session.backend_says(b"+OK\r\n")
    session.backend_says(said + b"\r\n")
    assert known.told == [("192.0.2.1", "refused a user")]


def test_of_a_probe_is_heard_when_the_session_is_over_at_the_latest() -> None:
    """Its client hangs up while the backend is connected to, or has no mail box there; when he logs in again that is
    another one. A login that is no probe is told of nobody.
    """
    for probes in (True, False):
        known = Ill(down=False, probes=probes)
        session, _ = led(known, Route("pop"))
        session.machine.over()
        session.machine.over()
        assert known.told == [("192.0.2.1", "nothing")] * probes
    known = Ill(down=False, probes=True)
    session, _ = led(known, Route("pop", target="a\0"))
    assert session.machine.phase is GREETED
    assert known.told == []
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    assert known.told == [("192.0.2.1", "nothing")]
    session.backend_failed("no answer in time", "timeout")
    session.machine.over()
    assert known.told[1:] == [("192.0.2.1", "no answer in time"), ("192.0.2.1", "nothing")]


def test_the_probe_of_a_login_before_is_taken_back_first() -> None:
    """Both are of one network: else the new one would be taken back, and whatever it meets would count for nothing."""

    class Asked(Ill):
        def takes(self, address: str) -> int:
            self.told.append((address, "asked"))
            return super().takes(address)

    known = Asked(down=False, probes=True)
    session, _ = led(known, Route("pop", target="a\0"))
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    assert [what for _, what in known.told] == ["asked", "nothing", "asked"]


def test_who_refers_a_user_elsewhere_is_there() -> None:
    """Where all users are referred, nobody would ever be let in."""
    known = Ill(down=False, probes=True)
    session, _ = led(known, Route("pop"))
    session.backend_says(b"+OK\r\n")
    session.backend_says(b"-ERR [REFERRAL/ann@127.0.0.2:1111] there\r\n")
    assert session.machine.backend_id == "other"
    assert known.told == [("192.0.2.1", "refused a user")]


@pytest.mark.parametrize("where", ["10.9.9.9:110", "127.0.0.1:1110"])
def test_so_is_who_refers_him_where_we_do_not_go(where: str) -> None:
    """The user is not served, and that is told and counted; of all others it says nothing."""
    known = Ill(down=False, probes=True)
    session, _ = led(known, Route("pop"))
    session.backend_says(b"+OK\r\n")
    session.backend_says(b"+OK\r\n")
    done = session.backend_says(b"-ERR [REFERRAL/ann@%b] there\r\n" % where.encode())
    assert [verb[:2] for verb in done[:2]] == [("note", "backend_failed"), ("count", "backend_failures")]
    assert session.verbs.to_client.endswith(LATER)
    assert known.told == [("192.0.2.1", "refused a user")]


def test_they_go_to_its_backup_if_there_is_one() -> None:
    """Once, and only to one that is online and not down itself; the route says the rest, as it did."""

    def led_to(name: str, **known: Ill) -> tuple[PureSession, list[tuple[Any, ...]]]:
        session = PureSession(rules(), health=known)
        session.begin()
        session.says(b"USER ann\r\nPASS secret\r\n")
        return session, session.decided(Admitted(Route(name, target="ann2"), "m", "m"))

    session, done = led_to("twin", twin=Ill(down=True))
    assert done[0][1:] == ("backup_used", {"user": "ann", "backend": "twin", "backup": "other"})
    assert done[1] == ("connect", "other", True)
    assert (session.machine.backend_id, session.machine.target) == ("other", "ann2")

    _, done = led_to("twin", twin=Ill(down=True), other=Ill(down=True))
    assert ("send", LATER) in done
    assert ("count", "backend_failures", "down", "other") in done
    _, done = led_to("lonely", lonely=Ill(down=True))
    assert ("send", LATER) in done
    _, done = led_to("twin", twin=Ill(down=False))
    assert done[0] == ("connect", "twin", True)


def test_a_backups_own_backup_takes_nobody_from_it() -> None:
    """Two that are each other's would send him round and round."""
    other, ill = replace(backend("other"), backup="pop"), dict.fromkeys(("twin", "other"), Ill(down=True))
    session = PureSession(rules(backends={**rules().backends, "other": other}), health=ill)
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    done = session.decided(Admitted(Route("twin"), "m", "m"))
    assert [verb[2]["backup"] for verb in done if verb[1] == "backup_used"] == ["other"]
    assert done[-2:] == [("send", LATER), ("finish", "backend_failed")]


@pytest.mark.parametrize(("account", "name"), [("", "ann"), ("ann.b", "ann.b")])
def test_whom_a_failure_turns_away_is_noted(account: str, name: str) -> None:
    """As his module spells him, so that he is one however he writes himself."""
    noted: list[tuple[str, str]] = []
    session = PureSession(rules())
    session.machine._around.backend_runtimes["pop"].note_affected = lambda *whom: noted.append(whom)
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m", limits=UserLimits(account=account)))
    session.backend_failed("no answer in time", "timeout")
    assert noted == [("default", name)]
