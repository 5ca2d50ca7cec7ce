"""The exporter: a child process that shows the world what the table holds. This is the master's side of it.

What runs in the child is the program's (`Program.exporter`), because the supervisor knows nothing of HTTP. The child
reads the table, and is told over its lifeline what does not stand there: after each change the config as the program
describes it, and each second what only the master sees (exporterline.py). How it lives and dies: child.py.
"""

import socket
from collections.abc import Callable
from typing import Any

from supervisor.exporterline import DescribedConfig, ExporterInheritance, Fault, HttpSocket, Listening, Pulse, Waiting
from supervisor.master.child import Child
from supervisor.runtime import messages
from supervisor.runtime.httpaddress import OFF, HttpAddress
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop


class Exporter:
    """The child as the master sees it. With no address there is none, and everything here does nothing."""

    def __init__(
        self,
        loop: Loop,
        log: Log,
        in_child: Callable[[set[int]], None],
        *,
        live: Callable[[ExporterInheritance], None],
        inherit: Callable[[socket.socket], ExporterInheritance] | None,
        http: Callable[[], socket.socket | None],
        buried: Callable[[], None],
    ) -> None:
        """`live` runs in the child; `inherit(lifeline)` makes what it gets, None where no exporter is wanted; `http`:
        the socket of its own that it keeps. `buried` is called when its processor time is in the master's account.
        """
        self._log = log
        self._waiting_for = ""
        self._inherit = inherit
        self._program_live = live
        self._http = http
        self._buried = buried
        self._child = Child(loop, in_child, live=self._live, keep=self._keep, events=self)
        self.address: HttpAddress | None = None
        """Where it listens now."""

    @property
    def shown_address(self) -> str:
        """For people: "off", or where it listens, or nothing as long as it does not."""
        if self._inherit is None:
            return OFF
        return str(self.address) if self.address is not None else ""

    def start(self) -> None:
        """Gives birth to it."""
        if self._inherit is not None:
            self._child.start()

    def _keep(self) -> set[int]:
        http = self._http()
        return set() if http is None else {http.fileno()}

    def _live(self, lifeline: socket.socket) -> None:
        """In the child."""
        assert self._inherit is not None
        self._program_live(self._inherit(lifeline))

    def describe(self, described: dict[str, Any]) -> None:
        """The config has changed."""
        self._child.inform(DescribedConfig(described))

    def pulse(self, pulse: Pulse) -> None:
        """To be called once a second."""
        self._child.pulse(pulse)

    def tell_now(self, pulse: Pulse) -> None:
        """Something has changed that is not to wait for the next second."""
        self._child.tell_now(pulse)

    def hand(self, http: socket.socket) -> bool:
        """A socket of its own that is new; says whether it has it. A successor is born with it."""
        return not self._child.lives or self._child.tell_now(HttpSocket(), [http.fileno()])

    @property
    def is_opening(self) -> bool:
        """Whether it will perhaps answer in a moment: it has not said that it does, or cannot."""
        return self._child.lives and self.address is None and not self._waiting_for

    def heard(self, message: object) -> None:
        """See ChildEvents."""
        match message:
            case Listening(address):
                self.address = address
                self._child.is_well()
                self._waiting_for = ""
                self._log(messages.EXPORTER_LISTENS, address=str(address))
            case Waiting(reason) if reason != self._waiting_for:
                self._waiting_for = reason
                self._log(messages.EXPORTER_WAITS, reason=reason)
            case Fault(text):
                self._log(messages.EXPORTER_BUG, error=text)

    def died(self, code: int, pause: float) -> None:
        """See ChildEvents."""
        self.address = None
        self._buried()
        self._log(messages.EXPORTER_DIED, code=code, pause=pause)

    def not_born(self, reason: str) -> None:
        """See ChildEvents."""
        self.heard(Waiting(reason))

    def stop(self) -> None:
        """Ends it; its address is free when this returns."""
        self._inherit = None
        self._child.stop()
        self.address = None
