"""rc files: octets in, commands with FILE:LINE:COLUMN out. Pure.

One parser for the start configuration, `pcontrol check`, `pcontrol apply` and `pcontrol FILE`:

    # a comment; so is the rest of a line after an unquoted word that begins with #
    set grace 10s
    include vservs.rc       # the lines of another file; relative to this one

A file is UTF-8. A line ends at LF and nowhere else; a CR before it is dropped, and so is a BOM in front of the file.
A line that is no command has a `fault`, and the lines after it are read all the same, so that all faults can be told
at once. `load` raises nothing but `UnreadableFile`.
"""

from collections.abc import Callable, Iterable, Sequence
from os import path as paths
from typing import NamedTuple

from supervisor.control.words import INCLUDE, LONGEST_LINE, CommandRefused, Word, phrase, scan, unclosed

BEGIN, CHECK, APPLY, ROLLBACK = "draft begin", "draft check", "draft apply", "rollback"
SAY = "draft say"
"""What carries one of the commands to the draft of a whole configuration (draft.py)."""

FOLLOWS = "follows from another fault: "
"""In front of the reason why a command of a draft is refused, when a faulty one before it may have been the cause."""

GOES, COMES = "- ", "+ "
"""What a line of the difference between two configurations begins with."""

NOTHING_DIFFERS = "nothing differs"
"""What is said of two configurations that are the same."""

LONGEST_COMMAND = LONGEST_LINE - len(f"{SAY} ")
"""Octets; after SAY it must still be a request."""

MOST_FILES = 1000
DEEPEST = 20
"""Files that lead to a file."""
MOST_TOLD = 50
"""Faults; what is beyond is counted only."""


class UnreadableFile(Exception):
    """A file cannot be read, or is no text; the text names it."""


class FileContent(NamedTuple):
    """What a file holds, what tells it from every other file, and what it is called in messages."""

    octets: bytes
    identity: object
    name: str


Read = Callable[[str], FileContent]
"""Reads a file by its name. Raises UnreadableFile."""


class Place(NamedTuple):
    """Where something stands; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class FileFault(NamedTuple):
    """What is wrong, and where."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class FileCommand(NamedTuple):
    """A line that is a command, without its comment; or one that is none, and then as much as was understood of it."""

    place: Place
    text: str
    fault: FileFault | None = None

    def at(self, column: int | None) -> Place:
        """The place of a column of its line; without one, of its first word."""
        return self.place if column is None else self.place._replace(column=column)


class Loaded(NamedTuple):
    """The commands of a file and of all that it includes, in their order, and the names of these files."""

    commands: tuple[FileCommand, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def faults(self) -> list[FileFault]:
        return [command.fault for command in self.commands if command.fault is not None]


def load(name: str, read: Read, read_included: Read | None = None) -> Loaded:
    """Reads a file and what it includes, by `read_included` if that is otherwise. Raises UnreadableFile if the file
    itself cannot be read.
    """
    loader = _Loader(read, read_included or read)
    loader.load(name, ())
    return Loaded(tuple(loader.commands), tuple(dict.fromkeys(loader.files)))


def parse(octets: bytes, name: str) -> list[FileCommand]:
    """The commands of one file, `include` among them. Raises UnreadableFile if it is no text."""
    try:
        text = octets.decode().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    except UnicodeDecodeError as error:
        before = octets[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        place = Place(name, before.count(b"\n") + 1, column)
        raise UnreadableFile(f"{place}: octet 0x{octets[error.start]:02x} is not UTF-8") from None
    lines = enumerate(text.split("\n"), start=1)
    return [command for number, line in lines if (command := _command(line.removesuffix("\r"), name, number))]


def _command(line: str, name: str, number: int) -> FileCommand | None:
    """The command on a line, or None if there is none."""
    words: list[Word] = []
    try:
        found = scan(line, words)
        if found.is_open:
            raise unclosed(found)
    except CommandRefused as refused:
        place = Place(name, number, refused.column or 1)
        understood = [word for word in words if word.column < place.column]
        return FileCommand(place, phrase(understood), FileFault(place, refused.text))
    if not words:
        return None
    text = line[: found.end].rstrip(" \t")
    place = Place(name, number, words[0].column)
    if len(text.encode()) > LONGEST_COMMAND:
        return FileCommand(place, "", FileFault(place, f"the line is too long; allowed: {LONGEST_COMMAND} octets"))
    return FileCommand(place, text)


class _Loader:
    """Follows `include` from file to file."""

    def __init__(self, read: Read, read_included: Read) -> None:
        self._read = read
        self._read_included = read_included
        self.commands: list[FileCommand] = []
        self.files: list[str] = []

    def load(self, name: str, above: tuple[object, ...]) -> None:
        """Adds the commands of a file; `above` are the files that lead to it. Raises UnreadableFile."""
        if len(self.files) >= MOST_FILES:
            raise UnreadableFile(f"too many files; allowed: {MOST_FILES}")
        if len(above) > DEEPEST:
            raise UnreadableFile(f"too many files, one in the other; allowed: {DEEPEST}")
        self.files.append(name)
        content = (self._read_included if above else self._read)(name)
        if content.identity in above:
            raise UnreadableFile(f"{name} includes itself")
        for command in parse(content.octets, content.name):
            words = scan(command.text).words if command.fault is None else []
            if words and words[0] == INCLUDE:
                self._include(command, words, (*above, content.identity))
            else:
                self.commands.append(command)

    def _include(self, command: FileCommand, words: Sequence[Word], above: tuple[object, ...]) -> None:
        if len(words) != 2 or not words[1]:
            self._add_fault(command, words[-1], f"usage: {INCLUDE} FILE")
            return
        try:
            self.load(beside(command.place.file, words[1]), above)
        except UnreadableFile as error:
            self._add_fault(command, words[1], str(error))

    def _add_fault(self, command: FileCommand, word: Word, text: str) -> None:
        self.commands.append(command._replace(text="", fault=FileFault(command.at(word.column), text)))


def beside(name: str, included: str) -> str:
    """The name of a file that another one includes."""
    joined = paths.join(paths.dirname(name), included)
    return joined if joined != "-" else "./-"


def draft_line(command: FileCommand) -> str:
    """The request that adds a command to a draft; of a faulty one what was understood, so that what follows from its
    absence is not taken for a fault of its own.
    """
    return f"{SAY} {command.text}"


def fault_in_draft(command: FileCommand, is_ok: bool, answer: str) -> FileFault | None:
    """What is to be told of a command, given the answer to its `draft_line`."""
    if command.fault is not None or is_ok:
        return command.fault
    column, text = split_column(answer)
    if text.startswith(FOLLOWS):
        return None
    return FileFault(command.at(column and max(1, column - len(f"{SAY} "))), text)


def split_column(answer: str) -> tuple[int | None, str]:
    """The column that a refusal names, if any, and the rest: `column 7: no` is 7 and `no`."""
    head, mark, text = answer.partition(": ")
    number = head.removeprefix("column ")
    if mark and number != head and number.isascii() and number.isdecimal():
        return int(number), text
    return None, answer


def told(faults: Iterable[FileFault]) -> list[str]:
    """Faults as lines for people."""
    lines = [str(fault) for fault in faults]
    more = len(lines) - MOST_TOLD
    return [*lines[:MOST_TOLD], f"and {more} more"] if more > 1 else lines
