"""Ports that another program of the same user has: the kernel shares them, and the log says so."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.patience import patient
from tests.system.ring import RingDaemon
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program
from tests.system.test_ringd import greets


def _vserv(port: int) -> str:
    return f"vserv conf v iface {LOOPBACK} port {port} state online"


def test_in_another_run_directory(tmp_path: Path) -> None:
    """A second program at the port says so in its log; at another port it has nothing to say."""
    port = free_port()
    for name in "ab":
        (tmp_path / name).mkdir()
    with Proxy(tmp_path / "a", [_vserv(port)], workers=2) as first, Proxy(tmp_path / "b", workers=1) as other:
        assert other.control(_vserv(port)).ok
        assert [(entry.level, entry.fields["port"]) for entry in other.log("port_shared")] == [("ADM", str(port))]
        assert other.control("vserv conf v state offline").ok
        assert other.control(f"vserv conf v port {free_port()} state online").ok
        assert (len(other.log("port_shared")), first.log("port_shared")) == (1, [])


def test_started_again_at_once(tmp_path: Path) -> None:
    """Sessions that a program has ended, or that were cut off with it, do not keep the next one from its port."""
    port = free_port()
    for cut in (False, True):
        with Proxy(tmp_path, [_vserv(port)], workers=1) as proxy:
            with PopClient(port) as client:
                assert client.ask("QUIT").startswith(b"+OK")
            with socket.create_connection((LOOPBACK, port)):
                if cut:
                    proxy.stop("shutdown all")


def test_a_socket_that_a_killed_ringd_has_left(tmp_path: Path) -> None:
    """Nobody has named it: the program binds its ports itself, and the log says why; --check says so beforehand.
    Where it is named, neither is good, and both say what to do.
    """
    port, rc, run = free_port(), tmp_path / "rc", tmp_path / "run"
    rc.write_text(f"{_vserv(port)}\n")
    run.mkdir(mode=0o700)
    left = run / "ringd.ctrl"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed:
        killed.bind(str(left))
    with Proxy(tmp_path, [_vserv(port)], workers=1) as proxy:
        assert greets(port)
        assert [entry.fields["path"] for entry in proxy.log("ringd_dead")] == [str(left)]
        left.rename(aside := tmp_path / "aside")  # the run directory is to be empty at the end
    aside.rename(left)
    note = f"pproxy: note: nobody serves {left} (Connection refused): a start binds the ports itself"
    assert _check(rc, run) == (0, note)
    assert _check(rc, run, "--ringd", str(left)) == (
        1,
        f"pproxy: ringd at {left} is not there: Connection refused; start it, or remove the file, or say --ringd off",
    )
    assert _check(rc, run, "--ringd", "off") == (0, "")


def _check(rc: Path, run: Path, *options: str) -> tuple[int, str]:
    command = [program("pproxy"), "--check", "-c", str(rc), "-r", str(run), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=patient(20))
    return done.returncode, "\n".join(line for line in done.stderr.splitlines() if "ringd" in line)


def test_check_with_a_ringd(tmp_path: Path) -> None:
    """One that is there is no word worth, and does not mind; one that was stopped is told, named or not: a start would
    get no socket.
    """
    rc = tmp_path / "rc"
    rc.write_text("set grace 1s\n")
    with RingDaemon(tmp_path) as ringd:
        assert _check(rc, tmp_path, "--ringd", str(ringd.socket)) == (0, "")
        ringd.process.send_signal(signal.SIGSTOP)
        try:
            for named in (["--ringd", str(ringd.socket)], []):
                code, told = _check(rc, tmp_path, *named)
                assert code == 1
                assert told.startswith(f"pproxy: ringd at {ringd.socket} does not answer within 2 s")
        finally:
            ringd.process.send_signal(signal.SIGCONT)
        assert _check(rc, tmp_path) == (0, "")
        assert not ringd.log("ring_peer_fault")


def test_ringd_is_given_a_directory(tmp_path: Path) -> None:
    """It says that it is one, and what to say instead."""
    command = [program("ringd"), "-s", str(tmp_path), "-l", "-", *(["-u", "root"] if os.getuid() == 0 else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=patient(20))
    assert done.returncode == 1
    assert done.stderr.endswith(f"{tmp_path} is a directory; name the socket in it, as {tmp_path}/ringd.ctrl\n")
