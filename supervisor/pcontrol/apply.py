"""`pcontrol check`, `apply`, `drift`, `confirm`, `rollback`: a file that holds the whole configuration.

The file's commands become a draft on the program's control connection (`draft …`), many on their way at a
time. What differs is printed to standard output, what came of it to standard error. All faults are told, each with its
FILE:LINE:COLUMN, and then nothing has changed. `FileWatch` does this again whenever the file changes, until it is told
to end.
"""

import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from supervisor.control.files.rcdisk import read_any, read_regular
from supervisor.control.files.rcfile import (
    APPLY,
    BEGIN,
    CHECK,
    COMES,
    GOES,
    NOTHING_DIFFERS,
    ROLLBACK,
    FileCommand,
    FileFault,
    Loaded,
    UnreadableFile,
    draft_line,
    fault_in_draft,
    load,
    told,
)
from supervisor.pcontrol.connection import (
    EXIT_DIFFERS,
    EXIT_DONE,
    EXIT_REFUSED,
    Connection,
    ControlReply,
    NoConnection,
    TimedOut,
    data_line,
    json_error,
)
from supervisor.runtime.plural import count_of
from supervisor.runtime.together import apart

Connect = Callable[[], Connection]

AGAIN_SECONDS = 30.0
"""A file that was refused is tried again so often: a host may be known, a port free by then."""

_MOST_FAULTS = 1000
"""In a file with more, which is of another kind, the rest is not looked at: the program logs each."""

_GREEN, _RED, _GREY, _PLAIN = "\033[32m", "\033[31m", "\033[90m", "\033[0m"
_COLOURS = {GOES: _RED, COMES: _GREEN, "# ": _GREY}


class NotTaken(Exception):
    """The program refused the file, or it is no configuration; nothing has changed. The text is for people, `lines` is
    the difference if it is known and was asked for, `faults` are those that have a place.
    """

    def __init__(self, text: str, lines: Sequence[str] = (), faults: Sequence[FileFault] = ()) -> None:
        super().__init__(text)
        self.lines = lines
        self.faults = faults


def draft(connection: Connection, commands: Sequence[FileCommand]) -> None:
    """Makes the commands the draft of this connection. Raises NotTaken, after which the connection is of no use."""
    _asked(connection, BEGIN)
    faults: list[FileFault] = []
    answers = connection.say_all([draft_line(command) for command in commands])
    for command, answer in zip(commands, answers, strict=True):
        if (fault := fault_in_draft(command, answer.ok, answer.text)) is not None:
            faults.append(fault)
        if len(faults) > _MOST_FAULTS:
            break
    if faults:
        raise NotTaken("\n".join(told(faults)), faults=faults)


def _asked(connection: Connection, command: str, lines: Sequence[str] = ()) -> ControlReply:
    answer = connection.say(command)
    if not answer.ok:
        raise NotTaken(answer.text, lines)
    return answer


class Told(NamedTuple):
    """What came of it: the difference as printed lines, the verdict, and the exit code."""

    lines: list[str]
    verdict: str
    code: int = EXIT_DONE


def bring(connection: Connection, commands: Sequence[FileCommand], options: Namespace) -> Told:
    """Does with a file's commands what the options say. Raises NotTaken, NoConnection, TimedOut."""
    draft(connection, commands)
    shown = connection.say("json draft show" if options.json else "draft show")
    if not shown.ok and (options.subcommand == "drift" or options.dry_run):
        raise NotTaken(shown.text)  # else the next command is refused, too, and may tell more
    if options.subcommand == "drift":
        same = shown.text.startswith(NOTHING_DIFFERS)
        return Told(shown.lines, shown.text, EXIT_DONE if same else EXIT_DIFFERS)
    if options.dry_run:
        return Told(shown.lines, f"{shown.text}; nothing was changed, and nothing tried")
    if options.subcommand == "check":
        return Told(shown.lines, _asked(connection, CHECK, shown.lines).text)
    confirm = f" confirm {options.confirm}" if options.confirm is not None else ""
    return Told(shown.lines, _asked(connection, f"{APPLY}{confirm}").text)


def status(connection: Connection, options: Namespace) -> Told:
    """In one line how it is, or as JSON."""
    import json

    shown = json.loads(_asked(connection, "json show").lines[0])
    generations = connection.say("json generations")
    if not generations.ok and "unknown" in generations.text:
        return _status_of_old(connection, shown, options)
    if not generations.ok:
        raise NotTaken(generations.text)
    rows = json.loads(generations.lines[0])
    configs, births = ([row for row in rows if row["what"] == what] for what in ("config", "birth"))
    status = {
        "program": shown["id"],
        "version": shown["version"],
        "generation": configs[-1]["number"],
        "since": configs[-1]["since"],
        "sessions": sum(row["sessions"] for row in configs),
        "workers": len(births),
        "limitreached": shown.get("limitreached", ""),
    }
    line = (
        f"{status['program']} {status['version']}: configuration {status['generation']} since {status['since']}, "
        f"{count_of(status['sessions'], 'session')}, {count_of(status['workers'], 'worker')}"
    )
    if status["limitreached"]:
        line += f"; clients wait: {status['limitreached']} is reached"
    return Told([json.dumps(status) if options.json else line], "")


def _status_of_old(connection: Connection, shown: Mapping[str, Any], options: Namespace) -> Told:
    """What a release can tell that does not know its generations."""
    import json

    sessions, workers = (json.loads(_asked(connection, f"json {what}").lines[0]) for what in ("sessions", "workers"))
    status = {
        "program": shown["id"],
        "version": shown["version"],
        "sessions": len(sessions),
        "workers": len(workers),
        "older": True,
    }
    line = (
        f"{status['program']} {status['version']}: {count_of(len(sessions), 'session')}, "
        f"{count_of(len(workers), 'worker')}; an older release, which tells nothing of its configurations"
    )
    return Told([json.dumps(status) if options.json else line], "")


