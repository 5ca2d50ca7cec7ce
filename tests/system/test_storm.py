"""Nothing is lost: a storm of clients, while the proxy is changed, hurt or replaced under their feet.

Planned changes: nobody is refused, reset or cut, and every octet is right. Accidents: only the sessions that the dead
process was serving are lost, and as many as it says. Each test prints how its clients fared.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bench import processes
from tests.patience import MARGIN, patient, within
from tests.system import storm
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until


class Site:
    """A proxy with four workers, in front of a server, and a storm to come."""

    def __init__(self, directory: Path, server: int) -> None:
        self.port = free_port()
        self.rc = storm.site(server, self.port)
        self.directory = directory

    def proxy(self, *rc_lines: str) -> Proxy:
        """A proxy of this site; all of them share one run directory, port and log."""
        return Proxy(self.directory, [*rc_lines, *self.rc], workers=4, options=["-n", "4000"])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The backend runs as long as the test."""
    with storm.backend(tmp_path) as server:
        yield Site(tmp_path, server)


def _told(fared: storm.Fared, during: str) -> storm.Fared:
    print(fared.line(during))
    assert fared.wrong == fared.late == 0, fared
    assert fared.connects / fared.seconds > 300, fared
    return fared


def _is_whole(proxy: Proxy) -> None:
    """After the storm: no session is left, every one has ended once, and all tokens are there."""
    proxy.wait_until_quiet()
    counters = proxy.state().counters()
    assert isinstance(counters["sessions_ended"], dict)
    assert counters["sessions_started"] == sum(counters["sessions_ended"].values())


def test_recycling(site: Site) -> None:
    """`workers recycle`, three times: four new workers each time; nobody notices."""
    with site.proxy() as proxy:
        with storm.Storm(site.port) as clients:
            storm.blow(proxy)
            for _ in range(3):
                before = proxy.state().workers()
                proxy.said("workers recycle")
                seated = {row["generation"] for row in proxy.state().workers()}
                assert len(seated - {row["generation"] for row in before}) == 4
            storm.blow(proxy)
        assert _told(clients.fared, "workers recycle").spotless()
        wait_until(lambda: len(proxy.workers()) == 4, "the old ones leave")
        assert {entry.fields["sessions"] for entry in proxy.log("worker_left")} == {"0"}
        _is_whole(proxy)


def test_fewer_and_more_workers(site: Site) -> None:
    """`set workers` 4 → 2 → 6: nobody notices."""
    with site.proxy() as proxy:
        with storm.Storm(site.port) as clients:
            storm.blow(proxy)
            for number in (2, 6):
                proxy.said(f"set workers {number}")
                storm.blow(proxy)
        assert _told(clients.fared, "set workers 4, 2, 6").spotless()
        wait_until(lambda: len(proxy.workers()) == 6, "the old ones leave")
        _is_whole(proxy)


def test_killed_workers(site: Site) -> None:
    """kill -9 of each worker in turn: lost are the sessions that it was serving, and the obituaries tell how many."""
    with site.proxy() as proxy:
        with storm.Storm(site.port) as clients:
            storm.blow(proxy)
            for count, victim in enumerate(proxy.workers(), start=1):
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda count=count: len(proxy.log("worker_died")) == count, "the death is noticed")
                storm.blow(proxy, 0.5)
        fared = _told(clients.fared, "kill -9 of each worker")
        died = proxy.log("worker_died")
        _assert_only_theirs_are_lost(proxy, fared, deaths=4)
        assert [entry.fields["cause"] for entry in died] == ["SIGKILL"] * 4
        _is_whole(proxy)


def _assert_only_theirs_are_lost(proxy: Proxy, fared: storm.Fared, deaths: int) -> None:
    lost = storm.ended(proxy, "worker_died")
    died = proxy.log("worker_died")
    assert len(died) == deaths
    assert sum(int(entry.fields["sessions"]) for entry in died) == lost
    assert fared.refused == fared.denied == 0
    assert fared.served + fared.lost() == fared.connects
    # A worker may die between `accept` and the first count; and its last octets may be on their way when it dies.
    assert 0 < fared.lost() <= lost + deaths
    assert fared.lost() >= 0.8 * lost


def test_a_hung_worker(site: Site) -> None:
    """kill -STOP of a worker: after workertimeout it is replaced; lost are its sessions. Those who waited in its queue
    are served by its successor.
    """
    with site.proxy("set workertimeout 2") as proxy:
        with storm.Storm(site.port) as clients:
            storm.blow(proxy)
            os.kill(proxy.workers()[1], signal.SIGSTOP)
            wait_until(lambda: proxy.log("worker_died"), "it is replaced")
            storm.blow(proxy)
        fared = _told(clients.fared, "kill -STOP of a worker")
        _assert_only_theirs_are_lost(proxy, fared, deaths=1)
        assert proxy.log("worker_died")[0].fields["cause"] == "hung"
        assert fared.longest > 1500, "somebody waited for the successor"
        _is_whole(proxy)


