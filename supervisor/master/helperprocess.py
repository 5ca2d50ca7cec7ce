"""The helper: a child process that does something for all workers, if the program has one and the config wants it.

This is the master's side of it; what it does is the program's (`Program.helper`). How it lives and dies: child.py.
"""

import socket
from collections.abc import Callable

from supervisor.config import Config
from supervisor.helperline import Beat, HelperFault, HelperInheritance, NewConfig, ToLog
from supervisor.master.child import Child
from supervisor.program import Helper
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop
from supervisor.table.segment import Segment


class HelperProcess:
    """The child as the master sees it: there as long as a config wants it."""

    def __init__(
        self,
        helper: Helper,
        loop: Loop,
        log: Log,
        *,
        segment: Segment,
        in_child: Callable[[set[int]], None],
        buried: Callable[[], None],
    ) -> None:
        """`buried` is called when its processor time is in the master's account."""
        self._helper = helper
        self._log = log
        self._segment = segment
        self._buried = buried
        self._child = Child(loop, in_child, live=self._live, keep=set, events=self)
        self._config: Config | None = None
        self._is_begun = False

    def _live(self, lifeline: socket.socket) -> None:
        """In the child."""
        self._helper.live(HelperInheritance(lifeline, self._segment))

    def start(self) -> None:
        """From now on it may be born."""
        self._is_begun = True
        self._follow()

    def describe(self, config: Config) -> None:
        """A config is in force."""
        self._config = config
        self._child.inform(NewConfig(config))
        self._follow()

    def _follow(self) -> None:
        if not self._is_begun or self._config is None:
            return
        if self._helper.wanted(self._config):
            self._child.start()
        else:
            self._child.stop()
            self._buried()

    def pulse(self) -> None:
        """To be called once a second."""
        self._child.pulse(Beat())

    def heard(self, message: object) -> None:
        """See ChildEvents."""
        self._child.is_well()
        match message:
            case ToLog(about, fields):
                self._log(about, **fields)
            case HelperFault(text):
                self._log(messages.HELPER_BUG, helper=self._helper.name, error=text)

    def died(self, code: int, pause: float) -> None:
        """See ChildEvents."""
        self._buried()
        self._log(messages.HELPER_DIED, helper=self._helper.name, code=code, pause=pause)

    def not_born(self, reason: str) -> None:
        """See ChildEvents."""
        self._log(messages.HELPER_BUG, helper=self._helper.name, error=reason)

    def stop(self) -> None:
        """Ends it."""
        self._is_begun = False
        self._child.stop()
