"""Workers that die: the slot is filled again, nobody else notices, and what they held is found."""

import contextlib
import os
import random
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from supervisor.pcontrol.connection import ReplyReader
from supervisor.table.segment import View
from tests.patience import patient
from tests.system import crowd
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

MAXSESSION = 600


def _ended(proxy: Proxy) -> dict[str, int]:
    ended = proxy.state().counters()["sessions_ended"]
    assert isinstance(ended, dict)
    return ended


def _flat(view: View) -> dict[str, int]:
    """All counters, but those of what is there now: they fall with those who were there."""
    numbers: dict[str, int] = {}
    fall = {row.name for row in view.layout.counters if row.falls}
    for name, value in view.counters().items():
        if name in fall:
            continue
        numbers |= {f"{name}[{label}]": n for label, n in value.items()} if isinstance(value, dict) else {name: value}
    return numbers


def _take_tokens(master: int, worker: int) -> bytes:
    """Empties the only pipe that the two have in common in which there is anything."""
    taken = b""
    theirs = {os.stat(one).st_ino for one in Path(f"/proc/{worker}/fd").iterdir()}
    for one in Path(f"/proc/{master}/fd").iterdir():
        found = os.stat(one)
        if stat.S_ISFIFO(found.st_mode) and found.st_ino in theirs:
            with contextlib.suppress(BlockingIOError):
                end = os.open(one, os.O_RDONLY | os.O_NONBLOCK)
                taken += os.read(end, 1 << 20)
            os.close(end)
    return taken


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("cause", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=lambda cause: cause.name)
def test_a_dead_worker_is_replaced_and_its_rows_are_freed(tmp_path: Path, cause: signal.Signals) -> None:
    """The dead worker's sessions end, of 600 that are held, as `worker_died`; the others stay. Then maxsession can
    be filled to the last session again, which proves that all tokens are back; and no counter has fallen.

    Whether it was killed, or has itself touched memory that is not its own, or was ended by a check of its own.
    """
    port = free_port()
    with (
        crowd.backend(tmp_path) as sink,
        Proxy(tmp_path, crowd.site(sink, port), options=["-n", str(MAXSESSION)]) as proxy,
    ):
        with crowd.hold(port, MAXSESSION, logged_in=True) as held:
            victim, other = proxy.workers()
            before = _flat(proxy.state())
            victims = [row["sid"] for row in proxy.state().sessions() if row["pid"] == victim]
            os.kill(victim, cause)
            wait_until(lambda: len(proxy.log("worker_died")) == 1, "the death is noticed")
            wait_until(lambda: len(proxy.log("worker_born")) == 3, "a successor sits in the slot")
            died = proxy.log("worker_died")[0]
            assert (died.fields["worker"], died.fields["cause"]) == (str(victim), cause.name)
            assert died.fields["sessions"] == str(len(victims))
            assert {row["pid"] for row in proxy.state().sessions()} == {other}
            assert _ended(proxy)["worker_died"] == len(victims)
            after = _flat(proxy.state())
            assert {name: (number, after[name]) for name, number in before.items() if after[name] < number} == {}
            with crowd.hold(port, len(victims), logged_in=True):
                assert len(proxy.state().sessions()) == MAXSESSION
                assert len({row["sid"] for row in proxy.state().sessions()}) == MAXSESSION
            held.let_go()
            assert held.lost == len(victims)
        proxy.wait_until_quiet()
        started = proxy.state().counters()["sessions_started"]
        assert started == sum(_ended(proxy).values()) == MAXSESSION + len(victims)


def test_workers_killed_in_the_middle_of_a_storm(tmp_path: Path) -> None:
    """Up to eight workers are killed while sessions come and go by the thousand. Only sessions that a victim was
    serving go wrong; afterwards nothing is in the table, started = ended, and maxsession can be filled exactly.
    """
    port, most = free_port(), 100
    dice = random.Random(8)
    with crowd.backend(tmp_path) as sink, Proxy(tmp_path, crowd.site(sink, port), options=["-n", str(most)]) as proxy:
        load = crowd.start_sessions(port, 12_000, 80)
        counted = _flat(proxy.state())
        deaths = 0
        while deaths < 8 and load.poll() is None:
            time.sleep(dice.uniform(0.1, 0.25))
            os.kill(dice.choice(proxy.workers()), signal.SIGKILL)
            deaths += 1
            wait_until(lambda count=deaths: len(proxy.log("worker_died")) == count, "the death is noticed")
            wait_until(lambda: len(proxy.workers()) == 2, "the slot is filled")
            now = _flat(proxy.state())
            fell = {name for name, number in counted.items() if now[name] < number} - crowd.PRESENT
            assert fell == set(), "no counter falls"
            counted = now
        told = crowd.finish(load)
        proxy.wait_until_quiet()

        assert deaths > 2, "some were killed in the middle of it"
        ended = _ended(proxy)
        # A worker that dies between `accept` and its first counter takes a client with it that was no session yet.
        assert 0 < told["errors"] <= ended["worker_died"] + deaths
        assert proxy.state().counters()["sessions_started"] == sum(ended.values())
        with crowd.hold(port, most, logged_in=False):
            assert len(proxy.state().sessions()) == most
            with PopClient(port) as client:
                client.connection.settimeout(0.3)
                try:
                    raise AssertionError(client.line())
                except TimeoutError:
                    pass


