"""A client's connection to a control socket, and commands that are said over it, one by one.

What goes over the socket stands in `control/wire/server.py`, the other end.
"""

import itertools
import os
import select
import socket
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from supervisor.control.files.rcfile import FileCommand, FileFault, split_column
from supervisor.control.words import LONGEST_LINE, NOTE, CommandRefused, phrase

DEFAULT_RUNDIR = "/var/run/popular"

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_NO_CONNECTION = 3
EXIT_TIMED_OUT = 4
EXIT_DIFFERS = 5
EXIT_UNWRITTEN = 6
EXIT_INTERRUPTED = 130
EXIT_CODES = {
    EXIT_DONE: "all commands were carried out",
    EXIT_REFUSED: "a command was refused",
    EXIT_USAGE: "wrong options, or a file that cannot be read",
    EXIT_NO_CONNECTION: "no connection to the program, or it was lost",
    EXIT_TIMED_OUT: "no answer in time, or, with --wait, not gone in time",
    EXIT_DIFFERS: "the running configuration is another one than FILE says (drift)",
    EXIT_UNWRITTEN: "what came back could not be written to standard output",
    EXIT_INTERRUPTED: "Ctrl-C; what was said last may be carried out all the same",
}

_PIECE = 65536
_PROBE_SECONDS = 1.0
_ON_THEIR_WAY = 32
"""Commands sent before their replies are read. Few enough for the socket's buffers: neither side waits for ever."""
_LONGEST_REPLY_LINE = 1_048_576
_JSON = "json "


def encode_request(line: str) -> bytes:
    """A request as it is sent. Raises ValueError for what cannot be one line."""
    if "\n" in line or "\r" in line:
        raise ValueError("a request is one line")
    return line.encode() + b"\n"


class ControlReply(NamedTuple):
    """A reply as the client sees it."""

    ok: bool
    text: str
    lines: list[str]


class NotAReply(Exception):
    """The other side does not speak this protocol."""


class ReplyReader:
    """Takes pieces of bytes, gives replies."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._status: tuple[bool, str] | None = None
        self._lines: list[str] = []

    def feed(self, data: bytes) -> list[ControlReply]:
        """The replies that these octets complete. Raises NotAReply."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if len(rest) > _LONGEST_REPLY_LINE:
            raise NotAReply("a line without end")
        self._rest = bytearray(rest)
        return [answer for line in lines if (answer := self._line(line.decode("utf-8", "replace").removesuffix("\r")))]

    def _line(self, line: str) -> ControlReply | None:
        if self._status is None:
            word, _, text = line.partition(" ")
            if word not in ("+OK", "-ERR"):
                raise NotAReply(f"{line[:80]!r} is not a status line")
            self._status = (word == "+OK", text)
            return None
        if line != ".":
            self._lines.append(line.removeprefix("."))
            return None
        answer = ControlReply(*self._status, self._lines)
        self._status, self._lines = None, []
        return answer


class NoConnection(Exception):
    """The program cannot be reached, or is gone."""


class TimedOut(Exception):
    """No answer in time."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while an answer was awaited; the program goes on with the command."""


class Connection:
    """A connection to a control socket. Commands are said one after the other."""

    def __init__(self, path: Path, timeout_seconds: float, joined: socket.socket | None = None) -> None:
        """`joined`: a socket that leads there already; `path` is what it is called then. Raises NoConnection."""
        self.path = path
        self.instead = ""
        """The program that it leads to, where nobody has named it and another one was tried before."""
        self._timeout_seconds = timeout_seconds
        self._reader = ReplyReader()
        self._socket = joined or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_seconds)
        if joined is not None:
            return
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise NoConnection(f"{path}: {error.strerror or error}") from None

    def close(self) -> None:
        self._socket.close()

    @property
    def is_closed(self) -> bool:
        """Whether this side has given it up."""
        return self._socket.fileno() < 0

    def say(self, command: str) -> ControlReply:
        """The reply to a command. Raises NoConnection, TimedOut, Interrupted; then the connection is of no use."""
        return next(self.say_all([command]))

    def say_all(self, commands: Sequence[str]) -> Iterator[ControlReply]:
        """The replies in their order, with some commands on their way at a time; raises like `say`.

        Whoever does not take them all must not use the connection any more.
        """
        for start in range(0, len(commands), _ON_THEIR_WAY):
            batch = commands[start : start + _ON_THEIR_WAY]
            yield from self._exchange(b"".join(map(encode_request, batch)), len(batch))

    def _exchange(self, requests: bytes, count: int) -> Iterator[ControlReply]:
        self._socket.settimeout(self._timeout_seconds)
        try:
            self._socket.sendall(requests)
            while count > 0:
                answers = self._receive()
                count -= len(answers)
                yield from answers
        except TimeoutError:
            # The answer may still come, and would be taken for that to the next command.
            self._socket.close()
            raise TimedOut(f"{self.path}: no answer within {self._timeout_seconds:g} s") from None
        except KeyboardInterrupt:
            self._socket.close()  # for the same reason; where readline completes, nobody above hears of it
            text = "interrupted: no answer was awaited; it may be carried out all the same"
            raise Interrupted(f"{self.path}: {text}") from None
        except NotAReply as error:
            raise NoConnection(f"{self.path}: not a control socket: {error}") from None
        except OSError as error:
            raise NoConnection(f"{self.path}: {error.strerror or error}") from None

    def _receive(self) -> list[ControlReply]:
        """At least one reply."""
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(_PIECE)
            if not data:
                raise NoConnection(f"{self.path}: the connection was closed before the answer")
            answers = self._reader.feed(data)
            if answers:
                return answers

    def relay(self, source: int, sink: int) -> None:
        """Passes on what comes from a descriptor, and to another one what comes back, until the program closes.

        Raises NoConnection if that is not how it ends.
        """
        try:
            self._relay(source, sink)
        except ConnectionResetError as error:
            raise NoConnection(f"{self.path}: {error.strerror}") from None

    def _relay(self, source: int, sink: int) -> None:
        self._socket.settimeout(None)
        heard: list[int] = [source, self._socket.fileno()]
        unsaid = ""
        while True:
            ready, _, _ = select.select(heard, [], [])
            if source in ready:
                said = os.read(source, _PIECE)
                try:
                    if said:
                        self._socket.sendall(said)
                    else:
                        self._socket.shutdown(socket.SHUT_WR)
                except OSError as error:  # gone; what it has answered before is passed on first
                    unsaid = str(error.strerror)
                if unsaid or not said:
                    heard.remove(source)
            if self._socket.fileno() in ready:
                answer = self._socket.recv(_PIECE)
                if unsaid and not answer:
                    raise NoConnection(f"{self.path}: {unsaid}")
                if not answer:
                    return
                while answer:
                    answer = answer[os.write(sink, answer) :]

    def lives(self) -> bool:
        """Whether the other side still holds it; to be asked while nothing is on its way."""
        try:
            self._socket.settimeout(0)
            return self._socket.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


