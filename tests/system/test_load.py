"""The load guard: at maxlocalload or maxpressure nobody is accepted, and who waited is served when it clears."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until


class Load:
    """The file that the proxy takes for /proc/loadavg."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set("0.00")

    def set(self, value: str) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{value} 0.00 0.00 1/100 1000\n")
        fresh.replace(self.path)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A load of nothing."""
    return Load(tmp_path / "loadavg")


def _is_served(client: PopClient, seconds: float) -> bool:
    client.connection.settimeout(seconds)
    try:
        return client.greeted().startswith(b"+OK")
    except TimeoutError:
        return False


def _states(proxy: Proxy) -> list[tuple[str, str]]:
    entries = proxy.log("load_state")
    assert all((entry.level, entry.number, entry.fields["maxlocalload"]) == ("ADM", "0172", "5") for entry in entries)
    return [(entry.fields["state"], entry.fields["load"]) for entry in entries]


def _wait_until_heard(proxy: Proxy, times: int, workers: int = 2) -> None:
    """Until all workers, which are told after the log, have stopped to accept for so many times."""

    def heard() -> int:
        return sum(entry.fields["reason"] == "load" for entry in proxy.log("net_not_accepting"))

    wait_until(lambda: heard() == times * workers, "all workers have heard of it")


def test_at_the_limit_clients_wait(tmp_path: Path, load: Load) -> None:
    """OK → WARN → MAX → WARN → OK, each change once in the log; at MAX a client waits in the backlog and is served when
    the load falls below 90 %; sessions that were there go on.
    """
    port = free_port()
    rc = ["set maxlocalload 5", f"vserv conf v iface {LOOPBACK} port {port} state fake", "debug =NET"]
    with Proxy(tmp_path, rc, options=["--load-file", str(load.path)]) as proxy, PopClient(port) as early:
        assert _is_served(early, 5)
        load.set("4.60")
        wait_until(lambda: _states(proxy) == [("WARN", "4.6")], "WARN at 90 %")
        with PopClient(port) as client:
            assert _is_served(client, 5), "at WARN everybody is served"

        load.set("5.00")
        wait_until(lambda: _states(proxy)[-1][0] == "MAX", "MAX at 100 %")
        _wait_until_heard(proxy, 1)
        assert proxy.state().gauges()["load_state"] == 2
        with PopClient(port) as waiting, PopClient(port) as second:
            assert not _is_served(waiting, 1.5)
            assert not _is_served(second, 0.1)
            assert early.log_in().startswith(b"+OK"), "who is inside is not disturbed"
            load.set("4.70")
            assert not _is_served(waiting, 1.5), "still above 90 %"
            load.set("4.40")
            assert _is_served(waiting, 5)
            assert _is_served(second, 5)
        load.set("3.00")
        wait_until(lambda: len(_states(proxy)) == 4, "OK below 80 %")
        assert _states(proxy) == [("WARN", "4.6"), ("MAX", "5.0"), ("WARN", "4.4"), ("OK", "3.0")]
        assert proxy.state().gauges()["load_hundredths"] == 300


def test_a_worker_that_is_born_at_the_limit_waits_too(tmp_path: Path, load: Load) -> None:
    """Fresh workers after `shutdown children` accept nobody while the load is too high; a limit of 0 opens at once."""
    port = free_port()
    rc = ["set maxlocalload 5", f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc, options=["--load-file", str(load.path)]) as proxy:
        load.set("99.00")
        wait_until(lambda: _states(proxy) == [("MAX", "99.0")], "MAX")
        old = proxy.workers()
        proxy.said("shutdown children")
        wait_until(lambda: len(proxy.log("worker_born")) == 4 and not set(old) & set(proxy.workers()), "fresh workers")
        with PopClient(port) as client:
            assert not _is_served(client, 0.7)
            proxy.said("set maxlocalload 0")
            assert _is_served(client, 1.0)


def test_that_clients_wait_is_told_to_who_asks(tmp_path: Path, load: Load) -> None:
    """By `explain`, beside what would become of them, and by `pcontrol status`: of the load, and of all sessions."""
    port = free_port()
    rc = ["set maxlocalload 5", f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc, options=["--load-file", str(load.path), "-n", "1"]) as proxy:
        asked = [program("pcontrol"), "-r", str(proxy.rundir), "status"]

        def told() -> tuple[str, str]:
            """By both, what is told of it."""
            status = subprocess.run(asked, capture_output=True, text=True, timeout=patient(30), check=True).stdout
            lines = proxy.said("explain joe").lines
            return status.strip().rpartition("; ")[2], next((line for line in lines if line.startswith("waits ")), "")

        assert told()[1] == ""
        assert "clients wait" not in told()[0]
        assert proxy.said("show limitreached").lines == ['limitreached ""']
        with PopClient(port) as client:
            client.greeted()
            wait_until(lambda: proxy.said("show limitreached").lines == ["limitreached maxsession"], "none is free")
            assert told()[0] == "clients wait: maxsession is reached"
        load.set("99.00")
        wait_until(lambda: _states(proxy) == [("MAX", "99.0")], "MAX")
        status, line = told()
        assert status == "clients wait: maxlocalload is reached"
        assert line.endswith("in the queue, without a greeting: maxlocalload is reached; then it has this reply")
        assert "limit      maxlocalload: 99 of 5" in proxy.said("explain joe").lines


def test_who_waits_at_a_worker_too_many(tmp_path: Path, load: Load) -> None:
    """A worker that is taken away while the load is too high: its clients wait on, and are served when that is over."""
    port = free_port()
    rc = ["set maxlocalload 5", f"vserv conf v iface {LOOPBACK} port {port} state fake", "debug =NET"]
    with Proxy(tmp_path, rc, workers=4, options=["--load-file", str(load.path)]) as proxy:
        load.set("99.00")
        _wait_until_heard(proxy, 1, workers=4)
        clients = [PopClient(port) for _ in range(20)]
        proxy.said("set workers 1")
        assert not any(_is_served(client, 0.01) for client in clients)
        load.set("1.00")
        assert all(_is_served(client, 5) for client in clients)
        for client in clients:
            client.close()
        wait_until(lambda: len(proxy.workers()) == 1, "they leave with their last session")


def test_a_load_that_cannot_be_read_is_no_load(tmp_path: Path) -> None:
    """Where there is no such file, or something else is in it, a limit is refused, also by --check and at a start;
    when that comes later, nobody is kept out, and the log says once that the limit does not count, and when it does
    again.
    """
    port = free_port()
    path = tmp_path / "loadavg"
    rc = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    limited = tmp_path / "rc"
    limited.write_text("set maxlocalload 1\n")
    for more in (["--check"], ["-r", str(tmp_path / "other"), "-l", str(tmp_path / "other.log")]):
        command = [program("pproxy"), "--load-file", str(path), "-c", str(limited), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)
        assert (done.returncode, "the load cannot be read on this host" in done.stderr) == (1, True)
    with Proxy(tmp_path, rc, options=["--load-file", str(path)]) as proxy:
        for text in (None, "high\n"):
            assert text is None or path.write_text(text)
            assert "the load cannot be read on this host" in proxy.control("set maxlocalload 1").text
        path.write_text("0.5\n")
        proxy.said("set maxlocalload 1")
        for text in ("", "high\n", "\n"):
            path.write_text(text)
            with PopClient(port) as client:
                assert _is_served(client, 5)
        assert proxy.log("load_state") == []

        def told() -> list[str]:
            return [entry.fields["state"] for entry in proxy.log("load_reading") if entry.fields["of"] == "load"]

        wait_until(lambda: told() == ["lost"], "it is told")
        path.write_text("0.5\n")
        wait_until(lambda: told() == ["lost", "back"], "and when it can be read again")
        proxy.said("set maxlocalload 0")
        path.unlink()
        time.sleep(1.5)  # more than a round of the watchdog
        assert told() == ["lost", "back"], "without a limit nobody needs it"


class Pressure(Load):
    """The file that the proxy takes for cpu.pressure: ten seconds' average and two longer ones, which do not count."""

    def set(self, value: str) -> None:
        fresh = self.path.with_suffix(".new")
        lines = [f"{kind} avg10={now} avg60=99.00 avg300=99.00 total=1" for kind, now in (("some", value), ("full", 0))]
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(self.path)


