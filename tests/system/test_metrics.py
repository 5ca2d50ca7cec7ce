"""The exporter of a real program: exact numbers whatever happens to workers, probes in every state, and its own
life.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.runtime.load import Level
from tests.bench import processes
from tests.patience import patient
from tests.system import crowd, storm
from tests.system.scrape import Scrape, address, get, scrape
from tests.system.site import LOOPBACK, PATIENCE, Proxy, free_port, program, wait_until
from tests.system.wire import PopClient, ScriptedBackend, pop3_server

ANY_PORT = f"{LOOPBACK}:0"
FAKE = "vserv conf v iface 127.0.0.1 port {} state fake"


def exporter_pid(proxy: Proxy) -> int:
    """The child that is neither master nor worker."""
    (pid,) = set(processes.tree(proxy.pid)) - {proxy.pid} - set(proxy.workers())
    return pid


def settled(proxy: Proxy) -> Scrape:
    """The metrics when no session lives any more."""
    proxy.wait_until_quiet()
    seen = scrape(proxy)
    started, ended = seen.sum("popular_sessions_started_total"), seen.sum("popular_sessions_ended_total")
    assert started == ended
    assert seen.sum("popular_sessions") == 0
    return seen


# --- exactness --------------------------------------------------------------------------------------------------------


def test_every_number_is_the_clients_own(tmp_path: Path) -> None:
    """What the load generator counted stands in the metrics, to the last session."""
    port = free_port()
    with storm.backend(tmp_path) as server, Proxy(tmp_path, storm.site(server, port), metrics=ANY_PORT) as proxy:
        with storm.Storm(port) as clients:
            storm.blow(proxy)
        seen = settled(proxy)
        assert clients.fared.spotless()
        served = clients.fared.served
        assert seen.value("popular_sessions_started_total", vserv="v") == served
        assert seen.value("popular_sessions_ended_total", ending="quit") == served
        assert seen.value("popular_logins_total", vserv="v") == served
        assert seen.value("popular_backend_logins_total", backend="far") == served
        assert seen.value("popular_module_lookups_total", module="all") == served
        for name, labels in (
            ("login_duration", {"vserv": "v"}),
            ("session_duration", {}),
            ("module_duration", {"module": "all"}),
            ("backend_connect_duration", {"backend": "far"}),
            ("backend_login_duration", {"backend": "far"}),
        ):
            assert seen.value(f"popular_{name}_seconds_count", **labels) == served, name
            assert seen.value(f"popular_{name}_seconds_bucket", **labels, le="+Inf") == served, name
        assert seen.sum("popular_login_failures_total") == seen.sum("popular_backend_failures_total") == 0
        told = [entry.fields for entry in proxy.log("session_end")]
        for name, field in (("received", "received"), ("sent", "sent")):
            octets = sum(int(fields[field]) for fields in told)
            assert seen.value(f"popular_{name}_bytes_total", leg="client") == octets
        longest = sum(float(fields["seconds"]) for fields in told)
        assert seen.value("popular_session_duration_seconds_sum") == pytest.approx(longest, rel=0.01, abs=0.1)


def test_three_killed_workers_cost_no_number(tmp_path: Path) -> None:
    """kill -9 in the middle of a storm: each scrape has started = ended + living in the end, nothing ever falls, and
    who was served is counted exactly.
    """
    port, dice = free_port(), random.Random(3)
    with crowd.backend(tmp_path) as sink, Proxy(tmp_path, crowd.site(sink, port), metrics=ANY_PORT) as proxy:
        load = crowd.start_sessions(port, 6000, 60)
        before = scrape(proxy)
        for death in range(3):
            time.sleep(dice.uniform(0.1, 0.25))
            os.kill(dice.choice(proxy.workers()), signal.SIGKILL)
            wait_until(lambda count=death + 1: len(proxy.log("worker_died")) == count, "the death is noticed")
            now = scrape(proxy)
            assert before.falls(now) == []
            before = now
        told = crowd.finish(load)
        seen = settled(proxy)
        assert before.falls(seen) == []
        ended, died = seen.value("popular_sessions_ended_total", ending="quit"), told["errors"]
        lost = seen.value("popular_sessions_ended_total", ending="worker_died")
        # A worker that dies between a handler and its counting makes one client's view differ, either way: a connection
        # that was no session yet, or a session that was served to the end and had not been counted as such.
        assert seen.sum("popular_sessions_started_total") == ended + lost
        assert 6000 - died - 3 <= ended <= 6000
        assert died - 3 <= lost
        assert ended <= seen.sum("popular_logins_total") <= ended + lost
        assert seen.value("popular_worker_restarts_total", cause="signal") == 3
        assert seen.value("popular_workers") == 2


def test_failures_are_counted_by_their_reasons(tmp_path: Path) -> None:
    """A wrong password, a backend that is not there, one that says no: each under its own word."""
    port, closed = free_port(), free_port()
    with ScriptedBackend(pop3_server([], password=b"right")) as server:
        lines = [
            f"backend conf near host {LOOPBACK} port {server.port} state online",
            f"backend conf gone host {LOOPBACK} port {closed} state online",
            "pdm add one any near",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, lines, metrics=ANY_PORT) as proxy:
            _log_in(port, "wrong")
            wait_until(lambda: not proxy.sessions(), "the session is over")
            proxy.said("pdm flush")
            proxy.said("pdm add two any gone")
            _log_in(port, "right")
            seen = settled(proxy)
            assert seen.value("popular_login_failures_total", vserv="v", reason="backend") == 1
            assert seen.value("popular_login_failures_total", vserv="v", reason="unavailable") == 1
            assert seen.value("popular_backend_failures_total", backend="gone", reason="connect") == 1
            assert seen.sum("popular_backend_failures_total") == 1
            assert seen.sum("popular_logins_total") == 0
            assert seen.value("popular_module_lookups_total", module="one") == 1, "a deleted module keeps its numbers"
            assert seen.value("popular_module_lookups_total", module="two") == 1
            assert seen.value("popular_sessions_ended_total", ending="backend_failed") == 1
            assert seen.value("popular_backend_configured_online", backend="gone") == 1, "configured as online"
            assert b"gone" not in get(address(proxy), "/readyz").body


def _log_in(port: int, password: str) -> None:
    with PopClient(port) as client:
        client.log_in(password=password)


def test_a_trial_moves_nobodys_numbers(tmp_path: Path) -> None:
    """A file without the servers that run, and with others, is tried and taken back: each still counts for itself."""
    ports = {name: free_port() for name in "ab"}
    servers = [f"vserv conf {name} iface {LOOPBACK} port {port} state fake" for name, port in ports.items()]
    tried = tmp_path / "tried.rc"
    tried.write_text(f"vserv conf c iface {LOOPBACK} port {free_port()} state fake\n")
    with Proxy(tmp_path, [servers[1], servers[0], "vserv del b", servers[1]], metrics=ANY_PORT) as proxy:
        check = [program("pcontrol"), "-q", "-r", str(proxy.rundir), "check", str(tried)]
        subprocess.run(check, check=True, timeout=patient(20))
        with PopClient(ports["a"]) as client:
            client.greeted()
            seen = scrape(proxy)
        assert seen.value("popular_sessions_started_total", vserv="a") == 1
        assert seen.value("popular_sessions_started_total", vserv="b") == 0


def test_the_master_counts_its_commands_and_changes(tmp_path: Path) -> None:
    """Commands, refusals, changes that were put in force and changes that were taken back."""
    with Proxy(tmp_path, metrics=ANY_PORT) as proxy:
        before = scrape(proxy)
        proxy.said("set grace 5")
        assert not proxy.control("set grace nonsense").ok
        assert not proxy.control(f"pdm add broken passwd {tmp_path / 'missing'}").ok
        now = scrape(proxy)

        def grown(name: str) -> float:
            return now.value(name) - before.value(name)

        assert grown("popular_config_changes_total") == 1
        assert grown("popular_config_change_failures_total") == 1
        assert grown("popular_control_refusals_total") == 2
        assert grown("popular_control_sentences_total") >= 3
        assert now.value("popular_config_generation") > before.value("popular_config_generation")


def test_who_waits_to_be_accepted_is_seen(tmp_path: Path) -> None:
    """With all sessions taken, clients stand in the queues of the slots; the limit is the backlog."""
    port = free_port()
    lines = ["set backlog 50", FAKE.format(port)]
    options = ["-n", "1"]
    with Proxy(tmp_path, lines, workers=2, options=options, metrics=ANY_PORT) as proxy, PopClient(port) as first:
        first.line()
        waiting = [socket.create_connection((LOOPBACK, port)) for _ in range(5)]
        wait_until(lambda: 'queue_length{slot="1"' in scrape(proxy).text, "the master has told of its queues")
        wait_until(lambda: scrape(proxy).sum("popular_accept_queue_length", vserv="v") == 5, "five wait")
        seen = scrape(proxy)
        assert {seen.value("popular_accept_queue_limit", vserv="v", slot=slot) for slot in "01"} == {50}
        assert seen.value("popular_session_state") == Level.MAX
        assert seen.sum("popular_accept_pauses_total", reason="sessions") >= 1
        for one in waiting:
            one.close()


# --- probes -----------------------------------------------------------------------------------------------------------


def probe(proxy: Proxy, path: str) -> tuple[int, str]:
    """Status and text."""
    answer = get(address(proxy), path)
    return answer.status, answer.body.decode().strip()


def test_readiness_in_every_state(tmp_path: Path) -> None:
    """Not without a virtual server, not at load MAX, not while draining; alive all the while."""
    port, load = free_port(), tmp_path / "load"
    load.write_text("0.50 0 0 1/1 1\n")
    with Proxy(tmp_path, options=["--load-file", str(load)], metrics=ANY_PORT) as proxy:
        wait_until(lambda: probe(proxy, "/livez") == (200, "ok"), "it lives")
        assert probe(proxy, "/readyz") == (503, "no virtual server is online")
        proxy.said(f"vserv conf v iface {LOOPBACK} port {port} state disabled")
        assert probe(proxy, "/readyz") == (503, "no virtual server is online")
        proxy.said("vserv conf v state fake")
        wait_until(lambda: probe(proxy, "/readyz") == (200, "ok"), "it is ready")
        proxy.said("vserv conf v state online")
        proxy.said("vserv drain v")
        wait_until(lambda: probe(proxy, "/readyz") == (503, "no virtual server is online"), "all are drained")
        assert headline(address(proxy))["detail"] == "Configured are: drained."
        assert "Not serving: no vserv is online. Configured are: drained." in pstatus(proxy)
        proxy.said("vserv undrain v")
        wait_until(lambda: probe(proxy, "/readyz") == (200, "ok"), "it is ready once more")
        assert "Ready, nobody is connected." in pstatus(proxy)
        load.write_text("8.50 0 0 1/1 1\n")
        proxy.said("set maxlocalload 4")
        wait_until(lambda: probe(proxy, "/readyz")[0] == 503, "the load is noticed")
        assert "load" in probe(proxy, "/readyz")[1]
        assert scrape(proxy).value("popular_load_state") == Level.MAX
        assert scrape(proxy).value("popular_load1") == 8.5
        proxy.said("set maxlocalload 0")
        wait_until(lambda: probe(proxy, "/readyz") == (200, "ok"), "it is ready again")
        with PopClient(port) as client:
            client.greeted()
            proxy.said("shutdown delayed")
            wait_until(lambda: probe(proxy, "/readyz") == (503, "draining"), "it drains")
            assert probe(proxy, "/livez") == (200, "ok")
            assert scrape(proxy).value("popular_draining") == 1
            assert scrape(proxy).sum("popular_sessions", vserv="v") == 1
        proxy.process.wait(patient(20))


def test_a_master_that_hangs_is_not_alive(tmp_path: Path) -> None:
    """Stopped by SIGSTOP, the master gives no sign of life; when it goes on it is alive again."""
    with Proxy(tmp_path, metrics=ANY_PORT) as proxy:
        place = address(proxy)
        wait_until(lambda: get(place, "/livez").status == 200, "it lives")
        os.kill(proxy.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: get(place, "/livez").status == 503, "the silence is noticed", patient(20))
            assert b"silent" in get(place, "/readyz").body
            assert headline(place)["tone"] == "closed", "the page is not green either"
            assert "silent" in headline(place)["text"]
            wait_until(lambda: f"The master, process {proxy.pid}, has been silent" in pstatus(proxy), "by the table")
        finally:
            os.kill(proxy.pid, signal.SIGCONT)
        wait_until(lambda: get(place, "/livez").status == 200, "it lives again")


def test_workers_that_hang_serve_nobody(tmp_path: Path) -> None:
    """With all workers stopped by SIGSTOP no client is sent here before they are killed, and then again."""
    with Proxy(tmp_path, [FAKE.format(free_port())], metrics=ANY_PORT) as proxy:
        wait_until(lambda: probe(proxy, "/readyz") == (200, "ok"), "it is ready")
        stopped = proxy.workers()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: probe(proxy, "/readyz")[0] == 503, "the silence is noticed", patient(20))
            assert "been silent for" in probe(proxy, "/readyz")[1]
            assert headline(address(proxy))["tone"] == "closed"
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: probe(proxy, "/readyz") == (200, "ok"), "it is ready again")


def headline(place: tuple[str, int]) -> dict[str, str]:
    """What the status page says first."""
    said: dict[str, str] = json.loads(get(place, "/status.json").body)["headline"]
    return said


def pstatus(proxy: Proxy) -> str:
    """What it says, without a configuration."""
    command = [program("pstatus"), "--rundir", str(proxy.rundir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


# --- the exporter's own life ------------------------------------------------------------------------------------------


def test_off_means_off(tmp_path: Path) -> None:
    """No process, no socket; the variable says so."""
    with Proxy(tmp_path, metrics="off") as proxy:
        assert proxy.json("show metrics") == {"metrics": "off"}
        assert set(processes.tree(proxy.pid)) == {proxy.pid, *proxy.workers()}


@pytest.mark.parametrize("text", ["", "9110", "localhost:9110", "127.0.0.1:", "127.0.0.1:65536", "[::1]", "::1:9110"])
def test_a_wrong_address_is_a_wrong_command_line(text: str) -> None:
    """The message says what is allowed."""
    done = subprocess.run([program("pproxy"), "--metrics", text], capture_output=True, text=True, timeout=patient(20))
    assert done.returncode == 2
    assert "is not ADDRESS:PORT, such as 127.0.0.1:9110 or [::1]:9110, nor off" in done.stderr


def test_an_ipv6_address(tmp_path: Path) -> None:
    """In brackets, as in a URL."""
    with Proxy(tmp_path, metrics="[::1]:0") as proxy:
        assert address(proxy)[0] == "::1"
        assert scrape(proxy).value("popular_workers") == 2


def test_a_killed_exporter_is_replaced_at_the_same_address(tmp_path: Path) -> None:
    """It keeps its port if it has one, the numbers go on, and workers do not notice."""
    port, metrics = free_port(), free_port()
    with Proxy(tmp_path, [FAKE.format(port)], metrics=f"{LOOPBACK}:{metrics}") as proxy, PopClient(port) as client:
        client.greeted()
        before, workers = scrape(proxy), proxy.workers()
        os.kill(exporter_pid(proxy), signal.SIGKILL)
        wait_until(lambda: len(proxy.log("exporter_listens")) == 2, "another one listens", patient(20))
        assert before.falls(scrape(proxy)) == []
        assert address(proxy) == (LOOPBACK, metrics)
        assert len(proxy.log("exporter_died")) == 1
        assert proxy.workers() == workers
        assert client.ask("QUIT").startswith(b"+OK")


def test_an_exporter_that_hangs_is_replaced(tmp_path: Path) -> None:
    """It takes no pulse any more; in less than half a minute it is killed, and another one answers."""
    with Proxy(tmp_path, metrics=ANY_PORT) as proxy:
        address(proxy)
        os.kill(exporter_pid(proxy), signal.SIGSTOP)
        wait_until(lambda: len(proxy.log("exporter_listens")) == 2, "another one listens", patient(30))
        assert [entry.fields["code"] for entry in proxy.log("exporter_died")] == ["-9"]
        assert scrape(proxy).value("popular_workers") == 2


def test_an_address_in_use_is_taken_when_it_is_free(tmp_path: Path) -> None:
    """The program starts nevertheless, says it once, and tries again every second."""
    port = free_port()
    with socket.create_server((LOOPBACK, port)) as other, Proxy(tmp_path, metrics=f"{LOOPBACK}:{port}") as proxy:
        wait_until(lambda: proxy.log("exporter_waits"), "it waits")
        assert proxy.json("show metrics") == {"metrics": ""}
        time.sleep(2.5)
        assert len(proxy.log("exporter_waits")) == 1
        other.close()
        assert address(proxy) == (LOOPBACK, port)
        assert scrape(proxy).value("popular_draining") == 0


def test_who_drains_leaves_the_address_to_its_successor(tmp_path: Path) -> None:
    """In a rolling upgrade on one host the new one's probes and metrics are seen as soon as it alone serves, however
    long the old one waits for its last session; and it goes on waiting.
    """
    port, doors = free_port(), free_port()
    lines = [f"vserv conf v iface {LOOPBACK} port {doors} state fake"]
    there = (LOOPBACK, port)

    def told(by: Proxy, name: str) -> bool:
        return any(entry.pid == by.pid for entry in by.log(name))

    def is_ready() -> bool:
        with contextlib.suppress(ConnectionRefusedError):  # the exporter comes up after the program
            return get(there, "/readyz").status == 200
        return False

    with Proxy(tmp_path, lines, metrics=f"{LOOPBACK}:{port}") as old, PopClient(doors) as client:
        client.log_in()
        wait_until(is_ready, "the old one is ready")
        with Proxy(tmp_path, lines, metrics=f"{LOOPBACK}:{port}") as new:
            wait_until(lambda: told(new, "exporter_waits"), "the new one waits")
            os.kill(old.pid, signal.SIGPWR)  # the control socket leads to the new one
            wait_until(lambda: told(new, "exporter_listens"), "the new one has the address", patient(10))
            assert get(there, "/readyz").status == 200
            assert told(old, "exporter_yielded")
            assert client.ask("NOOP").startswith(b"+OK")
            assert client.ask("QUIT").startswith(b"+OK")
            assert old.process.wait(patient(10)) == 0


def test_the_exporter_goes_with_its_master(tmp_path: Path) -> None:
    """Even if the master is killed: the end of the lifeline is its end."""
    with Proxy(tmp_path, metrics=ANY_PORT) as proxy:
        place, pid = address(proxy), exporter_pid(proxy)
        proxy.kill_master()
        wait_until(lambda: not _lives(pid), "the exporter is gone")
        with pytest.raises(OSError):
            get(place, "/livez")
    proxy._kill()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_signals_to_the_group_do_not_end_it(tmp_path: Path) -> None:
    """Ctrl-C at a terminal reaches every process; ending is the master's matter."""
    with Proxy(tmp_path, metrics=ANY_PORT) as proxy:
        pid = exporter_pid(proxy)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            os.kill(pid, number)
        assert scrape(proxy).value("popular_workers") == 2
        assert exporter_pid(proxy) == pid
        assert proxy.log("exporter_died") == []


