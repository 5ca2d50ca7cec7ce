"""The flight recorder of a worker: whose sessions it keeps, and for how long."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from popular.pdm.contract import CHALLENGE, PASSWORD
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.tracing import trace_registry as registries
from popular.proxy.session.tracing import transcript
from popular.proxy.session.tracing.client_lines import lines_for
from popular.proxy.session.tracing.session_trace import SessionTrace
from popular.proxy.session.tracing.trace_filter import MOST_STRANGERS
from popular.proxy.settings.tracing import TRACE
from supervisor.operatorstate import OrderEntry
from tests.proxy.recording_worker import HOME, Worker, kept
from tests.proxy.session_double import SessionDouble
from tests.proxy.session_rules import rules


def text(*lines: str) -> Callable[[bytes], tuple[str, ...]]:
    return lambda _said: lines


def waiting(session_trace: SessionTrace) -> list[Any]:
    """What is kept, the last thing first."""
    one, found = session_trace._kept, []
    while one is not None:
        found.append((one.said, one.facts))
        one = one.before
    return found


def test_where_nobody_is_traced_nothing_is_kept(worker: Worker) -> None:
    """Neither before the first trace nor when the last one has ended."""
    assert not worker.registry.orders
    worker.orders(1, "vserv", "v1", until=1.0)
    assert worker.session() is None
    worker.orders(2, "vserv", "v2")
    worker.orders(3, "network", "198.51.100.0/24")
    assert worker.session() is None
    worker.change(*(OrderEntry(TRACE, ident) for ident in ("1", "2", "3")))
    assert not worker.registry.orders


def test_an_id_that_is_used_again_is_another_trace(worker: Worker) -> None:
    """A trace was stopped before anybody came whom it concerned: the next one has its number, and not its user."""
    worker.orders(1, "user", "joe")
    kept(worker).end("quit")
    worker.change(OrderEntry(TRACE, "1"))
    worker.orders(1, "user", "ann")
    session_trace = kept(worker)
    session_trace.login_wanted("ns", "joe")
    assert session_trace.matched == []
    session_trace.login_wanted("ns", "ann")
    assert len(session_trace.matched) == 1
    (trace,) = session_trace.matched
    worker.orders(2, "user", "eve")
    again = kept(worker)
    again.login_wanted("ns", "ann")
    assert again.matched == [trace], "it goes on"


def test_a_user_without_a_namespace_is_of_any(worker: Worker) -> None:
    """So a release has ordered it that knew no namespaces there; beside it there may be one that has."""
    worker.orders(1, "user", "joe")
    value = dict(worker.registry.orders["1"])
    del value["namespace"]
    worker.change(OrderEntry(TRACE, "2", value))
    for namespace, traces in (("ns", ["1", "2"]), ("other", ["2"])):
        session_trace = kept(worker)
        session_trace.login_wanted(namespace, "joe")
        assert [trace.ident for trace in session_trace.matched] == traces


def test_who_is_known_at_once(worker: Worker) -> None:
    """A virtual server, or a network: IPv4 in IPv6 is IPv4; behind a balancer only the PROXY header tells."""
    worker.orders(1, "network", "192.0.2.0/24")
    for address in (HOME, f"::ffff:{HOME}"):
        session_trace = worker.session("v1", address)
        assert session_trace is not None
        assert len(session_trace.matched) == 1
    assert worker.session("v1", "198.51.100.7") is None
    behind = worker.session("v1", None)
    assert behind is not None
    assert behind.matched == []
    behind.address_known(HOME)
    assert len(behind.matched) == 1
    assert worker.counted["sessions_recorded"] == 3


def test_a_user_of_the_same_name_elsewhere_is_another_one(worker: Worker) -> None:
    """A name is of a namespace: the other one's is in no trace of his, in the same session either."""
    worker.orders(1, "user", "joe")
    session_trace = kept(worker)
    for namespace in ("other", "ns", "other"):
        session_trace.client_line(b"USER joe")
        session_trace.login_wanted(namespace, "joe")
        session_trace.tell(f"of {namespace}")
    session_trace.end("quit")
    said = ["C>P USER joe", "C>P USER joe", "-- of ns", "C>P USER joe", "-- somebody else wants to log in"]
    assert worker.written(1) == said