def test_at_the_limit_of_pressure_clients_wait(tmp_path: Path, load: Load) -> None:
    """As load, so maxpressure, in per cent: OK → WARN → MAX → WARN → OK. While one of the two is at its limit
    nobody is accepted; a limit of 0 opens at once.
    """
    port = free_port()
    pressure = Pressure(tmp_path / "cpu.pressure")
    rc = ["set maxlocalload 5", "set maxpressure 50", f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    rc += ["debug =NET"]
    options = ["--load-file", str(load.path), "--pressure-file", str(pressure.path)]
    pressure.set("0.00")
    with Proxy(tmp_path, rc, options=options) as proxy:

        def told() -> list[tuple[str, str]]:
            entries = [entry for entry in proxy.log("load_state") if "pressure" in entry.fields]
            assert all((entry.number, entry.fields["maxpressure"]) == ("0172", "50") for entry in entries)
            return [(entry.fields["state"], entry.fields["pressure"]) for entry in entries]

        pressure.set("45.00")
        wait_until(lambda: told() == [("WARN", "45.0")], "WARN at 90 %")
        with PopClient(port) as client:
            assert _is_served(client, 5), "at WARN everybody is served"
        pressure.set("50.00")
        wait_until(lambda: told()[-1] == ("MAX", "50.0"), "MAX at 100 %")
        _wait_until_heard(proxy, 1)
        gauges = proxy.state().gauges()
        assert (gauges["load_state"], gauges["pressure_hundredths"]) == (2, 5000)
        load.set("7.00")
        wait_until(lambda: len(proxy.log("load_state")) == 3, "the load is at its limit, too")
        with PopClient(port) as waiting:
            pressure.set("41.00")
            wait_until(lambda: told()[-1] == ("WARN", "41.0"), "WARN below 90 %")
            assert proxy.state().gauges()["load_state"] == 2
            assert not _is_served(waiting, 0.7), "the load is still too high"
            load.set("0.00")
            assert _is_served(waiting, 5)
        pressure.set("88.00")
        wait_until(lambda: told()[-1] == ("MAX", "88.0"), "MAX again")
        _wait_until_heard(proxy, 2)
        with PopClient(port) as waiting:
            assert not _is_served(waiting, 0.7)
            proxy.said("set maxpressure 0")
            assert _is_served(waiting, 1.0)
        pressure.set("0.00")
        proxy.said("set maxpressure 50")
        pressure.path.unlink()
        with PopClient(port) as client:
            assert _is_served(client, 5), "what cannot be read is no pressure"


def test_the_number_of_sessions_is_warned_of(tmp_path: Path) -> None:
    """0170 at 90 and 100 % of maxsession, and again below 90 and 80 %, with the number that it was."""
    port = free_port()
    rc = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc, options=["-n", "10"]) as proxy:
        clients = [PopClient(port) for _ in range(9)]

        def states() -> list[tuple[str, str]]:
            entries = proxy.log("session_state")
            assert all((entry.number, entry.fields["maxsession"]) == ("0170", "10") for entry in entries)
            return [(entry.fields["state"], entry.fields["sessions"]) for entry in entries]

        wait_until(lambda: states() == [("WARN", "9")], "WARN at 90 %")
        clients.append(PopClient(port))
        wait_until(lambda: states()[-1] == ("MAX", "10"), "MAX at 100 %")
        for left, state in ((8, ("WARN", "8")), (0, ("OK", "0"))):
            while len(clients) > left:
                clients.pop().close()
            wait_until(lambda state=state: states()[-1] == state, f"{state}")
        assert len(states()) == 4
