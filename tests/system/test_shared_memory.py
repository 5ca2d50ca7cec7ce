"""Hosts on which shared memory is not to be had: the program says so in one sentence, and leaves nothing behind."""

import os
import pwd
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import Proxy, need, program, wait_until

MISSING = "mount -t tmpfs none {dev} && mknod {dev}/null c 1 3 && mknod {dev}/urandom c 1 9 && mount --bind {dev} /dev"
CASES = {
    "missing": (MISSING, "/dev/shm is missing; the table of sessions needs a tmpfs there"),
    "read only": (
        "mount -t tmpfs -o ro none /dev/shm",
        "no shared memory can be made in /dev/shm: Read-only file system",
    ),
    "not permitted": (
        "mount -t tmpfs -o mode=700 none /dev/shm",
        "no shared memory can be made in /dev/shm: Permission denied",
    ),
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that nobody can reach as well."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        (Path(name) / "dev").mkdir()
        yield Path(name)


@pytest.mark.parametrize("name", ["pproxy", "pserv"])
@pytest.mark.parametrize("case", CASES)
def test_no_shared_memory(case: str, name: str, directory: Path) -> None:
    """One sentence on standard error and in the log, exit code 1, and an empty run directory."""
    prepare, expected = CASES[case]
    _may_mount()
    log = directory / "log"
    command = [program(name), "-r", str(directory / "run"), "-l", str(log), "--metrics", "off", "-u", "nobody"]
    script = f"{prepare.format(dev=directory / 'dev')} && exec {shlex.join(command)}"

    done = subprocess.run(
        [need("unshare"), "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=patient(30)
    )

    assert (done.returncode, done.stderr) == (1, f"{name}: {expected}\n")
    failed = [line for line in log.read_text().splitlines() if " start_failed " in line]
    assert [line.partition(" start_failed ")[2] for line in failed] == [f"reason='{expected}'"]
    assert list((directory / "run").iterdir()) == []


def _may_mount() -> None:
    """Skips where nothing can be mounted; fails if it should be."""
    done = subprocess.run(
        [need("unshare"), "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=patient(10)
    )
    if done.returncode == 0:
        return
    reason = f"nothing can be mounted here: {done.stderr.decode().strip()}"
    if os.environ.get("CI") and os.getuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.skipif(os.getuid() != 0, reason="somebody else's file")
def test_somebody_else_has_the_name(directory: Path) -> None:
    """Any user of the host can make a file of the name that the table is going to have: it takes another one, readers
    find it, a start after kill -9 removes it, and the other one's file is not touched.
    """
    options = ["-u", "games"]
    with Proxy(directory, options=options) as proxy:
        usual = (proxy.rundir / "pproxy.state").readlink()
    assert not usual.exists()
    usual.write_bytes(b"theirs")
    nobody = pwd.getpwnam("nobody")
    os.chown(usual, nobody.pw_uid, nobody.pw_gid)
    try:
        command = [program("pproxy"), "-r", str(proxy.rundir), "-l", "-", "--metrics", "off", "-w", "1", *options]
        killed = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
        try:
            wait_until((proxy.rundir / "pproxy.ctrl").is_socket, "it serves")
        finally:
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait(patient(20))
        left = (proxy.rundir / "pproxy.1.table").readlink()
        assert left.is_file()
        assert left.name.startswith(f"{usual.name}-")
        with Proxy(directory, options=options) as proxy:
            table = (proxy.rundir / "pproxy.state").readlink()
            assert table == (proxy.rundir / "pproxy.1.table").readlink() != left
            assert proxy.state().header.pid == proxy.pid
            assert not left.exists()
        assert list(usual.parent.glob(f"{usual.name}*")) == [usual]
        assert usual.read_bytes() == b"theirs"
        assert list(proxy.rundir.iterdir()) == []
    finally:
        usual.unlink()
