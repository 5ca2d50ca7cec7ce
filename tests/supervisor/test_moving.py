"""Moves: what is taken back, and that it is answered once. Real orders; jobs and time that the test lets come."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from supervisor.control.language.lookups import Job, Result
from supervisor.control.language.outcome import Move, MoveStep, ThingName
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
        self.things = ["two"]
        self.stopped = 0
        self.gone: Callable[[], None] | None = None
        around = cast(Any, self)
        self.moves = Moves(
            cast(Loop, around),
            cast(StateKeeper, around),
            cast(Sweeps, around),
            jobs=cast(Jobs, around),
            questions=cast(Questions, around),
            stays=lambda thing: thing.id in self.things,
            ended=lambda result, held: self.ended.append((result, held)),
        )

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]

    def send(self, job: Job, done: Callable[[Result], None], *, seconds: float = 15.0) -> Callable[[], None]:
        del job, seconds
        self.jobs.append(done)

        def stop() -> None:
            self.stopped += 1

        return stop

    def begin(self, _sort: str, _ident: str, *, over: Callable[[], None], **_more: Any) -> int:
        """A sweep."""
        self.gone = over
        return 1

    def order(self, move: Move) -> None:
        self.moves.begin(move, lambda done, text, _lines: self.answers.append((done, text)))

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


MOVE = Move(
    "moved",
    sort="user",
    id="default:joe",
    before=(HOLD,),
    behind=(),
    undone=(HOLD._replace(value=None),),
    command=("/bin/copy",),
    leads_to=ThingName("backend", "two"),
    seconds=int(patient(60)),
)


def test_a_move_whose_time_is_up_while_it_is_taken_back_is_taken_back_once() -> None:
    """The server of the cluster does not answer, and that takes as long as the move may."""
    around = Around()
    told = MoveStep(Elsewhere(), Elsewhere())
    move = replace(MOVE, announced=(told,), command=(), leads_to=None, seconds=int(patient(2)))
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


def test_who_is_moved_to_what_is_gone_by_then_stays() -> None:
    """A configuration that nobody has confirmed went meanwhile: he could not log in, and the reply would say +OK."""
    around = Around()
    around.order(MOVE)
    assert around.gone is not None
    around.gone()
    around.things.clear()
    around.jobs.pop()(Result())
    ((done, text),) = around.answers
    assert not done
    assert text.startswith("the backend two is there no more; everything is as it was before")
    assert around.kept[-1] == MOVE.undone


@pytest.mark.parametrize("runs", [False, True])
def test_the_end_of_the_program_takes_a_move_back(runs: bool) -> None:
    """While sessions are there at once, while the command runs when that has been ended; no other one begins."""
    around = Around()
    around.order(MOVE)
    assert around.gone is not None
    if runs:
        around.gone()
    around.moves.end()
    assert around.stopped == runs
    assert around.moves.count() == runs
    for stopped in around.jobs:
        stopped(Result(failure="the command is killed"))
    around.order(MOVE)
    assert around.moves.count() == 0
    why = "the command is killed" if runs else "the program is ending"
    assert [text.partition("; note")[0] for _done, text in around.answers] == [
        f"{why}; everything is as it was before",
        "the program is ending; nothing was changed",
    ]
    assert [one for one in around.kept if one] == [MOVE.before, MOVE.undone]


def test_a_move_whose_command_is_done_is_brought_to_its_end() -> None:
    """The mail is at the new place, and what else is to be done takes a moment."""
    around = Around()
    around.order(replace(MOVE, switched=(MoveStep(Elsewhere(), Elsewhere()),)))
    assert around.gone is not None
    around.gone()
    around.jobs.pop()(Result())
    around.moves.end()
    around.jobs.pop()(Result())
    assert [done for done, _text in around.answers] == [True]
