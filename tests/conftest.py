"""For all tests: at the end of the run nothing that a test has started may be left."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import site

_MARK = "POPULAR_TEST_RUN"
"""Environment variable that every process started by this test run inherits."""

_ALONE = (
    "bench",
    "metrics/test_scrape_speed.py",
    "system/test_apply_storm.py",
    "system/test_departure.py",
    "system/test_endurance.py",
    "system/test_limits.py",
    "system/test_ringd.py",
    "system/test_storm.py",
    "system/test_supervision.py",
    "system/test_tls_attacks.py",
)
"""Tests that load the machine or measure time: `make test` runs them one after the other, all others side by side."""

_OURS = ("pproxy", "pserv", "pcheckd", "ringd", "popular-demo", "dovecot")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks them."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(_ALONE):
            item.add_marker("alone")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process of ours, shared memory or control socket outlives the tests."""
    os.environ[_MARK] = str(os.getpid())
    yield
    site.wait_until(lambda: not _processes(), f"no process is left: {_processes()}", 3)
    assert [str(path) for rundir in site.STARTED for path in _served_sockets(rundir)] == []
    assert [str(path) for path in site.SEGMENTS if path.exists()] == []


def _processes() -> list[str]:
    """Command lines of the living processes that bear our mark."""
    mark = f"{_MARK}={os.getpid()}".encode()
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        if mark in environment and any(name in command for name in _OURS):
            found.append(f"{entry.name}: {command}")
    return found


def _served_sockets(rundir: Path) -> Iterator[Path]:
    """The control sockets of a run directory (which may be gone) that somebody answers."""
    for path in rundir.glob("*.ctrl"):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                yield path
