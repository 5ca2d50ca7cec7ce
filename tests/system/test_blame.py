"""Whose fault it was: each failure is put down to the one who failed, be it the client, a backend or ourselves."""

import contextlib
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from popular.proxy.session.machine.failed_logins import NO_TIME
from tests.system.site import (
    LOOPBACK,
    PATIENCE,
    Peer,
    Play,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    need,
    pop3_server,
    wait_until,
)

MOST = 4
"""`maxsession` of all sites here."""


class Site:
    """A proxy with one virtual server and one backend, which has all passwords."""

    def __init__(self, proxy: Proxy, port: int, backend: ScriptedBackend) -> None:
        self.proxy = proxy
        self.port = port
        self.backend = backend

    def counted(self, counter: str) -> dict[str, int]:
        """What a counter has for each label, but for zeros."""
        numbers = self.proxy.state().counters()[counter]
        assert isinstance(numbers, dict)
        return {label: number for label, number in numbers.items() if number}


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """`make_site(play, *rc_lines)`: a site whose backend does `play`."""
    with contextlib.ExitStack() as stack:

        def make(play: Play, *rc_lines: str, conf: str = "", workers: int = 2) -> Site:
            backend = stack.enter_context(ScriptedBackend(play))
            port = free_port()
            rc = [
                f"backend conf b host {LOOPBACK} port {backend.port} state online pipelining off",
                "pdm add all any b",
                *rc_lines,
                f"vserv conf v iface {LOOPBACK} port {port} state online {conf}",
            ]
            proxy = stack.enter_context(Proxy(tmp_path, rc, workers=workers, options=("-n", str(MOST))))
            return Site(proxy, port, backend)

        yield make


def silent(peer: Peer) -> None:
    """Takes the connection, and never greets."""
    peer.rest()


# Clients that hang up

_HANGS = """\
import time
from popular.pdm.contract import Authenticated, Module, Route
class Hangs(Module):
    ident, arguments = "hangs", ()
    def check(self, question):
        if question.user == "hang":
            time.sleep(60)
        return Authenticated(Route("b"))
def open_module(ident, arguments):
    return Hangs()
"""


@pytest.mark.parametrize("user", ["hang", "ann"])
def test_a_client_that_hangs_up_gives_its_token_back_at_once(make_site: MakeSite, tmp_path: Path, user: str) -> None:
    """While a module or a backend is asked: twice as many as there may be sessions come and go, and another comes."""
    (tmp_path / "libpdm_hangs.py").write_text(_HANGS)
    site = make_site(silent, f"set pdmdir {tmp_path}", "pdm flush", "pdm add hangs hangs")
    for _ in range(2 * MOST):
        with PopClient(site.port) as client:
            assert client.ask(f"USER {user}") == b"+OK send PASS"
            client.say(b"PASS secret\r\n")
    with PopClient(site.port) as client:
        assert client.ask("QUIT") == b"+OK bye"
    assert sorted(site.proxy.wait_for_endings(2 * MOST + 1)) == ["client_closed"] * (2 * MOST) + ["quit"]
    assert not site.proxy.log("backend_failed")
    assert not site.counted("backend_failures")


# Clients for whom the time is up


def test_a_backend_that_was_left_no_time_is_not_blamed(make_site: MakeSite) -> None:
    """Else clients that say PASS late on purpose would close it for all others."""
    site = make_site(silent, "set authtimeout 2s", "set breakernetworks 1")
    with PopClient(site.port) as client:
        client.ask("USER ann")
        time.sleep(1.5)
        assert client.ask("PASS secret").startswith(b"-ERR [SYS/TEMP]")
    (failed,) = wait_until(lambda: site.proxy.log("backend_failed"), "it is told")
    assert failed.fields["reason"] == NO_TIME
    assert not site.proxy.log("backend_down")
    with PopClient(site.port) as client:
        assert client.log_in("ann").startswith(b"-ERR [SYS/TEMP]")
    wait_until(lambda: site.proxy.log("backend_down"), "who leaves it its time is heard")


# Master logins