def test_who_is_in_no_traced_network_is_looked_for_once(worker: Worker) -> None:
    """As long as the traces are the same ones; and not everybody who ever came is remembered."""
    stranger = "198.51.100.7"
    worker.orders(1, "network", "192.0.2.0/24")
    worker.orders(2, "network", "2001:db8:7::/48")
    for address in (stranger, "2001:db8:8::1"):
        assert worker.session("v1", address) is None
        assert worker.registry.in_force.is_elsewhere(address)
    assert worker.session("v1", "2001:db8:7:1::1") is not None
    assert not worker.registry.in_force.is_elsewhere(HOME)
    worker.orders(3, "network", "198.51.100.0/28")
    assert worker.session("v1", stranger) is not None
    for number in range(MOST_STRANGERS + 1):
        worker.registry.in_force.found_elsewhere(str(number))
    assert len(worker.registry.in_force.strangers) <= MOST_STRANGERS


def test_who_is_known_later(worker: Worker) -> None:
    """What he said before is there too, and in its order; it is made into lines only then."""
    worker.orders(1, "user", "joe")
    worker.orders(2, "backend", "b1")
    session_trace = kept(worker)
    session_trace.client_line(b"USER ann")
    session_trace.login_wanted("ns", "ann")
    session_trace.tell("asked for ann")
    session_trace.backend_chosen("b2")
    session_trace.tell("what ann does at b2")
    session_trace.client_line(b"USER joe")
    session_trace.login_wanted("ns", "joe")
    session_trace.backend_chosen("b2")
    session_trace.end("quit")
    assert worker.written(1) == ["C>P USER ann", "-- asked for ann", "C>P USER joe", "-- the end: quit"]
    assert worker.written(2) == []


def test_a_backend_that_is_known_late(worker: Worker) -> None:
    """Where the modules lead is not always where he goes: he was moved, or it was down."""
    worker.orders(1, "backend", "b1")
    session_trace = kept(worker)
    session_trace.client_line(b"USER ann")
    session_trace.login_wanted("ns", "ann")
    session_trace.backend_chosen("b2")
    session_trace.tell("b2 is down")
    session_trace.backend_chosen("b1")
    session_trace.tell("at b1")
    session_trace.end("quit")
    assert worker.written(1) == ["C>P USER ann", "-- at b1", "-- the end: quit"]


SECRET = b"canary-secret"


@pytest.mark.parametrize("of", ["user", "backend"])
def test_no_secret_is_kept_for_its_sake(worker: Worker, of: str) -> None:
    """Neither in what waits to be wanted, nor while it waits to be written: whatever a client says, and where."""
    worker.orders(1, of, "joe")
    for user in ("ann", "joe"):
        session_trace = kept(worker)
        for line in (b"USER ann", b"pass " + SECRET, b"AUTH PLAIN " + SECRET, b"APOP joe " + SECRET, SECRET):
            session_trace.client_line(line)
        session_trace.keep_now("C>P", partial(transcript.response, mechanism="PLAIN"), SECRET)
        session_trace.login_wanted("ns", user)
        session_trace.backend_chosen(user)
        session_trace.keep_now("P>B", transcript.to_backend, b"PASS " + SECRET + b"\r\n")
        session_trace.keep_now("B>P", transcript.from_told_backend, b"-ERR " + SECRET + b"\r\n")
        session_trace.tell("more")
        assert SECRET not in repr((waiting(session_trace), session_trace._text)).encode()
        session_trace.end("quit")
    assert SECRET.decode() not in "".join(worker.written(1))
    assert "C>P PASS ****" in worker.written(1)


def test_others_hear_nothing_behind_the_name(worker: Worker) -> None:
    """From the question on whose login it is, nothing is kept of somebody else's; his next lines are, until then."""
    worker.orders(1, "user", "joe")
    session_trace = kept(worker)
    for _ in range(2):
        session_trace.client_line(b"USER ann")
        session_trace.keep("P>C", transcript.ours, b"+OK\r\n")
        session_trace.login_wanted("ns", "ann")
        before = len(waiting(session_trace))
        assert before, "the name may be his in the end"
        session_trace.keep_now("P>B", transcript.to_backend, b"USER ann\r\n")
        session_trace.tell("asking")
        assert len(waiting(session_trace)) == before
    session_trace.settle_ownership()
    session_trace.client_line(b"STAT")
    assert session_trace._kept is None
    assert session_trace.quiet


