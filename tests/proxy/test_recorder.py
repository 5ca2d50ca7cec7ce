"""The flight recorder of a worker: whose sessions it keeps, and for how long."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from popular.pdm.contract import CHALLENGE, PASSWORD
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.tracing import recorder as recorders
from popular.proxy.session.tracing import transcript
from popular.proxy.session.tracing.inforce import MOST_STRANGERS
from popular.proxy.session.tracing.recorded_lines import lines_for
from popular.proxy.session.tracing.recording import Recording
from popular.proxy.settings.tracing import TRACE
from supervisor.operatorstate import OrderEntry
from tests.proxy.recording_worker import HOME, Worker, kept
from tests.proxy.session_double import SessionDouble
from tests.proxy.session_rules import rules


def text(*lines: str) -> Callable[[bytes], tuple[str, ...]]:
    return lambda _said: lines


def waiting(recording: Recording) -> list[Any]:
    """What is kept, the last thing first."""
    one, found = recording._kept, []
    while one is not None:
        found.append((one.said, one.facts))
        one = one.before
    return found


def test_where_nobody_is_traced_nothing_is_kept(worker: Worker) -> None:
    """Neither before the first trace nor when the last one has ended."""
    assert not worker.recorder.orders
    worker.orders(1, "vserv", "v1", until=1.0)
    assert worker.session() is None
    worker.orders(2, "vserv", "v2")
    worker.orders(3, "network", "198.51.100.0/24")
    assert worker.session() is None
    worker.change(*(OrderEntry(TRACE, ident) for ident in ("1", "2", "3")))
    assert not worker.recorder.orders


def test_an_id_that_is_used_again_is_another_trace(worker: Worker) -> None:
    """A trace was stopped before anybody came whom it concerned: the next one has its number, and not its user."""
    worker.orders(1, "user", "joe")
    kept(worker).end("quit")
    worker.change(OrderEntry(TRACE, "1"))
    worker.orders(1, "user", "ann")
    recording = kept(worker)
    recording.login_wanted("ns", "joe")
    assert recording.matched == []
    recording.login_wanted("ns", "ann")
    assert len(recording.matched) == 1
    (trace,) = recording.matched
    worker.orders(2, "user", "eve")
    again = kept(worker)
    again.login_wanted("ns", "ann")
    assert again.matched == [trace], "it goes on"


def test_a_user_without_a_namespace_is_of_any(worker: Worker) -> None:
    """So a release has ordered it that knew no namespaces there; beside it there may be one that has."""
    worker.orders(1, "user", "joe")
    value = dict(worker.recorder.orders["1"])
    del value["namespace"]
    worker.change(OrderEntry(TRACE, "2", value))
    for namespace, traces in (("ns", ["1", "2"]), ("other", ["2"])):
        recording = kept(worker)
        recording.login_wanted(namespace, "joe")
        assert [trace.ident for trace in recording.matched] == traces


def test_who_is_known_at_once(worker: Worker) -> None:
    """A virtual server, or a network: IPv4 in IPv6 is IPv4; behind a balancer only the PROXY header tells."""
    worker.orders(1, "network", "192.0.2.0/24")
    for address in (HOME, f"::ffff:{HOME}"):
        recording = worker.session("v1", address)
        assert recording is not None
        assert len(recording.matched) == 1
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
    recording = kept(worker)
    for namespace in ("other", "ns", "other"):
        recording.client_line(b"USER joe")
        recording.login_wanted(namespace, "joe")
        recording.tell(f"of {namespace}")
    recording.end("quit")
    said = ["C>P USER joe", "C>P USER joe", "-- of ns", "C>P USER joe", "-- somebody else wants to log in"]
    assert worker.written(1) == said


def test_who_is_in_no_traced_network_is_looked_for_once(worker: Worker) -> None:
    """As long as the traces are the same ones; and not everybody who ever came is remembered."""
    stranger = "198.51.100.7"
    worker.orders(1, "network", "192.0.2.0/24")
    worker.orders(2, "network", "2001:db8:7::/48")
    for address in (stranger, "2001:db8:8::1"):
        assert worker.session("v1", address) is None
        assert worker.recorder.in_force.is_elsewhere(address)
    assert worker.session("v1", "2001:db8:7:1::1") is not None
    assert not worker.recorder.in_force.is_elsewhere(HOME)
    worker.orders(3, "network", "198.51.100.0/28")
    assert worker.session("v1", stranger) is not None
    for number in range(MOST_STRANGERS + 1):
        worker.recorder.in_force.found_elsewhere(str(number))
    assert len(worker.recorder.in_force.strangers) <= MOST_STRANGERS


def test_who_is_known_later(worker: Worker) -> None:
    """What he said before is there too, and in its order; it is made into lines only then."""
    worker.orders(1, "user", "joe")
    worker.orders(2, "backend", "b1")
    recording = kept(worker)
    recording.client_line(b"USER ann")
    recording.login_wanted("ns", "ann")
    recording.tell("asked for ann")
    recording.backend_chosen("b2")
    recording.tell("what ann does at b2")
    recording.client_line(b"USER joe")
    recording.login_wanted("ns", "joe")
    recording.backend_chosen("b2")
    recording.end("quit")
    assert worker.written(1) == ["C>P USER ann", "-- asked for ann", "C>P USER joe", "-- the end: quit"]
    assert worker.written(2) == []


def test_a_backend_that_is_known_late(worker: Worker) -> None:
    """Where the modules lead is not always where he goes: he was moved, or it was down."""
    worker.orders(1, "backend", "b1")
    recording = kept(worker)
    recording.client_line(b"USER ann")
    recording.login_wanted("ns", "ann")
    recording.backend_chosen("b2")
    recording.tell("b2 is down")
    recording.backend_chosen("b1")
    recording.tell("at b1")
    recording.end("quit")
    assert worker.written(1) == ["C>P USER ann", "-- at b1", "-- the end: quit"]


SECRET = b"canary-secret"


@pytest.mark.parametrize("of", ["user", "backend"])
def test_no_secret_is_kept_for_its_sake(worker: Worker, of: str) -> None:
    """Neither in what waits to be wanted, nor while it waits to be written: whatever a client says, and where."""
    worker.orders(1, of, "joe")
    for user in ("ann", "joe"):
        recording = kept(worker)
        for line in (b"USER ann", b"pass " + SECRET, b"AUTH PLAIN " + SECRET, b"APOP joe " + SECRET, SECRET):
            recording.client_line(line)
        recording.keep_now("C>P", partial(transcript.response, mechanism="PLAIN"), SECRET)
        recording.login_wanted("ns", user)
        recording.backend_chosen(user)
        recording.keep_now("P>B", transcript.to_backend, b"PASS " + SECRET + b"\r\n")
        recording.keep_now("B>P", transcript.from_told_backend, b"-ERR " + SECRET + b"\r\n")
        recording.tell("more")
        assert SECRET not in repr((waiting(recording), recording._text)).encode()
        recording.end("quit")
    assert SECRET.decode() not in "".join(worker.written(1))
    assert "C>P PASS ****" in worker.written(1)


def test_others_hear_nothing_behind_the_name(worker: Worker) -> None:
    """From the question on whose login it is, nothing is kept of somebody else's; his next lines are, until then."""
    worker.orders(1, "user", "joe")
    recording = kept(worker)
    for _ in range(2):
        recording.client_line(b"USER ann")
        recording.keep("P>C", transcript.ours, b"+OK\r\n")
        recording.login_wanted("ns", "ann")
        before = len(waiting(recording))
        assert before, "the name may be his in the end"
        recording.keep_now("P>B", transcript.to_backend, b"USER ann\r\n")
        recording.tell("asking")
        assert len(waiting(recording)) == before
    recording.settle_ownership()
    recording.client_line(b"STAT")
    assert recording._kept is None
    assert recording.quiet


@pytest.mark.parametrize(("backend_too", "of_others"), [(False, 1), (True, 3)])
def test_of_others_not_even_the_rest_of_their_login_is_kept(worker: Worker, backend_too: bool, of_others: int) -> None:
    """From the name on, which is all that a trace by user needs; with the next name it hears again. Where a backend is
    traced too, nobody knows before the modules do.
    """
    worker.orders(1, "user", "joe")
    if backend_too:
        worker.orders(2, "backend", "b1")
    recording = kept(worker)
    for user in ("ann", "joe"):
        recording.client_line(b"USER " + user.encode())
        recording.user_named(user)
        recording.keep("P>C", transcript.ours, b"+OK send PASS\r\n")
        recording.client_line(b"pass " + SECRET)
        if not recording.quiet:
            recording.login_wanted("ns", user)
    recording.end("quit")
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
    recording = kept(worker)
    for user, backend in (("joe", "b1"), ("joe", "b1"), ("ann", "b2")):
        recording.client_line(b"USER " + user.encode())
        recording.user_named(user)
        recording.login_wanted("ns", user)
        recording.backend_chosen(backend)
        recording.tell(f"what {user} does")
    recording.end("quit")
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
    recording = kept(worker)

    def never(_said: bytes) -> tuple[str, ...]:
        raise AssertionError("lines of somebody whom nobody traces")

    recording.keep("C>P", never, b"USER ann")
    recording.login_wanted("ns", "ann")
    recording.settle_ownership()
    assert recording._kept is None
    recording.keep("C>P", never, b"USER ann")
    assert recording._kept is None
    assert recording.quiet
    assert not recording.begin_relay()
    recording.end("quit")
    assert worker.written(1) == []


