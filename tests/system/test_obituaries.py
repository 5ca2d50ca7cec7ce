"""The log tells of each death: which slot, which process, why, how many sessions were lost, and its last words."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.system.site import LOOPBACK, Entry, PopClient, Proxy, free_port, wait_until

_MODULE = """
import os
from pathlib import Path
from popular.pdm.contract import Module, ModuleFailed, Unknown

class Moody(Module):
    blocking = False

    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, tuple(arguments)
        mood = Path(arguments[0]).read_text()
        if mood == "exits":
            os._exit(4)
        if mood == "failed":
            raise ModuleFailed("the database is away")
        if mood == "faulty":
            raise ZeroDivisionError("secret")

    def check(self, question):
        return Unknown()

    def reload(self):
        return Moody(self.ident, self.arguments)

def open_module(ident, arguments):
    return Moody(ident, arguments)
"""


def _obituary(proxy: Proxy, name: str = "worker_died", count: int = 1) -> Entry:
    """The last of so many deaths."""
    wait_until(lambda: len(proxy.log(name)) >= count, f"the {count}. {name}")
    entry = proxy.log(name)[count - 1]
    assert set(entry.fields) == {"slot", "worker", "cause", "sessions", "words"}
    return entry


@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 3, f"signal {signal.SIGRTMIN + 3}")],
)
def test_a_killed_worker(tmp_path: Path, number: int, cause: str) -> None:
    """Its slot, its pid, the signal, and the sessions that it had; it had no time for words."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake"]) as proxy:
        clients = [PopClient(port) for _ in range(5)]
        for client in clients:
            client.greeted()
        wait_until(lambda: len(proxy.sessions()) == 5, "they are in the table")
        victim = proxy.state().workers()[1]
        lost = sum(row["pid"] == victim["pid"] for row in proxy.sessions())
        os.kill(victim["pid"], number)
        entry = _obituary(proxy)
        assert (entry.level, entry.number) == ("ADM", "0201")
        assert entry.fields == {
            "slot": str(victim["slot"]),
            "worker": str(victim["pid"]),
            "cause": cause,
            "sessions": str(lost),
            "words": "",
        }
        wait_until(lambda: len(proxy.workers()) == 2, "the slot is filled")
        assert proxy.log("worker_retry") == [], "it had served: no pause"
        for client in clients:
            client.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_a_worker_that_was_sent_a_signal_that_it_obeys(tmp_path: Path, number: int) -> None:
    """It ends its sessions itself: the log has the signal, and how many those were."""
    port = free_port()
    rc = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc, workers=1) as proxy, PopClient(port) as client:
        assert client.log_in("ann").startswith(b"+OK")
        (worker,) = proxy.workers()
        os.kill(worker, number)
        entry = _obituary(proxy)
        assert (entry.fields["cause"], entry.fields["sessions"]) == (signal.Signals(number).name, "1")
        assert client.rest() == b""
        wait_until(lambda: proxy.workers() not in ([], [worker]), "the slot is filled")
        assert proxy.state().counters()["worker_restarts"]["signal"] == 1


