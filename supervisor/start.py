"""The start configuration, and going to the background.

Its rc files are one draft, which is said, checked and put into force as `pcontrol apply` does it: all faults are told,
or all is in force at once. In the background the process that was started waits until then, so that its exit code tells
whether the start succeeded.
"""

import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from supervisor.control.rcdisk import read_regular
from supervisor.control.rcfile import (
    APPLY,
    BEGIN,
    FileCommand,
    FileFault,
    UnreadableFile,
    draft_line,
    fault_in_draft,
    load,
    told,
)
from supervisor.master.executor import Answer
from supervisor.master.master import Master
from supervisor.runtime.daemon import EXIT_FAULTY, Daemon
from supervisor.runtime.rundir import CannotStart


class StartConfiguration:
    """The rc files of the command line, put into force as one draft: all of it, or the program does not start."""

    def __init__(
        self, names: Sequence[str], daemon: Daemon | None, in_force: Callable[[], object] = lambda: None
    ) -> None:
        """`in_force` is called when all is. Raises CannotStart if a file cannot be read or is no text."""
        self._names = ", ".join(names)
        self._daemon = daemon
        self._in_force = in_force
        self._commands = commands_of(names)
        self._faults: list[FileFault] = []
        self._waiting = False  # for an answer
        self._saying = False
        self._lines: deque[tuple[str, FileCommand | None]] = deque()
        if self._commands:
            self._lines += [(BEGIN, None), *((draft_line(command), command) for command in self._commands)]
            self._lines.append((APPLY, None))

    def apply(self, master: Master) -> None:
        """Says one line after the other, each when the one before is answered."""
        self._go_on(master, master.executor.start())

    def _go_on(self, master: Master, say: Callable[[str, Answer], None]) -> None:
        self._saying = True
        while self._lines and not self._waiting:
            line, command = self._lines.popleft()
            if line == APPLY and self._faults:
                self._give_up(master, told(self._faults))
                break
            self._waiting = True
            say(line, partial(self._answered, master=master, say=say, command=command))
        self._saying = False
        if not self._waiting and master.exit_code == 0:
            master.started(command.text for command in self._commands)
            self._in_force()
            if self._daemon is not None:
                self._daemon.report(0)

    def _answered(
        self,
        done: bool,
        text: str,
        _lines: Sequence[str],
        *,
        master: Master,
        say: Callable[[str, Answer], None],
        command: FileCommand | None,
    ) -> None:
        self._waiting = False
        if command is not None:
            fault = fault_in_draft(command, done, text)
            self._faults += [fault] if fault is not None else []
        elif not done:
            self._lines.clear()
            self._give_up(master, [f"{self._names}: {text}"])
        if not self._saying and master.exit_code == 0:
            self._go_on(master, say)

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
