"""The system calls on a connection, in the log (debug option IO): what was called, on whose leg, and what came of it.

A connection that is made while the option is on is a `LoggedChannel` (make.py); all others pay nothing for it. What was
read or written is not shown, only how much: there are passwords in it.
"""

import errno
import os
import ssl
from collections.abc import Callable
from typing import TypeVar

from supervisor.runtime.log import Log

_Result = TypeVar("_Result")

CLIENT, BACKEND = "client", "backend"
"""The legs of a session."""


class SyscallLog:
    """One connection's. `sid` may change while it lives."""

    __slots__ = ("_leg", "_log", "sid")

    def __init__(self, log: Log, sid: str, leg: str) -> None:
        self._log = log
        self._leg = leg
        self.sid = sid

    def call(self, name: str, fd: int, call: Callable[[], _Result], **asked: object) -> _Result:
        """Calls it and shows the result: octets, `end`, `not now`, or the error, which is raised on."""
        try:
            result = call()
        except OSError as error:
            self.show(name, fd, _name_of(error), **asked)
            raise
        self.show(name, fd, _shown(result), **asked)
        return result

    def show(self, name: str, fd: int, result: object, **asked: object) -> None:
        """One system call."""
        self._log.debug("IO", name, self.sid, leg=self._leg, fd=fd, **asked, result=result)


def syscall_log_of(log: Log, sid: str, leg: str) -> SyscallLog | None:
    """For a new connection: None while the option is off."""
    return SyscallLog(log, sid, leg) if "IO" in log.options else None


def _shown(result: object) -> object:
    if isinstance(result, bytes):
        return len(result) or "end"
    return "not now" if result is None else result


def _name_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return errno.errorcode.get(error.errno or 0, "") or os.strerror(error.errno or 0)
