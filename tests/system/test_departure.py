"""`shutdown delayed` in its details: grace, deadline and the order in which it ends sessions; and `pcontrol --wait`."""

import contextlib
import subprocess
import threading
import time
from pathlib import Path

from tests.patience import patient
from tests.system.site import (
    LOOPBACK,
    Peer,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    pop3_server,
    program,
    wait_until,
)
from tests.system.wire import commands

MAIL = 100 * (b"x" * 70 + b"\r\n")
"""What the slow backend sends at a stroke."""

LATE_SECONDS = 2.0


def _site(port: int, backend: int) -> list[str]:
    return [
        f"backend conf b host {LOOPBACK} port {backend} state online",
        "pdm add all any b",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]


def _is_refused(port: int) -> bool:
    try:
        # A first packet that came while the sockets were silent is asked again after a second.
        PopClient(port, patience=patient(3)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_grace(tmp_path: Path) -> None:
    """For two seconds it says that it is draining, and still serves everybody who comes; then nobody is accepted, and
    with the last session it ends.
    """
    port = free_port()
    with ScriptedBackend(pop3_server([])) as backend, Proxy(tmp_path, _site(port, backend.port)) as proxy:
        with PopClient(port) as early:
            early.log_in()
            began = time.monotonic()
            assert "2 s more" in proxy.said("shutdown delayed grace 2s").text
            assert proxy.state().gauges()["draining"] == 1
            served = 0
            while time.monotonic() < began + 1.8:
                with PopClient(port) as client:
                    assert client.log_in() == b"+OK logged in"
                    assert client.ask("QUIT") == b"+OK bye"
                served += 1
            assert served > 10
            wait_until(lambda: _is_refused(port), "nobody listens any more")
            assert time.monotonic() > began + 2
            assert early.ask("QUIT") == b"+OK bye"
        assert proxy.process.wait(patient(5)) == 0


def test_the_variable_grace(tmp_path: Path) -> None:
    """`set grace` holds for the command without the word; the word overrules it."""
    port = free_port()
    rc = ["set grace 1h", f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc) as proxy, PopClient(port) as client:
        assert "3600 s more" in proxy.said("shutdown delayed").text
        assert client.greeted().startswith(b"+OK")
    with Proxy(tmp_path, rc) as proxy:
        proxy.said("shutdown delayed grace 0s")
        assert proxy.process.wait(patient(5)) == 0


def _slow_backend(busy: threading.Event) -> ScriptedBackend:
    """It answers QUIT late; mail 1 goes on as long as `busy` is set, mail 2 has no end."""

    def play(peer: Peer) -> None:
        peer.say(b"+OK backend\r\n")
        for line in commands(peer):
            if line == b"QUIT":
                time.sleep(LATE_SECONDS)
                peer.say(b"+OK deleted\r\n")
                return
            peer.say(b"+OK logged in\r\n")
            while line == b"RETR 2" or (line == b"RETR 1" and busy.is_set()):
                peer.say(MAIL)
                time.sleep(0.05)
            if line == b"RETR 1":
                peer.say(b".\r\n")

    return ScriptedBackend(play)


def test_the_order_of_the_deadline(tmp_path: Path) -> None:
    """At the deadline those go at once that are not logged in, or idle. One that has said QUIT has its reply, however
    late. A transfer goes on, for ten seconds at most. Then the program ends.
    """
    port, busy = free_port(), threading.Event()
    busy.set()
    with (
        _slow_backend(busy) as backend,
        Proxy(tmp_path, _site(port, backend.port)) as proxy,
        contextlib.ExitStack() as clients,
    ):
        stranger, idle, leaver, reader, endless = (
            clients.enter_context(PopClient(port, patience=patient(20))) for _ in "12345"
        )
        stranger.greeted()
        for client in (idle, leaver, reader, endless):
            assert client.log_in() == b"+OK logged in"
        leaver.ask("DELE 1")
        reader.ask("RETR 1")
        endless.ask("RETR 2")
        draining = threading.Thread(target=endless.rest)
        draining.start()
        time.sleep(1.2)  # for a moment the idle one seems busy

        proxy.said("shutdown delayed deadline 1s")
        leaver.say(b"QUIT\r\n")
        began = time.monotonic()
        assert (stranger.rest(), idle.rest()) == (b"", b"")
        assert time.monotonic() - began > 0.5, "they end at the deadline"
        assert leaver.line() == b"+OK deleted"
        assert leaver.rest() == b""
        assert time.monotonic() - began > LATE_SECONDS - 0.1, "its reply came behind the deadline"
        assert reader.exactly(len(MAIL) * 20) == MAIL * 20
        time.sleep(1.0)
        assert [row["user"] for row in proxy.sessions()] == ["ann", "ann"], "the readers are still there"
        busy.clear()
        assert b"".join(line + b"\r\n" for line in reader.block()) in [MAIL * count for count in range(200)]
        assert reader.rest() == b"", "and is over when it is idle"
        draining.join(patient(15))
        assert time.monotonic() - began > 10, "the one without end had ten seconds"
        assert proxy.process.wait(patient(5)) == 0
        assert sorted(proxy.endings()) == ["quit", "shutdown", "shutdown", "shutdown", "shutdown"]


def test_the_second_command_changes_the_deadline(tmp_path: Path) -> None:
    """And nothing else: not the grace that runs; a deadline may be moved, taken back and set anew."""
    port = free_port()
    rc = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc) as proxy, PopClient(port) as client:
        client.greeted()
        began = time.monotonic()
        told = proxy.said("shutdown delayed grace 1s deadline 2s").text
        assert told == "accepts for 1 s more, then waits for the sessions to end; those left in 2 s are ended"
        told = proxy.said("shutdown delayed grace 1h deadline 1h").text
        assert told == "already in grace; the deadline is changed: in 3600 s; the grace is what it was"
        wait_until(lambda: _is_refused(port), "the grace is what it was")
        assert time.monotonic() - began > 1
        assert "the deadline is taken back" in proxy.said("shutdown delayed").text
        assert "there is no deadline" in proxy.said("shutdown delayed").text
        assert "the deadline is set: in 1 s" in proxy.said("shutdown delayed deadline 1s").text
        assert "the deadline is taken back" in proxy.said("shutdown delayed").text
        time.sleep(max(0.0, began + 3.5 - time.monotonic()))
        assert client.ask("USER ann").startswith(b"+OK"), "no deadline has come"
        began = time.monotonic()
        proxy.said("shutdown delayed deadline 1s")
        assert client.rest() == b""
        assert time.monotonic() - began > 0.9
        assert proxy.process.wait(patient(5)) == 0
        assert "shutdown" in proxy.endings()


