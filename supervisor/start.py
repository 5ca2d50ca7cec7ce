"""The start configuration, and going to the background.

Its rc files are one draft, which is said, checked and put into force as `pcontrol apply` does it: all faults are told,
or all is in force at once. In the background the process that was started waits until then, so that its exit code tells
whether the start succeeded.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from supervisor.control.files.rcdisk import read_regular
from supervisor.control.files.rcfile import FileCommand, UnreadableFile, load
from supervisor.master.master import Master
from supervisor.master.whole import WholeConfiguration
from supervisor.runtime.daemon import EXIT_FAULTY, Daemon
from supervisor.runtime.rundir import CannotStart
from supervisor.runtime.together import apart


class StartConfiguration:
    """The rc files of the command line, put into force as one draft: all of it, or the program does not start."""

    def __init__(
        self, names: Sequence[str], daemon: Daemon | None, in_force: Callable[[], object] = lambda: None
    ) -> None:
        """`in_force` is called when all is, and is seen to be. Raises CannotStart if a file cannot be read or is no
        text.
        """
        self._names = ", ".join(names)
        self._daemon = daemon
        self._in_force = in_force
        self._commands = commands_of(names)

    def apply(self, master: Master) -> None:
        """Puts all of it into force, or ends the program."""
        if not self._commands:
            self._applied((), "", master=master)
            return
        WholeConfiguration(self._commands, master.executor.start(), partial(self._applied, master=master)).begin()

    def _applied(self, faults: Sequence[str], text: str, *, master: Master) -> None:
        if faults:
            self._give_up(master, [f"{self._names}: {fault}" for fault in apart(text)] if text else faults)
        elif master.exit_code == 0:
            master.started(command.text for command in self._commands)
            master.when_watched(self._report)

    def _report(self) -> None:
        self._in_force()
        if self._daemon is not None:
            self._daemon.report(0)

    def _give_up(self, master: Master, lines: Sequence[str]) -> None:
        for line in lines:
            print(line, file=sys.stderr, flush=True)
        # In the background nothing is reported: the process that was started sees the end, when all is cleared away.
        master.fail(EXIT_FAULTY, lines)


def commands_of(names: Sequence[str]) -> list[FileCommand]:
    """The commands of rc files, in their order. Raises CannotStart for a file that cannot be read or is no text."""
    try:
        return [command for name in names for command in load(name, read_regular).commands]
    except UnreadableFile as error:
        raise CannotStart(str(error)) from None
