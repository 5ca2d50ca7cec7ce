"""`pcontrol` as a process of its own, against a real control socket."""

import json
import os
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.pcontrol.apply import NotTaken, status
from supervisor.pcontrol.connection import Connection, ControlReply, NoConnection
from tests.control.console import Console, console
from tests.patience import patient
from tests.system.site import program
from tests.system.wire import wait_until

PCONTROL = [program("pcontrol")]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path / "pserv.ctrl") as running:
        yield running


def run(here: Console, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """pcontrol with the socket of `here`."""
    command = [*PCONTROL, "--socket", str(here.path), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=patient(30), check=False)


def test_commands_are_said_in_order(here: Console) -> None:
    """Each -c is a command; data goes to standard output, and nothing else is printed."""
    done = run(here, "-c", "echo one", "--command", "slow two", "-c", "echo three")

    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\nthree\n", "")


def test_a_refused_command_ends_it(here: Console) -> None:
    """Exit code 1, the reason on standard error, and nothing is said after it."""
    done = run(here, "-c", "echo one", "-c", "nonsense", "-c", "echo three")

    assert (done.returncode, done.stdout) == (1, "one\n")
    assert done.stderr == "column 1: nonsense is unknown\n"
    assert [line for line, _ in here.heard] == ["echo one", "nonsense"]


@pytest.mark.parametrize("option", ["-i", "--ignore-errors"])
def test_errors_can_be_ignored(here: Console, option: str) -> None:
    """With -i the rest is said all the same; the exit code is still 1."""
    done = run(here, option, "-c", "nonsense", "-c", "echo three")

    assert (done.returncode, done.stdout) == (1, "three\n")


def test_files_are_said_line_by_line(here: Console, tmp_path: Path) -> None:
    """Comments and empty lines are left out, and an error names file and line."""
    rc = tmp_path / "my.rc"
    rc.write_text("# a comment\n\n  # another\necho one\r\n\necho two\nnonsense\necho never\n")
    done = run(here, str(rc))

    assert (done.returncode, done.stdout) == (1, "one\ntwo\n")
    assert done.stderr == f"{rc}:7:1: nonsense is unknown\n"


@pytest.mark.parametrize("arguments", [["-"], []])
def test_standard_input_is_a_file_too(here: Console, arguments: list[str]) -> None:
    """`-` reads standard input; so does pcontrol without arguments when it is not at a terminal, without a prompt."""
    done = run(here, *arguments, stdin="echo one\nnonsense\n")

    assert (done.returncode, done.stdout) == (1, "one\n")
    assert done.stderr == "standard input:2:1: nonsense is unknown\n"


def test_quiet_and_verbose(here: Console) -> None:
    """-q prints no message, -v prints commands and status texts; data stays on standard output."""
    quiet = run(here, "-q", "-c", "echo one", "-c", "nonsense")
    verbose = run(here, "-v", "-c", "echo one")

    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "one\n", "")
    assert (verbose.returncode, verbose.stdout, verbose.stderr) == (0, "one\n", "> echo one\nsaid\n")
    assert run(here, "-q", "-v", "-c", "echo one").returncode == 2


def test_json(here: Console) -> None:
    """--json says `json COMMAND`."""
    assert run(here, "--json", "-c", "echo one").stdout == '"one"\n'


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["-p", "nonsense"], ["--timeout", "0"], ["--timeout", "x"], ["/no/such/file"]]
)
def test_wrong_usage(here: Console, arguments: list[str]) -> None:
    """Unknown options and files that cannot be read give exit code 2 and say why."""
    done = run(here, *arguments)

    assert done.returncode == 2
    assert done.stderr


def test_no_connection(tmp_path: Path) -> None:
    """Exit code 3 where nobody listens, with the path."""
    command = [*PCONTROL, "-r", str(tmp_path), "-c", "show"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)

    assert done.returncode == 3
    assert str(tmp_path / "pproxy.ctrl") in done.stderr
    assert str(tmp_path / "pserv.ctrl") in done.stderr


