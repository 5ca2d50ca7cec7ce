"""The log of a running proxy: live debugging, masked passwords, one line for each entry whatever clients send."""

import base64
import json
import resource
import signal
import socket
import subprocess
from pathlib import Path

from tests.patience import patient
from tests.system.scrape import scrape
from tests.system.site import (
    LOOPBACK,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    log_entries,
    pop3_server,
    program,
    wait_until,
)

CANARY = "kanarie-7b1f"


def _site(port: int, backend: int) -> list[str]:
    return [
        f"backend conf b host {LOOPBACK} port {backend} state online",
        "pdm add all any b",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]


def _everything(proxy: Proxy) -> bytes:
    """All that the proxy has written or says about itself."""
    texts = [proxy.logfile.read_bytes(), proxy.stderr.read_bytes(), (proxy.rundir / "pproxy.state").read_bytes()]
    for command in ("sessions", "json sessions", "show config", "show", "workers", "pdm show all"):
        answer = proxy.control(command)
        texts.append("\n".join([answer.text, *answer.lines]).encode())
    return b"\n".join(texts)


def test_a_password_is_seen_nowhere(tmp_path: Path) -> None:
    """With every debug option but PASS: logins that succeed, fail, are cut short or sent in the wrong place leave no
    trace of the password in log, table, replies or errors.
    """
    port = free_port()
    options = "AUTH CTRL IO MAIN NET POP TLS RINGD"
    with (
        ScriptedBackend(pop3_server([b"mail\r\n"], CANARY.encode())) as backend,
        Proxy(tmp_path, [*_site(port, backend.port), f"debug ={options}"]) as proxy,
    ):
        with PopClient(port) as good:
            assert good.log_in("ann", CANARY) == b"+OK logged in"
            assert CANARY.encode() not in _everything(proxy)
            good.ask("QUIT")
        with PopClient(port) as bad:
            assert bad.log_in("ann", f"{CANARY}-wrong").startswith(b"-ERR")
        with PopClient(port) as early:
            early.ask(f"PASS {CANARY}")
            early.say(f"PASS {CANARY}".encode())
        with PopClient(port) as odd:
            odd.greeted()
            odd.say(f"USER ann\r\npAsS {CANARY}\r\nNOOP\r\n".encode())
            odd.line()
            odd.line()
        with PopClient(port) as null:
            null.greeted()
            null.say(f"USER ann\r\nPASS {CANARY}\0\r\n".encode())
            null.rest()
        with PopClient(port) as split:
            split.greeted()
            for octet in f"USER ann\r\nPASS {CANARY}\r\n".encode():
                split.say(bytes([octet]))
            split.line()
            split.line()
        proxy.wait_for_endings(6)
        seen = _everything(proxy)
        assert CANARY.encode() not in seen
        assert base64.b64encode(CANARY.encode())[:12] not in seen
        assert b" DBG 0000 pop_" in seen, "the dialogue was logged all the same"


def test_debug_is_live_in_all_workers(tmp_path: Path) -> None:
    """`debug +POP` shows the dialogues of the next sessions in both workers, `debug +PASS` their passwords, `debug
    =NONE` nothing.
    """
    port = free_port()
    with ScriptedBackend(pop3_server([])) as backend, Proxy(tmp_path, _site(port, backend.port)) as proxy:

        def session() -> None:
            with PopClient(port) as client:
                client.log_in("ann", CANARY)
                client.ask("QUIT")

        def debugging() -> list[int]:
            return [entry.pid for entry in proxy.log() if entry.number == "0000"]

        session()
        assert debugging() == []
        proxy.said("debug +POP")
        for _ in range(12):
            session()
        assert set(debugging()) == set(proxy.workers())
        assert CANARY not in proxy.logfile.read_text()
        assert proxy.said("debug").lines == ["POP"] or "POP" in proxy.said("debug").text
        proxy.said("debug +PASS")
        session()
        wait_until(lambda: CANARY in proxy.logfile.read_text(), "with PASS the password is shown")
        proxy.said("debug =NONE")
        before = len(debugging())
        session()
        proxy.wait_for_endings(15)
        assert len(debugging()) == before


