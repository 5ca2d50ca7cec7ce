"""A backend with several addresses: how they are said, which is tried when, and that the first that stands is used."""

import asyncio
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from popular.pdm.contract import Route
from popular.pdm.decision import Admitted
from popular.protocol.mailcheck import Mail, mail_answer
from popular.proxy.backend_tls import BackendsInTls
from popular.proxy.checks.canary import Finding, Patience, check
from popular.proxy.checks.reaching import reach
from popular.proxy.session.backend.backend_race import HEAD_START_SECONDS
from popular.proxy.session.backend.mail_race import MailRace
from popular.proxy.session.backend.reach import AGAIN_SECONDS, Reach
from popular.proxy.session.events import SessionEvents
from popular.proxy.settings.backend import Backend
from supervisor.control.language.lookups import ResolveHost, Result
from supervisor.control.language.outcome import Change
from supervisor.control.words import CommandRefused
from supervisor.runtime.messages import Message
from supervisor.serving.eventloop import EventLoop
from supervisor.system import Clock
from tests.patience import patient
from tests.proxy.console import Console
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import rules
from tests.system.certificates import Authority
from tests.system.test_blame import first_free

A, B, C = "127.0.0.21", "127.0.0.22", "127.0.0.23"


def made(words: str) -> Backend:
    """A backend, by the words of its command."""
    console = Console()
    console.say(f"backend conf b {words}")
    backend: Backend = console.config.things["backend"]["b"]
    return backend


# How they are said


def test_they_are_said_with_commas() -> None:
    """The first is preferred. What was typed is shown, and what it stands for."""
    console = Console()
    console.say(f"backend conf b host {A},localhost,{B} state online")
    backend = console.config.things["backend"]["b"]
    assert (backend.address, backend.addresses[0], backend.addresses[2]) == (A, A, B)
    assert console.say("backend show b").lines[0] == f"backend conf b host {A},localhost,{B} state online"
    shown = console.say("backend show b").data
    assert isinstance(shown, dict)
    assert shown["host_address"] == ",".join(backend.addresses)
    assert backend.certified_names == (A, "localhost", B)
    assert backend.at_address(2).addresses == (B,)
    assert backend.at_address(2).certified_names == (B,)


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        (f"{A},", "up to 4 hosts"),
        (f"{A},{B},{A}", f"{A} is there twice"),
        (f"localhost,{B},LOCALHOST.", "localhost is there twice"),
        (",".join(f"127.0.0.{one}" for one in range(5)), "up to 4 hosts"),
        (f"{A},no-such-host.invalid", "no-such-host"),
    ],
)
def test_what_cannot_be_meant_is_refused(hosts: str, why: str) -> None:
    """And nothing is changed."""
    console = Console()
    with pytest.raises(CommandRefused, match=why):
        console.say(f"backend conf b host {hosts}")
    assert not console.config.things["backend"]


def test_two_names_of_one_address_are_one_place() -> None:
    """What name servers say is nobody's mistake: no file is refused for it. It is told, and each address tried once."""
    console = Console()
    for name, address in (("n1.example", A), ("n2.example", A), ("n3.example", B)):
        console.known[ResolveHost(name)] = Result(address)
    said = console.say("backend conf b host n1.example,n2.example,n3.example tls implicit verify off state online")
    assert isinstance(said, Change)
    assert f"n2.example is {A} too" in said.text
    assert "n1" not in said.text
    backend = console.config.things["backend"]["b"]
    assert (backend.addresses, backend.certified_names) == ((A, B), ("n1.example", "n3.example"))
    assert backend.at_address(1).addresses == (B,)
    assert console.say("backend show b").lines[0].startswith("backend conf b host n1.example,n2.example,n3.example ")
    console.known[ResolveHost("n2.example")] = Result(C)
    said = console.say("backend resolve b")
    assert isinstance(said, Change)
    assert "too" not in said.text
    assert console.config.things["backend"]["b"].addresses == (A, C, B)


def test_each_of_them_is_checked() -> None:
    """A source must reach it, and none may be one of our own virtual servers."""
    console = Console()
    with pytest.raises(CommandRefused, match=r"source: 127\.0\.0\.9 cannot reach ::1"):
        console.say(f"backend conf b host {A},::1 source 127.0.0.9")
    console.say(f"vserv conf v iface {B} port 1110 state online")
    with pytest.raises(CommandRefused, match="is our own vserv v"):
        console.say(f"backend conf b host {A},{B} port 1110")


