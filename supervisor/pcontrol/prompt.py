"""The prompt of `pcontrol`: history, completion, and a few words of its own.

When the program is started anew the prompt connects to it again. The history is kept under XDG's state directory, mode
0600. A line that begins with a blank, or that looks as if a secret were in it, is not kept.
"""

import contextlib
import os
import re
import readline
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from supervisor.control.words import quote
from supervisor.pcontrol import secret
from supervisor.pcontrol.connection import (
    EXIT_CODES,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_NO_CONNECTION,
    EXIT_REFUSED,
    CommandSender,
    Connection,
    Interrupted,
    NoConnection,
    TimedOut,
)
from supervisor.pcontrol.options import SUBCOMMANDS

_MOST_LINES = 1000
_LEAVE = ("quit", "exit", "/q", "/quit")
_CLEAR = "clear"
_ASK = "secret"
_COMMANDS_TOO = ("confirm", "rollback")
"""Subcommands that the program knows as commands, too."""
_HELP = "?"
_AGAIN = "the next command connects again"
_CLEARED = "\033[H\033[2J\033[3J"
_SECRET = re.compile(r"pass|secret|token|://", re.IGNORECASE)

_OWN_HELP = f"""\
Type a command and press return. `help` lists the commands, `help WORD` explains one; the tabulator key completes.
Values with blanks stand in quotes: "…", with \\" and \\\\ inside.

    ?               this help; so does /h
    quit, exit      leave; so does Ctrl-D
    clear           clear the screen
    secret          ask for a secret, which counts for the next command, such as explain

Options: pcontrol --help. Exit codes: {"; ".join(f"{code}: {text}" for code, text in EXIT_CODES.items())}.
A line that begins with a blank is not kept in the history."""


class Prompt:
    """Reads commands from the terminal, says them, and connects again when the program was started anew."""

    def __init__(self, connect: Callable[[], Connection], options: Namespace) -> None:
        """Raises NoConnection."""
        self._connect = connect
        self._options = options
        self.connection = connect()

    def converse(self) -> int:
        """Goes on until it is left; the exit code tells whether the last command was carried out."""
        prompt = f"{self.connection.path.name.partition('.')[0]}> "
        _prepare(Completion(self))
        history = history_file()
        with contextlib.suppress(OSError):
            readline.read_history_file(history)
        code = EXIT_DONE
        try:
            while True:
                try:
                    line = input(prompt)
                    if line.strip() in _LEAVE:
                        return code
                    if is_kept(line):
                        readline.add_history(line)
                    code = self._answer(line, code)
                except Interrupted as error:
                    print(f"\n{error}; {_AGAIN}", file=sys.stderr, flush=True)
                    code = EXIT_INTERRUPTED
                except KeyboardInterrupt:
                    print()
        except EOFError:
            print()
            return code
        finally:
            _save(history)
            self.connection.close()

    def _answer(self, line: str, code: int) -> int:
        word = line.strip()
        if not word or word.startswith("#"):
            return code
        if word == _CLEAR:
            print(_CLEARED, end="", flush=True)
            return code
        words = word.split()
        first = words[1] if len(words) == 2 and words[0] == "help" else words[0]
        if first in SUBCOMMANDS and first not in _COMMANDS_TOO:
            print(f"{first} is said in the shell: pcontrol {first} --help", file=sys.stderr, flush=True)
            return EXIT_REFUSED
        if word == _HELP or word.startswith("/"):
            print(_OWN_HELP)
            return code
        try:
            self._connect_again_if_lost()
            if word == _ASK:
                return self._ask_secret()
            return EXIT_DONE if CommandSender(self.connection, self._options).say(line) else EXIT_REFUSED
        except (NoConnection, TimedOut) as error:
            self.connection.close()
            print(f"{error}; {_AGAIN}", file=sys.stderr, flush=True)
            return EXIT_NO_CONNECTION

    def _ask_secret(self) -> int:
        """For the next command, on the same connection."""
        try:
            refused = secret.say(self.connection, secret.asked())
        except Interrupted:  # not while it was typed: the connection is of no use any more
            raise
        except (KeyboardInterrupt, EOFError):
            print()
            return EXIT_REFUSED
        if refused:
            print(refused, file=sys.stderr, flush=True)
        return EXIT_REFUSED if refused else EXIT_DONE

    def _connect_again_if_lost(self) -> None:
        """Before a command is sent, so that none is ever sent twice. Raises NoConnection."""
        if not self.connection.lives():
            why = "" if self.connection.is_closed else ": the program was started anew"
            self.connection.close()
            again = self._connect()
            name, other = self.connection.path.name, again.path.name
            if other != name:
                again.close()
                raise NoConnection(f"{name} is gone; {other} answers, which --program names")
            self.connection = again
            print(f"connected again{why}", file=sys.stderr, flush=True)


def is_kept(line: str) -> bool:
    """Whether a line goes into the history."""
    return bool(line.strip()) and not line.startswith((" ", "\t")) and not _SECRET.search(line)


def history_file() -> Path:
    """Where the history is kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "popular" / "pcontrol_history"


def _save(history: Path) -> None:
    with contextlib.suppress(OSError):
        history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        history.touch(mode=0o600)
        readline.write_history_file(history)


class Completion:
    """What readline asks: candidate number `state` for the last word."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._candidates: list[str] = []

    def __call__(self, _word: str, state: int) -> str | None:
        if state == 0:
            self._candidates = self.candidates(readline.get_line_buffer()[: readline.get_endidx()])
        return f"{self._candidates[state]} " if state < len(self._candidates) else None

    def candidates(self, begun: str) -> list[str]:
        """Asks the program. A program that is gone or silent completes nothing: the next command will tell."""
        if begun.count('"') % 2:
            return []
        try:
            answer = self._prompt.connection.say(f"complete {quote(begun)}")
        except (NoConnection, TimedOut, OSError, ValueError):
            return []
        return answer.lines if answer.ok else []


def _prepare(completion: Completion) -> None:
    readline.set_auto_history(False)
    readline.set_history_length(_MOST_LINES)
    readline.set_completer_delims(" \t")
    readline.set_completer(completion)
    readline.parse_and_bind("tab: complete")
