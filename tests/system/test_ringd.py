"""Programs come and go, ringd keeps their listening sockets: clients wait, none is refused."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.ring import RingDaemon, Storm, kill_at_once
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def ringd(tmp_path: Path) -> Iterator[RingDaemon]:
    """For the user of the tests."""
    with RingDaemon(tmp_path) as running:
        yield running


def proxy_of(ringd: RingDaemon, directory: Path, port: int, workers: int = 2) -> Proxy:
    """A proxy with one virtual server, its sockets from ringd."""
    directory.mkdir(exist_ok=True)
    lines = ["debug =RINGD", f"vserv conf v iface {LOOPBACK} port {port} state online"]
    return Proxy(directory, lines, workers, ["--ringd", str(ringd.socket)])


def crash(proxy: Proxy) -> None:
    """The master and all workers die at the same moment."""
    kill_at_once([proxy.pid, *proxy.workers()])
    proxy.process.wait()


def greets(port: int) -> bool:
    """Whether somebody serves the port."""
    with PopClient(port) as client:
        return client.line().startswith(b"+OK")


def test_a_port_of_another_program(ringd: RingDaemon, tmp_path: Path) -> None:
    """pserv cannot have the port of pproxy, and is told who has it; when pproxy has given it up, it can."""
    port = free_port()
    (tmp_path / "store").mkdir()
    with (
        proxy_of(ringd, tmp_path / "proxy", port, 1) as proxy,
        Proxy(tmp_path / "store", workers=1, options=["--ringd", str(ringd.socket)], name="pserv") as store,
    ):
        order = f"server conf iface {LOOPBACK} port {port} prot XPOP state online"
        refused = store.control(order)
        assert not refused.ok
        assert f"port {port} is lent to pproxy" in refused.text
        assert [entry.fields["address"] for entry in ringd.log("ring_denied")] == [f"{LOOPBACK}:{port}"]
        assert greets(port)
        proxy.said("vserv conf v state offline")
        store.said(order)


@pytest.mark.parametrize(("before", "after"), [(2, 2), (3, 1), (1, 3)])
def test_hand_over_between_two_that_live(ringd: RingDaemon, tmp_path: Path, before: int, after: int) -> None:
    """A second pproxy starts, the first one shuts down, with as many workers or more or fewer: nobody notices."""
    port = free_port()
    with proxy_of(ringd, tmp_path / "old", port, before) as old, Storm(port) as storm:
        storm.blow(100)
        with proxy_of(ringd, tmp_path / "new", port, after) as new:
            old.stop("shutdown delayed")
            gone = time.monotonic()
            wait_until(lambda: storm.outcomes(since=gone).get("served", 0) > 100, "the new one serves")
            storm.__exit__()
            assert len(new.log("session_end")) > 100
    storm.assert_all_served()


@pytest.mark.parametrize(("before", "after"), [(2, 2), (4, 1), (1, 4)])
def test_clients_wait_for_the_next_one_after_a_crash(
    ringd: RingDaemon, tmp_path: Path, before: int, after: int
) -> None:
    """Every process of pproxy is killed at once; a second later the next one starts, with more workers or fewer. Of the
    clients that came after the crash everyone is served; of those before, only who was being served is lost.
    """
    port = free_port()
    old = proxy_of(ringd, tmp_path / "run", port, before).__enter__()
    with Storm(port) as storm:
        storm.blow(100)
        crash(old)
        dead = time.monotonic()
        time.sleep(1.0)
        with proxy_of(ringd, tmp_path / "run", port, after):
            storm.blow(100)
            storm.__exit__()
    storm.assert_all_served(since=dead)
    assert storm.outcomes().get("refused", 0) == 0
    assert sum(storm.outcomes().values()) - storm.outcomes()["served"] <= 20, "those that were being served"
    waited = [visit.seconds for visit in storm.visits if dead <= visit.began <= dead + 0.5]
    assert min(waited) > 0.4, "they waited"


def test_clients_wait_after_an_orderly_end(ringd: RingDaemon, tmp_path: Path) -> None:
    """`shutdown delayed`, half a second without anybody, then the next one: nobody is lost."""
    port = free_port()
    old = proxy_of(ringd, tmp_path / "run", port, 3).__enter__()
    with Storm(port) as storm:
        storm.blow(100)
        old.stop("shutdown delayed")
        time.sleep(0.5)
        with proxy_of(ringd, tmp_path / "run", port, 2):
            storm.blow(100)
            storm.__exit__()
    storm.assert_all_served()


def test_taking_the_new_one_back(ringd: RingDaemon, tmp_path: Path) -> None:
    """A second pproxy with more workers starts beside the first one, and crashes: the first one serves everybody, also
    those that the kernel had put into sockets of the second one's slots.
    """
    port = free_port()
    with proxy_of(ringd, tmp_path / "old", port, 1), Storm(port) as storm:
        new = proxy_of(ringd, tmp_path / "new", port, 4).__enter__()
        storm.blow(100)
        crash(new)
        dead = time.monotonic()
        storm.blow(100)
        storm.__exit__()
        new._kill()
    storm.assert_all_served(since=dead)
    assert storm.outcomes().get("refused", 0) == 0


def test_other_numbers_of_workers(ringd: RingDaemon, tmp_path: Path) -> None:
    """`set workers` from 2 to 4 to 1 with sockets from ringd: nobody is lost, and ringd has closed three again."""
    port = free_port()
    with proxy_of(ringd, tmp_path, port) as proxy, Storm(port) as storm:
        proxy.said("set workers 4")
        storm.blow(100)
        proxy.said("set workers 1")
        storm.blow(100)
        storm.__exit__()
        assert [entry.fields["left"] for entry in ringd.log("ring_closed")] == ["1"]
    storm.assert_all_served()


def test_a_new_ringd_is_given_the_sockets(ringd: RingDaemon, tmp_path: Path) -> None:
    """ringd ends and another one starts, under load: clients notice nothing. What is new is refused meanwhile, with the
    reason; afterwards the new ringd keeps the old sockets through a crash.
    """
    port, other = free_port(), free_port()
    old = proxy_of(ringd, tmp_path / "run", port).__enter__()
    with Storm(port) as storm:
        ringd.__exit__(None)
        wait_until(lambda: old.log("ringd_lost"), "the loss is logged")
        answer = old.control(f"vserv conf w iface {LOOPBACK} port {other} state online")
        assert not answer.ok
        assert "ringd" in answer.text
        ringd.__enter__()
        wait_until(lambda: old.log("ringd_back"), "it is back")
        assert [entry.fields["sockets"] for entry in ringd.log("ring_restored")] == ["2"]
        old.said(f"vserv conf w iface {LOOPBACK} port {other} state online")
        storm.blow(100)
        crash(old)
        dead = time.monotonic()
        with proxy_of(ringd, tmp_path / "run", port):
            storm.blow(100)
            storm.__exit__()
    storm.assert_all_served(since=dead)
    assert storm.outcomes().get("refused", 0) == 0


def test_a_start_beside_a_fresh_ringd(ringd: RingDaemon, tmp_path: Path) -> None:
    """ringd was restarted a moment ago, and the next pproxy claims before the last one has come back: it gets the old
    sockets nevertheless.
    """
    port = free_port()
    with proxy_of(ringd, tmp_path / "old", port) as old:
        ringd.__exit__(None)
        ringd.__enter__()
        with proxy_of(ringd, tmp_path / "new", port):
            wait_until(lambda: ringd.log("ring_restored"), "the old one has come back")
            assert len(ringd.log("ring_opened")) == 1, "by the first ringd"
            old.stop("shutdown delayed")
            assert all(greets(port) for _ in range(20))


def test_what_is_given_up_is_closed(ringd: RingDaemon, tmp_path: Path) -> None:
    """A virtual server that goes offline has its port closed, also at ringd; it can come back, under another name."""
    port = free_port()
    with proxy_of(ringd, tmp_path, port) as proxy:
        proxy.said("vserv conf v state offline")
        with pytest.raises(ConnectionRefusedError):
            PopClient(port)
        proxy.said("vserv del v")
        proxy.said(f"vserv conf w iface {LOOPBACK} port {port} state online")
        assert greets(port)
        assert len(ringd.log("ring_closed")) == 1


def test_nobody_comes_back(tmp_path: Path) -> None:
    """What nobody claims again within --keep is closed."""
    port = free_port()
    with RingDaemon(tmp_path, "--keep", "1") as ringd:
        with proxy_of(ringd, tmp_path, port):
            pass
        with socket.create_connection((LOOPBACK, port)):
            pass
        wait_until(lambda: ringd.log("ring_expired"), "it has expired", patient(3))
        with pytest.raises(ConnectionRefusedError):
            PopClient(port)


def test_the_log_of_what_is_said(ringd: RingDaemon, tmp_path: Path) -> None:
    """With the debug option RINGD, claims and answers stand in pproxy's log."""
    port = free_port()
    with proxy_of(ringd, tmp_path, port) as proxy:
        proxy.said("vserv conf v state offline")
        entries = proxy.log("ringd_claim")
        assert [str(port) in entry.line for entry in entries] == [True]
        assert proxy.log("ringd_heard")
        assert proxy.log("ringd_quiet")
        assert proxy.log("ringd_release")