def run(connect: Connect, options: Namespace) -> int:
    """A subcommand; returns the exit code. Raises UnreadableFile, NoConnection, TimedOut."""
    if options.watch is not None:
        return FileWatch(connect, options).run()
    commands = load(options.file, read_any, read_regular).commands if options.file is not None else ()
    connection = connect()
    try:
        if options.subcommand == "status":
            told = status(connection, options)
        elif options.file is not None:
            told = bring(connection, commands, options)
        else:
            told = Told([], _asked(connection, ROLLBACK if options.subcommand == "rollback" else "confirm").text)
    except NotTaken as error:
        show(_for_host(error.lines, options))
        tell_refusal(error, options)
        return EXIT_REFUSED
    finally:
        connection.close()
    show(_for_host(told.lines, options))
    if told.verdict:
        tell(told.verdict, options.quiet)
    return told.code


def _for_host(lines: Iterable[str], options: Namespace) -> list[str]:
    return [data_line(line, options.host) if options.json else line for line in lines]


def show(lines: Iterable[str]) -> None:
    """Prints a difference, in colours on a terminal unless NO_COLOR is set."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in lines:
        colour = _COLOURS.get(line[:2], "") if coloured else ""
        print(f"{colour}{line}{_PLAIN}" if colour else line)
    sys.stdout.flush()


def tell(message: str, quiet: bool) -> None:
    """Prints a message for people."""
    if not quiet:
        for told in (one for line in message.split("\n") for one in apart(line)):
            print(f"pcontrol: {told}", file=sys.stderr, flush=True)


def tell_refusal(error: NotTaken, options: Namespace) -> None:
    """Prints all that is wrong; with --json an object for each fault."""
    if options.json and not options.quiet:
        host = options.host
        for line in [json_error("", one, host=host) for one in error.faults] or [json_error(str(error), host=host)]:
            print(line, file=sys.stderr, flush=True)
    else:
        tell(str(error), options.quiet)


class _Stamp(NamedTuple):
    """What `stat` tells of a file; another one means that it has to be read."""

    device: int
    inode: int
    size: int
    changed_ns: int


class FileWatch:
    """Applies a file at the start, whenever its content, or that of a file which it includes, changes, and whenever the
    program is another one.

    Files are read when they have looked the same twice, so that one which is being written is left alone. A file that
    is refused changes nothing, and is tried again after a while. One without a command, which would switch everything
    off, is taken for an accident and left alone. Ends with SystemExit(0) on SIGTERM or SIGINT.
    """

    def __init__(self, connect: Connect, options: Namespace) -> None:
        self._connect = connect
        self._options = options
        self._connection: Connection | None = None
        self._loaded = Loaded(files=(options.file,))
        self._stamps: list[_Stamp | None] = []
        self._stamps_read: list[_Stamp | None] = []
        self._done: Sequence[FileCommand] | None = None
        self._again_at = 0.0
        self._last_told = ""

    def run(self) -> NoReturn:
        """Does not return."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: sys.exit(EXIT_DONE))
        self._look(at_once=True)
        while True:
            self._apply_if_wanted()
            time.sleep(self._options.watch)
            self._look()

    def _look(self, at_once: bool = False) -> None:
        """Reads the files if they are others than before, and rest."""
        stamps = [_stamp(name) for name in self._loaded.files]
        rest, self._stamps = stamps == self._stamps, stamps
        if at_once or (rest and stamps != self._stamps_read):
            try:
                loaded = load(self._options.file, read_regular)
            except UnreadableFile as error:
                self._tell_once(str(error))
                return
            if loaded.files == self._loaded.files:
                self._stamps_read = [] if at_once else stamps
            elif not at_once:
                # Files that are included from now on have to rest too.
                self._loaded = self._loaded._replace(files=loaded.files)
                return
            self._loaded = loaded
            if not loaded.commands:
                self._tell_once(f"{self._options.file}: it holds no command; nothing is changed")

    def _apply_if_wanted(self) -> None:
        try:
            if self._connection is None or not self._connection.lives():
                self._reconnect()
            commands = self._loaded.commands
            if commands and (commands != self._done or self._is_time_again()):
                self._apply(commands)
        except (NoConnection, TimedOut) as error:
            self._let_go()
            self._tell_once(f"{error}; waiting for the program")

    def _is_time_again(self) -> bool:
        return bool(self._again_at) and time.monotonic() >= self._again_at

    def _reconnect(self) -> None:
        self._let_go()
        self._connection = self._connect()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._done, self._again_at = None, None, 0.0

    def _apply(self, commands: Sequence[FileCommand]) -> None:
        """The connection that is kept tells when the program ends; a file gets one of its own."""
        connection = self._connect()
        self._done, self._again_at = commands, 0.0
        try:
            told = bring(connection, commands, self._options)
        except NotTaken as error:
            self._again_at = time.monotonic() + AGAIN_SECONDS
            self._tell_once(str(error))
        else:
            show(told.lines)
            self._last_told = ""
            tell(f"{self._options.file}: {told.verdict}", self._options.quiet)
        finally:
            connection.close()

    def _tell_once(self, message: str) -> None:
        if message != self._last_told:
            self._last_told = message
            tell(message, self._options.quiet)


def _stamp(name: str) -> _Stamp | None:
    """None for a file that is not there."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    return _Stamp(status.st_dev, status.st_ino, status.st_size, changed_ns=status.st_mtime_ns)