# --- hostile clients --------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The exporter of a program without sessions."""
    with Proxy(tmp_path, workers=1, metrics=ANY_PORT) as proxy:
        yield address(proxy)


def test_what_there_is_and_is_not(place: tuple[str, int]) -> None:
    """HEAD has no body; other methods and paths are refused; nothing leads to files."""
    head = get(place, "/metrics", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.fields["Content-Length"]) > 1000
    assert get(place, "/metrics", "POST").status == 405
    for path in ("/nothing", "/../../etc/passwd", "//etc/passwd", "/metrics/", "/%2e%2e/etc/passwd", "*"):
        assert get(place, path).status == 404, path
    assert get(place, "/livez?verbose=1").status == 200
    openmetrics = get(place, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.fields["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/9\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET //[ HTTP/1.1\r\n\r\n", b"400"),
        (b"\0\xff\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nAccept: text/plain;version=1.0.0\nX-Mine: 1\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000, b"431"),
        (b"GET /livez HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_nonsense_is_answered_and_costs_nobody_else(place: tuple[str, int], said: bytes, status: bytes) -> None:
    """A status, and the next client is served."""
    with socket.create_connection(place, patient(8)) as client:
        client.sendall(said)
        assert client.recv(100).split()[1] == status
    assert get(place, "/livez").status == 200


def test_slow_clients_lose_their_own_connections(place: tuple[str, int]) -> None:
    """As many as there may be say nothing, or take nothing: whoever comes is answered at once, the one that has been
    there longest makes room, and the others are cut off in a few seconds.
    """
    silent = [socket.create_connection(place, patient(10)) for _ in range(32)]
    try:
        silent[0].sendall(b"GET /met")
        silent[1].sendall(b"GET /met")
        assert get(place, "/livez").status == 200
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(100) == b""
        assert silent[1].recv(100).split()[1] == b"408"
    finally:
        for one in silent:
            one.close()


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=abc",
        "text/plain;version=\xff;escaping=x",
        "application/openmetrics-text; version=1.0.0; q=0.8, text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    ],
)
def test_a_scrape_is_answered_whatever_form_is_wished(place: tuple[str, int], accept: str) -> None:
    """One of the two forms, with nothing in the answer's head that the client has said."""
    seen = get(place, "/metrics", Accept=accept)
    assert seen.status == 200
    assert seen.fields["Content-Type"] in (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )
