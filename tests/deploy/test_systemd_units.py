"""The units of systemd and what belongs to them: checked by systemd's own tools, and their commands run for real.

systemd itself does not run here. What it would enforce on system calls is compared with those that a working pproxy
makes.
"""

import datetime
import itertools
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import argon2
import pytest

from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from popular.store.tools import pcheckd as mailcheckd
from popular.store.tools import pclean
from supervisor.options import options
from supervisor.ringd import main as ringd
from tests.bench import processes
from tests.patience import patient
from tests.system.site import (
    LOOPBACK,
    STARTED,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    need,
    pop3_server,
    program,
    wait_until,
)

ROOT = Path(__file__).parents[2]
UNITS = {path.stem: path for path in sorted((ROOT / "deploy/systemd").glob("*.service"))}
TIMERS = sorted((ROOT / "deploy/systemd").glob("*.timer"))
INSTALLED = "/opt/popular/bin/"
HIGHEST_EXPOSURE = 20
"""In tenths; systemd calls 1.0 to 4.2 OK."""


def settings(name: str) -> dict[str, list[str]]:
    """All assignments of a unit, in their order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", UNITS[name].read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def command(name: str, setting: str) -> list[str]:
    """A unit's command as this test runs it: our programs instead of the installed ones."""
    (text,) = settings(name)[setting]
    words = shlex.split(text)
    assert words[0].startswith(INSTALLED)
    return [program(words[0].removeprefix(INSTALLED)), *words[1:]]


# Its own tools


def test_units_are_verified(tmp_path: Path) -> None:
    """systemd finds nothing wrong with them, and their programs exist."""
    for path in (*UNITS.values(), *TIMERS):
        text = path.read_text().replace(INSTALLED, f"{Path(program('pproxy')).parent}/")
        (tmp_path / path.name).write_text(text)
    verify = [need("systemd-analyze"), "verify", "--man=no"]
    done = subprocess.run([*verify, *tmp_path.iterdir()], capture_output=True, text=True, timeout=patient(60))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

    (tmp_path / "pproxy.service").write_text("[Service]\nExecStart=/nowhere/pproxy\nWatchdogSek=1\n")
    done = subprocess.run([*verify, tmp_path / "pproxy.service"], capture_output=True, text=True, timeout=patient(60))
    assert "WatchdogSek" in done.stderr, "and it would find something"


@pytest.mark.parametrize("name", UNITS)
def test_units_are_hardened(name: str) -> None:
    """systemd's own measure of exposure stays low."""
    options = ["security", "--offline=yes", f"--threshold={HIGHEST_EXPOSURE}", "--no-pager"]
    done = subprocess.run(
        [need("systemd-analyze"), *options, UNITS[name]], capture_output=True, text=True, timeout=patient(60)
    )
    assert done.returncode == 0, done.stdout


def test_units_are_hardened_alike() -> None:
    """Only who binds low ports has the right to, and only who does not lives in a user namespace of its own."""
    sections = {
        name: path.read_text().partition("# What it may not do")[2].partition("\n[Install]")[0]
        for name, path in UNITS.items()
    }
    for name, text in sections.items():
        assert "LimitCORE=0" in text
        binds = name in ("pproxy", "ringd")
        assert ("AmbientCapabilities=CAP_NET_BIND_SERVICE" in text) is binds
        assert ("PrivateUsers=yes" in text) is not binds
    differing = re.compile(r"^(CapabilityBoundingSet|AmbientCapabilities|PrivateUsers)=.*\n", re.MULTILINE)
    assert len({differing.sub("", text) for text in sections.values()}) == 1