def test_what_is_kept_is_bounded(worker: Worker) -> None:
    """Four KiB of one who does not say who he is; then it is said how much is not there."""
    worker.orders(1, "user", "joe")
    recording = kept(worker)
    for number in range(1000):
        recording.keep("C>P", text(f"NOOP {number}"), b"x" * 100)
    recording.login_wanted("ns", "joe")
    recording.end("quit")
    lines = worker.written(1)
    assert lines[0] == "C>P NOOP 0"
    assert lines[-2:] == [f"-- {1000 - len(lines) + 2} more before this: too much to be kept", "-- the end: quit"]
    assert len(lines) < 45


def test_what_happened_is_one_line(worker: Worker) -> None:
    """A backend's words may be in it: they neither end the line nor reach the terminal of who reads it."""
    worker.orders(1, "vserv", "v1")
    recording = kept(worker)
    recording.tell("it offers no STLS: -ERR \r\x1b[2J\x9b\N{LINE SEPARATOR}\np01.1.2 +0.1 -- logged in")
    recording.end("quit")
    said = "it offers no STLS: -ERR \\x0d\\x1b[2J\\x9b\\x2028\\x0ap01.1.2 +0.1 -- logged in"
    assert worker.written(1) == [f"-- {said}", "-- the end: quit"]


def test_two_traces_of_one_session(worker: Worker) -> None:
    """Each has all of it, from its beginning: also who it turns out to concern when another has had that already."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe")
    recording = kept(worker)
    recording.tell("first")
    recording.login_wanted("ns", "joe")
    recording.tell("second")
    recording.end("quit")
    assert worker.written(1) == ["-- first", "-- second", "-- the end: quit"]
    assert worker.written(2) == worker.written(1)
    assert worker.counted["sessions_recorded"] == 1


def test_a_beginning_that_another_trace_has_had_is_bounded(worker: Worker) -> None:
    """Four KiB, as where nobody has had it, and how much is not there; none after the login."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe")
    recording = kept(worker)
    for number in range(1000):
        recording.keep("C>P", text(f"NOOP {number}"), b"x" * 100)
    recording.login_wanted("ns", "joe")
    recording.settle_ownership()
    recording.end("quit")
    lines = worker.written(2)
    assert lines[0] == "C>P NOOP 0"
    assert lines[-2:] == [f"-- {1000 - len(lines) + 2} more before this: too much to be kept", "-- the end: quit"]
    assert 50 < len(lines) < 200
    assert len(worker.written(1)) == 1001
    assert recording._beginning is None


def test_the_beginning_holds_nothing_of_the_login_of_another(worker: Worker) -> None:
    """In the trace of who logs in at last, of the other who failed there are the words of the client and ours."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe")
    worker.orders(3, "user", "ann")
    recording = kept(worker)
    recording.begin("p01.1.2", (HOME, 1234), "v1")
    for user in ("ann", "joe"):
        recording.client_line(b"USER " + user.encode())
        recording.login_wanted("ns", user)
        recording.tell(f"asked for {user}")
        recording.keep_now("B>P", transcript.from_backend, b"+OK " + user.encode() + b"\r\n")
    recording.end("quit")
    first, *lines = worker.written(2)
    assert first.startswith(f"-- session of {HOME}")
    assert lines == ["C>P USER ann", "C>P USER joe", "-- asked for joe", "B>P +OK joe", "-- the end: quit"]
    assert worker.written(3)[1:4] == ["C>P USER ann", "-- asked for ann", "B>P +OK ann"]


def test_what_is_stopped_hears_no_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said before is there, also if the session goes on; and so when the time is over."""
    worker.orders(1, "vserv", "v1")
    worker.orders(2, "user", "joe", until=2e9)
    monkeypatch.setattr(recorders, "wall", lambda: 1e9)
    recording = kept(worker)
    recording.login_wanted("ns", "joe")
    recording.tell("first")
    worker.change(OrderEntry(TRACE, "1"))
    recording.tell("second")
    monkeypatch.setattr(recorders, "wall", lambda: 2e9)
    recording.tell("third")
    assert recording.begin_relay() is False
    recording.tell("fourth")
    recording.end("quit")
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
    recording = kept(worker)
    offering = rules(takes=frozenset({PASSWORD, CHALLENGE}), mechanisms=("login", "plain", "cram-md5"))
    around = Surroundings(offering, {})
    machine = Machine(SessionDouble("p01.1.2"), around, ("192.0.2.1", 4711))
    machine.lines = lines_for(machine, recording)
    machine.begin()
    for said in (b"AUTH PLAIN\r\nAGpvZQ==\r\n", b"AUTH LOGIN\r\nam9l\r\n*\r\n", b"AUTH CRAM-MD5\r\nam9l\r\n"):
        machine.client_says(said)
    recording.end("quit")
    assert worker.written(1)[:-1] == [
        "C>P AUTH PLAIN",
        "C>P ****",
        "C>P AUTH LOGIN",
        "C>P ****",
        "C>P *",
        "C>P AUTH CRAM-MD5",
        "C>P **** (4 octets)",
    ]
