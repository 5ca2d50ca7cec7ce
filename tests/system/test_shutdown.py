"""The four shutdowns, each by its command and by its signal, with one session open; and the reopening of the log."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.ring import Storm
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until


def _site(port: int) -> list[str]:
    return [f"vserv conf v iface {LOOPBACK} port {port} state fake"]


def _ask(proxy: Proxy, how: str, number: int | None) -> None:
    if number is None:
        proxy.said(f"shutdown {how}")
    else:
        os.kill(proxy.pid, number)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def _ways(number: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("number", [None, number], ids=["command", "signal"])


@_ways(signal.SIGTERM)
def test_all_ends_everything(tmp_path: Path, number: int | None) -> None:
    """The session ends, with the ending `shutdown`; all processes go; nothing is left behind."""
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy, PopClient(port) as client:
        client.greeted()
        workers = proxy.workers()
        _ask(proxy, "all", number)
        assert client.rest() == b""
        assert proxy.process.wait(patient(10)) == 0
        assert not any(map(_alive, workers))
        proxy.assert_nothing_is_left()
        assert proxy.endings() == ["shutdown"]
        assert [entry.fields["how"] for entry in proxy.log("shutdown_server")] == ["all"]
        assert [entry.fields["signal"] for entry in proxy.log("got_term_signal")] == (["SIGTERM"] if number else [])


@_ways(signal.SIGINT)
def test_children_ends_the_sessions_only(tmp_path: Path, number: int | None) -> None:
    """The session ends; the master stays, fills its slots anew, and the next client is served."""
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy:
        with PopClient(port) as client:
            client.greeted()
            old = proxy.workers()
            _ask(proxy, "children", number)
            assert client.rest() == b""
        wait_until(lambda: proxy.state().gauges()["workers"] == 2 and not set(old) & set(proxy.workers()), "fresh ones")
        with PopClient(port) as client:
            assert client.log_in().startswith(b"+OK")
            assert client.ask("STAT") == b"+OK 0 0"
            assert client.ask("QUIT").startswith(b"+OK")
        assert proxy.wait_for_endings(2) == ["shutdown", "quit"]
        assert proxy.said("show pid").lines == [f"pid {proxy.pid}"]
        assert proxy.log("worker_died") == [], "they were asked to go"
        ended = proxy.state().counters()["sessions_ended"]
        assert isinstance(ended, dict)
        assert (ended["shutdown"], ended["worker_died"]) == (1, 0)


def test_children_in_a_drain_promises_nobody(tmp_path: Path) -> None:
    """No fresh workers follow when the program only waits for its sessions."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake"]) as proxy:
        old = set(proxy.workers())
        assert "fresh workers follow" in proxy.said("shutdown children").text
        wait_until(lambda: old.isdisjoint(proxy.workers()), "nobody is served by one that is told to end")
        with PopClient(port) as client:
            client.line()
            proxy.said("shutdown delayed")
            assert proxy.said("shutdown children").text.endswith("ended; no workers follow: the program ends")
            assert proxy.process.wait(patient(20)) == 0


def test_children_again_and_again(tmp_path: Path) -> None:
    """Thirty times in a row without a pause, so that signals meet workers that are just being born: the master is never
    taken for one of its children.
    """
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy:
        for _ in range(30):
            proxy.said("shutdown children")
        wait_until(lambda: proxy.state().gauges()["workers"] == 2, "the slots are full in the end")
        assert proxy.log("got_term_signal") == []
        with PopClient(port) as client:
            assert client.greeted().startswith(b"+OK")


