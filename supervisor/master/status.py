"""What the handlers of commands may see of the running program (`Status`): each fact from whoever has
it.
"""

import os
from collections.abc import Sequence
from typing import Any

from supervisor.control.files.historyfile import KeptConfigurations
from supervisor.control.language.inforce import InForceSince
from supervisor.master.accounting import Accounting
from supervisor.master.generations import Generations
from supervisor.master.history import ConfigHistory
from supervisor.master.keeping import StateKeeper
from supervisor.master.sweeping import Sweeps
from supervisor.master.watchdog import Watchdog
from supervisor.master.watchers import Watchers
from supervisor.operatorstate import OperatorState
from supervisor.runtime.load import LoadFiles
from supervisor.table.blocked import Network
from supervisor.table.notes import Note
from supervisor.table.sightings import Sighting


class RunningStatus:
    """The status of a running program."""

    def __init__(
        self,
        accounting: Accounting,
        watchers: Watchers,
        history: ConfigHistory,
        *,
        generations: Generations,
        keeper: StateKeeper,
        sweeps: Sweeps,
        watchdog: Watchdog,
        load_files: LoadFiles,
        rundir: str,
    ) -> None:
        self.pid = os.getpid()
        self.rundir = rundir
        self._accounting = accounting
        self._watchers = watchers
        self._history = history
        self._generations = generations
        self._keeper = keeper
        self._sweeps = sweeps
        self._watchdog = watchdog
        self._load_files = load_files

    @property
    def statedir(self) -> str:
        return self._keeper.directory

    @property
    def metrics(self) -> str:
        return self._watchers.address

    def generations(self) -> Sequence[InForceSince]:
        return self._generations.in_force

    def measured(self, what: str) -> float | None:
        return self._load_files.read(what)

    @property
    def overload(self) -> str:
        return self._watchdog.overload

    def sessions(self) -> list[dict[str, Any]]:
        return self._accounting.sessions()

    def count_sessions(self) -> int:
        return self._accounting.count_sessions()

    def workers(self) -> list[dict[str, Any]]:
        return self._accounting.workers()

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        return self._accounting.records(name)

    def blocked(self) -> dict[Network, float]:
        return self._accounting.blocked()

    @property
    def history(self) -> KeptConfigurations:
        return self._history.kept

    @property
    def operator(self) -> OperatorState:
        return self._keeper.state

    def sweeps(self) -> list[dict[str, Any]]:
        return self._sweeps.listed()

    def noted(self) -> list[Note]:
        return self._accounting.noted()

    def seen(self, about: str) -> list[Sighting]:
        return self._accounting.seen(about)
