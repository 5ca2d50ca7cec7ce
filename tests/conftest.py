"""For all tests: at the end of the run nothing that a test has started may be left."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import processes
from tests.patience import FACTOR, patient
from tests.system import site

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
"""An example may take as long as it takes: the machine need not be idle."""

_MARK = "POPULAR_TEST_RUN"
"""Environment variable that every process started by this test run inherits."""

_ALONE = (
    "bench/test_bench.py",
    "bench/test_rate.py",
    "metrics/test_scrape_speed.py",
    "system/test_apply_storm.py",
    "system/test_endurance.py",
)
"""Tests that want the machine for themselves: `make test` runs them last, one after the other."""

_FEW = (
    "bench/test_pop3load.py",
    "system/test_departure.py",
    "system/test_limits.py",
    "system/test_pages.py",
    "system/test_storm.py",
    "system/test_tls_attacks.py",
    "system/test_victims.py",
)
"""Tests that load the machine or measure time: two of their files at once, at most."""

_LONG = (
    "deploy/test_engine.py",
    "deploy/test_wheels.py",
    "system/test_tls_handshake.py",
    "transcripts",
)
"""Files that take longest are begun first, so that the last one does not run alone."""

_OURS = ("pproxy", "pserv", "pcheckd", "ringd", "popular-demo", "dovecot")


_QUICK = (
    "architecture",
    "control/test_difference.py",
    "control/test_facts.py",
    "control/test_framing.py",
    "control/test_kinds.py",
    "control/test_language.py",
    "control/test_manual.py",
    "control/test_server.py",
    "deploy/test_documents.py",
    "deploy/test_promql.py",
    "metrics/test_families.py",
    "metrics/test_headline.py",
    "metrics/test_history.py",
    "metrics/test_page.py",
    "metrics/test_pstatus.py",
    "metrics/test_selection.py",
    "pdm",
    "protocol",
    "proxy",
    "store/test_maildir.py",
    "store/test_pserv_machine.py",
    "store/test_commands.py",
    "supervisor/test_change_model.py",
    "supervisor/test_fault.py",
    "supervisor/test_lifeline.py",
    "supervisor/test_listeners.py",
    "supervisor/test_load.py",
    "supervisor/test_log.py",
    "supervisor/test_loop.py",
    "supervisor/test_octets.py",
    "supervisor/test_ring.py",
    "supervisor/test_ringd.py",
    "supervisor/test_sources.py",
    "supervisor/test_wheel.py",
    "table",
    "tls",
)
"""Tests that start no process, but for those that are marked `processes` or `nightly`: `make quick` runs them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks and orders them, and gives each as much time as POPULAR_TEST_PATIENCE says."""
    here = Path(__file__).parent
    in_file = Counter(item.path for item in items)
    items.sort(key=lambda item: (not item.path.relative_to(here).as_posix().startswith(_LONG), -in_file[item.path]))
    for item in items:
        path = item.path.relative_to(here).as_posix()
        if path.startswith(_ALONE):
            item.add_marker("alone")
        if path.startswith(_FEW):
            item.add_marker("few")
        if path.startswith(_QUICK) and not any(map(item.get_closest_marker, ("processes", "nightly"))):
            item.add_marker("quick")
        if FACTOR != 1 and config.getoption("timeout") is None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(patient(float(config.getini("timeout")))))


@pytest.fixture(autouse=True)
def starts_no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """A quick test that starts a process fails."""
    if request.node.get_closest_marker("quick") is None:
        yield
        return
    with processes.forbidden(request.node.nodeid):
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process of ours, shared memory or control socket outlives the tests."""
    os.environ[_MARK] = str(os.getpid())
    yield
    site.wait_until(lambda: not _processes(), f"no process is left: {_processes()}", patient(3))
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