@pytest.mark.parametrize(("backend_too", "of_others"), [(False, 1), (True, 3)])
def test_of_others_not_even_the_rest_of_their_login_is_kept(worker: Worker, backend_too: bool, of_others: int) -> None:
    """From the name on, which is all that a trace by user needs; with the next name it hears again. Where a backend is
    traced too, nobody knows before the modules do.
    """
    worker.orders(1, "user", "joe")
    if backend_too:
        worker.orders(2, "backend", "b1")
    session_trace = kept(worker)
    for user in ("ann", "joe"):
        session_trace.client_line(b"USER " + user.encode())
        session_trace.user_named(user)
        session_trace.keep("P>C", transcript.ours, b"+OK send PASS\r\n")
        session_trace.client_line(b"pass " + SECRET)
        if not session_trace.quiet:
            session_trace.login_wanted("ns", user)
    session_trace.end("quit")
    login = ["C>P USER %s", "P>C +OK send PASS", "C>P PASS ****"]
    said = [line.replace("%s", "ann") for line in login[:of_others]] + [line.replace("%s", "joe") for line in login]
    assert worker.written(1) == [*said, "-- the end: quit"]


@pytest.mark.parametrize("backend_too", [False, True])
def test_behind_whom_it_concerns_another_may_log_in(worker: Worker, backend_too: bool) -> None:
    """In the same session, whose first login came to nothing: of his there is no more than his name, but in the trace
    of what concerns them both.
    """
    worker.orders(1, "user", "joe")
    worker.orders(2, "network", f"{HOME}/32")
    if backend_too:
        worker.orders(3, "backend", "b1")
    session_trace = kept(worker)
    for user, backend in (("joe", "b1"), ("joe", "b1"), ("ann", "b2")):
        session_trace.client_line(b"USER " + user.encode())
        session_trace.user_named(user)
        session_trace.login_wanted("ns", user)
        session_trace.backend_chosen(backend)
        session_trace.tell(f"what {user} does")
    session_trace.end("quit")
    of_joe = ["C>P USER joe", "-- what joe does"] * 2
    left = [*of_joe, "C>P USER ann", "-- somebody else wants to log in"]
    assert worker.written(1) == left
    assert worker.written(2) == [*left, "-- what ann does", "-- the end: quit"]
    assert worker.written(3) == (left if backend_too else [])


def test_behind_a_balancer_others_are_done_with_by_their_address(worker: Worker) -> None:
    """Only the PROXY header tells who it is; where nobody is traced by his name, that is all there is to know."""
    worker.orders(1, "network", "192.0.2.0/24")
    behind = worker.session("v1", None)
    assert behind is not None
    behind.address_known("198.51.100.1")
    behind.client_line(b"USER ann")
    assert (behind._kept, behind.quiet) == (None, True)
    worker.orders(2, "user", "ann")
    behind = worker.session("v1", None)
    assert behind is not None
    behind.address_known("198.51.100.1")
    behind.client_line(b"USER ann")
    assert behind._kept is not None


def test_what_concerns_nobody_is_dropped_with_the_login(worker: Worker) -> None:
    """Nothing that was said stays in memory as long as the session lasts."""
    worker.orders(1, "user", "joe")
    session_trace = kept(worker)

    def never(_said: bytes) -> tuple[str, ...]:
        raise AssertionError("lines of somebody whom nobody traces")

    session_trace.keep("C>P", never, b"USER ann")
    session_trace.login_wanted("ns", "ann")
    session_trace.settle_ownership()
    assert session_trace._kept is None
    session_trace.keep("C>P", never, b"USER ann")
    assert session_trace._kept is None
    assert session_trace.quiet
    assert not session_trace.begin_relay()
    session_trace.end("quit")
    assert worker.written(1) == []


def test_what_is_kept_is_bounded(worker: Worker) -> None:
    """Four KiB of one who does not say who he is; then it is said how much is not there."""
    worker.orders(1, "user", "joe")
    session_trace = kept(worker)
    for number in range(1000):
        session_trace.keep("C>P", text(f"NOOP {number}"), b"x" * 100)
    session_trace.login_wanted("ns", "joe")
    session_trace.end("quit")
    lines = worker.written(1)
    assert lines[0] == "C>P NOOP 0"
    assert lines[-2:] == [f"-- {1000 - len(lines) + 2} more before this: too much to be kept", "-- the end: quit"]
    assert len(lines) < 45


def test_what_happened_is_one_line(worker: Worker) -> None:
    """A backend's words may be in it: they neither end the line nor reach the terminal of who reads it."""
    worker.orders(1, "vserv", "v1")
    session_trace = kept(worker)
    session_trace.tell("it offers no STLS: -ERR \r\x1b[2J\x9b\N{LINE SEPARATOR}\np01.1.2 +0.1 -- logged in")
    session_trace.end("quit")
    said = "it offers no STLS: -ERR \\x0d\\x1b[2J\\x9b\\x2028\\x0ap01.1.2 +0.1 -- logged in"
    assert worker.written(1) == [f"-- {said}", "-- the end: quit"]


