"""The Unix sockets in the run directory, control and exporter: one that somebody has deleted is made anew.

Whoever is connected stays so. Who has deleted the directory itself is told, and has to start the program again.
"""

import os
import socket
from collections.abc import Callable, Mapping

from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.rundir import RunDirectory


class LostSockets:
    """Looks whether they are there."""

    def __init__(self, rundir: RunDirectory, log: Log, takers: Mapping[str, Callable[[socket.socket], None]]) -> None:
        """`takers`: by what the names of the sockets end with (CONTROL, HTTP), who serves there."""
        self._rundir = rundir
        self._log = log
        self._takers = takers
        self._told: dict[str, str] = {}
        """Why one cannot be made."""

    def look(self) -> None:
        """Each second: costs a stat for each."""
        for kind, take in self._takers.items():
            try:
                listening = self._rundir.open_again(kind)
            except OSError as error:
                self._tell(kind, error.strerror or os.strerror(error.errno or 0))
                continue
            if listening is not None:
                self._told.pop(kind, None)
                take(listening)
                self._log(messages.SOCKET_AGAIN, file=f"{self._rundir.path / self._rundir.name}{kind}")

    def _tell(self, kind: str, reason: str) -> None:
        if self._told.get(kind) != reason:
            self._told[kind] = reason
            self._log(messages.SOCKET_GONE, file=f"{self._rundir.path / self._rundir.name}{kind}", reason=reason)
