"""Questions that commands put to a worker (`AskWorker`, control/language/lookups.py): one of them is asked.

If it dies before it has answered, another one is asked, or its successor, but not a third one: a question by which
workers die is not to end all of them. Then, or if there is no answer in time, the command is refused; nothing else
hangs on it. What is asked may be heard twice: it must come to the same.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.control.language.lookups import Result
from supervisor.master.pool import Pool, WorkerProcess
from supervisor.runtime.loop import Loop, Timer
from supervisor.workerline import PutQuestion, QuestionAnswered

ANSWER_SECONDS = 60.0
"""For an answer: longer than a program itself waits for what it has to ask, and shorter than a client waits for us."""

MOST_WORKERS = 2
"""So many are asked, the second only if the first has died."""
_LOOK_SECONDS = 0.1
_MOST_LOOKS = 100
"""For a worker, where none serves: that of a slot has died, and its successor begins."""

Found = Callable[[Result], None]


@dataclass(eq=False)
class _Asked:
    question: object
    found: Found
    timer: Timer
    asked: int = 0
    """How many workers were."""
    worker: WorkerProcess | None = None
    """None: none serves that could be."""


class Questions:
    """Those that are under way."""

    def __init__(self, loop: Loop, pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Asked] = {}

    def ask(self, question: object, found: Found) -> None:
        """Puts a question to a worker that serves; `found` is called once, perhaps at once."""
        number = next(self._numbers)
        timer = self._loop.after(ANSWER_SECONDS, lambda: self._too_late(number))
        self._waiting[number] = _Asked(question, found, timer)
        self._put(number, _MOST_LOOKS)

    def _put(self, number: int, looks: int) -> None:
        """To one that serves; so often it is looked for one."""
        waiting = self._waiting.get(number)
        if waiting is None:
            return
        worker = self._whom()
        if worker is not None:
            waiting.asked += 1
            waiting.worker = worker
            self._pool.tell(worker, PutQuestion(number, waiting.question))
        elif looks and self._pool.refilling:
            self._loop.after(_LOOK_SECONDS, lambda: self._put(number, looks - 1))
        else:
            self._settle(number, Result(failure="there is no worker that serves and could be asked; try again"))

    def _whom(self) -> WorkerProcess | None:
        """One that accepts; when the program ends, one that only finishes its sessions, for no other will come."""
        there = self._pool.seated if self._pool.refilling else self._pool.workers
        return next((one for one in there if one.serving), None)

    def hear(self, answered: QuestionAnswered) -> None:
        """A worker has answered; too late is fine."""
        self._settle(answered.number, Result(answered.value, answered.failure))

    def forget(self, worker: WorkerProcess) -> None:
        """A worker is dead: what it was asked it does not answer."""
        for number, waiting in list(self._waiting.items()):
            if waiting.worker is worker:
                waiting.worker = None
                if waiting.asked < MOST_WORKERS:
                    self._put(number, _MOST_LOOKS)
                else:
                    gone = f"worker {worker.pid}, which was asked, is gone, as the one before; try again"
                    self._settle(number, Result(failure=gone))

    def _too_late(self, number: int) -> None:
        worker = self._waiting[number].worker
        who = f"worker {worker.pid}" if worker is not None else "a worker"
        late = f"{who} has not answered within {ANSWER_SECONDS:g} s; `workers` tells how it is"
        self._settle(number, Result(failure=late))

    def _settle(self, number: int, result: Result) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.timer.cancel()
            waiting.found(result)
