"""A whole configuration, said by the program itself as one draft: at its start, and when one of the history comes back.

Line by line, each when the one before is answered: the draft is begun, each command is said, and it is applied; or, if
there were faults, all of them are told, and nothing has changed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from supervisor.control.files.rcfile import APPLY, BEGIN, FileCommand, FileFault, draft_line, fault_in_draft, told
from supervisor.control.language.outcome import CommandDone

Say = Callable[[str, CommandDone], None]
"""Says a line; what it is given is called once with the answer, at once or later."""
Applied = Callable[[Sequence[str], str], None]
"""Called once: what was wrong (none: it is in force), and what the last answer said."""


class WholeConfiguration:
    """The lines that are still to be said."""

    def __init__(
        self,
        commands: Sequence[FileCommand],
        say: Say,
        applied: Applied,
        *,
        apply: str = APPLY,
        pause: Callable[[Callable[[], None]], None] | None = None,
        at_a_time: int = 16,
    ) -> None:
        """`apply`: the last line. `pause`, if given, is to go on later with what it is given: after so many lines it is
        others' turn.
        """
        self._say = say
        self._applied = applied
        self._apply = apply
        self._pause = pause
        self._at_a_time = at_a_time
        self._faults: list[FileFault] = []
        self._waiting = False  # for an answer
        self._saying = False
        self._lines: deque[tuple[str, FileCommand | None]] = deque()
        self._lines += [(BEGIN, None), *((draft_line(command), command) for command in commands), (apply, None)]

    def begin(self) -> None:
        """Says as many lines as are answered at once, and goes on with the answers."""
        self._saying = True
        count = 0
        while self._lines and not self._waiting:
            if self._pause is not None and count == self._at_a_time:
                self._saying = False
                self._pause(self.begin)
                return
            count += 1
            line, command = self._lines.popleft()
            if line == self._apply and self._faults:
                self._end(told(self._faults), "")
                break
            self._waiting = True
            self._say(line, partial(self._answered, line=line, command=command))
        self._saying = False

    def _answered(
        self, done: bool, text: str, _lines: Sequence[str], *, line: str, command: FileCommand | None
    ) -> None:
        self._waiting = False
        if command is not None:
            fault = fault_in_draft(command, done, text)
            self._faults += [fault] if fault is not None else []
        elif not done or line == self._apply:
            self._end([] if done else [text], text)
        if not self._saying:
            self.begin()

    def _end(self, faults: Sequence[str], text: str) -> None:
        self._lines.clear()
        self._applied(faults, text)
