"""Says commands over a connection, one by one, and prints what comes back."""

import itertools
import sys
from argparse import Namespace
from collections.abc import Iterable

from supervisor.control.framing import LONGEST_REQUEST, NOTE
from supervisor.control.rcfile import FileCommand, FileFault, split_column
from supervisor.pcontrol.connection import EXIT_DONE, EXIT_REFUSED, Connection

_JSON = "json "


class CommandSender:
    """Says lines and prints what comes back, as the options want it."""

    def __init__(self, connection: Connection, options: Namespace) -> None:
        self.connection = connection
        self._json: bool = options.json
        self._quiet: bool = options.quiet
        self._verbose: bool = options.verbose

    def say_command(self, command: FileCommand) -> bool:
        """Says a command of a file; whether it was carried out. Raises NoConnection or TimedOut."""
        if command.fault is not None:
            self.complain(str(command.fault), command.fault)
            return False
        return self.say(command.text, command)

    def say(self, line: str, command: FileCommand | None = None) -> bool:
        """Whether a line was carried out; `command` says where it stands. Raises NoConnection or TimedOut."""
        if not fits(line):
            self.complain(f"a line is one line of at most {LONGEST_REQUEST} octets")
            return False
        if self._verbose:
            self._print(f"> {line}")
        answer = self.connection.say(f"{_JSON}{line}" if self._json else line)
        for line in answer.lines:
            print(line)
        sys.stdout.flush()
        if not answer.ok:
            self._refused(answer.text, command)
        else:
            # That it was done the exit code tells; a note must be seen all the same.
            text = answer.text if self._verbose else _notes(answer.text)
            if text:
                self._print(text)
        return answer.ok

    def _refused(self, text: str, command: FileCommand | None) -> None:
        column, reason = split_column(text)
        if column is not None and self._json:
            column = max(1, column - len(_JSON))
        if command is not None:
            fault = FileFault(command.at(column), reason)
            self.complain(str(fault), fault)
        else:
            self.complain(reason if column is None else f"column {column}: {reason}", column=column, reason=reason)

    def complain(
        self, text: str, fault: FileFault | None = None, column: int | None = None, *, reason: str | None = None
    ) -> None:
        """Prints why something was not done; with --json as an object: error, file, line, column."""
        if self._json:
            text = json_error(reason or text, fault, column)
        self._print(text)

    def _print(self, message: str) -> None:
        if not self._quiet:
            print(message, file=sys.stderr, flush=True)


def json_error(text: str, fault: FileFault | None = None, column: int | None = None) -> str:
    """An error as one line of JSON; what is not known is null."""
    import json

    place = fault.place._asdict() if fault is not None else {"file": None, "line": None, "column": column}
    return json.dumps({"error": fault.text if fault is not None else text, **place})


def fits(line: str) -> bool:
    """Whether it can be sent as one request."""
    return not any(end in line for end in "\r\n") and len(line.encode(errors="replace")) <= LONGEST_REQUEST


def _notes(text: str) -> str:
    _done, mark, notes = text.partition(NOTE)
    return f"note: {notes}" if mark else ""


def run(sender: CommandSender, lines: Iterable[str], commands: Iterable[FileCommand], *, ignore_errors: bool) -> int:
    """Says lines, then the commands of files, until one is refused; returns the exit code."""
    said = itertools.chain(map(sender.say, lines), map(sender.say_command, commands))
    code = EXIT_DONE
    for done in said:
        if not done:
            code = EXIT_REFUSED
            if not ignore_errors:
                break
    return code
