"""Questions to workers: who is asked, and that each is answered once, whoever dies. A clock that is turned."""

from types import SimpleNamespace
from typing import Any, cast

from supervisor.control.language.lookups import Result
from supervisor.master.pool import Pool
from supervisor.master.questions import Questions
from supervisor.runtime.loop import Loop
from supervisor.workerline import PutQuestion, QuestionAnswered
from tests.supervisor.changing import Clock


class Seats:
    """The pool, as far as questions look at it; the workers are played by the test."""

    def __init__(self, *pids: int) -> None:
        self.seated: list[Any] = []
        self.workers: list[Any] = []
        self.refilling = True
        self.asked: list[tuple[int, int]] = []
        """Which worker, and the number of the question."""
        for pid in pids:
            self.sits_down(pid)

    def sits_down(self, pid: int) -> None:
        self.seated.append(SimpleNamespace(pid=pid, serving=True))

    def tell(self, worker: Any, message: PutQuestion) -> None:
        self.asked.append((worker.pid, message.number))


class Asking:
    """One question, and what is found."""

    def __init__(self, *pids: int) -> None:
        self.clock, self.seats = Clock(), Seats(*pids)
        self.questions = Questions(cast(Loop, self.clock), cast(Pool, self.seats))
        self.found: list[Result] = []
        self.questions.ask("where is joe?", self.found.append)

    def dies(self) -> None:
        """Who sits in front."""
        self.questions.forget(self.seats.seated.pop(0))

    def answers(self, value: str) -> None:
        self.questions.hear(QuestionAnswered(self.seats.asked[-1][1], value))


def test_if_a_worker_dies_another_one_is_asked() -> None:
    """So a command is not refused because somebody has killed a worker."""
    asking = Asking(1, 2)
    asking.dies()
    assert [pid for pid, _number in asking.seats.asked] == [1, 2]
    asking.answers("store1")
    asking.answers("too late")
    assert [one.value for one in asking.found] == ["store1"]


def test_the_successor_of_the_only_worker_is_waited_for() -> None:
    """Whether it died before it was asked, or after that."""
    for asking in (Asking(1), Asking()):
        if asking.seats.seated:
            asking.dies()
        for _ in range(3):
            assert asking.clock.turn()
        asking.seats.sits_down(2)
        assert asking.clock.turn()
        assert asking.seats.asked[-1][0] == 2
        asking.answers("store1")
        assert [one.value for one in asking.found] == ["store1"]


def test_at_the_end_of_the_program_one_that_finishes_its_sessions_is_asked() -> None:
    """And nobody waits for a successor that does not come."""
    seats = Seats(1)
    seats.workers, seats.seated, seats.refilling = seats.seated, [], False
    clock, found = Clock(), list[Result]()
    questions = Questions(cast(Loop, clock), cast(Pool, seats))
    questions.ask("where is joe?", found.append)
    assert [pid for pid, _number in seats.asked] == [1]
    worker = seats.workers.pop()
    questions.forget(worker)
    assert [bool(one.failure) for one in found] == [True], "at once"


def test_a_question_does_not_end_all_workers() -> None:
    """One by which they die is put to two of them."""
    asking = Asking(1, 2, 3)
    asking.dies()
    asking.dies()
    assert [pid for pid, _number in asking.seats.asked] == [1, 2]
    (found,) = asking.found
    assert "worker 2, which was asked, is gone" in (found.failure or "")


def test_no_question_waits_for_ever() -> None:
    """Nobody answers; and where nobody serves it is told sooner."""
    for asking, words in ((Asking(1), "worker 1 has not answered within 60 s"), (Asking(), "no worker that serves")):
        while asking.clock.turn():
            pass
        (found,) = asking.found
        assert words in (found.failure or "")
