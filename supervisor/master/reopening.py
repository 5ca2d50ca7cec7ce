"""The files that are opened or read anew while the program runs: the log, the audit log, and who may say what."""

from supervisor.control.wire.access import FaultyAccess
from supervisor.master.accessfile import AccessFile
from supervisor.master.audit import Audit
from supervisor.master.executor import Executor
from supervisor.master.pool import Pool
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.workerline import Reopen


class Files:
    """The master's own; workers are told which log to open."""

    def __init__(self, log: Log, audit: Audit, access: AccessFile, *, pool: Pool, executor: Executor) -> None:
        self._log = log
        self._audit = audit
        self._access = access
        self._pool = pool
        self._executor = executor

    def open_anew(self, logfile: str) -> None:
        """SIGHUP has come; `logfile`: as the configuration has it."""
        self._open_log(logfile)
        self._audit.reopen()
        self._read_access()

    def take_up(self, logfile: str) -> None:
        """At the end of the start: a `set logfile` of the rc file counts from here on, not only at the next SIGHUP."""
        if logfile != self._log.path:
            self._open_log(logfile)

    def _open_log(self, path: str) -> None:
        try:
            self._log.reopen(path)
        except OSError as error:
            self._log(messages.LOG_FAILED, file=path, error=error.strerror or "")
            return
        self._pool.tell_all(Reopen(path))
        self._log(messages.LOG_REOPENED, file=path)

    def _read_access(self) -> None:
        if self._access.path is None:
            return
        try:
            self._executor.admit(self._access.read())
        except FaultyAccess as error:
            self._log(messages.ACCESS_FAULTY, file=self._access.path, reason=str(error))
        else:
            self._log(messages.ACCESS_READ, file=self._access.path)
