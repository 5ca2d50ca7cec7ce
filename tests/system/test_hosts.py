"""`pcontrol --hosts`: the same at several proxies, until one fails."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from popular.programs import PROGRAMS
from supervisor.control.words import quote
from supervisor.pcontrol.main import main
from tests.system.site import Proxy, program
from tests.system.test_demo import wait_until_gone


class _Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


@pytest.fixture(name="pcontrol")
def _pcontrol(capsys: pytest.CaptureFixture[str]) -> Callable[..., _Done]:
    """The command, in this process: it is said often."""

    def say(*words: str) -> _Done:
        try:
            code = main(words, PROGRAMS)
        except SystemExit as ended:
            code = int(str(ended.code))
        return _Done(code, *capsys.readouterr())

    return say


def test_all_of_them_until_one_fails(tmp_path: Path, pcontrol: Callable[..., _Done]) -> None:
    """Over a socket, and over a command as ssh would be one; it is told who is done, who failed, who was not asked."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    hosts, rc = tmp_path / "hosts", tmp_path / "rc"
    with Proxy(tmp_path / "a", workers=1, options=["-n", "100"]) as one:
        with Proxy(tmp_path / "b", workers=1, options=["-n", "100"]) as two:
            hosts.write_text(
                f"one socket {one.rundir}/pproxy.ctrl  # here\n"
                f"two command {program('pcontrol')} -r {two.rundir} relay\n"
            )
            rc.write_text(f"set logfile {tmp_path}/log\nset grace 7s\n" + "backend conf b\n" * 40)
            with_hosts = ["--hosts", str(hosts), "--as", "ann", "--message", "new store"]
            checked = pcontrol(*with_hosts, "check", str(rc))
            assert (checked.code, checked.stderr.count("good, ")) == (0, 2), checked.stderr
            assert one.said("show grace").lines == two.said("show grace").lines == ["grace 0s"]
            applied = pcontrol(*with_hosts, "apply", str(rc))
            assert applied.code == 0, applied.stderr
            assert [line for line in applied.stdout.splitlines() if line in ("# one", "# two")] == ["# one", "# two"]
            assert one.said("show grace").lines == two.said("show grace").lines == ["grace 7s"]
            assert two.json("config history")[0]["as"] == "ann"
            told = pcontrol("--hosts", str(hosts), "--json", "status")
            rows = [json.loads(line) for line in told.stdout.splitlines()]
            assert [(row["host"], row["data"]["workers"]) for row in rows] == [("one", 1), ("two", 1)]
            listed = pcontrol("--hosts", str(hosts), "--json", "show", "grace").stdout.splitlines()
            assert [json.loads(line) for line in listed] == [
                {"host": "one", "data": {"grace": 7}},
                {"host": "two", "data": {"grace": 7}},
            ]
            wrong = pcontrol("--hosts", str(hosts), "--json", "show", "nothing").stderr.splitlines()[0]
            assert (json.loads(wrong)["host"], "error" in json.loads(wrong)) == ("one", True)
            assert "pproxy 2" in pcontrol("--hosts", str(hosts), "status").stdout
            assert pcontrol("--hosts", str(hosts), "drift", str(rc)).code == 0
            two.said("set grace 9s")
            drifted = pcontrol("--hosts", str(hosts), "drift", str(rc))
            assert (drifted.code, "- set grace 9s" in drifted.stdout) == (5, True)
            said = pcontrol("--hosts", str(hosts), "show", "grace")
            assert said.stdout.splitlines() == ["# one", "grace 7s", "# two", "grace 9s"]
        hosts.write_text(f"{hosts.read_text()}three socket /nowhere\n")
        failed = pcontrol(*with_hosts, "set", "grace", "8s")
        assert failed.code == 3
        assert "failed: two; done before: one; not asked: three" in failed.stderr
        assert one.said("show grace").lines == ["grace 8s"]
        hosts.write_text(f"none command false\n{hosts.read_text()}")
        failed = pcontrol(*with_hosts, "set", "grace", "9s")
        assert (failed.code, "failed: none; done before: none; not asked: one, two, three" in failed.stderr) == (
            3,
            True,
        )
        assert one.said("show grace").lines == ["grace 8s"], "nobody behind it was asked"


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        ("one socket\n", ["show"], "hosts:1:1: not a proxy; allowed: NAME socket PATH"),
        ("one sockt /x\n", ["show"], "hosts:1:1: not a proxy"),
        ("# none\n", ["show"], "it names no proxy"),
        ("one socket /x\none socket /y\n", ["show"], 'hosts:2:1: "one" is there twice'),
        ('one socket "/x\n', ["show"], "hosts:1:12: a quote is not closed"),
        ("one socket /x\n", [], "--hosts takes a command"),
        ("one socket /x\n", ["-"], "--hosts takes a command"),
        ("one socket /x\n", ["apply", "-"], "standard input cannot be read for each"),
        ("one socket /x\n", ["apply", "--watch", "rc"], "neither with --socket nor with --watch"),
        ("one socket /x\n", ["relay"], "nor with relay"),
    ],
)
def test_what_cannot_be_is_told(
    tmp_path: Path, pcontrol: Callable[..., _Done], content: str, words: list[str], told: str
) -> None:
    """Before anybody is asked."""
    (tmp_path / "hosts").write_text(content)
    done = pcontrol("--hosts", str(tmp_path / "hosts"), *words)
    assert done.code == 2
    assert told in done.stderr


def test_all_faults_of_the_file_are_told(tmp_path: Path, pcontrol: Callable[..., _Done]) -> None:
    """At once, each with its place; with --json each is an object."""
    hosts = tmp_path / "hosts"
    hosts.write_text('one sockt /x\none socket /y\ntwo socket "/x\none socket /z\n')
    done = pcontrol("--hosts", str(hosts), "show")
    assert done.code == 2
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        f"{hosts}:{at}" for at in ("1:1", "3:12", "4:1")
    ]
    told = pcontrol("--hosts", str(hosts), "--json", "show").stderr.splitlines()
    assert [json.loads(line)["line"] for line in told] == [1, 3, 4]


def test_nothing_of_a_command_that_hangs_is_left(
    tmp_path: Path, pcontrol: Callable[..., _Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended with what it has started, and what that has; other processes of ours are left alone."""
    monkeypatch.setattr("supervisor.pcontrol.hosts._END_SECONDS", 0.1)
    pids, hosts = tmp_path / "pids", tmp_path / "hosts"
    script = f"sh -c 'echo $$ >>{pids}; sleep 1000 & echo $! >>{pids}; wait'; true"
    hosts.write_text(f"one command sh -c {quote(script)}\n")
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            done = pcontrol("--hosts", str(hosts), "--timeout", "1", "show")
            assert (done.code, "failed: one" in done.stderr) == (4, True), done.stderr
            started = [int(pid) for pid in pids.read_text().split()]
            assert len(started) == 2
            wait_until_gone(started)
            assert other.poll() is None
        finally:
            other.kill()