def test_user_and_directories(tmp_path: Path) -> None:
    """sysusers makes the user, tmpfiles the directories, with the modes that the programs want."""
    if os.getuid() != 0:
        pytest.skip("only root can give files to another user")
    (tmp_path / "etc/popular/tls").mkdir(parents=True)
    (tmp_path / "etc/popular/tls/default.key").write_text("secret")
    for tool, option, name in (
        ("systemd-sysusers", "--replace=/usr/lib/sysusers.d/popular.conf", "popular.sysusers"),
        ("systemd-tmpfiles", "--create", "popular.tmpfiles"),
    ):
        subprocess.run(
            [need(tool), f"--root={tmp_path}", option, ROOT / "deploy/systemd" / name],
            check=True,
            capture_output=True,
            timeout=patient(60),
        )
    (line,) = re.findall(r"^popular:.*$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    _name, _password, uid, gid, *_rest = line.split(":")
    found = {
        str(path.relative_to(tmp_path)): (path.stat().st_mode & 0o7777, path.stat().st_uid, path.stat().st_gid)
        for path in (tmp_path / "etc/popular", tmp_path / "etc/popular/tls/default.key", tmp_path / "var/spool/popular")
    }
    assert found == {
        "etc/popular": (0o750, 0, int(gid)),
        "etc/popular/tls/default.key": (0o640, 0, int(gid)),
        "var/spool/popular": (0o700, int(uid), int(gid)),
    }


# Its commands


def test_start_commands_are_understood() -> None:
    """Each program takes its command line, and reads what is installed for it."""
    for name, known in (("pproxy", PPROXY), ("pserv", PSERV)):
        assert options(known).parse_args(command(name, "ExecStart")[1:]).config == [f"/etc/popular/{name}.rc"]
        assert (ROOT / f"deploy/popular/{name}.rc").is_file()
    checker = mailcheckd.options().parse_args(command("pcheckd", "ExecStart")[1:])
    assert checker.foreground
    assert "--trusted" in command("pcheckd", "ExecStart"), "who is let in is said, not left to the default"
    assert ("127.0.0.9" in checker.trusted, "10.0.0.1" in checker.trusted) == (True, False)
    assert not pclean.options().parse_args(command("pclean", "ExecStart")[1:]).dry_run
    allowed = ringd.options().parse_args(command("ringd", "ExecStart")[1:]).ports
    assert all(any(port in ports for ports in allowed) for port in (110, 995, 1100))


def test_the_timer_starts_its_service_each_day() -> None:
    """So systemd reads its calendar; the service is there, and cleans the mailboxes that pserv serves."""
    (timer,) = TIMERS
    assert timer.stem in UNITS, "a timer starts the service of its name"
    (when,) = re.findall(r"^OnCalendar=(.*)$", timer.read_text(), re.MULTILINE)
    told = subprocess.run(
        [need("systemd-analyze"), "calendar", "--iterations=3", when], capture_output=True, text=True, check=True
    ).stdout
    days = re.findall(r"(\d{4}-\d\d-\d\d) 04:00:00", re.sub(r"Normalized form:.*", "", told))
    dates = [datetime.date.fromisoformat(day) for day in dict.fromkeys(days)]
    assert {later - earlier for earlier, later in itertools.pairwise(dates)} == {datetime.timedelta(days=1)}
    cleaned = pclean.options().parse_args(command("pclean", "ExecStart")[1:]).mailboxdir
    assert settings("pclean")["ReadWritePaths"] == settings("pserv")["ReadWritePaths"] == [cleaned]


def test_stop_drains(tmp_path: Path) -> None:
    """ExecStop waits for the session that is there, and lets nobody in; the time limits fit into each other."""
    port = free_port()
    stop = [*command("pproxy", "ExecStop"), "-r", str(tmp_path / "run")]
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake"]) as proxy, PopClient(port) as client:
        assert client.log_in().startswith(b"+OK")
        with subprocess.Popen(stop, stdout=subprocess.PIPE, text=True) as stopping:
            assert stopping.stdout is not None
            assert stopping.stdout.readline() == "1 session left\n"
            assert proxy.process.poll() is None
            assert client.ask("QUIT").startswith(b"+OK")
            assert stopping.wait(patient(10)) == 0
        assert proxy.process.wait(patient(10)) == 0
    drain, waits = re.findall(r"\d+", re.sub(r"grace 0", "", settings("pproxy")["ExecStop"][0]))
    limit = settings("pproxy")["TimeoutStopSec"][0].removesuffix("s")
    assert sorted([int(waits), int(drain), int(limit)]) == [30, 60, 90]


def test_reload_puts_the_file_into_force(tmp_path: Path) -> None:
    """ExecReload applies the whole file to the running program; a faulty one is refused, and changes nothing."""
    port, rc = free_port(), tmp_path / "pproxy.rc"
    good = f"vserv conf v iface {LOOPBACK} port {port} state fake bannerok "
    reload = [word.replace("/etc/popular", str(tmp_path)) for word in command("pproxy", "ExecReload")]
    reload[1:1] = ["-r", str(tmp_path / "run")]
    rc.write_text(f"{good}one\n")
    with Proxy(tmp_path, options=("-c", str(rc))) as proxy:
        wait_until(lambda: proxy.said("vserv list").lines == ["v"], "it is started")
        rc.write_text(f"{good}two\n")
        assert subprocess.run(reload, timeout=patient(30), capture_output=True).returncode == 0
        with PopClient(port) as client:
            assert client.greeted() == b"+OK two"
        rc.write_text(f"{good}three\nvserv conf v prot gopher\n")
        refused = subprocess.run(reload, timeout=patient(30), capture_output=True, text=True)
        assert refused.returncode == 1
        assert f"{rc}:2" in refused.stderr
        with PopClient(port) as client:
            assert client.greeted() == b"+OK two"


def _syscall_set(name: str) -> set[str]:
    """The calls of one of systemd's sets, @system-service, with those of the sets in it."""
    done = subprocess.run(
        [need("systemd-analyze"), "syscall-filter", name],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=True,
    )
    words = [word for word in done.stdout.split("\n")[1:] if word.strip() and not word.strip().startswith("#")]
    calls = {word.strip() for word in words}
    return {call for call in calls if call[0] != "@"}.union(*(_syscall_set(call) for call in calls if call[0] == "@"))


def test_system_calls_are_allowed(tmp_path: Path) -> None:
    """A pproxy that starts, checks a password, relays a mail, renews its workers and drains makes no call that the
    units filter out.
    """
    include, exclude = settings("pproxy")["SystemCallFilter"]
    allowed = _syscall_set(include).difference(*map(_syscall_set, exclude.removeprefix("~").split()))
    trace, port = tmp_path / "trace", free_port()
    strace = [need("strace"), "-f", "-qq", "-o", str(trace), "-e", "signal=none"]
    if subprocess.run([*strace, "true"], capture_output=True, timeout=patient(10)).returncode != 0:
        pytest.skip("tracing is forbidden here")
    rundir = tmp_path / "run"
    STARTED.add(rundir)
    ours = [program("pproxy"), "-r", str(rundir), "-l", str(tmp_path / "log"), "-w", "2", "--metrics", "off"]
    control = [program("pcontrol"), "-r", str(rundir), "-c"]
    users = tmp_path / "users"
    users.write_text(f"n:joe:{argon2.PasswordHasher(time_cost=1).hash('joe')}:b:joe\n")
    mail = 1000 * (100 * b"x" + b"\r\n")
    with ScriptedBackend(pop3_server([mail])) as backend, subprocess.Popen([*strace, *ours]) as process:
        try:
            wait_until(lambda: (rundir / "pproxy.state").is_symlink(), "it is up", patient(60))
            pid = int((rundir / "pproxy.pid").read_text())
            for command in (
                f"backend conf b host {LOOPBACK} port {backend.port} state online",
                f"pdm add users passwd {users}",
                f"vserv conf v iface {LOOPBACK} port {port} namespace n state online",
            ):
                subprocess.run([*control, command], check=True, timeout=patient(60))
            with PopClient(port) as client:
                assert client.log_in("joe", "joe").startswith(b"+OK")
                assert client.retrieve(1).count(b"x") == 100_000
                assert client.ask("QUIT").startswith(b"+OK")
            subprocess.run([*control, "workers recycle"], check=True, timeout=patient(60))
            os.kill(pid, signal.SIGPWR)
            assert process.wait(patient(60)) == 0
        finally:
            if process.poll() is None:
                for pid in reversed(processes.tree(process.pid)):
                    os.kill(pid, signal.SIGKILL)
    # What it asks for in vain is no harm, and no less so under the filter.
    made = {
        call for call, rest in re.findall(r"^\d+ +(\w+)\((.*)$", trace.read_text(), re.MULTILINE) if "EPERM" not in rest
    }
    assert {"accept4", "splice"} <= made, "it has served"
    assert made - allowed == set()


# The logs


def test_logs_are_rotated(tmp_path: Path) -> None:
    """logrotate, with the file that is installed, puts the logs away; pproxy and its workers go on in a new one."""
    tool, bin_directory = need("logrotate"), tmp_path / "bin"
    bin_directory.mkdir()
    port = free_port()
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    log, delivered = tmp_path / "pproxy.log", tmp_path / "pdeliver"
    delivered.write_text("delivered\n")
    delivered.chmod(0o600)
    text = (ROOT / "deploy/systemd/popular.logrotate").read_text()
    text = text.replace("/var/log/popular/pproxy ", f"{log} ").replace("/var/log/popular", str(tmp_path))
    text = text.replace("su popular popular", f"su {user} {group}").replace(
        "0640 popular popular", f"0640 {user} {group}"
    )
    (tmp_path / "logrotate.conf").write_text(text)
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake"]) as proxy:
        # Of systemctl this test needs one thing: the signal reaches the main process of the unit.
        systemctl = bin_directory / "systemctl"
        systemctl.write_text(
            "#!/bin/sh\n"
            'test "$*" = "--quiet kill --kill-whom=main --signal=HUP pproxy.service" || exit 5\n'
            f"kill -HUP {proxy.pid}\n"
        )
        systemctl.chmod(0o755)
        done = subprocess.run(
            [tool, "--force", "--state", tmp_path / "rotated", tmp_path / "logrotate.conf"],
            capture_output=True,
            text=True,
            timeout=patient(30),
            env={"PATH": f"{bin_directory}:{os.environ['PATH']}"},
        )
        assert (done.returncode, done.stderr) == (0, "")
        with PopClient(port) as client:
            client.log_in()
            client.ask("QUIT")
        wait_until(lambda: "session_end" in log.read_text(), "the worker writes into the new log")
        assert "log_reopened" in log.read_text()
        assert " start " in (tmp_path / "pproxy.log.1").read_text()
        assert log.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "pdeliver.1").read_text() == "delivered\n"
    assert (delivered.read_text(), delivered.stat().st_mode & 0o777) == ("", 0o640)
