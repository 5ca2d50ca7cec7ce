"""Periodic commands: what the master says to itself every so many seconds, one run of each at a time.

They go through the executor like any other command. A round that changes nothing leaves no trace; one that fails is
logged when its reason is another one than the time before.
"""

import time
from collections.abc import Sequence

from supervisor.config import Config
from supervisor.master.executor import Executor
from supervisor.program import PeriodicCommand
from supervisor.runtime import messages
from supervisor.runtime.log import Log


class _Schedule:
    """One periodic command: when it was begun, whether it is under way, and why it failed the last time."""

    def __init__(self, periodic: PeriodicCommand) -> None:
        self.periodic = periodic
        self.begun = time.monotonic()
        self.under_way = False
        self.failure = ""


class PeriodicCommands:
    """All periodic commands of a program."""

    def __init__(self, periodic_commands: Sequence[PeriodicCommand], executor: Executor, log: Log) -> None:
        self._schedules = [_Schedule(periodic) for periodic in periodic_commands]
        self._executor = executor
        self._log = log

    def begin_due(self, config: Config) -> None:
        """Begins what is due. To be called about once a second."""
        now = time.monotonic()
        for schedule in self._schedules:
            seconds = config.variables[schedule.periodic.every]
            if seconds and not schedule.under_way and now - schedule.begun >= seconds:
                schedule.begun, schedule.under_way = now, True
                self._begin(schedule)

    def _begin(self, schedule: _Schedule) -> None:
        def answered(done: bool, text: str, _lines: Sequence[str]) -> None:
            schedule.under_way = False
            self._log.debug("MAIN", "periodic", command=schedule.periodic.command, answer=text)
            failure = "" if done else text
            if failure and failure != schedule.failure:
                self._log(messages.PERIODIC_FAILED, line=schedule.periodic.command, reason=failure)
            schedule.failure = failure

        self._executor.conduct_periodically(schedule.periodic.command, answered)
