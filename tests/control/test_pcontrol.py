"""`pcontrol` as a process of its own, against a real control socket."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.pcontrol.prompt import is_kept
from tests.control.console import Console, console
from tests.patience import patient
from tests.system.site import program

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


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(here: Console, option: str) -> None:
    """--help and --version answer without a connection, and the help tells the exit codes."""
    done = run(here, option)

    assert done.returncode == 0
    assert "pcontrol" in done.stdout
    if option == "--help":
        assert "4: no answer in time" in " ".join(done.stdout.split())


class Terminal:
    """pcontrol at a terminal of its own."""

    def __init__(self, here: Console, home: Path, *, by_socket: bool = True) -> None:
        where = ["-s", str(here.path)] if by_socket else ["-r", str(here.path.parent)]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = {**os.environ, "XDG_STATE_HOME": str(home), "TERM": "dumb", "INPUTRC": "/dev/null"}
            os.execve(PCONTROL[0], [*PCONTROL, *where], environment)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, pattern: str) -> None:
        deadline = time.monotonic() + patient(20)
        while not re.search(pattern, self.seen):
            assert select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.fd, 4096).decode()
        self.seen = self.seen[re.search(pattern, self.seen).end() :]  # type: ignore[union-attr]

    def end(self) -> int:
        while True:
            try:
                if not os.read(self.fd, 4096):
                    break
            except OSError:
                break
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_prompt(here: Console, tmp_path: Path) -> None:
    """At a terminal there is a prompt with completion and help; Ctrl-D leaves; the history is kept without secrets."""
    terminal = Terminal(here, tmp_path)
    terminal.expect("pserv> ")
    terminal.type("ec\thello\n")
    terminal.expect("hello\r?\nsaid|\r?\nhello")
    terminal.type("?\n")
    terminal.expect("3: no connection")
    terminal.type("echo my-password\n")
    terminal.expect("\r?\nmy-password")
    terminal.type("nonsense\n")
    terminal.expect("column 1: nonsense is unknown")
    terminal.expect("pserv> ")
    terminal.type("\x04")
    assert terminal.end() == 1

    history = tmp_path / "popular" / "pcontrol_history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "hello" in history.read_text()
    assert "password" not in history.read_text()


def test_what_the_history_keeps() -> None:
    """Lines with secrets, lines that begin with a blank and empty ones are not kept."""
    assert is_kept("vserv list")
    assert not is_kept(" vserv list")
    assert not is_kept("pdm add x sql postgres://u:p@h/db")
    assert not is_kept("pdm add x ldap secret=1")
    assert not is_kept("")


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


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_prompt_connects_again(tmp_path: Path) -> None:
    """A program that was started anew hears the next command, once; one that is gone is told of, and waited for."""
    path = tmp_path / "pserv.ctrl"
    with console(path) as first:
        terminal = Terminal(first, tmp_path)
        terminal.expect("pserv> ")
    path.unlink()
    terminal.type("echo one\n")
    terminal.expect("No such file or directory; the next command connects again")
    with console(path) as second:
        terminal.type("echo two\n")
        terminal.expect("connected again.*\r?\ntwo")
        terminal.type("clear\n")
        terminal.expect("\033\\[2J")
        terminal.type("quit\n")
        assert terminal.end() == 0
        assert [line for line, _ in second.heard] == ["echo two"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_prompt_stays_with_its_program(tmp_path: Path) -> None:
    """Where it is gone and another one answers, that one hears nothing: it may be `shutdown all`, said twice."""
    path = tmp_path / "pproxy.ctrl"
    with console(path) as first, console(tmp_path / "pserv.ctrl") as other:
        terminal = Terminal(first, tmp_path, by_socket=False)
        terminal.expect("pproxy> ")
        first.close()
        path.unlink()
        for _ in range(2):
            terminal.type("echo one\n")
            terminal.expect("pproxy.ctrl is gone; pserv.ctrl answers")
        terminal.type("quit\n")
        terminal.end()
        assert other.heard == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("word", ["exit", "quit", "/q"])
def test_leaving_the_prompt(here: Console, tmp_path: Path, word: str) -> None:
    """`exit` and `quit` end the prompt, as at other prompts."""
    terminal = Terminal(here, tmp_path)
    terminal.expect("pserv> ")
    terminal.type(f"{word}\n")
    assert terminal.end() == 0
    assert here.heard == []