def test_the_program_is_found(here: Console) -> None:
    """Without -s and -p, pserv is spoken to when no pproxy answers; with -p only the named one."""
    base = [*PCONTROL, "-r", str(here.path.parent), "-c", "echo one"]

    assert subprocess.run(base, capture_output=True, timeout=patient(30), check=False).returncode == 0
    assert subprocess.run([*base, "-p", "pserv"], capture_output=True, timeout=patient(30), check=False).returncode == 0
    assert (
        subprocess.run([*base, "-p", "pproxy"], capture_output=True, timeout=patient(30), check=False).returncode == 3
    )


@pytest.mark.parametrize(
    "words",
    [
        ["shutdown", "all"],
        ["-i", "-c", "show pid", "-c", "set grace 1s"],
        ["{rc}"],
        ["rollback"],
        ["confirm"],
        ["apply", "{rc}"],
    ],
)
def test_what_changes_something_is_not_for_whoever_answers(here: Console, words: list[str]) -> None:
    """Said to nobody by name it is for pproxy, and pserv does not hear it: the second `shutdown all` is not for pserv.
    With -p it goes there.
    """
    rc = here.path.parent / "rc"
    rc.write_text("set grace 1s\n")
    base, said = [*PCONTROL, "-r", str(here.path.parent)], [word.format(rc=rc) for word in words]
    done = subprocess.run([*base, *said], capture_output=True, text=True, timeout=patient(30), check=False)
    assert (done.returncode, here.heard) == (3, [])
    assert done.stderr.endswith("what changes or ends something goes there only by --program pserv\n")
    subprocess.run([*base, "-p", "pserv", *said], capture_output=True, timeout=patient(30), check=False)
    assert here.heard


def test_a_relay_is_not_to_whoever_answers(here: Console) -> None:
    """What is said through it is not known to the pcontrol that relays."""
    command = [*PCONTROL, "-r", str(here.path.parent), "relay"]
    done = subprocess.run(command, input=b"echo one\n", capture_output=True, timeout=patient(30), check=False)
    assert (done.returncode, here.heard) == (3, [])


def test_a_relay_to_a_program_that_is_gone_tells_so(tmp_path: Path) -> None:
    """What it had answered comes out first."""
    ours, its = socket.socketpair()
    source, says = os.pipe()
    comes, sink = os.pipe()
    os.write(says, b"echo one\n")
    its.sendall(b"+OK the last\n.\n")
    its.close()
    connection = Connection(tmp_path / "pserv.ctrl", patient(10), joined=ours)
    with pytest.raises(NoConnection, match="Broken pipe"):
        connection.relay(source, sink)
    assert os.read(comes, 100) == b"+OK the last\n.\n"
    connection.close()
    for one in (source, says, comes, sink):
        os.close(one)


def test_no_answer(here: Console) -> None:
    """Exit code 4 when the answer does not come in time."""
    done = run(here, "--timeout", "0.2", "-c", "never")

    assert done.returncode == 4
    assert "no answer within 0.2 s" in done.stderr


def test_a_command_is_one_line(here: Console) -> None:
    """A command with a line end inside, or one that is too long, is refused without being sent."""
    assert run(here, "-c", "echo one\necho two").returncode == 1
    assert run(here, "-c", "echo " + "x" * 10_000).returncode == 1
    assert here.heard == []


def test_a_reader_that_has_enough_is_no_error(here: Console) -> None:
    """`pcontrol … | head -1` ends quietly."""
    command = " ".join([*PCONTROL, "-s", str(here.path), "-c", "'lines 20000'", "-c", "'lines 20000'"])
    done = subprocess.run(
        f"{command} | head -1", shell=True, capture_output=True, text=True, timeout=patient(30), check=False
    )

    assert done.stdout.startswith("line 0 ")
    assert done.stderr == ""


def test_an_interrupted_command_is_told_in_one_line(here: Console) -> None:
    """Ctrl-C ends the waiting with exit code 130; nobody is left to believe that nothing was done."""
    command = [*PCONTROL, "--socket", str(here.path), "-c", "never"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: here.heard, "it is said")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=patient(30))
    text = "interrupted: no answer was awaited; it may be carried out all the same"
    assert (process.returncode, told) == (130, f"pcontrol: {here.path}: {text}\n")


def test_who_gives_no_secret_says_nothing(here: Console) -> None:
    """At the end of standard input, as by Ctrl-D: no command was sent, and it is told in one line."""
    command = [*PCONTROL, "--socket", str(here.path), "--secret", "echo", "one"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, check=False
    )
    told = done.stderr.splitlines()[-1]
    assert (done.returncode, told.partition("pcontrol: ")[2], here.heard) == (
        2,
        "no secret was given, and nothing was said: standard input has ended",
        [],
    )


def test_output_that_cannot_be_written_is_told(here: Console) -> None:
    """In one line; the exit code is none of those of a command that was refused."""
    command = [*PCONTROL, "--socket", str(here.path), "-c", "echo one"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=patient(30), check=False)
    assert (done.returncode, done.stderr) == (6, "pcontrol: standard input or output: No space left on device\n")


@pytest.mark.parametrize("words", [["-c", b"echo \xff"], ["--as", b"\xff", "-c", "echo one"], ["echo", b"\xff"]])
def test_what_is_no_text_is_refused(here: Console, words: list[str | bytes]) -> None:
    """With its place, before anything is said."""
    done = subprocess.run(
        [*PCONTROL, "--socket", str(here.path), *words], capture_output=True, timeout=patient(30), check=False
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (3 if "--as" in words else 1, 1)
    assert {line for line, _ in here.heard} <= {"complete echo"}, "whether there is such a command"
    assert b"octet 0xff is not UTF-8" in done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(here: Console, option: str) -> None:
    """--help and --version answer without a connection, and the help tells the exit codes."""
    done = run(here, option)

    assert done.returncode == 0
    assert "pcontrol" in done.stdout
    if option == "--help":
        assert "4: no answer in time" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["check"], "takes one FILE"),
        (["apply"], "./apply"),
        (["apply", "a", "b"], "takes one FILE"),
        (["confirm", "a"], "takes no FILE"),
        (["rollback", "a"], "./rollback"),
        (["check", "--dry-run", "a"], "unrecognized arguments: --dry-run"),
        (["--watch", "5", "a"], "unrecognized arguments: --watch"),
        (["apply", "a", "--dry-run", "--confirm", "5"], "not allowed with"),
        (["apply", "a", "--watch", "--confirm", "5"], "not allowed with"),
        (["apply", "a", "--confirm", "0"], "does not fit"),
        (["apply", "a", "--confirm", "soon"], "is not a time"),
        (["apply", "-", "--watch"], "cannot be watched"),
        (["apply", "a", "-c", "echo"], "unrecognized arguments: -c"),
        (["-c", "echo", "apply", "a"], "do not go with pcontrol apply"),
        (["--wait", "confirm"], "do not go with pcontrol confirm"),
        (["apply", "/no/such/file"], "pcontrol: /no/such/file: No such file or directory\n"),
        (["apply", sys.executable], "is not UTF-8\n"),
    ],
)
def test_wrong_usage_of_a_subcommand(here: Console, arguments: list[str], text: str) -> None:
    """What does not go together gives exit code 2, says why, and nothing is said to the program."""
    done = run(here, *arguments)

    assert done.returncode == 2
    assert text in done.stderr
    assert here.heard == []