def test_a_master_login_leaves_a_trace_and_its_password_goes_nowhere(make_site: MakeSite, tmp_path: Path) -> None:
    """A line and a counter for each; a backend without the user's SECRET is not even connected to."""
    (tmp_path / "users").write_text("default:ann:{PLAIN}secret:b:\ndefault:bob:{PLAIN}secret:b::his\n")
    (tmp_path / "master").write_text("127.0.0.1:default:{PLAIN}open sesame\n")
    modules = ("pdm flush", f"pdm add users passwd {tmp_path}/users", f"pdm add boss master {tmp_path}/master")
    site = make_site(pop3_server([], b"his"), *modules)
    with PopClient(site.port) as client:
        assert client.log_in("ann", "open sesame").startswith(b"-ERR [SYS/PERM]")
    with PopClient(site.port) as client:
        assert client.log_in("bob", "open sesame").startswith(b"+OK")
        client.ask("QUIT")
    assert sorted(site.proxy.wait_for_endings(2)) == ["no_secret", "quit"]
    told = [(entry.level, entry.fields["user"], entry.fields["module"]) for entry in site.proxy.log("master_login")]
    assert told == [("ADM", "ann", "boss"), ("ADM", "bob", "boss")]
    assert [entry.fields["user"] for entry in site.proxy.log("no_secret")] == ["ann"]
    assert site.proxy.state().counters()["master_logins"] == 2
    assert site.backend.connections == 1
    assert "sesame" not in site.proxy.logfile.read_text()


# What a backend's refusal says


def says(*replies: bytes) -> Play:
    """A backend that answers like this, one line of the client's after the other; then it closes."""

    def play(peer: Peer) -> None:
        peer.say(replies[0] + b"\r\n")
        for reply in replies[1:]:
            peer.line()
            peer.say(reply + b"\r\n")

    return play


@pytest.mark.parametrize(
    ("reply", "line", "counted"),
    [
        (b"-ERR [SYS/TEMP] no disk", "backend_failed", {"backend_failures": {"refused": 1}}),
        (b"-ERR [AUTH] use STLS", "backend_failed", {"backend_failures": {"tls": 1}}),
        (b"-ERR [In-Use/x] locked", "login_deferred", {"logins_deferred": {"in_use": 1}}),
        (b"-ERR [LOGIN-DELAY] wait", "login_deferred", {"logins_deferred": {"login_delay": 1}}),
        (b"-ERR [AUTH] wrong", "login_failed", {"login_failures": {"backend": 1}}),
        (b"-ERR wrong", "login_failed", {"login_failures": {"backend": 1}}),
    ],
)
def test_a_refusal_is_put_down_to_whom_its_code_names(
    make_site: MakeSite, reply: bytes, line: str, counted: dict[str, dict[str, int]]
) -> None:
    """The backend's words are in the log, once, and it is counted under one name."""
    site = make_site(says(b"+OK", b"+OK", reply))
    with PopClient(site.port) as client:
        client.log_in()
    site.proxy.wait_for_endings(1)
    lines = [entry for entry in site.proxy.log() if reply.decode() in entry.line]
    assert [entry.name for entry in lines] == [line]
    if line == "backend_failed":
        counted = {**counted, "login_failures": {"unavailable": 1}}
    counters = ("backend_failures", "logins_deferred", "login_failures")
    assert {name: numbers for name in counters if (numbers := site.counted(name))} == counted


def test_a_backend_that_refuses_everybody_is_told_once(make_site: MakeSite) -> None:
    """Also when the configuration has changed meanwhile: what is known of backends is handed on."""
    site = make_site(says(b"+OK", b"+OK", b"-ERR login failed"), workers=1)
    for number in range(7):
        with PopClient(site.port) as client:
            assert client.log_in(f"u{number}") == b"-ERR [AUTH] the user name or the password is wrong"
        site.proxy.said(f"set idletimeout {600 + number}")
    site.proxy.wait_for_endings(7)
    (told,) = site.proxy.log("backend_failed")
    assert told.fields["reason"] == "it refused 5 users in a row and does not say why: -ERR login failed"
    assert site.counted("backend_failures") == {"everybody": 3}
    assert site.counted("login_failures") == {"backend": 7}


# What we ourselves lack

FEW = 40
"""Descriptors of a process that has few."""