def test_without_ringd(tmp_path: Path) -> None:
    """A ringd that is named and not there: pproxy starts, but opens nothing, and says why; `off` binds as ever."""
    port = free_port()
    line = f"vserv conf v iface {LOOPBACK} port {port} state online"
    with Proxy(tmp_path, options=["--ringd", str(tmp_path / "nobody")]) as proxy:
        answer = proxy.control(line)
        assert not answer.ok
        assert "nobody is not there" in answer.text
    with Proxy(tmp_path, [line], options=["--ringd", "off"]):
        assert greets(port)


def test_a_port_in_use(ringd: RingDaemon, tmp_path: Path) -> None:
    """The refusal says what the system said to ringd."""
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with Proxy(tmp_path, options=["--ringd", str(ringd.socket)]) as proxy:
            answer = proxy.control(f"vserv conf v iface {LOOPBACK} port {port} state online")
    assert not answer.ok
    assert f"v: {LOOPBACK} port {port} is in use by another program" in answer.text


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that nobody owns, so to speak."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="popular-ring-") as name:
        os.chown(name, nobody.pw_uid, nobody.pw_gid)
        yield Path(name)


def privileged_port() -> int:
    """A free port below 1024."""
    for port in range(1023, 512, -1):
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) != 0:
                return port
    raise AssertionError("no free port below 1024")