def test_a_file_that_is_called_like_a_subcommand(here: Console, tmp_path: Path) -> None:
    """`./check` is a file of commands, `check` the subcommand."""
    (tmp_path / "check").write_text("echo one\n")
    command = [*PCONTROL, "-s", str(here.path), "./check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patient(30), check=False)

    assert (done.returncode, done.stdout) == (0, "one\n")


def test_a_command_on_the_command_line(here: Console) -> None:
    """Letters only: each argument is one word, also one with a blank, a # or a hyphen in front; -c is said before."""
    done = run(here, "-c", "echo one", "echo", "two three", "#four", "--json", "-q")

    assert (done.returncode, done.stdout) == (0, 'one\n"two three" "#four" --json -q\n')
    assert [line for line, _ in here.heard] == ["echo one", 'echo "two three" "#four" --json -q']


def test_a_word_that_was_meant_otherwise(here: Console, tmp_path: Path) -> None:
    """A refused first word that is nearly a subcommand, or a file's name, is told what to say instead."""
    (tmp_path / "aply").write_text("echo one\n")
    command = [*PCONTROL, "-s", str(here.path), "aply", "my.rc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patient(30), check=False)

    assert done.returncode == 1
    assert done.stderr.endswith("pcontrol: did you mean: pcontrol apply or pcontrol ./aply?\n")

    known = run(here, "config", "show", "99")  # which is like `confirm`, and means something else
    assert (known.returncode, "did you mean" in known.stderr) == (1, False)


@pytest.mark.parametrize("name", ["check", "apply", "confirm", "rollback"])
def test_subcommands_have_their_own_help(here: Console, name: str) -> None:
    """With the options that belong to it, and no others."""
    done = run(here, name, "--help")

    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: pcontrol {name} ")
    assert ("--confirm TIME" in done.stdout) == (name == "apply")
    assert "--ignore-errors" not in done.stdout


def test_all_faults_of_form_are_told_first(here: Console, tmp_path: Path) -> None:
    """Nothing is said when a line of any of the files is none; with -i the others are."""
    (tmp_path / "more.rc").write_text('echo "open\n')
    rc = tmp_path / "my.rc"
    rc.write_text('echo one\necho a"b\ninclude more.rc\necho\u00a0x\n')
    done = run(here, str(rc))

    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        f"{rc}:2:7",
        f"{tmp_path}/more.rc:1:6",
        f"{rc}:4:5",
    ]
    assert here.heard == []
    assert run(here, "-i", str(rc)).stdout == "one\n"


def test_what_is_included_is_said(here: Console, tmp_path: Path) -> None:
    """In its place; an error in it names it. At the command line there is no `include`."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/more.rc").write_text("echo two # a comment\nnonsense\n")
    rc = tmp_path / "my.rc"
    rc.write_text("echo one\ninclude sub/more.rc\necho three\n")
    done = run(here, str(rc))

    assert (done.returncode, done.stdout) == (1, "one\ntwo\n")
    assert done.stderr == f"{tmp_path}/sub/more.rc:2:1: nonsense is unknown\n"


def test_errors_in_json(here: Console, tmp_path: Path) -> None:
    """With --json an error is an object too, with the place in the file as it is written there."""
    rc = tmp_path / "my.rc"
    rc.write_text("nonsense\n")
    refused, at_once = run(here, "--json", str(rc)), run(here, "--json", "-c", "nonsense")
    rc.write_text('echo "\n')
    faulty = run(here, "--json", str(rc))

    assert json.loads(refused.stderr) == {"error": "nonsense is unknown", "file": str(rc), "line": 1, "column": 1}
    assert json.loads(at_once.stderr) == {"error": "nonsense is unknown", "file": None, "line": None, "column": 1}
    assert json.loads(faulty.stderr)["column"] == 6
    assert json.loads(run(here, "--json", "/no/such/file").stderr)["error"].startswith("/no/such/file: ")


class OldRelease:
    """A connection to a program that does not know its generations."""

    def say(self, command: str) -> ControlReply:
        known = {
            "json show": '{"id": "pproxy", "version": "2.0"}',
            "json sessions": '[{"sid": "a"}]',
            "json workers": "[{}, {}]",
        }
        if command in known:
            return ControlReply(True, "", [known[command]])
        return ControlReply(False, 'column 6: "generations" is unknown; allowed: backend, show', [])


def test_the_status_of_an_older_release() -> None:
    """What it can tell, and that it is older; another refusal is one."""
    connection: Any = OldRelease()
    assert status(connection, Namespace(json=False)).lines == [
        "pproxy 2.0: 1 session, 2 workers; an older release, which tells nothing of its configurations"
    ]
    (line,) = status(connection, Namespace(json=True)).lines
    told = json.loads(line)
    assert told == {"program": "pproxy", "version": "2.0", "sessions": 1, "workers": 2, "older": True}
    connection.say = lambda command: ControlReply(command == "json show", "you may not", ['{"id": "", "version": ""}'])
    with pytest.raises(NotTaken, match="you may not"):
        status(connection, Namespace(json=False))
