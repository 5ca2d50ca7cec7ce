"""The audit log: one line of JSON for each change that somebody has made, and for each that he was not let make.

It is apart from the log of the program, so that it can be kept longer, sent elsewhere, and read by others. A secret is
not in it, as little as in the log; what others have typed cannot end its line.

Whoever can connect may try as often as he likes what he has no right to: so of what is denied each account has so many
lines a minute, here as in the log of the program, and how many more there were is one line. Changes are all there.

What cannot be written (the disk is full, the file was deleted and its directory with it) is in the log of the program;
no part of a line stays, and as soon as writing is possible an entry says how many lines are missing before it.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence

from supervisor.master.origin import Origin
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.logfile import LogFile
from supervisor.runtime.throttle import MINUTE, Throttle

CHANGE, DENIED, START, TOLD, LEFT_OUT, LOST = "change", "denied", "start", "told", "left_out", "lost"
DENIED_A_MINUTE = 300
"""Denials of one account that are recorded in a minute: more than there are commands, so that each has its record."""
COMMAND_DENIED = messages.COMMAND_REFUSED._replace(most=DENIED_A_MINUTE, by="uid")
"""As the log has it: the same entry as of what is refused for another reason, but not without end."""
AGAIN_SECONDS = 10.0
"""After so many it is tried again to write, if only how many lines are missing."""
_LONGEST_DENIED = 400
"""Characters of a command that was denied."""


class Audit:
    """Writes it; without a file it does nothing."""

    def __init__(self, program: str, file: LogFile | None, log: Log) -> None:
        self._program = program
        self._file = file
        self._log = log
        self._throttle = Throttle()
        self.not_written = 0
        """Lines that are lost since the last one that could be written."""
        self._again = 0.0

    def done(self, origin: Origin, command: str, generation: int, *, names: Mapping[str, Sequence[str]]) -> None:
        """A command was carried out; `names` says what is new, gone and changed, of a whole configuration."""
        self._write(CHANGE, origin, command=command, generation=generation, **names)

    def denied(self, origin: Origin, command: str) -> None:
        """The client has no right to say this."""
        self.tell_left_out()
        if self._throttle.admits(COMMAND_DENIED, str(origin.uid)):
            cut = command if len(command) <= _LONGEST_DENIED else f"{command[:_LONGEST_DENIED]}…"
            self._write(DENIED, origin, command=cut)

    def look(self) -> None:
        """Each second."""
        self.tell_left_out()
        if self.not_written and time.monotonic() >= self._again:
            self._tell_lost()

    def tell_left_out(self, *, at_last: bool = False) -> None:
        """To be called once in a while: when a minute is over, or `at_last`, of each account how much was too much."""
        for _message, uid, lines in self._throttle.ended(math.inf if at_last else time.monotonic()):
            whose = {"uid": int(uid)} if uid else {}
            self._put({"event": LEFT_OUT, **whose, "denied": lines, "seconds": int(MINUTE)})

    def started(self, origin: Origin, commands: int) -> None:
        """The start configuration is in force, which has so many commands."""
        self._write(START, origin, commands=commands)

    def told(self, proxy: str, order: str) -> None:
        """Another program of the cluster has told of an order, which holds here too."""
        self._put({"event": TOLD, "by": "cluster", "proxy": proxy, "command": order})

    def reopen(self) -> None:
        """Opens the file anew, which may have been moved away."""
        if self._file is None:
            return
        try:
            self._file.reopen()
        except OSError as error:
            self._log(messages.LOG_FAILED, file=self._file.path, error=error.strerror or "")

    def _write(self, event: str, origin: Origin, **fields: object) -> None:
        who = {"uid": origin.peer.uid, "pid": origin.peer.pid, "by": "program" if origin.own else "client"}
        said = {"as": origin.name, "message": origin.reason}
        self._put({"event": event, **who, **said, **fields})

    def _put(self, fields: Mapping[str, object]) -> None:
        if self._file is None:
            return
        if self.not_written:
            self._tell_lost()
        if self.not_written or not self._is_written(fields):
            self.not_written += 1
            self._log(messages.AUDIT_LOST, file=self._file.path, line=fields.get("command", fields["event"]))

    def _tell_lost(self) -> None:
        """In the place of the lines that are missing, so that who reads the file knows of them."""
        self._again = time.monotonic() + AGAIN_SECONDS
        if self._is_written({"event": LOST, "lines": self.not_written}):
            self.not_written = 0

    def _is_written(self, fields: Mapping[str, object]) -> bool:
        assert self._file is not None
        told = {"time": _now(), "program": self._program, **fields}
        if self._file.is_deleted:
            try:
                self._file.reopen()
            except OSError:
                return False
        line = json.dumps(told, ensure_ascii=True).encode() + b"\n"
        return not self._file.write(line, only_whole=True)  # a part of a line is no JSON


def _now() -> str:
    moment = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment * 1000) % 1000:03d}Z"
