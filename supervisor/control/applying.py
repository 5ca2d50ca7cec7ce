"""`pcontrol check`, `apply`, `confirm`, `rollback`: a file that holds the whole configuration, put into force at once.

The file's sentences become a draft on the program's control connection (`draft.py`), many on their way at a time. What
differs is printed to standard output, what came of it to standard error. An error names FILE:LINE:COLUMN, and then
nothing has changed. `Watch` does this again whenever the file changes, until it is told to end.
"""

import os
import re
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, NoReturn

from supervisor.control.connection import (
    EXIT_DONE,
    EXIT_REFUSED,
    Connection,
    NoConnection,
    Said,
    TimedOut,
    Unreadable,
    fits,
    sentences_of,
)
from supervisor.control.difference import COMES, GOES
from supervisor.control.draft import ROLLBACK, SAY
from supervisor.control.framing import Answer

Connect = Callable[[], Connection]

AGAIN_SECONDS = 30.0
"""A file that was refused is tried again so often: a host may be known, a port free by then."""

_COLUMN = re.compile(r"column (\d+): ")
_GREEN, _RED, _GREY, _PLAIN = "\033[32m", "\033[31m", "\033[90m", "\033[0m"
_COLOURS = {GOES: _RED, COMES: _GREEN, "# ": _GREY}


class NotTaken(Exception):
    """The program refused the file, or it is no configuration; nothing has changed. The text is for people, `lines` is
    the difference if it is known and was asked for.
    """

    def __init__(self, text: str, lines: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.lines = lines


def draft(connection: Connection, sentences: list[Said]) -> None:
    """Makes the sentences the draft of this connection. Raises NotTaken, after which the connection is of no use."""
    lines = [f"{SAY} {said.sentence}" for said in sentences]
    for said, line in zip(sentences, lines, strict=True):
        if not fits(line):
            raise NotTaken(f"{said.place}: the line is too long, or not text")
    _asked(connection, "draft begin")
    for said, answer in zip(sentences, connection.say_all(lines), strict=True):
        if not answer.ok:
            raise NotTaken(_placed(said.place, answer.text))


def _placed(place: str, text: str) -> str:
    """`column 21: …` of what was sent as `FILE:LINE:11: …`."""
    match = _COLUMN.match(text)
    if match is None:
        return f"{place}: {text}"
    return f"{place}:{max(1, int(match[1]) - len(SAY) - 1)}: {text[match.end() :]}"


def _asked(connection: Connection, sentence: str, lines: Sequence[str] = ()) -> Answer:
    answer = connection.say(sentence)
    if not answer.ok:
        raise NotTaken(answer.text, lines)
    return answer


class Told(NamedTuple):
    """What came of it: the difference as printed lines, and the verdict."""

    lines: list[str]
    verdict: str


def bring(connection: Connection, sentences: list[Said], options: Namespace) -> Told:
    """Does with a file's sentences what the options say. Raises NotTaken, NoConnection, TimedOut."""
    draft(connection, sentences)
    shown = _asked(connection, "json draft show" if options.json else "draft show")
    if options.dry_run:
        return Told(shown.lines, f"{shown.text}; nothing was changed, and nothing tried")
    if options.subcommand == "check":
        return Told(shown.lines, _asked(connection, "draft check", shown.lines).text)
    confirm = f" confirm {options.confirm}" if options.confirm is not None else ""
    return Told(shown.lines, _asked(connection, f"draft apply{confirm}").text)


def run(connect: Connect, options: Namespace) -> int:
    """A subcommand; returns the exit code. Raises OSError, Unreadable, NoConnection, TimedOut."""
    if options.watch is not None:
        return Watch(connect, options).run()
    sentences = list(sentences_of(options.file)) if options.file is not None else []
    connection = connect()
    try:
        if options.file is not None:
            told = bring(connection, sentences, options)
        else:
            told = Told([], _asked(connection, ROLLBACK if options.subcommand == "rollback" else "confirm").text)
    except NotTaken as error:
        show(error.lines)
        tell(str(error), options.quiet)
        return EXIT_REFUSED
    finally:
        connection.close()
    show(told.lines)
    tell(told.verdict, options.quiet)
    return EXIT_DONE


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
        print(f"pcontrol: {message}", file=sys.stderr, flush=True)


class _Stamp(NamedTuple):
    """What `stat` tells of a file; another one means that it has to be read."""

    device: int
    inode: int
    size: int
    changed_ns: int


class Watch:
    """Applies a file at the start, whenever its content changes, and whenever the program is another one.

    A file is read when it has looked the same twice, so that one which is being written is left alone. A file that is
    refused changes nothing, and is tried again after a while. One without a sentence, which would switch everything
    off, is taken for an accident and left alone. Ends with SystemExit(0) on SIGTERM or SIGINT.
    """

    def __init__(self, connect: Connect, options: Namespace) -> None:
        self._connect = connect
        self._options = options
        self._connection: Connection | None = None
        self._stamp: _Stamp | None = None
        self._stamp_read: _Stamp | None = None
        self._sentences: list[Said] | None = None
        self._done: list[Said] | None = None
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
        """Reads the file if it is another one than before, and rests."""
        try:
            stat = os.stat(self._options.file)
            stamp = _Stamp(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            rests, self._stamp = stamp == self._stamp, stamp
            if rests and stamp != self._stamp_read:
                self._read()
                self._stamp_read = stamp
            elif at_once:
                self._read()
        except OSError as error:
            self._tell_once(f"{self._options.file}: {error.strerror}")
        except Unreadable as error:
            self._tell_once(str(error))

    def _read(self) -> None:
        self._sentences = list(sentences_of(self._options.file))
        if not self._sentences:
            self._tell_once(f"{self._options.file}: it holds no sentence; nothing is changed")

    def _apply_if_wanted(self) -> None:
        try:
            if self._connection is None or not self._connection.lives():
                self._reconnect()
            if self._sentences and (self._sentences != self._done or self._is_time_again()):
                self._apply(self._sentences)
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

    def _apply(self, sentences: list[Said]) -> None:
        """The connection that is kept tells when the program ends; a file gets one of its own."""
        connection = self._connect()
        self._done, self._again_at = sentences, 0.0
        try:
            told = bring(connection, sentences, self._options)
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
