"""Questions that commands put to a worker (`AskWorker`, control/lookups.py): one of them is asked.

A worker that dies, or does not answer in time, has not answered, and the command is refused; nothing else hangs on it.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from supervisor.control.lookups import Result
from supervisor.lifeline import PutQuestion, QuestionAnswered
from supervisor.master.pool import Pool, WorkerProcess
from supervisor.runtime.loop import Loop, Timer

ANSWER_SECONDS = 60.0
"""For an answer: longer than a program itself waits for what it has to ask, and shorter than a client waits for us."""

Found = Callable[[Result], None]


class _Asked(NamedTuple):
    worker: WorkerProcess
    found: Found
    timer: Timer


class Questions:
    """Those that are under way."""

    def __init__(self, loop: Loop, pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Asked] = {}

    def ask(self, question: object, found: Found) -> None:
        """Puts a question to a worker that serves; `found` is called once, perhaps at once."""
        worker = next((one for one in self._pool.seated if one.serving), None)
        if worker is None:
            found(Result(failure="there is no worker that serves and could be asked; try again"))
            return
        number = next(self._numbers)
        late = f"worker {worker.pid} has not answered within {ANSWER_SECONDS:g} s; `workers` tells how it is"
        timer = self._loop.after(ANSWER_SECONDS, lambda: self._settle(number, Result(failure=late)))
        self._waiting[number] = _Asked(worker, found, timer)
        self._pool.tell(worker, PutQuestion(number, question))

    def hear(self, answered: QuestionAnswered) -> None:
        """A worker has answered; too late is fine."""
        self._settle(answered.number, Result(answered.value, answered.failure))

    def forget(self, worker: WorkerProcess) -> None:
        """A worker is dead: what it was asked is not answered."""
        for number, waiting in list(self._waiting.items()):
            if waiting.worker is worker:
                self._settle(number, Result(failure=f"worker {worker.pid}, which was asked, is gone; try again"))

    def _settle(self, number: int, result: Result) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.timer.cancel()
            waiting.found(result)