def test_clients_in_the_queue_do_not_notice_a_death(tmp_path: Path) -> None:
    """Both workers are stopped, clients connect, both workers are killed: every one of the clients is served."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"]) as proxy:
        victims = proxy.workers()
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        clients = [PopClient(port) for _ in range(60)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            assert client.line().startswith(b"+OK")
            client.close()
        assert proxy.wait_for_endings(60) == ["client_closed"] * 60


def test_a_stopped_worker_is_seen_by_its_heartbeat(tmp_path: Path) -> None:
    """`workers` shows how long ago each worker gave a sign of life."""
    with Proxy(tmp_path) as proxy:
        stopped, _ = proxy.workers()

        def age() -> float:
            (row,) = [row for row in proxy.json("workers") if row["pid"] == stopped]
            return float(row["heartbeat_seconds"] or 0.0)

        wait_until(lambda: 0.0 < age() < 1.5, "it beats")
        os.kill(stopped, signal.SIGSTOP)
        try:
            wait_until(lambda: age() > 2.0, "it does not beat")
        finally:
            os.kill(stopped, signal.SIGCONT)
        wait_until(lambda: age() < 1.5, "it beats again")


def test_any_signal_may_end_a_worker(tmp_path: Path) -> None:
    """Whatever kills a worker, also a signal without a name, the master goes on and fills the slot."""
    with Proxy(tmp_path) as proxy:
        for count, number in enumerate((signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGRTMIN + 5), start=1):
            os.kill(proxy.workers()[0], number)
            wait_until(lambda count=count: len(proxy.log("worker_died")) == count, f"the death by {number} is noticed")
            wait_until(lambda: proxy.state().gauges()["workers"] == 2, "the slot is filled")
        assert proxy.said("show pid").lines == [f"pid {proxy.pid}"]


def test_a_killed_master_is_followed_by_another(tmp_path: Path) -> None:
    """kill -9 of the master: its sessions go on to their end, its workers then leave by themselves, and a new pproxy
    starts in the same directory at once, on the same port.
    """
    port = free_port()
    rc = ["backend conf b", f"vserv conf v iface {LOOPBACK} port {port} state online"]
    first = Proxy(tmp_path, rc)
    first.__enter__()
    with PopClient(port) as old:
        assert old.greeted().startswith(b"+OK")
        orphans = first.workers()
        first.process.kill()
        first.process.wait(patient(10))
        with Proxy(tmp_path, rc) as second:
            with PopClient(port) as new:
                assert new.line().startswith(b"+OK")
                wait_until(lambda: second.sessions(), "the new one serves it")
                assert {row["pid"] for row in second.sessions()} <= set(second.workers())
            (told,) = second.log("orphans")
            mine = {int(pid) for pid in told.fields["command"].split()[1:]}
            assert (told.fields["sessions"], mine <= set(orphans), bool(mine)) == ("1", True, True)
            refused = second.control("user move joe b namespace n").text
            assert "without a master, with 1 session (`kill " in refused, refused
            assert old.ask("NOOP").startswith((b"+OK", b"-ERR"))
            assert old.ask("QUIT").startswith(b"+OK")
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "the orphans are gone")
            second.stop()
            second.assert_nothing_is_left()


def test_master_and_worker_killed_at_once(tmp_path: Path) -> None:
    """A master that dies while it counts what a dead worker has left takes the free tokens with it. The others leave
    all the same: who has nobody waiting at once, and who cannot serve those who wait sends them away.
    """
    port = free_port()
    proxy = Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"], workers=3)
    proxy.__enter__()
    victim, *others = orphans = proxy.workers()
    proxy.process.send_signal(signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    assert _take_tokens(proxy.pid, others[0])  # what the master does first when it finds a worker dead
    with contextlib.ExitStack() as waiting:
        for _ in range(12):  # so many that each of the others has one
            waiting.enter_context(socket.create_connection((LOOPBACK, port), timeout=patient(10)))
        proxy.kill_master()
        wait_until(lambda: not any(map(_lives, orphans)), "they leave")
    proxy.assert_nothing_is_left()


def test_half_a_command_holds_up_nobody(tmp_path: Path) -> None:
    """Clients of the control socket that stop in the middle, send 100 kB without an end, or leave early."""
    with Proxy(tmp_path) as proxy:
        path = str(proxy.rundir / "pproxy.ctrl")
        with socket.socket(socket.AF_UNIX) as half, socket.socket(socket.AF_UNIX) as endless:
            half.connect(path)
            half.sendall(b"show pi")
            endless.settimeout(patient(5))
            endless.connect(path)
            endless.sendall(b"x" * 100_000)
            with socket.socket(socket.AF_UNIX) as early:
                early.connect(path)
                early.sendall(b"set checkport 4711\n")
            wait_until(lambda: proxy.said("show checkport").lines == ["checkport 4711"], "others are served")
            assert not ReplyReader().feed(endless.recv(1 << 16))[0].ok
            half.sendall(b"d\n")
            half.settimeout(patient(5))
            assert ReplyReader().feed(half.recv(4096))[0].lines == [f"pid {proxy.pid}"]