NAMES = ["a'b", "a\\b", 'a"b', "a\x1b[31mb", "\u202egnirts", "zoë", "a\x7fb", "' INF 0001 start x='", "%s{0}", "a b"]


def _sessions_of_strange_names(port: int) -> None:
    for name in NAMES:
        with PopClient(port) as client:
            client.greeted()
            client.say(f"USER {name}\r\nPASS x\r\nQUIT\r\n".encode())
            client.rest()


def test_clients_cannot_write_lines_of_their_own(tmp_path: Path) -> None:
    """User names with quotes, escapes, control characters and other scripts: every line of the log stays one entry."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake", "debug +POP AUTH"]) as proxy:
        _sessions_of_strange_names(port)
        proxy.wait_for_endings(len(NAMES))
        assert len(proxy.log("start")) == 1
        text = proxy.logfile.read_text()
        assert text.replace("\n", "").isprintable()


def test_json_says_the_same(tmp_path: Path) -> None:
    """--log-format json: each line is an object with the numbers and names of the text form."""
    port, log = free_port(), tmp_path / "log"
    command = [
        program("pproxy"),
        "-r",
        str(tmp_path / "run"),
        "-l",
        str(log),
        "-w",
        "1",
        "--log-format",
        "json",
        "--metrics",
        "off",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        path = tmp_path / "run" / "pproxy.ctrl"
        wait_until(path.exists, "the control socket is there")
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(patient(10))
            control.connect(str(path))
            control.sendall(f"vserv conf v iface {LOOPBACK} port {port} state fake\n".encode())
            assert control.recv(4096).startswith(b"+OK")
            _sessions_of_strange_names(port)
            control.sendall(b"shutdown all\n")
            assert control.recv(4096).startswith(b"+OK")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(patient(10)) == 0
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert (entries[0]["number"], entries[0]["name"], entries[0]["level"]) == ("0001", "start", "INF")
    ends = [entry for entry in entries if entry["name"] == "session_end"]
    assert len(ends) == len(NAMES)
    assert all(
        {"time", "host", "program", "pid", "sid", "level", "number", "name"} <= entry.keys() for entry in entries
    )
    assert {entry["program"] for entry in entries} == {"pproxy"}
    assert "zoë" in [entry.get("user") for entry in ends]


def _set_room(proxy: Proxy, octets: int | None) -> None:
    """As if the disk had so much space left; None: plenty."""
    for pid in (proxy.pid, *proxy.workers()):
        _soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        room = hard if octets is None else proxy.logfile.stat().st_size + octets
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, hard))


def test_a_full_disk(tmp_path: Path) -> None:
    """The service goes on; each process says how many lines it could not write when it can write again, the metric
    tells it before, and no half line is glued to a good one.
    """
    port = free_port()
    rc_lines = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
    with Proxy(tmp_path, rc_lines, metrics=f"{LOOPBACK}:0") as proxy:

        def serve(sessions: int) -> None:
            for _ in range(sessions):
                with PopClient(port) as client:
                    assert client.log_in("ann", "x").startswith(b"+OK")
                    client.ask("QUIT")
            proxy.wait_until_quiet()

        serve(1)
        _set_room(proxy, 100)
        serve(20)
        proxy.said("set maxsession 1001")
        lost = 21
        wait_until(lambda: scrape(proxy).value("popular_log_lines_lost_total") == lost, "the metric tells of them")
        _set_room(proxy, None)
        serve(20)
        proxy.said("set maxsession 1002")

        full = tmp_path / "full.log"
        proxy.logfile.rename(full)
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: proxy.logfile.exists() and proxy.log("log_reopened"), "the log is a new one")
        lines = full.read_text().splitlines()
        (half,) = [line for line in lines if len(line) == 99]
        full.write_text("".join(f"{line}\n" for line in lines if line != half))
        entries = log_entries(full)
        told = {entry.pid: int(entry.fields["lines"]) for entry in entries if entry.name == "log_lines_lost"}
        assert set(told) == {proxy.pid, *proxy.workers()}
        assert sum(told.values()) == lost
        assert [entry.name for entry in entries].count("log_lines_lost") == len(told)
        assert [entry.name for entry in entries].count("session_end") == 21
        assert scrape(proxy).value("popular_log_lines_lost_total") == lost
