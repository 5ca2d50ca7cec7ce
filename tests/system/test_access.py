"""Roles: what an account may say over the control socket is what the access file says, and each change is on record."""

import grp
import json
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from popular.proxy.program import PROGRAM
from supervisor.control.language.context import ControlCommand
from supervisor.control.language.kinds import Base64, Choice, Int, Time
from supervisor.master.audit import DENIED_A_MINUTE
from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

CONTROL, WATCH, ON_CALL = "adm", "games", "news"
"""Groups that every Debian has: the one that may connect, and two that the file names."""
_ASK = """
import os, socket, sys
for path in sys.argv[1:]:
    control = socket.socket(socket.AF_UNIX)
    control.connect(path)
    heard = control.makefile()
    for line in sys.stdin:
        control.sendall(line.encode())
        status = heard.readline()
        while heard.readline() not in (".\\n", ""):
            pass
        print(status, end="")
"""


def _ask(proxy: Proxy, group: str, lines: Sequence[str]) -> list[str]:
    """The status lines that an account of this group gets, over one connection."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _ASK, str(proxy.rundir / "pproxy.ctrl")],
        input="".join(f"{line}\n" for line in lines),
        user=pwd.getpwnam("nobody").pw_uid,
        group=grp.getgrnam(CONTROL).gr_gid,
        extra_groups=[grp.getgrnam(group).gr_gid],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def _audit(path: Path, event: str | None = None) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [entry for entry in entries if event in (None, entry["event"])]


@pytest.fixture(name="site")
def _site() -> Iterator[tuple[Proxy, int]]:
    """A proxy with an access file and an audit log, and its port; where others can get at it, unlike at `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="popular-access-") as made:
        directory, port = Path(made), free_port()
        directory.chmod(0o755)
        access = directory / "access"
        access.write_text(f"group {WATCH} read\ngroup {ON_CALL} say kill *\ngroup {ON_CALL} say block ...\n")
        options = [
            "-n",
            "100",
            "--ctrl-group",
            CONTROL,
            "--access",
            str(access),
            "--auditlog",
            str(directory / "audit"),
        ]
        listener = f"vserv conf v iface {LOOPBACK} port {port} namespace n state online"
        with Proxy(directory, ["backend conf b", "set capadir /", listener], options=options) as proxy:
            yield proxy, port


def _sayings(command: ControlCommand, sid: str) -> Iterator[str]:
    """A command with words that fit, with and without what may be left out."""
    known = {"sid": sid, "backend": "b", "vserv": "v", "id": "b", "network": "192.0.2.0/24"}
    known |= {"variable": "grace", "content": "7s", "parameter": "state", "value": "offline", "options": "=NET"}

    def word(name: str, kind: Any) -> str:
        if name in known:
            return known[name]
        if isinstance(kind, Choice):
            return kind.words[0]
        if isinstance(kind, Time | Int):
            return "1"
        return "eA==" if isinstance(kind, Base64) else "x"

    words = [*command.shape.head, *(word(name, command.slots[name]) for name in command.shape.required)]
    tail = [word(name, command.slots[name]) for name in command.shape.tail]
    yield " ".join(words)
    if tail:
        yield " ".join([*words, *tail])


def _state(proxy: Proxy) -> list[object]:
    """What a command could change."""
    said = [proxy.said(line).lines for line in ("show config", "block list")]
    return [*said, proxy.workers(), [entry.line for entry in proxy.log("sentence")]]


def test_a_reader_cannot_change_a_thing(site: tuple[Proxy, int]) -> None:
    """By no command of the language, said with words that fit: each that changes something is denied and on record,
    each other changes nothing; the configuration, sessions, workers, blocked networks are what they were.
    """
    proxy, port = site
    with PopClient(port) as client:
        client.line()
        sid = proxy.sessions()[0]["sid"]
        lines = [line for command in PROGRAM.commands for line in _sayings(command, sid)]
        lines += ["json shutdown all", "json json set grace 7s", "draft say set grace 7s", "include /etc/passwd"]
        lines += [f"{700 * 'json '}show grace", f'complete "{1500 * "json "}"']
        changing = [command for command in PROGRAM.commands if command.changes or command.one_off]
        changes = {line for command in changing for line in _sayings(command, sid)}
        before = _state(proxy)
        sessions = [(row["sid"], row["state"]) for row in proxy.sessions()]
        answers = dict(zip(lines, _ask(proxy, WATCH, lines), strict=True))
        denied = {line for line, answer in answers.items() if "access file" in answer}
        assert changes <= denied
        assert all("only read" in answers[line] for line in changes)
        assert [line for line in denied - changes if line.split()[0] not in ("json", "draft")] == []
        assert [(row["sid"], row["state"]) for row in proxy.sessions()] == sessions
        assert _state(proxy) == before
        assert answers["show config"] == "+OK", "and it may look"
        assert len(denied) < DENIED_A_MINUTE
        recorded = {entry["command"] for entry in _audit(proxy.rundir.parent / "audit", "denied")}
        assert {line for line in denied if not line.startswith(("secret", "draft say x"))} <= recorded


def test_a_list_of_commands_and_the_record(site: tuple[Proxy, int]) -> None:
    """Who may say some commands says them; the audit log has who, when, why and what; what the file says is read anew
    at SIGHUP, unless it is faulty; a name in a command cannot forge a line.
    """
    proxy, _port = site
    audit, access = proxy.rundir.parent / "audit", proxy.rundir.parent / "access"
    signed = 'sign as "ann\\"}" message "guesses, ticket 7"'
    said = [signed, "block 192.0.2.0/24 until 10m", "json block 192.0.2.1", "set grace 1s", "unblock 192.0.2.0/24"]
    answers = [answer.split(" ")[0] for answer in _ask(proxy, ON_CALL, said)]
    assert answers == ["+OK", "+OK", "+OK", "-ERR", "-ERR"]
    nobody = pwd.getpwnam("nobody").pw_uid
    changes, denied = _audit(audit, "change")[-2:], _audit(audit, "denied")
    assert [entry["command"] for entry in changes] == said[1:3]
    assert [entry["command"] for entry in denied] == said[3:]
    _ask(proxy, ON_CALL, ["draft say joe:{PLAIN}canary:store1:"])
    assert (_audit(audit, "denied")[-1]["command"], "canary" in audit.read_text()) == ("draft say joe…", False)
    for entry in changes + denied:
        assert (entry["uid"], entry["as"], entry["message"]) == (nobody, 'ann"}', "guesses, ticket 7")
        assert (entry["by"], entry["program"]) == ("client", "pproxy")
        assert entry["pid"] not in (0, proxy.pid)
    access.write_text(f"group {ON_CALL} say kil *\n")
    os.kill(proxy.pid, signal.SIGHUP)
    wait_until(lambda: len(proxy.log("access_faulty")) == 1, "it is told")
    assert 'did you mean "kill"?' in proxy.log("access_faulty")[0].fields["reason"]
    assert _ask(proxy, ON_CALL, ["block 192.0.2.2"])[0].startswith("+OK"), "what was read before still counts"
    audit.rename(audit.with_suffix(".1"))
    access.write_text(f"group {WATCH} say unblock *\n")
    os.kill(proxy.pid, signal.SIGHUP)
    wait_until(lambda: len(proxy.log("access_read")) == 1, "it is told")
    assert "does not name you" in _ask(proxy, ON_CALL, ["block 192.0.2.2"])[0]
    assert _ask(proxy, WATCH, ["unblock 192.0.2.2"])[0].startswith("+OK")
    assert [(entry["event"], entry["command"]) for entry in _audit(audit)] == [
        ("denied", "block 192.0.2.2"),
        ("change", "unblock 192.0.2.2"),
    ]


def test_who_may_not_cannot_fill_the_record(site: tuple[Proxy, int]) -> None:
    """Each try is refused; so many lines are written of them in a minute, here and in the log, none is long, and how
    many were left out is told, at the end of the program at the latest. What others do is on record all the same.
    """
    proxy, _port = site
    audit, tries = proxy.rundir.parent / "audit", DENIED_A_MINUTE + 50
    long = "set greeting " + "x" * 8000
    answers = _ask(proxy, WATCH, [long] * tries)
    assert [answer.split(" ")[0] for answer in answers] == ["-ERR"] * tries
    proxy.said("set grace 7s")
    denied = _audit(audit, "denied")
    assert len(denied) == DENIED_A_MINUTE
    assert max(len(entry["command"]) for entry in denied) < 500
    assert len(proxy.log("sentence_refused")) == DENIED_A_MINUTE
    assert _audit(audit, "change")[-1]["command"] == "set grace 7s"
    proxy.said("shutdown all")
    proxy.process.wait(patient(20))
    (left_out,) = _audit(audit, "left_out")
    assert (left_out["uid"], left_out["denied"]) == (pwd.getpwnam("nobody").pw_uid, 50)


def test_what_is_applied_is_named_in_the_record(site: tuple[Proxy, int], tmp_path: Path) -> None:
    """`pcontrol --as --message`: also of a whole configuration, with what is new, gone and changed."""
    proxy, _port = site
    audit = proxy.rundir.parent / "audit"
    rc = tmp_path / "rc"
    rc.write_text("backend conf c\nset grace 3s\n")
    signed = [program("pcontrol"), "-r", str(proxy.rundir), "--as", "ann", "--message", "a new store"]
    subprocess.run([*signed, "apply", str(rc)], check=True, capture_output=True, timeout=patient(30))
    secret = tmp_path / "secret"
    secret.write_text("canary")
    command = ["--secretfile", str(secret), "set", "grace", "4s"]
    subprocess.run([*signed, *command], check=True, capture_output=True, timeout=patient(30))
    applied, alone = _audit(audit, "change")[-2:]
    assert (applied["as"], applied["message"], applied["uid"]) == ("ann", "a new store", 0)
    assert applied["new"] == ["backend c"]
    assert applied["gone"] == ["backend b", "vserv v"]
    assert set(applied["changed"]) == {"variable grace", "variable capadir"}
    assert (alone["command"], alone["generation"]) == ("set grace 4s", applied["generation"] + 1)
    assert "canary" not in audit.read_text()
    assert "Y2FuYXJ5" not in audit.read_text()


@pytest.mark.nightly
def test_a_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    """Nobody is served under rights that nobody has said; `--check` tells it too."""
    (tmp_path / "access").write_text("group adm reed\n")
    start = [program("pproxy"), "-r", str(tmp_path / "run"), "-l", str(tmp_path / "log"), "--metrics", "off"]
    for more, code in (([], 1), (["--check"], 2)):
        done = subprocess.run(
            [*start, "--access", str(tmp_path / "access"), *more],
            capture_output=True,
            text=True,
            timeout=patient(30),
            check=False,
        )
        assert done.returncode == code
        assert 'access:1:11: "reed" is unknown; did you mean "read"?' in done.stderr
