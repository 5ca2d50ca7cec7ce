"""Hosts on which shared memory is not to be had: the program says so in one sentence, and leaves nothing behind."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import need, program

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