def _waiting(proxy: Proxy, *options: str) -> "subprocess.Popen[str]":
    command = [program("pcontrol"), "-r", str(proxy.rundir), "-c", "shutdown delayed", "--wait", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_pcontrol_waits(tmp_path: Path) -> None:
    """`--wait` tells the sessions left whenever their number changes, and returns 0 when the program is gone."""
    port = free_port()
    rc = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc) as proxy, PopClient(port) as one, PopClient(port) as two:
        one.greeted()
        two.greeted()
        waiting = _waiting(proxy)
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "2 sessions left\n"
        assert one.ask("QUIT").startswith(b"+OK")
        assert waiting.stdout.readline() == "1 session left\n"
        time.sleep(0.6)
        assert waiting.poll() is None
        assert two.ask("QUIT").startswith(b"+OK")
        told, complaints = waiting.communicate(timeout=patient(10))
        assert told in ("", "0 sessions left\n"), "each number once"
        assert (waiting.returncode, complaints) == (0, "")
        assert proxy.process.wait(patient(5)) == 0


def test_pcontrol_does_not_wait_for_ever(tmp_path: Path) -> None:
    """After --timeout it returns 4, with a message, and the program goes on waiting; --quiet prints nothing."""
    port = free_port()
    rc = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc) as proxy, PopClient(port) as client:
        client.greeted()
        waiting = _waiting(proxy, "--timeout", "1.5")
        told, complaints = waiting.communicate(timeout=patient(10))
        assert (waiting.returncode, told) == (4, "1 session left\n")
        assert complaints.endswith("the program is still there after 1.5 s\n")
        quiet = _waiting(proxy, "--timeout", "0.5", "--quiet")
        assert quiet.communicate(timeout=patient(10)) == ("", "")
        assert quiet.returncode == 4
        assert client.ask("QUIT").startswith(b"+OK")
        assert proxy.process.wait(patient(5)) == 0


def test_the_deadline_ends_waiting_too(tmp_path: Path) -> None:
    """At maxsession, who waits in the queues is let in as others leave; at the deadline all of them go too."""
    port = free_port()
    rc = ["set displace off", f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc, options=["-n", "2"]) as proxy, contextlib.ExitStack() as clients:
        inside = [clients.enter_context(PopClient(port)) for _ in range(2)]
        for client in inside:
            client.greeted()
        waiting = [clients.enter_context(PopClient(port)) for _ in range(10)]
        proxy.said("shutdown delayed deadline 2s")
        assert inside[0].ask("QUIT").startswith(b"+OK")
        heard = [client.rest() for client in waiting]
        assert sum(greeting.startswith(b"+OK") for greeting in heard) == 1, "there was room for one"
        assert proxy.process.wait(patient(5)) == 0
        assert sum(int(entry.fields["clients"]) for entry in proxy.log("turned_away")) == 9


def test_nothing_is_changed_at_the_end(tmp_path: Path) -> None:
    """While the last session is waited for, changes and trials are refused, by command and by file, and nobody listens
    anew: another program may have the port by then. What only tells something is answered.
    """
    port = free_port()
    file = tmp_path / "site.rc"
    file.write_text(f"vserv conf v iface {LOOPBACK} port {port} bannererr other state online\n")
    with ScriptedBackend(pop3_server([])) as backend, Proxy(tmp_path, _site(port, backend.port)) as proxy:
        with PopClient(port) as client:
            client.log_in()
            proxy.said("shutdown delayed")
            for command in (["-c", "vserv conf v bannererr other"], ["apply", str(file)], ["check", str(file)]):
                told = subprocess.run(
                    [program("pcontrol"), "-r", str(proxy.rundir), *command],
                    capture_output=True,
                    text=True,
                    timeout=patient(20),
                )
                assert told.returncode == 1
                assert "the program is ending" in told.stderr
                assert "nothing was changed" in told.stderr
                assert _is_refused(port)
            assert len(proxy.sessions()) == 1
            assert client.ask("QUIT") == b"+OK bye"
        assert proxy.process.wait(patient(5)) == 0
