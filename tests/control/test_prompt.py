"""The prompt of `pcontrol`, at a terminal of its own."""

import os
import pty
import re
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.pcontrol.prompt import is_kept
from tests.control.console import Console, console
from tests.patience import patient
from tests.system.site import program
from tests.system.wire import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path / "pserv.ctrl") as running:
        yield running


class Terminal:
    """pcontrol at a terminal of its own."""

    def __init__(self, here: Console, home: Path, *, by_socket: bool = True) -> None:
        where = ["-s", str(here.path)] if by_socket else ["-r", str(here.path.parent)]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = {**os.environ, "XDG_STATE_HOME": str(home), "TERM": "dumb", "INPUTRC": "/dev/null"}
            os.execve(program("pcontrol"), ["pcontrol", *where], environment)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, pattern: str) -> None:
        deadline = time.monotonic() + patient(20)
        while not re.search(pattern, self.seen):
            assert select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.fd, 4096).decode(errors="replace")
        self.seen = self.seen[re.search(pattern, self.seen).end() :]

    def end(self) -> int:
        while True:
            try:
                if not os.read(self.fd, 4096):
                    break
            except OSError:
                break
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


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
    for line in ("apply my.rc", "help apply"):
        terminal.type(f"{line}\n")
        terminal.expect("apply is said in the shell: pcontrol apply --help")
    terminal.type("help draft apply\n")
    terminal.expect("help draft apply\r?\n(?!apply is said)")
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


@pytest.mark.parametrize("word", ["exit", "quit", "/q"])
def test_leaving_the_prompt(here: Console, tmp_path: Path, word: str) -> None:
    """`exit` and `quit` end the prompt, as at other prompts."""
    terminal = Terminal(here, tmp_path)
    terminal.expect("pserv> ")
    terminal.type(f"{word}\n")
    assert terminal.end() == 0
    assert here.heard == []


def test_a_command_is_interrupted(here: Console, tmp_path: Path) -> None:
    """Ctrl-C ends the waiting, and not the prompt; it is told that the program goes on with the command, and the next
    one gets its own answer.
    """
    terminal = Terminal(here, tmp_path)
    terminal.expect("pserv> ")
    terminal.type("never\n")
    wait_until(lambda: here.heard, "it is said")
    terminal.type("\x03")
    terminal.expect("(?s)no answer was awaited; it may be carried out all the same; the next command.*pserv> ")
    terminal.type("echo two\n")
    terminal.expect("connected again\r?\ntwo")
    terminal.type("never\n")
    wait_until(lambda: [line for line, _ in here.heard].count("never") == 2, "it is said")
    terminal.type("\x03")
    terminal.expect("(?s)no answer was awaited.*pserv> ")
    terminal.type("\x04")
    assert terminal.end() == 130


def test_a_secret_is_interrupted_on_its_way(here: Console, tmp_path: Path) -> None:
    """It is told: the command that follows is on another connection, and without it."""
    terminal = Terminal(here, tmp_path)
    terminal.expect("pserv> ")
    terminal.type("secret\n")
    terminal.expect("Secret: ")
    terminal.type("abc\n")
    wait_until(lambda: here.heard, "it is said")
    terminal.type("\x03")
    terminal.expect("(?s)no answer was awaited.*; the next command connects again.*pserv> ")
    terminal.type("\x04")
    assert terminal.end() == 130


def test_what_is_no_text_is_refused_at_the_prompt(here: Console, tmp_path: Path) -> None:
    """The prompt is there afterwards."""
    terminal = Terminal(here, tmp_path)
    terminal.expect("pserv> ")
    os.write(terminal.fd, b"echo \xff\n")
    terminal.expect("is not UTF-8")
    terminal.type("echo two\n")
    terminal.expect("\r?\ntwo")
    terminal.type("quit\n")
    assert terminal.end() == 0
    assert [line for line, _ in here.heard] == ["echo two"]