def test_in_tls_each_has_the_name_by_which_it_was_typed() -> None:
    """And a session of its own to be resumed; with tlsname all have that one. Those that are the same stay."""
    console = Console()
    console.say(f"backend conf b host localhost,{A} tls implicit verify off")
    first = BackendsInTls(console.config, None)
    assert [first["b"].at_address(number).name for number in (0, 1)] == ["localhost", A]
    assert BackendsInTls(console.config, first)["b"] is first["b"]
    console.say(f"backend conf b host localhost,{B}")
    assert BackendsInTls(console.config, first)["b"] is not first["b"]
    console.say("backend conf b tlsname store.example.org")
    named = BackendsInTls(console.config, first)["b"]
    assert {named.at_address(number).name for number in (0, 1)} == {"store.example.org"}


# Which one is tried first


class Tried:
    """A backend with three addresses, as a worker finds them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.news: list[tuple[str, dict[str, object]]] = []
        self.reach = Reach(made(f"host {A},{B},{C}"), self.clock, self.tell)

    def tell(self, message: Message, fields: dict[str, object]) -> None:
        self.news.append((message.name, fields))


def test_the_preferred_one_is_tried_first_until_it_cannot_be_had() -> None:
    """Then the one that could, and once in ten seconds the preferred one again; each change is told, and why."""
    tried = Tried()
    reach = tried.reach
    assert list(reach.order()) == [0, 1, 2]
    reach.found(0, {})
    assert tried.news == []
    reach.found(1, {0: "Connection refused"})
    fields = {"backend": "b", "address": B, "instead_of": A, "reason": "Connection refused"}
    assert tried.news == [("backend_elsewhere", fields)]
    for _ in range(3):
        assert list(reach.order()) == [1, 0, 2]
        reach.found(1, {})
    tried.clock.now += AGAIN_SECONDS
    assert list(reach.order()) == [0, 1, 2]
    assert list(reach.order()) == [1, 0, 2], "one login finds it out for all"
    reach.found(1, {0: "Connection refused"})
    assert len(tried.news) == 1
    reach.found(2, {1: "gone", 0: "gone"})
    assert list(reach.order()) == [2, 0, 1]
    tried.clock.now += AGAIN_SECONDS
    assert list(reach.order()) == [0, 1, 2]
    reach.found(0, {})
    assert [fields["address"] for _, fields in tried.news] == [B, C, A]
    assert list(reach.order()) == [0, 1, 2]


# The race


class Owner(SessionEvents):
    """Hears what a session hears of its backend."""

    def __init__(self) -> None:
        self.sid = "p01.1.2"
        self.heard: list[tuple[Any, ...]] = []
        self.changed = asyncio.Event()

    def _hear(self, *what: Any) -> None:
        self.heard.append(what)
        self.changed.set()

    def backend_reached(self, number: int) -> None:
        self._hear("reached", number)

    def backend_connected(self) -> None:
        self._hear("connected")

    def backend_says(self, data: bytes) -> None:
        self._hear("says", data)

    def backend_broke(self, reason: str, word: str = "") -> None:
        self._hear("broke", reason, word)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        self._hear("mail", mail, reason)

    def fault(self, error: Exception) -> None:
        self._hear("fault", error)

    async def wait_for(self, word: str) -> tuple[Any, ...]:
        """What it hears of that sort."""
        async with asyncio.timeout(patient(5)):
            while True:
                for one in self.heard:
                    if one[0] == word:
                        return one
                self.changed.clear()
                await self.changed.wait()


@contextmanager
def listening(*addresses: str, port: int = 0) -> Iterator[list[socket.socket]]:
    """Servers at several addresses, all at the port of the first."""
    servers: list[socket.socket] = []
    try:
        for address in addresses:
            servers.append(socket.create_server((address, port)))
            port = servers[0].getsockname()[1]
        yield servers
    finally:
        for server in servers:
            server.close()


@contextmanager
def deaf(address: str, port: int) -> Iterator[None]:
    """An address that answers nothing to whoever wants to connect: its queue is full."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((address, port))
        time.sleep(0.05)
        yield
        for one in waiting:
            one.close()


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


# The machine, and the checks


