"""Looks once a second: at the system's load, at the number of sessions, and whether every worker's loop still turns."""

import signal
import time
from collections.abc import Callable
from typing import Any

from supervisor.config import Config
from supervisor.master.accounting import Accounting
from supervisor.master.pool import Pool
from supervisor.runtime import messages
from supervisor.runtime.load import Level, LoadFiles, next_level
from supervisor.runtime.log import Log

TICK_SECONDS = 1.0

LIMITS = {"load": "maxlocalload", "pressure": "maxpressure"}
"""What is measured of the system, and the variable that limits it."""


class Watchdog:
    """The levels of load and sessions (OK, WARN, MAX), and the workers' heartbeats."""

    def __init__(
        self, files: LoadFiles, accounting: Accounting, pool: Pool, *, log: Log, accepting_changed: Callable[[], None]
    ) -> None:
        """`accepting_changed` is called when `accepting` has changed."""
        self._files = files
        self._accounting = accounting
        self._pool = pool
        self._log = log
        self._levels = {"load": Level.OK, "pressure": Level.OK}
        self._unreadable: set[str] = set()
        self._session_level = Level.OK
        self._accepting_changed = accepting_changed

    @property
    def accepting(self) -> bool:
        """Whether anybody is accepted: not while load or pressure is at its limit."""
        return not self.overload

    @property
    def overload(self) -> str:
        """The variable with that limit, or ""."""
        return next((LIMITS[what] for what, level in self._levels.items() if level is Level.MAX), "")

    def look(self, config: Config) -> None:
        """One round."""
        self.check_load(config)
        self._check_sessions(config.variables["maxsession"])
        self._check_heartbeats(config.variables["workertimeout"])

    def check_load(self, config: Config) -> None:
        """The system's load, and the pressure on the processors of our group, each against its limit."""
        before = self.accepting
        values = {what: self._read(what, config.variables[variable]) for what, variable in LIMITS.items()}
        for what, value in values.items():
            self._check_level(what, value, config.variables[LIMITS[what]])
        self._accounting.set_gauges(
            load_hundredths=int(values["load"] * 100),
            pressure_hundredths=int(values["pressure"] * 100),
            load_state=max(self._levels.values()),
        )
        if self.accepting is not before:
            self._accepting_changed()

    def _read(self, what: str, limit: int) -> float:
        """0 where it cannot be read; that is told, once, if there is a limit for it."""
        value = self._files.read(what)
        if limit and (value is None) is not (what in self._unreadable):
            self._unreadable ^= {what}
            self._log(messages.LOAD_READING, of=what, state="lost" if value is None else "back", limit=limit)
        return value or 0.0

    def _check_level(self, what: str, value: float, limit: int) -> None:
        before = self._levels[what]
        now = self._levels[what] = next_level(before, value, limit)
        if now is not before:
            fields: dict[str, Any] = {"state": now.name, what: value, LIMITS[what]: limit}
            self._log(messages.LOAD_STATE, **fields)

    def _check_sessions(self, limit: int) -> None:
        sessions = self._accounting.count_sessions()
        before = self._session_level
        self._session_level = next_level(before, sessions, limit)
        if self._session_level is not before:
            self._log(messages.SESSION_STATE, state=self._session_level.name, sessions=sessions, maxsession=limit)
            self._accounting.set_gauges(session_state=self._session_level)

    def _check_heartbeats(self, limit: int) -> None:
        """A worker whose loop has not turned for so long is killed: its successor serves whoever waits."""
        now = time.monotonic()
        for worker in self._pool.workers:
            silent = now - max(worker.born, self._accounting.segment.heartbeat(worker.block))
            if limit and silent > limit:
                self._log(messages.WORKER_HANGS, slot=worker.slot, worker=worker.pid, seconds=round(silent, 1))
                worker.hung = True
                self._pool.signal(worker, signal.SIGKILL)