@_ways(signal.SIGQUIT)
def test_parent_leaves_the_sessions_running(tmp_path: Path, number: int | None) -> None:
    """The master goes at once; the session goes on to its QUIT; a new pproxy starts at once in the same directory, on
    the same port, and serves the clients that come from now on.
    """
    port = free_port()
    with Proxy(tmp_path, _site(port)) as first, PopClient(port) as client:
        client.greeted()
        workers = first.workers()
        _ask(first, "parent", number)
        assert first.process.wait(patient(10)) == 0
        with Proxy(tmp_path, _site(port)) as second:
            with PopClient(port) as new:
                new.greeted()
                wait_until(second.sessions, "the new one serves it")
                assert new.ask("USER x").startswith(b"+OK")
            assert client.ask("USER joe").startswith(b"+OK")
            assert client.ask("PASS joe").startswith(b"+OK")
            assert client.ask("STAT") == b"+OK 0 0"
            assert client.ask("QUIT").startswith(b"+OK")
            wait_until(lambda: not any(map(_alive, workers)), "the old workers went with their last session")
        assert "quit" in second.endings()


def test_the_last_worker_behind_a_parent_that_is_gone_clears_up(tmp_path: Path) -> None:
    """State, lock and table stay as long as a session does, for `pstatus`; and go with the last one."""
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy, PopClient(port) as one, PopClient(port) as other:
        for client in (one, other):
            client.greeted()
        proxy.state()
        workers = proxy.workers()
        proxy.said("shutdown parent")
        assert proxy.process.wait(patient(10)) == 0
        assert one.ask("QUIT").startswith(b"+OK")
        assert sorted(path.name for path in proxy.rundir.iterdir()) == ["pproxy.1.lock", "pproxy.state"]
        assert other.ask("QUIT").startswith(b"+OK")
        wait_until(lambda: not any(map(_alive, workers)), "the workers went with their last session")
        proxy.assert_nothing_is_left()


@_ways(signal.SIGPWR)
def test_delayed_lets_the_sessions_finish(tmp_path: Path, number: int | None) -> None:
    """New clients are refused; the session has its time; then the master goes, too."""
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy, PopClient(port) as client:
        client.greeted()
        _ask(proxy, "delayed", number)
        wait_until(lambda: _refuses(port), "nobody listens any more")
        time.sleep(0.3)
        assert client.log_in().startswith(b"+OK")
        assert proxy.process.poll() is None
        if number is None:
            assert proxy.said("show pid").lines == [f"pid {proxy.pid}"], "the control socket answers meanwhile"
        assert proxy.state().gauges()["draining"] == 1
        assert client.ask("QUIT").startswith(b"+OK")
        assert proxy.process.wait(patient(10)) == 0
        proxy.assert_nothing_is_left()
        # The connections by which this test found the port open were sessions, too.
        assert proxy.endings()[-1] == "quit"
        assert set(proxy.endings()) <= {"quit", "client_closed", "client_reset"}


def test_all_overtakes_delayed(tmp_path: Path) -> None:
    """Who cannot wait any longer says so: the session ends at once."""
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy, PopClient(port) as client:
        client.greeted()
        proxy.said("shutdown delayed")
        proxy.said("shutdown delayed")
        proxy.said("shutdown all")
        assert client.rest() == b""
        assert proxy.process.wait(patient(10)) == 0


@pytest.mark.slow
def test_a_worker_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """`shutdown all` with a worker that is stopped: after its time it is killed, and the program ends all the same."""
    with Proxy(tmp_path) as proxy:
        victim = proxy.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        proxy.said("shutdown all")
        assert proxy.process.wait(patient(20)) == 0
        assert not _alive(victim)


def test_hup_reopens_the_log(tmp_path: Path) -> None:
    """After the file was moved away, SIGHUP makes a new one, in the master and in all workers; not a line is lost."""
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy:
        moved = tmp_path / "moved.log"
        proxy.logfile.rename(moved)
        with PopClient(port) as client:
            assert client.ask("QUIT").startswith(b"+OK")
        wait_until(lambda: "session_end" in moved.read_text(), "the old file is written until then")
        os.kill(proxy.pid, signal.SIGHUP)
        wait_until(proxy.logfile.exists, "the new file is there")
        wait_until(lambda: proxy.log("log_reopened"), "and written to")
        for _ in range(12):
            with PopClient(port) as client:
                assert client.ask("QUIT").startswith(b"+OK")
        proxy.wait_for_endings(12)
        assert {entry.pid for entry in proxy.log("session_end")} == set(proxy.workers())
        assert moved.read_text().count(" session_end ") == 1