def connect(socket_path: str | None, rundir: str, programs: Sequence[str], *, timeout_seconds: float) -> Connection:
    """Connects to the named socket, or to that of the first of the programs that answers. Raises NoConnection."""
    if socket_path is not None:
        return Connection(Path(socket_path), timeout_seconds)
    failures = []
    for name in programs:
        try:
            connection = Connection(Path(rundir) / f"{name}.ctrl", timeout_seconds)
        except NoConnection as failure:
            failures.append(str(failure))
        else:
            connection.instead = name if failures else ""
            return connection
    there = "; ".join(f"another one is there: `pcontrol -s {path}`" for path in _others(rundir, programs))
    raise NoConnection("; ".join([*failures, *filter(None, [there])]) or "which one? --program or --socket tells it")


def _others(rundir: str, programs: Sequence[str]) -> list[Path]:
    """The control sockets at which an instance answers to which no link leads: the newest was killed, and the older one
    has not taken the links yet, or is of a release that does not.
    """
    found = (path for name in programs for path in sorted(Path(rundir).glob(f"{name}.*.ctrl")))
    return [path for path in found if _is_served(path)]


def _is_served(path: Path) -> bool:
    try:
        Connection(path, _PROBE_SECONDS).close()
    except NoConnection:
        return False
    return True


def sign(connection: Connection, name: str | None, message: str | None) -> None:
    """Says who speaks, and why; nothing if neither is given. Raises NoConnection, also where that is refused."""
    said = [word for what, text in (("as", name), ("message", message)) if text is not None for word in (what, text)]
    if not said:
        return
    line = phrase(["sign", *said])
    fault = fault_of(line)
    answer = ControlReply(False, fault.text, []) if fault is not None else connection.say(line)
    if not answer.ok:
        raise NoConnection(f"{connection.path}: {answer.text}")


class CommandSender:
    """Says lines and prints what comes back, as the options want it."""

    def __init__(self, connection: Connection, options: Namespace) -> None:
        self.connection = connection
        self._json: bool = options.json
        self._host: str | None = options.host
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
        fault = fault_of(line)
        if fault is not None:
            self.complain(str(fault), column=fault.column, reason=fault.text)
            return False
        if self._verbose:
            self._print(f"> {line}")
        answer = self.connection.say(f"{_JSON}{line}" if self._json else line)
        for line in answer.lines:
            print(data_line(line, self._host) if self._json else line)
        sys.stdout.flush()
        if not answer.ok:
            self._refused(answer.text, command)
        else:
            # That it was done the exit code tells, and what was found the data; a note must be seen all the same.
            is_told = answer.lines == [answer.text.partition(NOTE)[0]]
            text = answer.text if self._verbose and not is_told else _notes(answer.text)
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
            text = json_error(reason or text, fault, column, host=self._host)
        self._print(text)

    def _print(self, message: str) -> None:
        if not self._quiet:
            print(message, file=sys.stderr, flush=True)


def json_error(text: str, fault: FileFault | None = None, column: int | None = None, *, host: str | None = None) -> str:
    """An error as one line of JSON; what is not known is null. `host`: at which of several, if there are several."""
    import json

    place = fault.place._asdict() if fault is not None else {"file": None, "line": None, "column": column}
    where = {} if host is None else {"host": host}
    return json.dumps({**where, "error": fault.text if fault is not None else text, **place})


def data_line(line: str, host: str | None) -> str:
    """A line of data that is JSON, with the host that it is of where several are asked."""
    if host is None:
        return line
    import json

    return f'{{"host": {json.dumps(host)}, "data": {line}}}'


def fault_of(line: str) -> CommandRefused | None:
    """Why it cannot be sent as one request, if it cannot."""
    if any(end in line for end in "\r\n") or len(line.encode(errors="replace")) > LONGEST_LINE:
        return CommandRefused(f"a line is one line of at most {LONGEST_LINE} octets")
    # What the shell has handed over and is no text stands in it as a surrogate (PEP 383).
    odd = next((place for place, character in enumerate(line) if "\ud800" <= character <= "\udfff"), None)
    if odd is None:
        return None
    return CommandRefused(f"octet 0x{ord(line[odd]) & 0xFF:02x} is not UTF-8", odd + 1)


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
