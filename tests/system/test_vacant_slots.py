"""Slots in which nobody can serve, because the master has no descriptor for a birth: their clients are served all the
same, and whoever looks is told.
"""

import contextlib
import itertools
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.master.vacancies import GRACE_SECONDS
from tests.patience import patient
from tests.system.site import LOOPBACK, PATIENCE, PopClient, Proxy, free_port, program, wait_until
from tests.system.test_blame import first_free

WORKERS = 3
TOO_FEW = 5
"""Descriptors for a birth."""
CLIENTS = 24
"""So many that a slot which accepts nobody gets its share: that it gets none happens once in 17,000 times."""


@contextlib.contextmanager
def without_births(proxy: Proxy) -> Iterator[None]:
    """A worker dies, and its master has descriptors for a control connection and a listener, not as many as a birth
    takes: two for a lifeline, and four pipe ends.
    """
    usual = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (first_free(proxy.pid), usual[1]))
    try:
        os.kill(proxy.workers()[0], signal.SIGKILL)
        wait_until(lambda: proxy.log("no_birth"), "nobody can be born")
        taken = {int(name) for name in os.listdir(f"/proc/{proxy.pid}/fd")}
        free = (number for number in itertools.count() if number not in taken)
        limit = next(itertools.islice(free, TOO_FEW, None))
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (limit, usual[1]))
        yield
    finally:
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, usual)


def all_are_greeted(port: int) -> bool:
    """Whether each of many clients is served."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(PopClient(port)) for _ in range(CLIENTS)]
        return all(client.line().startswith(b"+OK") for client in clients)


def _missing(proxy: Proxy) -> int:
    return proxy.state().gauges()["workers_missing"]


def _headline(proxy: Proxy) -> str:
    command = [program("pstatus"), "--rundir", str(proxy.rundir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


@pytest.fixture
def port() -> int:
    """A free one, for the virtual server."""
    return free_port()


@pytest.fixture
def proxy(tmp_path: Path, port: int) -> Iterator[Proxy]:
    """Has more workers than one."""
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"], workers=WORKERS) as proxy:
        yield proxy


def test_the_others_accept_for_a_worker_that_cannot_be_born(proxy: Proxy, port: int) -> None:
    """Its clients are served as soon as it is missing, also at a port that comes meanwhile; it is told by the headline
    and by the reply to `set workers`; and when births are possible each slot has its own worker.
    """
    with without_births(proxy):
        wait_until(lambda: proxy.log("slot_lent"), "another one accepts", patient(GRACE_SECONDS + 3))
        assert all_are_greeted(port)
        late = free_port()
        proxy.said(f"vserv conf late iface {LOOPBACK} port {late} state online")
        assert all_are_greeted(late)
        proxy.said("vserv conf late state offline")
        assert all_are_greeted(port)
        assert _missing(proxy) == 1
        assert f"1 of {WORKERS} workers is missing" in _headline(proxy)
        reply = proxy.said(f"set workers {WORKERS + 1}").text
        assert f"2 of {WORKERS + 1} workers cannot be born now: Too many open files" in reply
        proxy.said(f"set workers {WORKERS}")
    wait_until(lambda: proxy.log("slot_taken_back"), "nobody accepts for another")
    wait_until(lambda: _missing(proxy) == 0, "nobody is missing")
    assert all_are_greeted(port)
    assert "missing" not in _headline(proxy).splitlines()[1]
