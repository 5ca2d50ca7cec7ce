"""The log: one line an entry, as `logline.py` makes it, through structlog, straight to the file.

Every process has its own Log on the same file; each entry is one `write` in append mode, so lines never mix.
"""

import pwd
from time import monotonic
from typing import Any

import structlog

from supervisor.runtime.logfile import STANDARD_ERROR, LogFile
from supervisor.runtime.logline import Lines
from supervisor.runtime.messages import DEBUG, LINES_LEFT_OUT, LOG_LINES_LOST, Message
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


class Log(LogFile):
    """Writes entries. `log(MESSAGE, sid="…", key=value, …)`."""

    def __init__(
        self,
        program: str,
        path: str = STANDARD_ERROR,
        *,
        form: str = "text",
        stamps: str = "seconds",
        user: pwd.struct_passwd | None = None,
    ) -> None:
        """`path`: a file, or "-" for standard error; `form`: "text" or "json"; `stamps`: "seconds" or "milliseconds";
        `user`: whom root is going to become.

        Raises OSError if it cannot be opened.
        """
        super().__init__(path, user)
        self.program = program
        self.form = form
        self.options: frozenset[str] = frozenset()
        self._throttle = Throttle()
        self._lost = self._uncounted = 0
        """Lines that could not be written and were not told of yet, or not counted."""
        self._lines = Lines(program, stamps == "milliseconds")
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

    def often(self, message: Message, sid: str, *, names: tuple[str, ...], values: tuple[object, ...]) -> None:
        """Writes an entry of a kind that is written for every session; past structlog, if it is text."""
        if self.form == "text":
            self.info(self._lines.known(message, sid, names=names, values=values))
        else:
            self(message, sid, **dict(zip(names, values, strict=True)))

    def debug(self, option: str, name: str, sid: str = "-", **fields: object) -> None:
        """Writes a debug entry if its option is on (the `debug` command). Its name carries the option."""
        if option in self.options:
            name = f"{option.lower()}_{name}"
            self._entries.write({"event": name, "message": DEBUG, "sid": sid, "fields": fields})

    def info(self, line: bytes) -> None:
        """Writes a finished line, which structlog hands over; before it, when lines were lost, how many."""
        if self._lost and self.write(
            self._line(LOG_LINES_LOST.name, LOG_LINES_LOST, "-", fields={"lines": self._lost})
        ):
            self._lost = 0
        if not self.write(line):
            self._lost += 1
            self._uncounted += 1

    def tell_left_out(self) -> None:
        """To be called once in a while: when a minute is over it tells how many lines were too many in it."""
        for message, thing, lines in self._throttle.ended(monotonic()):
            self(LINES_LEFT_OUT, event=message.name, of=thing, lines=lines, seconds=int(MINUTE))

    def newly_lost(self) -> int:
        """How many lines could not be written since the last call, for a counter."""
        count, self._uncounted = self._uncounted, 0
        return count

    def after_fork(self) -> None:
        """In a child: the same file, another pid, and nothing lost or left out yet."""
        self._throttle = Throttle()
        self._lines.after_fork()
        self._lost = self._uncounted = 0

    def _render(self, _logger: object, _method: str, entry: dict[str, Any]) -> bytes:
        return self._line(entry["event"], entry["message"], entry["sid"], fields=entry["fields"])
