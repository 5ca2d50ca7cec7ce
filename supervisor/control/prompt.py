"""The prompt of `pcontrol`: history, completion, and commands of its own that begin with a slash.

The history is kept under XDG's state directory, mode 0600. A line that begins with a blank, or that looks as if a
secret were in it, is not kept.
"""

import contextlib
import os
import re
import readline
from pathlib import Path

from supervisor.control.client import Speaker
from supervisor.control.connection import (
    EXIT_CODES,
    EXIT_DONE,
    EXIT_REFUSED,
    Connection,
    NoConnection,
    Said,
    TimedOut,
)
from supervisor.control.language import quote

_MOST_LINES = 1000
_LEAVE = ("/q", "/quit", "exit", "quit")
_SECRET = re.compile(r"pass|secret|token|://", re.IGNORECASE)

_OWN_HELP = f"""\
Type a sentence and press return. `help` lists the sentences, `help WORD` explains one; the tabulator key completes.
Values with blanks stand in quotes: "…", with \\" and \\\\ inside.

    /h    this help
    /q    leave; so do exit, quit and Ctrl-D

Options: pcontrol --help. Exit codes: {"; ".join(f"{code}: {text}" for code, text in EXIT_CODES.items())}.
A line that begins with a blank is not kept in the history."""


def converse(connection: Connection, speaker: Speaker) -> int:
    """Reads sentences from the terminal until it is left; the exit code tells whether the last one was carried out."""
    prompt = f"{connection.path.name.partition('.')[0]}> "
    _prepare(Completion(connection))
    history = history_file()
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    code = EXIT_DONE
    try:
        while True:
            try:
                line = input(prompt)
            except KeyboardInterrupt:
                print()
                continue
            if line.strip() in _LEAVE:
                return code
            if is_kept(line):
                readline.add_history(line)
            code = _answer(line, speaker, code)
    except EOFError:
        print()
        return code
    finally:
        _save(history)


def _answer(line: str, speaker: Speaker, code: int) -> int:
    if not line.strip() or line.lstrip().startswith("#"):
        return code
    if line.lstrip().startswith("/"):
        print(_OWN_HELP)
        return code
    return EXIT_DONE if speaker.say(Said("", line)) else EXIT_REFUSED


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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._candidates: list[str] = []

    def __call__(self, _word: str, state: int) -> str | None:
        if state == 0:
            self._candidates = self.candidates(readline.get_line_buffer()[: readline.get_endidx()])
        return f"{self._candidates[state]} " if state < len(self._candidates) else None

    def candidates(self, begun: str) -> list[str]:
        """Asks the program. A program that is gone or silent completes nothing: the next sentence will tell."""
        if begun.count('"') % 2:
            return []
        try:
            answer = self._connection.say(f"complete {quote(begun)}")
        except (NoConnection, TimedOut, ValueError):
            return []
        return answer.lines if answer.ok else []


def _prepare(completion: Completion) -> None:
    readline.set_auto_history(False)
    readline.set_history_length(_MOST_LINES)
    readline.set_completer_delims(" \t")
    readline.set_completer(completion)
    readline.parse_and_bind("tab: complete")
