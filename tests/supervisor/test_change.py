"""A change is in force in all workers or in none; modules that start badly in one worker show it."""

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

ONE_FAILS = """
class Strange(KnowsNobody):
    def __init__(self, ident, arguments):
        super().__init__(ident, arguments)
        try:
            (Path(__file__).parent / "first").mkdir()
        except FileExistsError:
            raise ModuleFailed("only one may have it") from None
"""
SLOW_IN_ONE = """
class Strange(KnowsNobody):
    def __init__(self, ident, arguments):
        super().__init__(ident, arguments)
        try:
            (Path(__file__).parent / arguments[0]).mkdir()
        except FileExistsError:
            raise ModuleFailed("the second cannot") from None
        time.sleep(0.7)
"""
SLOW = """
class Strange(KnowsNobody):
    def __init__(self, ident, arguments):
        super().__init__(ident, arguments)
        time.sleep(float(arguments[0]))
"""
DEADLY = """
class Strange(KnowsNobody):
    def __init__(self, ident, arguments):
        super().__init__(ident, arguments)
        if (Path(__file__).parent / "deadly").exists():
            os._exit(9)
"""
_HEAD = """
import os, time
from pathlib import Path
from popular.pdm.contract import UNKNOWN, Module, ModuleFailed

class KnowsNobody(Module):
    blocking = False
    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, arguments
    def check(self, question):
        return UNKNOWN
"""
_TAIL = """
def open_module(ident, arguments):
    return Strange(ident, arguments)
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    """A proxy that finds its modules in a directory of the test."""
    modules = tmp_path / "modules"
    modules.mkdir()
    for name, text in {"one": ONE_FAILS, "slowone": SLOW_IN_ONE, "slow": SLOW, "deadly": DEADLY}.items():
        (modules / f"libpdm_{name}.py").write_text(_HEAD + text + _TAIL)
    return Proxy(tmp_path, [f"set pdmdir {modules}"])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def test_what_one_worker_cannot_serve_changes_nothing(proxy: Proxy) -> None:
    """A module that starts in one of two workers only is refused with its reason; the config stays, word for word."""
    with proxy:
        before = proxy.said("show config").lines
        answer = proxy.control("pdm add m one")

        assert not answer.ok
        assert "only one may have it" in answer.text
        assert proxy.said("show config").lines == before
        assert proxy.said("pdm list").lines == []
        assert len(set(proxy.workers())) == 2


def test_new_ports_are_closed_again_when_a_worker_refuses(proxy: Proxy, tmp_path: Path) -> None:
    """A refusal in the second phase's eve gives back every socket: nobody listens on the new virtual server's port.

    TLS without a certificate can only be refused in a worker, when the sockets are open already.
    """
    port = free_port()
    with proxy:
        proxy.said(f"set tlsdir {tmp_path}")
        answer = proxy.control(f"vserv conf v iface {LOOPBACK} port {port} prot POP3s state online")

        assert not answer.ok
        assert "certificate" in answer.text
        wait_until(lambda: not _answers(port), "nobody listens on the port")
        proxy.said(f"vserv conf v iface {LOOPBACK} port {port} state online")
        with PopClient(port) as client:
            assert client.line().startswith(b"+OK")


def test_a_late_answer_to_a_refused_change_is_not_taken_for_the_next(proxy: Proxy) -> None:
    """One worker refuses at once, the other one is still trying. The next change must wait for that one's own answer:
    afterwards both workers serve the next change, and the refused one is nowhere in force.
    """
    port = free_port()
    with proxy:
        proxy.said(f"vserv conf v iface {LOOPBACK} port {port} state disabled bannererr old")
        workers = set(proxy.workers())
        for round_ in range(3):
            assert not proxy.control(f"pdm add m slowone r{round_}").ok
            proxy.said(f"vserv conf v bannererr new{round_}")
            for _ in range(12):
                with PopClient(port) as client:
                    assert client.line() == b"-ERR new%d" % round_
        time.sleep(1.0)  # the refused modules are ready by now
        proxy.said("vserv conf v bannererr last")
        for _ in range(12):
            with PopClient(port) as client:
                assert client.line() == b"-ERR last"
        assert set(proxy.workers()) == workers, "nobody had to be killed for it"


def test_commands_that_wait_do_not_stop_the_others(proxy: Proxy) -> None:
    """While a module takes its time, `show` is answered at once, and a second change waits for its turn."""
    with proxy:
        answers: dict[str, float] = {}

        def say(command: str) -> None:
            assert proxy.control(command).ok
            answers[command] = time.monotonic()

        slow = threading.Thread(target=say, args=("pdm add m slow 1.5",))
        slow.start()
        time.sleep(0.2)
        second = threading.Thread(target=say, args=("set checkport 1234",))
        second.start()
        assert proxy.said("show checkport").lines == ["checkport 50110"]
        assert not answers, "neither change was waited for"
        slow.join()
        second.join()
        # Had the second not waited, it would have been answered a second before the first.
        assert answers["pdm add m slow 1.5"] <= answers["set checkport 1234"] + 0.5
        assert proxy.said("show checkport").lines == ["checkport 1234"]


def test_changes_that_have_become_wrong_do_not_hold_up_those_behind_them(proxy: Proxy) -> None:
    """Four clients delete the same thing while a change is under way, a fifth sets a variable: one deletion is done,
    three are refused, and the fifth is not forgotten.
    """
    with proxy:
        proxy.said("backend conf b host 127.0.0.1 state online")
        outcomes: list[bool] = []

        def say(command: str) -> None:
            outcomes.append(proxy.control(command).ok)

        threads = [threading.Thread(target=say, args=("pdm add m slow 0.5",))]
        threads += [threading.Thread(target=say, args=("backend del b",)) for _ in range(4)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        assert proxy.control("set checkport 1234", patience=patient(5)).ok
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False, False, False, True, True]


def test_a_change_that_kills_a_worker_is_refused(proxy: Proxy, tmp_path: Path) -> None:
    """A module that ends its process: it is refused at once, and the slots are filled under the old config."""
    (tmp_path / "modules" / "deadly").mkdir()
    with proxy:
        before = proxy.said("show config").lines
        answer = proxy.control("pdm add m deadly")

        assert not answer.ok
        assert "died while it tried this" in answer.text
        assert proxy.said("show config").lines == before
        wait_until(lambda: proxy.state().gauges()["workers"] == 2, "both slots are filled")
        assert len(proxy.log("worker_born")) <= 6, "no storm of births"


def test_births_that_fail_are_spaced_out(proxy: Proxy, tmp_path: Path) -> None:
    """A module that no longer starts: the master serves all the while, waits longer before each birth, and the slots
    are filled when the module is well again.
    """
    flag = tmp_path / "modules" / "deadly"
    with proxy:
        proxy.said("pdm add m deadly")
        flag.mkdir()
        for pid in proxy.workers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(proxy.log("worker_retry")) >= 4, "births fail and are tried again")
        assert proxy.said("show pid").lines == [f"pid {proxy.pid}"]
        flag.rmdir()
        retries = [entry for entry in proxy.log("worker_retry") if entry.fields["slot"] == "0"]
        assert [entry.fields["pause"] for entry in retries][:2] == ["0.5", "1.0"]
        wait_until(lambda: proxy.state().gauges()["workers"] == 2, "both slots are filled")
        proxy.said("set checkport 1")
        assert proxy.state().counters()["sessions_started"] == 0


def test_nothing_is_in_force_that_nobody_could_try(proxy: Proxy, tmp_path: Path) -> None:
    """No worker survives its birth: what is said meanwhile is refused, and tells why; but the module that is to blame
    can be taken away, and then they live again.
    """
    with proxy:
        proxy.said("pdm add m deadly")
        (tmp_path / "modules" / "deadly").mkdir()
        for pid in proxy.workers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(proxy.log("worker_retry")) >= 2, "births fail")
        for command in ("pdm reload m", "pdm add x nosuch", "set checkport 1"):
            refused = proxy.control(command, patience=patient(20))
            assert not refused.ok
            assert "no worker lives that could try this: the last one died at birth (exit 9)" in refused.text
        proxy.said("pdm del m")
        wait_until(lambda: proxy.state().gauges()["workers"] == 2, "both slots are filled", patient(20))
        assert proxy.said("pdm list").lines == []


def test_a_change_under_way_ends_with_the_program(proxy: Proxy, tmp_path: Path) -> None:
    """Workers are still trying a file when the program is told to end: it is refused, and the program ends in order."""
    file = tmp_path / "site.rc"
    server = f"vserv conf v iface {LOOPBACK} port {free_port()} state online"
    file.write_text(f"set pdmdir {tmp_path}/modules\npdm add m slow 1.2\n{server}\n")
    with proxy:
        command = [program("pcontrol"), "-r", str(proxy.rundir), "apply", str(file)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as applying:
            time.sleep(0.7)
            proxy.said("shutdown delayed")
            _, told = applying.communicate(timeout=patient(20))
        assert applying.returncode == 1
        assert "the program is ending" in told
        assert proxy.process.wait(patient(20)) == 0


def test_a_confirmation_in_time_counts_although_it_had_to_wait(proxy: Proxy, tmp_path: Path) -> None:
    """A trial takes its time; `confirm` comes within its own, and its turn after it: the configuration stays."""
    file, tried = tmp_path / "site.rc", tmp_path / "tried.rc"
    file.write_text(f"set pdmdir {tmp_path}/modules\nset checkport 1234\n")
    tried.write_text(f"set pdmdir {tmp_path}/modules\npdm add m slow 2\n")
    with proxy:
        pcontrol = [program("pcontrol"), "-r", str(proxy.rundir)]
        subprocess.run([*pcontrol, "-q", "apply", "--confirm", "2s", str(file)], check=True, timeout=patient(20))
        with subprocess.Popen([*pcontrol, "-q", "check", str(tried)]) as trial:
            time.sleep(0.7)
            confirmed = time.monotonic()
            proxy.said("confirm")
            assert time.monotonic() - confirmed > 1.3, "it had to wait until the time was up"
            assert trial.wait(patient(20)) == 0
        time.sleep(0.3)
        assert proxy.said("show checkport").lines == ["checkport 1234"]


def test_a_port_is_closed_although_a_recycled_worker_says_goodbye_meanwhile(tmp_path: Path) -> None:
    """An old worker, held up so far, tells that it accepts nothing more just while the queues of a removed virtual
    server rest before they are emptied. Those who sit in the slots now have to empty and close them all the same.
    """
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"]) as proxy:
        old = proxy.workers()[0]
        os.kill(old, signal.SIGSTOP)
        proxy.said("workers recycle")
        removing = threading.Thread(target=proxy.said, args=("vserv del v",))
        removing.start()
        time.sleep(0.12)
        os.kill(old, signal.SIGCONT)
        removing.join()
        wait_until(lambda: old not in proxy.workers(), "the old worker is gone")
        assert not _is_listening(port)


def _is_listening(port: int) -> bool:
    """Whether any process still has a listening socket there, be it a deaf one (proc_net_tcp(5): state 0A)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(line[1].endswith(f":{port:04X}") and line[3] == "0A" for line in lines)