@AS_ROOT
def test_ports_of_root_for_nobody(open_directory: Path) -> None:
    """pproxy runs as nobody, without any right; ringd, which is not root any more either, opens a port below 1024."""
    port = privileged_port()
    with RingDaemon(open_directory, "-u", "nobody") as ringd:
        status = Path(f"/proc/{ringd.process.pid}/status").read_text()
        assert "CapEff:\t0000000000000400" in status, "CAP_NET_BIND_SERVICE and nothing else"
        assert f"Uid:\t{pwd.getpwnam('nobody').pw_uid}\t" in status
        assert ringd.socket.stat().st_mode & 0o777 == 0o600
        assert ringd.socket.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        options = ["--ringd", str(ringd.socket), "-u", "nobody"]
        lines = [f"vserv conf v iface {LOOPBACK} port {port} state online"]
        with Proxy(open_directory, lines, options=options):
            assert greets(port)


@AS_ROOT
def test_another_user_is_refused(open_directory: Path) -> None:
    """Even where the file's mode lets him in: the peer's user counts."""
    code = (
        "import os, socket, sys; os.setuid(1)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])\n"
        "print(s.recv(300)[12:].decode(), s.recv(300) == b'')"
    )
    with RingDaemon(open_directory, "-u", "nobody") as ringd:
        open_directory.chmod(0o755)
        os.chmod(ringd.socket, 0o666)
        command = ["/usr/bin/env", "python3", "-c", code, str(ringd.socket)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(10), check=True)
        assert done.stdout.strip() == "this ringd is for another user True"
        assert [entry.fields["uid"] for entry in ringd.log("ring_stranger")] == ["1"]


@AS_ROOT
def test_root_has_to_say_for_whom(tmp_path: Path) -> None:
    """Without --user a ringd of root does not start."""
    ringd = RingDaemon(tmp_path)
    command = [word for word in ringd._command if word not in ("-u", "root")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(10), check=False)
    assert done.returncode == 1
    assert "--user" in done.stderr


def test_two_at_one_socket(ringd: RingDaemon) -> None:
    """The second one does not start, and does not disturb the first one; a dead one's socket is replaced."""
    done = subprocess.run(ringd._command, capture_output=True, text=True, timeout=patient(10), check=False)
    assert (done.returncode, "another ringd" in done.stderr) == (1, True)
    ringd.process.send_signal(signal.SIGKILL)
    ringd.process.wait()
    assert ringd.socket.exists()
    ringd.__enter__()


def test_the_log_is_opened_anew(ringd: RingDaemon) -> None:
    """At SIGHUP."""
    ringd.logfile.rename(ringd.logfile.with_suffix(".old"))
    ringd.process.send_signal(signal.SIGHUP)
    wait_until(ringd.logfile.exists, "a new file")
    wait_until(lambda: ringd.log("log_reopened"), "and its first line")
