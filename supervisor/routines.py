"""What the master says to itself: the routines of a program, each every so many seconds, one at a time.

They go through the clerk like any other sentence. A round that changes nothing leaves no trace; one that fails is
logged when its reason is another one than the time before.
"""

import time
from collections.abc import Sequence

from supervisor import messages
from supervisor.clerk import Clerk
from supervisor.config import Config
from supervisor.log import Log
from supervisor.program import Routine


class _Course:
    """One routine: when it was begun, whether it is under way, and why it failed the last time."""

    def __init__(self, routine: Routine) -> None:
        self.routine = routine
        self.begun = time.monotonic()
        self.under_way = False
        self.failure = ""


class Routines:
    """All routines of a program."""

    def __init__(self, routines: Sequence[Routine], clerk: Clerk, log: Log) -> None:
        self._courses = [_Course(routine) for routine in routines]
        self._clerk = clerk
        self._log = log

    def look(self, config: Config) -> None:
        """Begins what is due. To be called about once a second."""
        now = time.monotonic()
        for course in self._courses:
            seconds = config.variables[course.routine.every]
            if seconds and not course.under_way and now - course.begun >= seconds:
                course.begun, course.under_way = now, True
                self._begin(course)

    def _begin(self, course: _Course) -> None:
        def answered(done: bool, text: str, _lines: Sequence[str]) -> None:
            course.under_way = False
            failure = "" if done else text
            if failure and failure != course.failure:
                self._log(messages.ROUTINE_FAILED, line=course.routine.sentence, reason=failure)
            course.failure = failure

        self._clerk.conduct_by_routine(course.routine.sentence, answered)
