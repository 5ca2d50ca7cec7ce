"""The part of the log that every session goes through: its one line, past structlog, and gathered where that may be.

Here, and not in `log.py`, because it is compiled: the line is a step of C for a session, which also looks a dozen times
whether there are debug options.
"""

from supervisor.runtime.logline import Lines, Often
from supervisor.runtime.logroom import LogRoom


class OftenLog:
    """What the log of a process begins with."""

    __slots__ = ("_as_text", "_lines", "_room", "options")

    def __init__(self, lines: Lines, as_text: bool) -> None:
        """`as_text`: entries are text, and not JSON."""
        self._lines = lines
        self._as_text = as_text
        self._room: LogRoom | None = None
        """Where lines are gathered for this file."""
        self.options: frozenset[str] = frozenset()
        """The debug options that are on."""

    def often(self, kind: Often, sid: str, values: tuple[object, ...]) -> None:
        """Writes an entry of a kind that is written for every session. `values`: of its fields, in their order."""
        line = self._lines.known(kind, sid, values) if self._as_text else self._in_other_form(kind, sid, values)
        room = self._room
        if room is None or not room.put(line):
            self._put_apart(line)

    def _in_other_form(self, kind: Often, sid: str, values: tuple[object, ...]) -> bytes:
        """The line, where entries are no text."""
        raise NotImplementedError

    def _put_apart(self, line: bytes) -> None:
        """Nothing is gathered, or there is no room for it."""
        raise NotImplementedError
