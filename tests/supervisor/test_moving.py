"""Moves: what is taken back, and that it is answered once. Real orders; jobs and time that the test lets come."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from supervisor.control.lookups import Job, Result
from supervisor.control.outcome import Move, MoveStep
from supervisor.master.jobs import Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.moving import Moves
from supervisor.master.questions import Questions
from supervisor.master.sweeping import Sweeps
from supervisor.operatorstate import OrderEntry
from supervisor.runtime.loop import Loop, Timer
from supervisor.workerline import SweepFound
from tests.patience import patient

HOLD = OrderEntry("user hold", "default:joe", {"seconds": 30.0})


class Elsewhere(Job):
    """Something that is done elsewhere."""

    def perform(self) -> None: ...


class Around:
    """What a move needs; it remembers what is to come, and the test says when."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self.jobs: list[Callable[[Result], None]] = []
        self.kept: list[tuple[OrderEntry, ...]] = []
        self.answers: list[tuple[bool, str]] = []
        self.ended: list[tuple[str, float]] = []
        around = cast(Any, self)
        self.moves = Moves(
            cast(Loop, around),
            cast(StateKeeper, around),
            cast(Sweeps, around),
            jobs=cast(Jobs, around),
            questions=cast(Questions, around),
            ended=lambda result, held: self.ended.append((result, held)),
        )

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]

    def send(self, job: Job, done: Callable[[Result], None], *, seconds: float = 15.0) -> None:
        del job, seconds
        self.jobs.append(done)

    def change(self, entries: Iterable[OrderEntry], kept: Callable[[bool, str], None], *, surely: bool = False) -> None:
        del surely
        self.kept.append(tuple(entries))
        kept(True, "")

    def left(self, _number: int) -> SweepFound | None:
        return None

    def end(self, number: int) -> None:
        del number

    def time_is_up(self) -> None:
        for timer in self.timers:
            if timer.call is not None:
                timer.call()


def test_a_move_whose_time_is_up_while_it_is_taken_back_is_taken_back_once() -> None:
    """The server of the cluster does not answer, and that takes as long as the move may."""
    around = Around()
    told = MoveStep(Elsewhere(), Elsewhere())
    move = Move(
        "moved",
        sort="user",
        id="default:joe",
        before=(HOLD,),
        behind=(),
        undone=(HOLD._replace(value=None),),
        announced=(told,),
        command=(),
        seconds=int(patient(2)),
    )
    around.moves.begin(move, lambda done, text, _lines: around.answers.append((done, text)))
    around.jobs.pop()(Result(failure="the server of the cluster: TimeoutError"))
    (undoing,) = around.jobs
    around.time_is_up()
    assert around.answers == []
    undoing(Result())
    assert around.kept == [(HOLD,), (HOLD._replace(value=None),)]
    assert [done for done, _text in around.answers] == [False]
    assert "everything is as it was before" in around.answers[0][1]
    ((result, held),) = around.ended
    assert result == "undone"
    assert 0 <= held < patient(60)
    assert f"held for {held:.2f} s" in around.answers[0][1]
