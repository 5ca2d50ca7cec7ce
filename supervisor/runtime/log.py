"""The log: one line an entry, as `logline.py` makes it, through structlog, straight to the file.

Every process has its own Log on the same file; each entry is one `write` in append mode, so lines never mix. A worker
gathers the lines that it writes for every session, for a quarter of a second at most: a `write` costs more than all
else of a line. They wait in shared memory (`logroom.py`), and in front of any other line of the process they leave.
"""

import pwd
from time import monotonic
from typing import Any

import structlog

from supervisor.runtime.logfile import STANDARD_ERROR, LogFile
from supervisor.runtime.logline import Lines, Often
from supervisor.runtime.logroom import LogRoom
from supervisor.runtime.messages import DEBUG, LINES_LEFT_OUT, LOG_LINES_LOST, Message
from supervisor.runtime.oftenlog import OftenLog
from supervisor.runtime.throttle import MINUTE, Throttle

__all__ = ["STANDARD_ERROR", "Log"]


class _Entries(structlog.BoundLoggerBase):
    """A logger of structlog's that has no context: none is ever bound, and to copy the empty one for each entry took
    two fifths of the time for it.
    """

    def write(self, entry: Any) -> None:
        for processor in self._processors:
            entry = processor(self._logger, "info", entry)
        self._logger.info(entry)


class Log(LogFile, OftenLog):
    """Writes entries. `log(MESSAGE, sid="…", key=value, …)`."""

    def __init__(
        self,
        program: str,
        path: str = STANDARD_ERROR,
        *,
        form: str = "text",
        stamps: str = "seconds",
        user: pwd.struct_passwd | None = None,
        at_once: bool = False,
    ) -> None:
        """`path`: a file, or "-" for standard error; `form`: "text" or "json"; `stamps`: "seconds" or "milliseconds";
        `user`: whom root is going to become; `at_once`: nothing is gathered.

        Raises OSError if it cannot be opened.
        """
        LogFile.__init__(self, path, user)
        OftenLog.__init__(self, Lines(program, stamps == "milliseconds"), form == "text")
        self.program = program
        self.form = form
        self._throttle = Throttle()
        self._lost = self._uncounted = 0
        """Lines that could not be written and were not told of yet, or not counted."""
        self._at_once = at_once
        self._own_room: LogRoom | None = None
        self._line = self._lines.text if form == "text" else self._lines.json
        render: Any = self._render
        self._entries = structlog.wrap_logger(self, processors=[render], wrapper_class=_Entries).bind()

    def __call__(self, message: Message, sid: str = "-", **fields: object) -> None:
        """Writes one entry; see Message.most."""
        if message.most:
            self.tell_left_out()
            if not self._throttle.admits(message, str(fields.get(message.by, ""))):
                return
        self._entries.write({"event": message.name, "message": message, "sid": sid, "fields": fields})

    def _in_other_form(self, kind: Often, sid: str, values: tuple[object, ...]) -> bytes:
        fields = dict(zip(kind.names, values, strict=True))
        return self._line(kind.message.name, kind.message, sid, fields=fields)

    def _put_apart(self, line: bytes) -> None:
        self.write_out()
        room = self._room
        if room is None or not room.put(line):
            self._write(line)

    def write_out(self) -> None:
        """Writes what was gathered. Called four times a second, and when it is time to go."""
        room = self._room
        if room is not None and room.used:
            lines = room.lines()
            self._tell_lost()
            room.writing(*self.state())
            self._count_lost(self.write(lines))
            room.clear()

    def rescue(self, room: LogRoom) -> None:
        """Writes what a dead process had gathered: each line that does not stand in the file already."""
        lines, inode, size = room.left()
        if inode:
            lines = self.without_written(lines, inode, size)
        if lines:
            self._write(lines if lines.endswith(b"\n") else lines + b"\n")
        room.clear()

    def reopen(self, path: str | None = None) -> None:
        self.write_out()
        super().reopen(path)
        self._gather()

    def _gather(self) -> None:
        self._room = self._own_room if not self._at_once and self.gathers else None

    def debug(self, option: str, name: str, sid: str = "-", **fields: object) -> None:
        """Writes a debug entry if its option is on (the `debug` command). Its name carries the option."""
        if option in self.options:
            name = f"{option.lower()}_{name}"
            self._entries.write({"event": name, "message": DEBUG, "sid": sid, "fields": fields})

    def info(self, line: bytes) -> None:
        """Writes a finished line, which structlog hands over, after what was gathered before it."""
        self.write_out()
        self._write(line)

    def _write(self, lines: bytes) -> None:
        self._tell_lost()
        self._count_lost(self.write(lines))

    def _tell_lost(self) -> None:
        """When lines were lost, the first one that can be written again tells how many."""
        if self._lost and not self.write(
            self._line(LOG_LINES_LOST.name, LOG_LINES_LOST, "-", fields={"lines": self._lost})
        ):
            self._lost = 0

    def _count_lost(self, lines: int) -> None:
        self._lost += lines
        self._uncounted += lines

    def tell_left_out(self) -> None:
        """To be called once in a while: when a minute is over it tells how many lines were too many in it."""
        for message, thing, lines in self._throttle.ended(monotonic()):
            self(LINES_LEFT_OUT, event=message.name, of=thing, lines=lines, seconds=int(MINUTE))

    def newly_lost(self) -> int:
        """How many lines could not be written since the last call, for a counter."""
        count, self._uncounted = self._uncounted, 0
        return count

    def after_fork(self, room: LogRoom | None = None) -> None:
        """In a child: the same file, another pid, and nothing lost or left out yet. `room`: where it may gather lines;
        whoever is told of its death is to `rescue` them.
        """
        self._throttle = Throttle()
        self._lines.after_fork()
        self._lost = self._uncounted = 0
        self._own_room = room
        self._gather()

    def _render(self, _logger: object, _method: str, entry: dict[str, Any]) -> bytes:
        return self._line(entry["event"], entry["message"], entry["sid"], fields=entry["fields"])