def first_free(pid: int) -> int:
    """The number that the next descriptor of a process gets."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return min(set(range(len(taken) + 1)) - taken)


def allow_no_more(pid: int) -> None:
    """Lets a process have no descriptor more than it has now: the limit is the first number that is free."""
    free = first_free(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, free))


@pytest.mark.parametrize("conf", ["", "backend conf b prot CXPOP"])
def test_no_backend_is_to_blame_when_we_have_no_descriptor(make_site: MakeSite, conf: str) -> None:
    """It is ours to repair, and when there are descriptors again logins go on."""
    site = make_site(pop3_server([]), *([conf] if conf else []), workers=1)
    (worker,) = site.proxy.workers()
    with PopClient(site.port) as client:
        assert client.ask("USER ann") == b"+OK send PASS"
        allow_no_more(worker)
        assert client.ask("PASS secret").startswith(b"-ERR [SYS/TEMP]")
    assert site.proxy.wait_for_endings(1) == ["no_resources"]
    assert [entry.fields["reason"] for entry in site.proxy.log("no_resources")] == ["Too many open files"]
    assert not site.counted("backend_failures")
    assert not site.proxy.log("backend_failed")
    assert not site.proxy.log("check_failed")
    assert site.counted("login_failures") == {"resources": 1}


def test_a_large_mail_needs_no_descriptor_more(make_site: MakeSite) -> None:
    """Without one for a pipe it is passed on piece by piece; so is one with QUIT after it."""
    site = make_site(pop3_server([b"x\r\n", (b"y" * 70 + b"\r\n") * 100_000]), workers=1)
    with PopClient(site.port) as client:
        assert client.log_in().startswith(b"+OK")
        allow_no_more(site.proxy.workers()[0])
        assert client.retrieve(2) == (b"y" * 70 + b"\r\n") * 100_000
        client.say(b"RETR 2\r\nDELE 1\r\nQUIT\r\n")
        assert client.line().startswith(b"+OK")
        assert len(client.block()) == 100_000
        assert client.rest().count(b"+OK") == 2
    assert site.proxy.wait_for_endings(1) == ["quit"]


def test_a_backend_that_is_reset_in_a_large_mail(make_site: MakeSite) -> None:
    """While the client is slow, so that the mail stands in a pipe: it is the backend that broke, not the client."""
    gone = threading.Event()

    def play(peer: Peer) -> None:
        says(b"+OK", b"+OK", b"+OK")(peer)
        peer.line()
        peer.connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            peer.say(b"+OK\r\n" + b"z" * (1 << 26))
        peer.reset()
        gone.set()

    site = make_site(play)
    with PopClient(site.port, receive_buffer=4096) as client:
        client.log_in()
        client.say(b"RETR 1\r\n")
        assert gone.wait(PATIENCE)
        client.rest()
    assert site.proxy.wait_for_endings(1) == ["backend_closed"]


def test_descriptors_for_a_backend_are_reserved_before_a_client_is_accepted(tmp_path: Path) -> None:
    """Far more clients come than there are descriptors for: each one that is greeted can log in, the others wait, and
    are served as soon as one has left.
    """
    with ScriptedBackend(pop3_server([])) as backend, contextlib.ExitStack() as stack:
        port = free_port()
        proxy = stack.enter_context(
            Poor(
                tmp_path,
                [
                    f"backend conf b host {LOOPBACK} port {backend.port} state online pipelining off",
                    "pdm add all any b",
                    f"vserv conf v iface {LOOPBACK} port {port} state online",
                ],
                workers=1,
                options=("-n", "100"),
            )
        )
        clients = [stack.enter_context(PopClient(port, patience=2 * PATIENCE)) for _ in range(FEW)]
        wait_until(lambda: proxy.log("accept_failed"), "the worker has as many sessions as it can")
        greeted = len(proxy.sessions())
        assert 1 <= greeted < FEW / 2
        for client in clients[:greeted]:
            assert client.log_in().startswith(b"+OK")
        assert len(proxy.sessions()) == greeted
        for client in clients:
            assert client.log_in().startswith(b"+OK") if client not in clients[:greeted] else True
            assert client.ask("QUIT").startswith(b"+OK")
        assert proxy.wait_for_endings(FEW) == ["quit"] * FEW
        assert not proxy.log("backend_failed")
        assert not proxy.log("no_resources")


class Poor(Proxy):
    """A proxy whose processes may have few descriptors."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._command = [need("prlimit"), f"--nofile={FEW}:{FEW}", *self._command]