def test_the_machine_goes_on_at_the_address_that_was_reached() -> None:
    """What is logged of it from then on is that one; before that all are. Only another than the first is counted."""
    known = replace(rules().backends["pop"], host=made(f"host {A},{B}").host)
    its_rules = rules(backends={"pop": known})
    for number, address, counted in ((0, A, []), (1, B, [("count", "backend_elsewhere", "second", "pop")])):
        session = PureSession(its_rules)
        session.begin()
        session.says(b"USER ann\r\nPASS secret\r\n")
        session.decided(Admitted(Route("pop"), "m", "m"))
        assert session.reached(number) == counted
        session.backend_says(b"+OK\r\n")
        note, *_ = session.backend_failed("it closed the connection", "closed")
        assert note[2]["address"] == address
    session = PureSession(its_rules)
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    note, *_ = session.backend_failed("127.0.0.21: refused; 127.0.0.22: refused")
    assert note[2]["address"] == f"{A},{B}"


def test_a_check_reaches_it_as_a_login_does() -> None:
    """Past one that refuses, and in a quarter of a second past one that is deaf; if all refuse that is told."""
    with listening(B) as (server,):
        port = port_of(server)
        connection, number = reach(made(f"host {A},{B} port {port}"), patient(5), (0, 1))
        connection.close()
        assert number == 1
        with deaf(C, port):
            began = time.monotonic()
            connection, number = reach(made(f"host {C},{B} port {port}"), patient(5), (0, 1))
            connection.close()
            assert number == 1
            assert time.monotonic() - began >= HEAD_START_SECONDS
            with pytest.raises(TimeoutError):
                reach(made(f"host {C} port {port}"), 0.3, (0,))
    with pytest.raises(OSError, match="refused"):
        reach(made(f"host {A},{B} port {port}"), patient(5), (0, 1))


def test_a_check_without_a_descriptor_has_found_nothing() -> None:
    """It is we who lack one; of the backend that says nothing."""
    with listening(A) as (server,):
        backend = made(f"host {A},{B} port {port_of(server)} health connect")
        usual = resource.getrlimit(resource.RLIMIT_NOFILE)  # the look at our own descriptors takes one
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free(os.getpid()), usual[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                check(backend, None, Patience(patient(5), patient(5)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        assert check(backend, None, Patience(patient(5), patient(5))) == Finding()


def test_a_check_tells_the_name_that_counts_where_it_was(tmp_path: Path) -> None:
    """At the second address it is another one than at the first."""
    authority = Authority()
    leaf = authority.issue("elsewhere.example.org").write_in_one(tmp_path, "leaf.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf)
    with listening(B) as (server,):

        def serve() -> None:
            client, _ = server.accept()
            with suppress(OSError), client, context.wrap_socket(client, server_side=True):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        console = Console()
        words = f"host {A},{B} port {port_of(server)} tls implicit verify on tlsca {authority.write(tmp_path)}"
        console.say(f"backend conf b {words} health greeting")
        backend = console.config.things["backend"]["b"]
        found = check(backend, BackendsInTls(console.config, None)["b"], Patience(patient(5), patient(5)))
        thread.join()
    assert found.why == f"name mismatch: its certificate is not for {B}"


# The mail check


def test_the_mail_check_asks_the_next_one_too() -> None:
    """At once where nobody listens, and after a quarter of a second where nobody answers; the first answer counts."""

    async def answer(*hosts: str, port: int) -> tuple[tuple[Any, ...], float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        owner = Owner()
        began = time.monotonic()
        question = MailRace(loop, hosts, port, mailbox="u/ann", owner=owner)
        try:
            return await owner.wait_for("mail"), time.monotonic() - began
        finally:
            question.give_up(owner)
            await asyncio.sleep(0)
            assert len(owner.heard) == 1

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pcheckd,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf_one,
        asyncio.Runner(loop_factory=EventLoop) as runner,
    ):
        pcheckd.bind((B, 0))
        port = port_of(pcheckd)
        deaf_one.bind((C, port))
        pcheckd.settimeout(patient(5))

        def serve() -> None:
            for _ in range(2):
                _packet, peer = pcheckd.recvfrom(2048)
                pcheckd.sendto(mail_answer(Mail.NONE), peer)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        assert runner.run(answer(A, B, port=port))[0] == ("mail", Mail.NONE, "")
        heard, seconds = runner.run(answer(C, B, port=port))
        assert heard == ("mail", Mail.NONE, "")
        assert seconds >= HEAD_START_SECONDS
        server.join(patient(5))
        pcheckd.close()
        assert runner.run(answer(A, B, port=port))[0] == ("mail", None, "Connection refused")
