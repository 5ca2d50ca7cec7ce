"""The log lines of sessions that are over wait in shared memory for a moment; no death of a worker loses one."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from tests.patience import patient, within
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

GATHERING_SECONDS = 0.25


def _site(port: int) -> list[str]:
    return [f"vserv conf v1 iface {LOOPBACK} port {port} state online"]


def _come_and_go(port: int) -> None:
    with PopClient(port) as client:
        client.greeted()
        client.ask("QUIT")


def _ended(proxy: Proxy) -> int:
    ended = proxy.state().counters()["sessions_ended"]
    assert isinstance(ended, dict)
    return ended["quit"]


def test_a_line_comes_within_a_quarter_of_a_second(tmp_path: Path) -> None:
    """A session ends, and nothing else happens: its line is there soon."""
    port = free_port()
    with Proxy(tmp_path, _site(port), workers=1) as proxy:
        for _ in range(5):
            before = len(proxy.log("session_end"))
            _come_and_go(port)
            with within(GATHERING_SECONDS, "its line is there"):
                wait_until(lambda wanted=before + 1: len(proxy.log("session_end")) == wanted, "its line is there")


def test_every_line_survives_kill(tmp_path: Path) -> None:
    """Workers are killed again and again while sessions come and go: every session that the table counts as ended by
    its client has its line, and exactly one, whole.
    """
    port = free_port()
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            try:
                _come_and_go(port)
            except (OSError, AssertionError):
                pass  # its worker was killed

    with Proxy(tmp_path, _site(port), workers=2) as proxy:
        clients = [threading.Thread(target=storm) for _ in range(6)]
        for client in clients:
            client.start()
        gathered = 0
        try:
            for _ in range(12):
                born = len(proxy.log("worker_born"))
                time.sleep(0.3)
                gathered += proxy.state().gathered() > 0
                os.kill(proxy.workers()[0], signal.SIGKILL)
                wait_until(lambda wanted=born + 1: len(proxy.log("worker_born")) >= wanted, "a successor is there")
        finally:
            over.set()
            for client in clients:
                client.join()
        proxy.wait_until_quiet()
        assert gathered, "no line was ever waiting when a worker was killed"
        lines = proxy.logfile.read_text().splitlines()
        ended = [line for line in lines if " session_end " in line]
        assert all(line.endswith(" via=''") and line.count(" ending=") == 1 for line in ended)
        assert max(Counter(entry.sid for entry in proxy.log("session_end")).values()) == 1
        # Who was killed between the line and the counting of the end has the line, and counts as lost with the worker.
        told = sum(" ending='quit' " in line for line in ended)
        assert 0 <= told - _ended(proxy) <= 12
        assert told > 100
        dead: set[str] = set()
        for entry in proxy.log():
            dead |= {entry.fields["worker"]} if entry.name == "worker_died" else set()
            assert entry.name != "session_end" or str(entry.pid) not in dead, "a line behind the obituary"
        assert len(dead) == 12


def test_an_end_in_order_loses_none(tmp_path: Path) -> None:
    """Workers that are renewed, or end with the program, write what they have gathered before they go."""
    port = free_port()
    with Proxy(tmp_path, _site(port)) as proxy:
        for _ in range(20):
            _come_and_go(port)
        proxy.said("workers recycle")
        for _ in range(20):
            _come_and_go(port)
        proxy.said("shutdown all")
        proxy.process.wait(patient(10))
        assert len(proxy.log("session_end")) == 40
        assert proxy.log()[-1].name == "finished"
