"""Reconfiguration under way: +OK means in force in every worker, -ERR means that nothing has changed."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, pop3_server, program, wait_until


def _greeting(port: int) -> bytes:
    with PopClient(port) as client:
        return client.line()


def _threads(proxy: Proxy) -> set[int]:
    """How many each worker has."""
    return {len(os.listdir(f"/proc/{pid}/task")) for pid in proxy.workers()}


def test_every_ok_is_in_force_at_once(tmp_path: Path) -> None:
    """Two hundred changes of a virtual server's state and banner, each followed at once by connections that either
    worker may get: the banner is always the new one.
    """
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"]) as proxy:
        for turn in range(100):
            proxy.said(f"vserv conf v state disabled bannererr no{turn}")
            assert {_greeting(port) for _ in range(3)} == {b"-ERR no%d" % turn}
            proxy.said(f"vserv conf v state online bannerok yes{turn}")
            assert {_greeting(port) for _ in range(3)} == {b"+OK yes%d" % turn}
        served = {entry.pid for entry in proxy.log("session_end")}
        assert served == set(proxy.workers()), "both workers were met"
        assert proxy.state().gauges()["generation"] >= 200
        wait_until(lambda: _threads(proxy) == {1}, "the threads that made the services have ended")


def test_variables_are_in_force_at_once(tmp_path: Path) -> None:
    """The session id of the very next session has the prefix that was just set."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"]) as proxy:
        for turn in range(50):
            proxy.said(f"set sidprefix p{turn}")
            _greeting(port)
        endings = proxy.wait_for_endings(50)
        assert len(endings) == 50
        prefixes = sorted(entry.sid.partition(".")[0] for entry in proxy.log("session_end"))
        assert prefixes == sorted(f"p{turn}" for turn in range(50))


def test_sessions_keep_the_config_they_came_under(tmp_path: Path) -> None:
    """A client that was greeted is authenticated by the modules and led to the backend of its own time."""
    port = free_port()
    with (
        ScriptedBackend(pop3_server([b"old\r\n"])) as old,
        ScriptedBackend(pop3_server([b"new\r\n"])) as new,
        contextlib.ExitStack() as clients,
    ):
        rc = [
            f"backend conf b host {LOOPBACK} port {old.port} state online",
            "pdm add m any b",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, rc) as proxy:
            early = [clients.enter_context(PopClient(port)) for _ in range(6)]
            for client in early:
                client.greeted()
            proxy.said(f"backend conf b port {new.port}")
            proxy.said("pdm flush")
            proxy.said("pdm add other any b %u")
            proxy.said("vserv conf v state fake")
            for client in early:
                assert client.log_in() == b"+OK logged in"
                assert client.retrieve(1) == b"old\r\n"
            with PopClient(port) as late:
                assert late.log_in().startswith(b"+OK")
                assert late.ask("STAT") == b"+OK 0 0"
            proxy.said("vserv conf v state online")
            with PopClient(port) as late:
                assert late.log_in() == b"+OK logged in"
                assert late.retrieve(1) == b"new\r\n"


def _refusals(port_in_use: int, port: int) -> dict[str, str]:
    return {
        f"vserv conf v2 iface {LOOPBACK} port {port_in_use} state online": "in use by another program",
        "vserv conf v port 1234": "offline",
        "vserv conf v iface no-such-host.invalid": "no-such-host.invalid",
        "backend conf b host no-such-host.invalid": "no-such-host.invalid",
        "backend conf b bogus 1": "bogus",
        "vserv conf v33 state online": "32",
        "pdm add m nosuch": "nosuch",
        "pdm add m any": "any",
        "set backlog 4": "5 to 1024",
        "set backlog 1025": "5 to 1024",
        "set idletimeout 9m": "10m",
        "set pid 7": "pid",
        "set nosuch 7": "nosuch",
        "set capadir /nowhere/at/all": "/nowhere/at/all",
        "set allowsslv2 on": "SSLv2",
        "vserv del nosuch": "nosuch",
        "capa load ../etc/passwd": "not an Id",
        "vserv conf v namespace a/b": "namespace",
        f"backend conf loop host {LOOPBACK} port {port} state online": "",
        "bogus": "bogus",
    }


def test_a_refused_command_changes_nothing(tmp_path: Path) -> None:
    """Whatever is wrong with it: the reply names it, `show config` is what it was, and clients are served."""
    port = free_port()
    rc = [
        f"backend conf b host {LOOPBACK} port 4 state offline",
        f"vserv conf v iface {LOOPBACK} port {port} state online bannerok here",
        *(f"vserv conf v{number} iface {LOOPBACK} port {number} state offline" for number in range(2, 33)),
    ]
    with socket.create_server((LOOPBACK, 0)) as taken, Proxy(tmp_path, rc) as proxy:
        workers = proxy.workers()
        before = proxy.said("show config").lines
        for command, word in _refusals(taken.getsockname()[1], port).items():
            answer = proxy.control(command)
            assert not answer.ok, command
            assert word in answer.text, f"{command}: {answer.text}"
            assert proxy.said("show config").lines == before, command
            assert _greeting(port) == b"+OK here", command
        assert proxy.workers() == workers