def test_a_new_logfile_counts_from_the_reopening_on(tmp_path: Path) -> None:
    """`set logfile` alone moves nothing; with the next SIGHUP everybody writes there. One that cannot be opened is
    reported in the old one, which stays in use.
    """
    port, other = free_port(), tmp_path / "other.log"
    with Proxy(tmp_path, _site(port)) as proxy:
        proxy.said(f"set logfile {other}")
        proxy.said("set checkport 1")
        assert not other.exists()
        os.kill(proxy.pid, signal.SIGHUP)
        wait_until(lambda: other.exists() and "log_reopened" in other.read_text(), "the new name is used")
        lines = len(proxy.log())
        for _ in range(12):
            with PopClient(port) as client:
                assert client.ask("QUIT").startswith(b"+OK")
        wait_until(lambda: other.read_text().count(" session_end ") == 12, "the workers write there")
        assert len(proxy.log()) == lines
        gone = tmp_path / "gone" / "all.log"
        gone.parent.mkdir()
        proxy.said(f"set logfile {gone}")
        gone.parent.rmdir()
        os.kill(proxy.pid, signal.SIGHUP)
        wait_until(lambda: f" ADM 0209 log_failed file='{gone}'" in other.read_text(), "the failure is told")


def test_all_sends_away_who_waits(tmp_path: Path) -> None:
    """At maxsession, ten wait in the queues: their connections are closed, not reset, and the log tells how many, but
    for those who were let in when the first sessions had ended.
    """
    port = free_port()
    with Proxy(tmp_path, _site(port), options=["-n", "2"]) as proxy, contextlib.ExitStack() as clients:
        inside = [clients.enter_context(PopClient(port)) for _ in range(2)]
        for client in inside:
            client.greeted()
        waiting = [clients.enter_context(socket.create_connection((LOOPBACK, port), patient(10))) for _ in range(10)]
        for one in waiting[:5]:
            one.sendall(b"CAPA\r\n")
        proxy.said("shutdown all")
        let_in = sum(client.makefile("rb").read().startswith(b"+OK") for client in waiting)
        assert proxy.process.wait(patient(10)) == 0
        away = sum(int(entry.fields["clients"]) for entry in proxy.log("turned_away"))
        assert away >= 10 - let_in
        assert away + proxy.endings().count("shutdown") == 12


@pytest.mark.parametrize("how", ["all", "signal"])
def test_beside_another_instance_nobody_is_reset(tmp_path: Path, how: str) -> None:
    """Clients come all the time. Those that the ending instance has let in may be cut, and are counted; all others are
    served by the one that stays.
    """
    port = free_port()
    (tmp_path / "new").mkdir()
    with Proxy(tmp_path / "new", _site(port)), Proxy(tmp_path, _site(port)) as old, Storm(port) as storm:
        wait_until(lambda: len(storm.visits) > 100, "clients are served")
        _ask(old, "all", signal.SIGTERM if how == "signal" else None)
        assert old.process.wait(patient(10)) == 0
        ended = time.monotonic()
        wait_until(lambda: sum(visit.began > ended for visit in storm.visits) > 100, "clients are served")
    outcomes = storm.outcomes()
    assert outcomes.keys() <= {"served", "cut"}, outcomes
    assert storm.outcomes(ended).keys() == {"served"}
    away = sum(int(entry.fields["clients"]) for entry in old.log("turned_away"))
    assert outcomes.get("cut", 0) <= old.endings().count("shutdown") + away