def test_a_server_that_is_disabled(site: Site) -> None:
    """`vserv … disabled`: new clients are told so and go; who is inside stays. Then online again."""
    with site.proxy() as proxy:
        with storm.Storm(site.port) as clients:
            storm.blow(proxy)
            proxy.said("vserv conf v state disabled")
            storm.blow(proxy, 0.5)
            proxy.said("vserv conf v state online")
            storm.blow(proxy, 0.5)
        fared = _told(clients.fared, "vserv disabled, online")
        assert fared.refused == fared.lost() == 0
        assert fared.denied > 0.3 * storm.RATE
        assert fared.served + fared.denied == fared.connects
        assert storm.ended(proxy, "vserv_disabled") == fared.denied
        _is_whole(proxy)


def test_a_server_that_is_offline(site: Site) -> None:
    """`vserv … offline`: new clients are refused, and nothing else happens to anybody. Then online again."""
    with site.proxy() as proxy:
        with storm.Storm(site.port) as clients:
            storm.blow(proxy)
            proxy.said("vserv conf v state offline")
            time.sleep(0.5)
            proxy.said("vserv conf v state online")
            storm.blow(proxy)
        fared = _told(clients.fared, "vserv offline, online")
        assert fared.denied == fared.lost() == 0
        assert fared.refused > 0
        assert fared.served + fared.refused == fared.connects
        _is_whole(proxy)


def _say(proxy: Proxy, command: str) -> None:
    """To this proxy, also when another one has the run directory's link."""
    socket = proxy.rundir / f"pproxy.{proxy.pid}.ctrl"
    subprocess.run([program("pcontrol"), "-s", socket, "-c", command], check=True, timeout=patient(20))


@pytest.mark.parametrize("how", ["delayed", "parent"])
def test_a_successor_on_the_same_port(site: Site, how: str) -> None:
    """The first pproxy leaves while a second one serves the same port from the same run directory: nobody notices. Its
    workers go when their last session is over.
    """
    with site.proxy() as first, storm.Storm(site.port) as clients:
        storm.blow(first)
        old = first.workers()
        with site.proxy() as second:
            wait_until(lambda: storm.started(second) > 100, "the second one gets its share")
            _say(first, f"shutdown {how}")
            assert first.process.wait(patient(20)) == 0
            storm.blow(second)
            clients.end()
            assert _told(clients.fared, f"shutdown {how}, with a successor").spotless()
            wait_until(lambda: not any(map(_lives, old)), "the old workers are gone")
            _is_whole(second)


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_fresh_workers(site: Site) -> None:
    """`shutdown children`: lost are the sessions that there are at that moment; nobody is refused, and the fresh
    workers greet within 200 ms.
    """
    with site.proxy() as proxy:
        with storm.Storm(site.port) as clients:
            storm.blow(proxy)
            proxy.said("shutdown children")
            with PopClient(site.port) as client, within(0.2):
                assert client.line().startswith(b"+OK")
            storm.blow(proxy)
        fared = _told(clients.fared, "shutdown children")
        assert fared.refused == fared.denied == fared.reset == 0
        assert 0 < fared.cut <= storm.ended(proxy, "shutdown")
        assert storm.ended(proxy, "worker_died") == 0
        assert fared.longest < patient(MARGIN * 200), "milliseconds"
        _is_whole(proxy)


def test_a_killed_master(site: Site) -> None:
    """kill -9 of the master, with a successor on the same port: the workers finish their sessions and leave, none of
    which is lost; those who remain with their last sessions do not spin.
    """
    with site.proxy() as first, storm.Storm(site.port) as clients, PopClient(site.port) as stays:
        stays.log_in()
        storm.blow(first)
        with site.proxy() as second:
            orphans = first.kill_master()
            storm.blow(second)
            clients.end()
            wait_until(lambda: sum(map(_lives, orphans)) == 1, "they leave, but for one")
            (keeper,) = filter(_lives, orphans)
            spent = processes.cpu_seconds([keeper])
            time.sleep(0.5)
            assert processes.cpu_seconds([keeper]) - spent <= 0.05, "it spins"
            assert stays.ask("QUIT") == b"+OK bye"
            wait_until(lambda: not _lives(keeper), "the last one leaves")
            assert _told(clients.fared, "kill -9 of the master, with a successor").spotless()
            _is_whole(second)


def _greeting(client: PopClient) -> bytes:
    """What the client heard, or nothing if it was lost. It leaves at once, so that there is room for the next."""
    try:
        with client:
            return client.line()
    except (OSError, AssertionError):
        return b""


@pytest.mark.parametrize(
    "command", ["set workers 1", "workers recycle", "shutdown delayed", "vserv conf v state offline"]
)
def test_who_waits_at_a_full_proxy(tmp_path: Path, command: str) -> None:
    """maxsession is reached and clients wait in the queues of all workers when workers go: each of them is served, once
    there is room.
    """
    port = free_port()
    rc = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc, workers=4, options=["-n", "8"]) as proxy, contextlib.ExitStack() as clients:
        inside = [clients.enter_context(PopClient(port)) for _ in range(8)]
        for client in inside:
            client.greeted()
        waiting = [clients.enter_context(PopClient(port)) for _ in range(40)]
        proxy.said(command)
        for client in inside:
            client.close()
        with ThreadPoolExecutor(len(waiting)) as threads:
            greetings = list(threads.map(_greeting, waiting))
        assert [greeting[:3] for greeting in greetings] == [b"+OK"] * len(waiting)
        if command == "shutdown delayed":
            assert proxy.process.wait(patient(5)) == 0
