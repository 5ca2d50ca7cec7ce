"""Empty polls, absorbed: which logins are answered without their backend, and which never."""

import mmap
import os
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.pdm.contract import Route, Secret
from popular.pdm.decision import Admitted
from popular.proxy.session.shared.absorber import Absorber, PollWatch
from popular.proxy.session.who import Poll, Who
from supervisor.system import Clock
from supervisor.table.remembered import Geometry, Remembered
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import backend, rules

JOE = Who("192.0.2.1", "default", "joe")
ABSORBING = replace(backend("pop"), absorb=60)
RULES = rules(backends={"pop": ABSORBING, "other": backend("other")})


class Worker:
    """What an absorber needs of a worker: memory that others have too, and a clock."""

    def __init__(self) -> None:
        self.locks = os.memfd_create("locks")
        self.geometry = Geometry.of(30)
        self.memory = memoryview(mmap.mmap(-1, self.geometry.size))
        self.clock = Clock()
        self.clock.now = 1000.0

    def open_remembered(self) -> Remembered:
        return Remembered(self.memory, self.geometry, locks=self.locks, key=b"k")

    def absorber(self, vserv: str = "v1", generation: int = 1) -> Absorber:
        context: Any = self
        return Absorber(context, vserv, generation)

    def poll(self, who: Who = JOE, password: bytes = b"secret", **other: Any) -> Poll:
        target, at = other.pop("target", who.user), other.pop("at", ABSORBING)
        return self.absorber(**other).poll_of(who, Secret(password), at, target=target)

    def absorbs(self, *given: Any, **other: Any) -> bool:
        return self.absorber().is_empty(self.poll(*given, **other))

    def session(self) -> PureSession:
        made = PureSession(RULES, polls=self.absorber())
        made.begin()
        return made


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    os.close(made.locks)


def test_for_so_long_and_no_longer(worker: Worker) -> None:
    """Counted from the login that found no mail, not from the last poll: mail is never later than that."""
    worker.absorber().found(worker.poll(), empty=True)
    for worker.clock.now in (1000.0, 1030.0, 1059.9):
        assert worker.absorbs()
    worker.clock.now = 1060.0
    assert not worker.absorbs()


@pytest.mark.parametrize(
    "other",
    [
        {"password": b"Secret"},
        {"password": b""},
        {"who": JOE._replace(user="ann"), "target": "joe"},
        {"who": JOE._replace(namespace="other")},
        {"vserv": "v2"},
        {"target": "joe2"},
        {"at": replace(ABSORBING, id="pop2")},
        {"at": replace(ABSORBING, port=1112)},
        {"at": replace(ABSORBING, host=backend("other").host)},
        {"generation": 2},
    ],
)
def test_another_login_is_another_one(worker: Worker, other: dict[str, Any]) -> None:
    """Another password, user, server or mailbox, and any configuration behind it, says nothing of this one."""
    worker.absorber().found(worker.poll(), empty=True)
    assert worker.absorbs()
    assert not worker.absorbs(**other)
    assert worker.absorbs(JOE._replace(address="198.51.100.1")), "from anywhere"


