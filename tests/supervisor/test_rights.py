"""Started as root for another user: the master keeps the right to bind low ports, the workers keep nothing."""

import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.runtime.rights import UnknownUser, find_user
from tests.system.site import LOOPBACK, PopClient, Proxy, wait_until

BIND_SERVICE = 1 << 10

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can give up root")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every user may pass through, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="popular-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def _low_port() -> int:
    """A free port below 1024."""
    for port in random.sample(range(600, 1024), 100):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port below 1024")


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_what_is_kept_and_what_is_not(directory: Path) -> None:
    """Master and workers run as nobody, for good. The master binds a port below 1024 long after it gave up root. The
    workers have no capability and can gain none.
    """
    nobody, port = find_user("nobody"), _low_port()
    with Proxy(directory, options=["-u", "nobody"]) as proxy:
        wait_until(lambda: len(proxy.log("worker_born")) == 2, "the workers are born")
        proxy.said(f"vserv conf v iface {LOOPBACK} port {port} state online")
        with PopClient(port) as client:
            assert client.greeted().startswith(b"+OK")
        master, workers = _status(proxy.pid), [_status(pid) for pid in proxy.workers()]
        for status in (master, *workers):
            assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
            assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
            assert "0" not in status["Groups"].split()
        assert int(master["CapEff"], 16) == int(master["CapPrm"], 16) == BIND_SERVICE
        for status in workers:
            for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                assert int(status[kind], 16) == 0
            assert status["NoNewPrivs"] == "1"
        assert proxy.rundir.stat().st_uid == proxy.logfile.stat().st_uid == nobody.pw_uid
        assert stat.S_IMODE(proxy.rundir.stat().st_mode) == 0o700
        os.kill(proxy.workers()[0], signal.SIGKILL)
        wait_until(lambda: len(proxy.log("worker_born")) == 3, "a successor is born without root as well")


def test_the_log_is_reopened_without_root(directory: Path) -> None:
    """In a log directory of the user's, a moved log is made anew as that user."""
    nobody = find_user("nobody")
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    with Proxy(directory, options=["-u", "nobody"]) as proxy:
        proxy.logfile.rename(directory / "old.log")
        os.kill(proxy.pid, signal.SIGHUP)
        wait_until(lambda: proxy.logfile.exists() and proxy.log("log_reopened"), "the log is there again")
        assert proxy.logfile.stat().st_uid == nobody.pw_uid


def test_python_out_of_reach_is_told(directory: Path) -> None:
    """A user who may not read Python's files is named in the log, because what is loaded later will fail; no other."""
    seen = subprocess.run(["cat", os.__file__], user="nobody", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Proxy(directory, options=["-u", "nobody"]) as proxy:
        told = [(entry.fields["user"], entry.fields["file"]) for entry in proxy.log("code_unreadable")]
        assert told == ([("nobody", os.__file__)] if seen.returncode else [])


def test_an_unknown_user_is_named() -> None:
    """The text says which."""
    with pytest.raises(UnknownUser, match="'no-such-user'"):
        find_user("no-such-user")
