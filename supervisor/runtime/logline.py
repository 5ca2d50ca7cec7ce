"""Entries of the log as lines: as text, in the format of POPular 1.5, or as JSON.

Text: date, time, host without domain, program, pid, session id or `-`, level,
four-digit hex number, name, then `key=number` and `key='value'`. Whatever came from outside is escaped, and cut at
512 characters: a line stays a line.

`PlainLog` writes them straight away: for a program that lives for a tenth of a second.
"""

import os
import socket
import time
from typing import Any

from supervisor.octets import entry
from supervisor.runtime.logfile import LogFile
from supervisor.runtime.messages import Message
from supervisor.system import wall

_LONGEST_VALUE = 512
_NUMBERS = (int, float)


class Often:
    """A kind of entry that is written for every session, with these fields."""

    __slots__ = ("labels", "message", "names", "tail")

    def __init__(self, message: Message, names: tuple[str, ...]) -> None:
        self.message = message
        self.names = names
        self.labels = tuple([f" {name}=".encode() for name in names])
        """What stands in front of the values."""
        self.tail = f" {message.level} {message.number:04x} {message.name}"
        """What stands after the session id."""


class Lines:
    """Makes the lines of one program."""

    __slots__ = (
        "_host",
        "_pid",
        "_second",
        "_shapes",
        "_stamp",
        "_who",
        "_with_fractions",
        "_zone",
        "program",
    )

    def __init__(self, program: str, with_fractions: bool = False) -> None:
        """`with_fractions`: the time of the text format has milliseconds and a zone: `235959.123+0100`."""
        self.program = program
        self._zone = ""
        self._with_fractions = with_fractions
        self._host = socket.gethostname().partition(".")[0] or "-"
        self._second = -1
        self._stamp = ""
        self._shapes: dict[tuple[object, ...], tuple[str, int]] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """In a child: the same file, another pid."""
        self._pid = os.getpid()
        self._who = f" {self._host} {self.program} {self._pid} "

    def text(self, name: str, message: Message, sid: str, *, fields: dict[str, Any]) -> bytes:
        """An entry in the text format."""
        return self._line(self._head(name, message, sid), tuple(fields), tuple(fields.values()))

    def known(self, kind: Often, sid: str, values: tuple[object, ...]) -> bytes:
        """An entry in the text format whose field names are always these."""
        head = f"{self._time()}{self._who}{sid}{kind.tail}"
        return entry(head, kind.labels, values) or self._line(head, kind.names, values)

    def _head(self, name: str, message: Message, sid: str) -> str:
        return f"{self._time()}{self._who}{sid} {message.level} {message.number:04x} {name}"

    def _line(self, head: str, names: tuple[str, ...], values: tuple[object, ...]) -> bytes:
        # All fields at once, then one look at the outcome, because hardly any entry has something to escape: a third of
        # the steps that it takes field by field.
        template, quotes = self._shape(names, values)
        said = template % values
        if len(said) > _LONGEST_VALUE or said.count("'") != quotes or "\\" in said or not said.isprintable():
            said = template % tuple([value if type(value) in _NUMBERS else _escape(value) for value in values])
        return f"{head}{said}\n".encode()

    def _shape(self, names: tuple[str, ...], values: tuple[object, ...]) -> tuple[str, int]:
        """The template for fields of these names and types, and how many quotes are in it.

        There are as many as there are kinds of entries in the program: a few dozen.
        """
        names_and_types = (*names, *map(type, values))
        shape = self._shapes.get(names_and_types)
        if shape is None:
            forms = ["%s" if type(value) in _NUMBERS else "'%s'" for value in values]
            template = "".join([f" {name}={form}" for name, form in zip(names, forms, strict=True)])
            shape = self._shapes[names_and_types] = template, template.count("'")
        return shape

    def json(self, name: str, message: Message, sid: str, *, fields: dict[str, Any]) -> bytes:
        """An entry as a JSON object."""
        import json
        from datetime import UTC, datetime

        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "host": self._host,
            "program": self.program,
            "pid": self._pid,
            "sid": sid,
            "level": message.level,
            "number": f"{message.number:04x}",
            "name": name,
        }
        for key, value in fields.items():
            record[key] = value if type(value) in _NUMBERS else str(value)[:_LONGEST_VALUE]
        return (json.dumps(record) + "\n").encode()

    def _time(self) -> str:
        now = wall()
        second = int(now)
        if second != self._second:
            self._second = second
            local = time.localtime(second)
            self._stamp = time.strftime("%Y%m%d %H%M%S", local)
            self._zone = time.strftime("%z", local)
        if self._with_fractions:
            return f"{self._stamp}.{int((now - second) * 1000):03d}{self._zone}"
        return self._stamp


class PlainLog:
    """A log in the text format, without structlog: importing that takes longer than delivering a mail."""

    def __init__(self, program: str, path: str) -> None:
        """Raises OSError if the file cannot be opened."""
        self._lines = Lines(program)
        self._file = LogFile(path)

    def __call__(self, message: Message, sid: str = "-", **fields: object) -> None:
        """Writes one entry."""
        self._file.write(self._lines.text(message.name, message, sid, fields=fields))


def _escape(value: object) -> str:
    """Control, bidirectional and other unprintable characters, quotes and backslashes become escapes."""
    return "".join(_escape_one(character) for character in str(value)[:_LONGEST_VALUE])


def _escape_one(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
