"""A backend with `maxsessions`: who comes when it is full, and that every place is given back. One with `source`: all
that it hears of us comes from there."""

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

from popular.proxy.checks.canary import Patience, check
from tests.patience import patient
from tests.proxy.console import Console
from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.wire import Peer, PopClient, ScriptedBackend, pop3_server, wait_until

LATER = b"-ERR [SYS/TEMP]"
HERE, THERE = "127.0.0.9", "127.0.0.8"


class Callers:
    """A server, and the addresses from which it was called."""

    def __init__(self, *mails: bytes) -> None:
        self.addresses: set[str] = set()
        self._play = pop3_server(list(mails))

    def __call__(self, peer: Peer) -> None:
        self.addresses.add(peer.connection.getpeername()[0])
        self._play(peer)


def test_who_is_one_too_many_and_how_places_come_back(tmp_path: Path) -> None:
    """He is told to come again, or sees an empty mailbox, or goes to the backup. A place is free again when its session
    has ended, and when a worker was killed.
    """
    port = free_port()
    users = tmp_path / "users"
    users.write_text("default:ann:{PLAIN}secret:store:\ndefault:bob:{PLAIN}secret:asked:box\n")
    callers = Callers(b"one")
    with (
        ScriptedBackend(callers) as store,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as checks,
        ScriptedBackend(pop3_server([])) as twin,
        Proxy(
            tmp_path,
            [
                f"backend conf twin host {LOOPBACK} port {twin.port} state online",
                f"backend conf store host {LOOPBACK} port {store.port} state online maxsessions 2 source {HERE}",
                f"pdm add users passwd {users}",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ],
        ) as proxy,
        ExitStack() as open_ones,
    ):
        checks.bind((LOOPBACK, 0))
        checks.settimeout(patient(5))
        proxy.said(f"set checkport {checks.getsockname()[1]}")
        proxy.said(f"backend conf asked host {LOOPBACK} prot CXPOP state online source {THERE}")

        def places() -> object:
            return proxy.state().counters()["backend_places"]

        def log_in() -> tuple[PopClient, bytes]:
            client = open_ones.enter_context(PopClient(port))
            return client, client.log_in("ann", "secret")

        first, said = log_in()
        assert said.startswith(b"+OK")
        assert log_in()[1].startswith(b"+OK")
        assert places() == 2
        assert log_in()[1].startswith(LATER)
        assert places() == 2, "who was refused took none"
        failed = proxy.log("backend_failed")[-1]
        assert (failed.fields["backend"], "maxsessions" in failed.fields["reason"]) == ("store", True)
        counted = proxy.state().counters()["backend_failures"]
        assert isinstance(counted, dict)
        assert counted["maxsessions"] == 1

        proxy.said("backend conf store backup twin")
        client, said = log_in()
        assert said.startswith(b"+OK")
        assert client.ask("STAT") == b"+OK 0 0", "it is the backup's mailbox"
        client.ask("QUIT")

        first.ask("QUIT")
        wait_until(lambda: places() == 1, "one has left")
        client, said = log_in()
        assert client.ask("STAT").startswith(b"+OK 1 ")

        for victim in {row["pid"] for row in proxy.sessions()}:
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not places(), "the parts of the dead are taken off")
        assert log_in()[1].startswith(b"+OK")

        assert callers.addresses == {HERE}, "logins, and the question what it announces"
        open_ones.enter_context(PopClient(port)).connection.sendall(b"USER bob\r\nPASS secret\r\n")
        assert checks.recvfrom(1000)[1][0] == THERE


def test_a_check_comes_from_the_same_address() -> None:
    """It sees the backend as logins do."""
    addresses = []

    def greet(peer: Peer) -> None:
        addresses.append(peer.connection.getpeername()[0])
        peer.say(b"+OK\r\n")
        assert peer.line() == b"QUIT"
        peer.say(b"+OK\r\n")

    with ScriptedBackend(greet) as store:
        console = Console()
        console.say(f"backend conf b host {LOOPBACK} port {store.port} health greeting source {HERE}")
        assert check(console.config.things["backend"]["b"], None, Patience(patient(5), patient(5))).why == ""
    assert addresses == [HERE]