def test_two_traces_of_one_session(worker: Worker) -> None:
    """Each has all of it, from its beginning: also who it turns out to concern when another has had that already."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe")
    session_trace = kept(worker)
    session_trace.tell("first")
    session_trace.login_wanted("ns", "joe")
    session_trace.tell("second")
    session_trace.end("quit")
    assert worker.written(1) == ["-- first", "-- second", "-- the end: quit"]
    assert worker.written(2) == worker.written(1)
    assert worker.counted["sessions_recorded"] == 1


def test_a_beginning_that_another_trace_has_had_is_bounded(worker: Worker) -> None:
    """Four KiB, as where nobody has had it, and how much is not there; none after the login."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe")
    session_trace = kept(worker)
    for number in range(1000):
        session_trace.keep("C>P", text(f"NOOP {number}"), b"x" * 100)
    session_trace.login_wanted("ns", "joe")
    session_trace.settle_ownership()
    session_trace.end("quit")
    lines = worker.written(2)
    assert lines[0] == "C>P NOOP 0"
    assert lines[-2:] == [f"-- {1000 - len(lines) + 2} more before this: too much to be kept", "-- the end: quit"]
    assert 50 < len(lines) < 200
    assert len(worker.written(1)) == 1001
    assert session_trace._beginning is None


def test_the_beginning_holds_nothing_of_the_login_of_another(worker: Worker) -> None:
    """In the trace of who logs in at last, of the other who failed there are the words of the client and ours."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe")
    worker.orders(3, "user", "ann")
    session_trace = kept(worker)
    session_trace.begin("p01.1.2", (HOME, 1234), "v1")
    for user in ("ann", "joe"):
        session_trace.client_line(b"USER " + user.encode())
        session_trace.login_wanted("ns", user)
        session_trace.tell(f"asked for {user}")
        session_trace.keep_now("B>P", transcript.from_backend, b"+OK " + user.encode() + b"\r\n")
    session_trace.end("quit")
    first, *lines = worker.written(2)
    assert first.startswith(f"-- session of {HOME}")
    assert lines == ["C>P USER ann", "C>P USER joe", "-- asked for joe", "B>P +OK joe", "-- the end: quit"]
    assert worker.written(3)[1:4] == ["C>P USER ann", "-- asked for ann", "B>P +OK ann"]


def test_what_is_stopped_hears_no_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said before is there, also if the session goes on; and so when the time is over."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe", until=2e9)
    monkeypatch.setattr(registries, "wall", lambda: 1e9)
    session_trace = kept(worker)
    session_trace.login_wanted("ns", "joe")
    session_trace.tell("first")
    worker.change(OrderEntry(TRACE, "1"))
    session_trace.tell("second")
    monkeypatch.setattr(registries, "wall", lambda: 2e9)
    session_trace.tell("third")
    assert session_trace.begin_relay() is False
    session_trace.tell("fourth")
    session_trace.end("quit")
    assert worker.written(1) == ["-- first"]
    assert worker.written(2) == ["-- first", "-- second"]


@pytest.mark.parametrize(
    "bad",
    [{"of": "sid"}, {"of": "network"}, {"until": "soon"}, {"most": None}, {"file": 7}, {"name": None}, {"until": True}],
)
def test_an_order_that_is_none_is_passed_over(worker: Worker, bad: dict[str, Any]) -> None:
    """People can write into the file of orders whatever they like."""
    worker.orders(1, **{"of": "vserv", "name": "v1", **bad})
    assert worker.session() is None
    worker.orders(2, "vserv", "v1")
    assert worker.session() is not None


def test_of_a_password_not_even_its_size(worker: Worker) -> None:
    """Where the response to a challenge is one; of others the size is told."""
    worker.orders(1, "vserv", "v1")
    session_trace = kept(worker)
    offering = rules(takes=frozenset({PASSWORD, CHALLENGE}), mechanisms=("login", "plain", "cram-md5"))
    around = Surroundings(offering, {})
    machine = Machine(SessionDouble("p01.1.2"), around, ("192.0.2.1", 4711))
    machine.lines = lines_for(machine, session_trace)
    machine.begin()
    for said in (b"AUTH PLAIN\r\nAGpvZQ==\r\n", b"AUTH LOGIN\r\nam9l\r\n*\r\n", b"AUTH CRAM-MD5\r\nam9l\r\n"):
        machine.client_says(said)
    session_trace.end("quit")
    assert worker.written(1)[:-1] == [
        "C>P AUTH PLAIN",
        "C>P ****",
        "C>P AUTH LOGIN",
        "C>P ****",
        "C>P *",
        "C>P AUTH CRAM-MD5",
        "C>P **** (4 octets)",
    ]