def test_workers_that_the_operator_ends_with_their_sessions(tmp_path: Path) -> None:
    """That is no death to look at, and nothing was lost that was to stay."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake"]) as proxy, PopClient(port) as client:
        client.greeted()
        proxy.said("shutdown children")
        for count in (1, 2):
            entry = _obituary(proxy, "worker_left", count)
            assert (entry.fields["cause"], entry.fields["sessions"]) == ("exit 0", "0")
        assert proxy.log("worker_died") == []


def test_a_worker_that_was_asked_to_go(tmp_path: Path) -> None:
    """That is no death to look at: 0202, level INF, nothing lost."""
    with Proxy(tmp_path) as proxy:
        left = proxy.workers()
        proxy.said("workers recycle")
        for count in (1, 2):
            entry = _obituary(proxy, "worker_left", count)
            assert (entry.level, entry.number) == ("INF", "0202")
            assert (entry.fields["cause"], entry.fields["sessions"], entry.fields["words"]) == ("exit 0", "0", "")
            assert int(entry.fields["worker"]) in left
        assert proxy.log("worker_died") == []


def test_a_hung_worker(tmp_path: Path) -> None:
    """020e, level SOS, says that its loop does not turn any more; its obituary that it hung. One of 0 is never hung."""
    port = free_port()
    rc = ["set workertimeout 2", f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc) as proxy, PopClient(port) as client:
        client.greeted()
        (row,) = wait_until(proxy.sessions, "it is in the table")
        began = time.monotonic()
        os.kill(row["pid"], signal.SIGSTOP)
        entry = _obituary(proxy)
        assert time.monotonic() - began > 1
        assert entry.fields["cause"] == "hung"
        assert (entry.fields["worker"], entry.fields["sessions"]) == (str(row["pid"]), "1")
        (warning,) = proxy.log("worker_hangs")
        assert (warning.level, warning.number) == ("SOS", "020e")
        assert float(warning.fields["seconds"]) >= 2
        assert client.rest() == b""
        wait_until(lambda: len(proxy.workers()) == 2, "the slot is filled")

        proxy.said("set workertimeout 0")
        stopped = proxy.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(3.5)
        os.kill(stopped, signal.SIGCONT)
        assert stopped in proxy.workers()


def test_a_worker_that_dies_at_birth(tmp_path: Path) -> None:
    """By a module that ends its process: the pauses grow, each with a line of level SOS. The other slot serves on; and
    when the module can start again so do the workers. (One that only cannot be opened ends nobody: test_lacking.py.)
    """
    port, file = free_port(), tmp_path / "mood"
    (tmp_path / "libpdm_moody.py").write_text(_MODULE)
    file.write_text("good")
    rc = [f"set pdmdir {tmp_path}", f"pdm add moody moody {file}"]
    rc.append(f"vserv conf v iface {LOOPBACK} port {port} state online")
    with Proxy(tmp_path, rc) as proxy:
        file.write_text("exits")
        victim, other = proxy.state().workers()
        os.kill(victim["pid"], signal.SIGKILL)
        for deaths, pause in ((1, "0.5"), (2, "1.0"), (3, "2.0")):
            entry = _obituary(proxy, count=deaths + 1)
            assert (entry.fields["slot"], entry.fields["cause"]) == (str(victim["slot"]), "exit 4")
            wait_until(lambda deaths=deaths: len(proxy.log("worker_retry")) == deaths, "the pause is told")
            retry = proxy.log("worker_retry")[-1]
            assert (retry.level, retry.number) == ("SOS", "0203")
            assert retry.fields == {"slot": str(victim["slot"]), "deaths": str(deaths), "pause": pause}
        assert other["pid"] in proxy.workers()
        file.write_text("good")
        wait_until(lambda: len(proxy.log("worker_born")) == 3, "the slot is filled when the pause is over")
        born = proxy.log("worker_born")[-1]
        assert born.fields["slot"] == str(victim["slot"])
        os.kill(int(born.fields["worker"]), signal.SIGKILL)
        wait_until(lambda: len(proxy.log("worker_born")) == 4, "and is filled again, without a pause")
        assert len(proxy.log("worker_retry")) == 3


def test_recycling_ends_where_a_successor_cannot_be_born(tmp_path: Path) -> None:
    """`workers recycle` is refused with the last words of the one that died; the old workers stay and serve."""
    port, file = free_port(), tmp_path / "mood"
    (tmp_path / "libpdm_moody.py").write_text(_MODULE)
    file.write_text("good")
    rc = [f"set pdmdir {tmp_path}", f"pdm add moody moody {file}"]
    rc.append(f"vserv conf v iface {LOOPBACK} port {port} state online")
    with Proxy(tmp_path, rc) as proxy:
        old = proxy.workers()
        file.write_text("failed")
        answer = proxy.control("workers recycle")
        assert not answer.ok
        assert "the database is away" in answer.text
        assert proxy.workers() == old
        for _ in range(8):
            with PopClient(port) as client:
                assert client.greeted().startswith(b"+OK")
        file.write_text("good")
        assert "2 workers are renewed" in proxy.said("workers recycle").text