def test_a_port_in_use_is_refused_and_free_later(tmp_path: Path) -> None:
    """A port of another program is refused; when that program is gone the same command succeeds."""
    with Proxy(tmp_path) as proxy:
        with socket.create_server((LOOPBACK, 0)) as taken:
            port = taken.getsockname()[1]
            command = f"vserv conf v iface {LOOPBACK} port {port} state online"
            assert "in use by another program" in proxy.control(command).text
        proxy.said(command)
        assert _greeting(port).startswith(b"+OK")


def test_taking_servers_away_while_clients_come(tmp_path: Path) -> None:
    """Clients connect without a pause while a virtual server is deleted, made anew, moved offline and online, forty
    times: every client is greeted or refused, no worker is lost, no session is our fault.
    """
    port = free_port()
    with Proxy(tmp_path) as proxy:
        conf = f"vserv conf v iface {LOOPBACK} port {port} state online bannerok here"
        proxy.said(conf)
        workers = proxy.workers()
        over = threading.Event()
        strange: list[bytes | str] = []

        def connect() -> None:
            while not over.is_set():
                try:
                    client = PopClient(port, patience=patient(5))
                except OSError:
                    continue  # nobody listens just now, or the socket is deaf because it is about to be closed
                try:
                    with client:
                        greeting = client.line()
                        if greeting != b"+OK here":
                            strange.append(greeting)
                except OSError as error:
                    strange.append(repr(error))

        threads = [threading.Thread(target=connect) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(40):
                proxy.said(("vserv del v", "vserv conf v state offline", "vserv flush")[turn % 3])
                proxy.said(conf)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert strange == []
        assert proxy.workers() == workers
        assert len(proxy.log("session_end")) >= 10
        assert proxy.log("worker_died") == proxy.log("session_bug") == []


def test_deleting_a_server_with_clients_in_its_queue(tmp_path: Path) -> None:
    """With the workers stopped, clients wait in the queue of a server that is deleted then: those that the workers find
    there are served as if they had come a moment earlier, and no worker is lost.
    """
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online bannerok here"]) as proxy:
        workers = proxy.workers()
        for turn in range(5):
            if turn:
                proxy.said(f"vserv conf v iface {LOOPBACK} port {port} state online bannerok here")
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            answers: list[bool] = []
            deleting = threading.Thread(target=lambda found=answers: found.append(proxy.control("vserv del v").ok))
            deleting.start()
            with contextlib.ExitStack() as clients:
                waiting = [clients.enter_context(PopClient(port)) for _ in range(20)]
                for pid in workers:
                    os.kill(pid, signal.SIGCONT)
                assert [client.line() for client in waiting] == [b"+OK here"] * 20
            deleting.join()
            assert answers == [True]
            wait_until(lambda: not proxy.state().sessions(), "they have left")
        assert proxy.workers() == workers


@pytest.mark.parametrize("option", [[], ["--max-vservs", "40"]])
def test_how_many_servers_there_may_be(tmp_path: Path, option: list[str]) -> None:
    """32 virtual servers, or as many as the start option says; the next one is refused with the number."""
    most = int(option[1]) if option else 32
    rc = [f"vserv conf v{number} port {number}" for number in range(1, most + 1)]
    with Proxy(tmp_path, rc, options=option) as proxy:
        answer = proxy.control("vserv conf another port 999")
        assert not answer.ok
        assert str(most) in answer.text
        proxy.said("vserv del v1")
        proxy.said("vserv conf another port 999")


def test_a_note_is_seen_without_asking(tmp_path: Path) -> None:
    """What was done, though it looks like a slip, is said on standard error: the exit code alone would hide it."""
    with Proxy(tmp_path) as proxy:
        command = [program("pcontrol"), "-r", str(proxy.rundir), "-c", "pdm add a any nostore"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30))
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == 'note: no backend "nostore" is configured yet\n'
        assert subprocess.run([*command[:-1], "pdm add b any nostore", "-q"], stderr=subprocess.PIPE).stderr == b""


def test_a_mechanism_that_nobody_can_use_is_told(tmp_path: Path) -> None:
    """By the reply when it is allowed, and by the check of a file: in pcontrol, and before a start."""
    rc = tmp_path / "rc"
    rc.write_text(f"vserv conf v iface {LOOPBACK} port {free_port()} mechanisms user,external\n")
    note = "note: vserv v: mechanisms has external, which nobody can use: there is no TLS (prot, starttls)"
    with Proxy(tmp_path) as proxy:
        assert note in proxy.said("vserv conf v mechanisms external").text
        assert "note: " not in proxy.said("vserv conf v bannerok ready").text, "it was told"
        for command in (["pcontrol", "-r", proxy.rundir, "check", rc], ["pproxy", "--check", "-c", rc]):
            done = subprocess.run(
                [program(str(command[0])), *map(str, command[1:])], capture_output=True, text=True, timeout=patient(30)
            )
            assert done.returncode == 0
            assert note in done.stdout + done.stderr