@pytest.mark.parametrize(("response", "polls"), [(b"\0joe\0secret", True), (b"joe\0boss\0secret", False)])
def test_it_is_for_the_users_own_password(worker: Worker, response: bytes, polls: bool) -> None:
    """By AUTH as by PASS; not for somebody's who acts for him."""
    session = worker.session()
    session.says(b"AUTH PLAIN " + b64encode(response) + b"\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    assert (session.machine.poll is not None) is polls


def test_a_virtual_server_that_remembers_no_polls_asks_the_backend() -> None:
    """Each time."""
    session = PureSession(RULES)
    session.begin()
    session.says(b"USER joe\r\nPASS secret\r\n")
    assert session.decided(Admitted(Route("pop"), "m", "m"))[-1] == ("connect", "pop", True)


def test_nobody_sees_mail_and_then_none(worker: Worker) -> None:
    """Whoever of the user's logins has seen mail: polls of before count no more, those of later do."""
    desk, phone = worker.poll(), worker.poll(vserv="v2")
    worker.clock.now = 1001.0
    worker.absorber().found(phone, empty=False)
    worker.absorber().found(desk, empty=True)
    assert not worker.absorbs()
    worker.clock.now = 1002.0
    worker.absorber().found(worker.poll(), empty=True)
    assert worker.absorbs()


def test_it_has_an_end(worker: Worker) -> None:
    """However many users poll: the memory is bounded, and the last ones are known."""
    for number in range(5000):
        worker.absorber().found(worker.poll(JOE._replace(user=f"u{number}")), empty=True)
    known = [number for number in range(5000) if worker.absorbs(JOE._replace(user=f"u{number}"))]
    assert 500 < len(known) <= worker.geometry.buckets * 16


@pytest.mark.parametrize(
    ("client", "server", "verdict"),
    [
        (b"STAT\r\n", b"+OK 0 0\r\n", True),
        (b"stat\r\n", b"+OK 0 0 octets\r\n", True),
        (b"LIST\r\n", b"+OK none\r\n.\r\n", True),
        (b"CAPA\r\nUIDL\r\n", b"+OK\r\nTOP\r\n.\r\n+OK\r\n.\r\n", True),
        (b"NOOP\r\nSTAT\r\n", b"+OK\r\n+OK 0 0\r\n", True),
        (b"STAT\r\n", b"+OK 1 120\r\n", False),
        (b"STAT\r\n", b"+OK\r\n", False),
        (b"STAT\r\n", b"+OK 00 0\r\n", False),
        (b"LIST\r\n", b"+OK\r\n1 120\r\n.\r\n", False),
        (b"LIST 1\r\n", b"+OK 1 120\r\n", False),
        (b"UIDL 1\r\n", b"+OK 1 x\r\n", False),
        (b"DELE 1\r\n", b"+OK\r\n", False),
        (b"RETR 1\r\n", b"+OK\r\nFrom: a\r\n", False),
        (b"TOP 1 0\r\n", b"+OK\r\n", False),
        (b"LIST 1\r\nSTAT\r\n", b"-ERR none\r\n+OK 0 0\r\n", True),
        (b"RETR 1\r\n", b"-ERR none\r\n", None),
        (b"NOOP\r\nQUIT\r\n", b"+OK\r\n+OK 0 0\r\n", None),
        (b"LIST\r\n", b"+OK\r\n", None),
        (b"STAT\r\n", b"-ERR locked\r\n", None),
        (b"XTND\r\n", b"+OK\r\n1 120\r\n", False),
    ],
)
def test_what_a_session_tells(worker: Worker, client: bytes, server: bytes, verdict: bool | None) -> None:
    """Only what the backend said plainly counts as empty; what nobody understands, as mail."""
    poll = worker.poll()
    before = worker.poll(vserv="v2")
    worker.absorber("v2").found(before, empty=True)
    worker.clock.now += 1.0
    watch = PollWatch(worker.absorber(), poll)
    watch.backend_says(b"+OK logged in\r\n")
    watch.client_says(client)
    for octet in server:
        if not watch.done:
            watch.backend_says(bytes([octet]))
    assert watch.done is (verdict is not None)
    assert worker.absorbs() is (verdict is True)
    assert worker.absorbs(vserv="v2") is (verdict is not False)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_nonsense_is_never_an_empty_mailbox(client: bytes, server: bytes) -> None:
    """Whatever both say: empty is only what STAT, LIST or UIDL got as an answer that says so."""
    worker = Worker()
    watch = PollWatch(worker.absorber(), worker.poll())
    watch.client_says(client)
    watch.backend_says(b"+OK\r\n" + server)
    assert not worker.absorbs() or b"+OK" in server
    os.close(worker.locks)


# In a session


def log_in(session: PureSession, password: bytes = b"secret", **more: Any) -> list[tuple[Any, ...]]:
    session.says(b"USER joe\r\nPASS %s\r\n" % password)
    return session.decided(Admitted(Route("pop", **more.pop("route", {})), "m", "m", **more))


def test_a_login_is_answered_without_its_backend(worker: Worker) -> None:
    """The modules are asked as always; then an empty mailbox is shown, counted, and named in the log."""
    first = worker.session()
    assert ("connect", "pop", True) in log_in(first)
    poll = first.machine.poll
    assert poll is not None
    worker.absorber().found(poll, empty=True)
    again = worker.session()
    assert ("count", "absorbed", None, "pop") in log_in(again)
    assert again.verbs.to_client.endswith(b"+OK 0 messages (0 octets)\r\n")
    again.says(b"STAT\r\nUIDL\r\nQUIT\r\n")
    again.goes_on()
    assert again.verbs.ending == "absorbed"


@pytest.mark.parametrize(
    "login",
    [
        {"password": b"wrong"},
        {"route": {"target": "ann"}},
        {"route": {"server": ("127.0.0.3", 110)}},
        {"vouched": True, "route": {"secret": Secret(b"master")}},
    ],
)
def test_all_others_go_to_the_backend(worker: Worker, login: dict[str, Any]) -> None:
    """Also whoever looks after a user's mail by a master password."""
    first = worker.session()
    log_in(first)
    assert first.machine.poll is not None
    worker.absorber().found(first.machine.poll, empty=True)
    assert ("connect", "pop", True) in log_in(worker.session(), **login)


def test_another_backend_within_a_session_is_not_this_one(worker: Worker) -> None:
    """A login that failed leaves nothing by which the next one could be taken for it."""
    session = worker.session()
    log_in(session)
    session.backend_says(b"+OK\r\n")
    session.backend_says(b"+OK\r\n")
    session.backend_says(b"-ERR [AUTH] no\r\n")
    session.says(b"USER joe\r\nPASS second\r\n")
    session.decided(Admitted(Route("other"), "m", "m"))
    assert session.machine.poll is None


def test_where_nothing_is_absorbed_nothing_is_remembered(worker: Worker) -> None:
    """It costs such a login nothing."""
    session = PureSession(rules(), polls=worker.absorber())
    session.begin()
    log_in(session)
    assert session.machine.poll is None
