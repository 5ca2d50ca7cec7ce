"""Moves: something happens while nobody is there, and the way leads somewhere else after it; whole, or not at all.

    BEGUN    the hold is in force and on the disk, with what takes it back; and whoever else has to know is told
    LEAVING  the sessions go (sweeping.py), elsewhere too, or the time is up
    RUNNING  the operator's command, if there is one; then whoever else leads the user hears of the new way
    BEHIND   the new way, and the end of the hold, in one write: only then is it answered

Whatever fails before the last step takes all of it back, what was done elsewhere (`MoveStep`) too, the last first. So
does the end of the program, or, if it was killed in between, the next start here (`unfinished` in operatorstate.py):
the file knows a move as long as it is not over.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from supervisor.control.language.lookups import AskWorker, Job, Result
from supervisor.control.language.outcome import CommandDone, Move, MoveStep, ThingName
from supervisor.control.language.replytext import noted
from supervisor.master.jobs import LONGEST_SECONDS, Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.move_command import RunCommand
from supervisor.master.order_keeping import kept_with
from supervisor.master.questions import Questions
from supervisor.master.sweeping import Sweeps, described
from supervisor.operatorstate import OrderEntry
from supervisor.runtime.loop import Loop, Timer
from supervisor.workerline import Cut, SweepFound

_ENDING = "the program is ending"


@dataclass(eq=False)
class _RunningMove:
    action: Move
    answer: CommandDone
    began: float
    """From here on somebody may be held: nobody is for longer than until the end of it is in force."""
    until: float
    timer: Timer | None = None
    sweep: int = 0
    running: bool = False
    """Nobody is left who could lose something by it: it waits for what is done, and no longer for sessions."""
    undo: list[Job] = field(default_factory=list)
    """What takes back what was done elsewhere."""
    learned: list[OrderEntry] = field(default_factory=list)
    """What is to be kept of it, whatever comes of the move."""
    given_up: bool = False
    """Given up, while something is still being done."""


class Moves:
    """Those that are under way."""

    def __init__(
        self,
        loop: Loop,
        keeper: StateKeeper,
        sweeps: Sweeps,
        *,
        jobs: Jobs,
        questions: Questions,
        stays: Callable[[ThingName], bool],
        ended: Callable[[str, float], None],
    ) -> None:
        """`stays`: whether a thing is in the configuration, and will be. `ended` is told what came of each, and for how
        many seconds it has held.
        """
        self._questions = questions
        self._loop = loop
        self._keeper = keeper
        self._sweeps = sweeps
        self._jobs = jobs
        self._stays = stays
        self._ended = ended
        self._moves: dict[str, _RunningMove] = {}
        self._ends: dict[str, Callable[[], None]] = {}
        """What ends the commands that run, by the move's id."""
        self._ending = False

    def count(self) -> int:
        """How many are under way."""
        return len(self._moves)

    def begin(self, action: Move, answer: CommandDone) -> None:
        """Answers when it is done, or all is as it was."""
        if self._ending:
            answer(False, f"{_ENDING}; nothing was changed", ())
            return
        if action.id in self._moves:
            answer(False, f"{action.sort} {action.id} is being moved already", ())
            return
        now = time.monotonic()
        move = self._moves[action.id] = _RunningMove(action, answer, now, until=now + action.seconds)
        self._keeper.change(action.before, lambda done, why: self._held(move, done, why), surely=True)

    def end(self) -> None:
        """The program ends: each is taken back, and answered. One whose command is done is brought to its end."""
        self._ending = True
        for move in list(self._moves.values()):
            if move.action.id in self._ends:
                self._ends[move.action.id]()
            elif not move.running and not move.given_up:
                self._sweeps.end(move.sweep)
                self._give_up(move, _ENDING)

    def _held(self, move: _RunningMove, done: bool, why: str) -> None:
        action = move.action
        if move.given_up:
            return
        if not done:
            del self._moves[action.id]
            move.answer(False, f"{why}; nothing was changed", ())
            return
        move.timer = self._loop.after(max(0.0, move.until - time.monotonic()), lambda: self._too_late(move))
        self._do(move, action.announced, lambda: self._sweep(move))

    def _sweep(self, move: _RunningMove) -> None:
        move.sweep = self._sweeps.begin(
            move.action.sort,
            move.action.id,
            cut=Cut.GENTLE,
            seconds=move.action.deadline,
            first=lambda _found: None,
            over=lambda: self._do(move, move.action.alone, lambda: self._alone(move)),
        )

    def _do(self, move: _RunningMove, steps: Sequence[MoveStep], then: Callable[[], None]) -> None:
        """Has these done elsewhere, one after the other; goes on, or gives up."""
        if move.given_up:
            return
        if not steps:
            then()
            return

        def done(result: Result) -> None:
            move.learned += kept_with(result)
            if move.given_up:
                return
            if result.failure is not None:
                self._give_up(move, result.failure)
            else:
                self._do(move, steps[1:], then)

        if steps[0].undo is not None:
            move.undo.insert(0, steps[0].undo)  # a job that failed may have been done all the same
        self._find_out(steps[0].do, done, seconds=max(1.0, move.until - time.monotonic()))

    def _find_out(self, job: Job, done: Callable[[Result], None], *, seconds: float) -> None:
        if isinstance(job, AskWorker):
            self._questions.ask(job.question, done)
        else:
            self._jobs.send(job, done, seconds=seconds)

    def _too_late(self, move: _RunningMove) -> None:
        if move.running or move.given_up:
            return  # the command has a time of its own, and so has what is being taken back
        left = self._sweeps.left(move.sweep)
        self._sweeps.end(move.sweep)
        ends = "" if move.action.deadline is not None else "; `deadline TIME` ends who stays"
        self._give_up(move, f"after {move.action.seconds} s there is still: {described(_only_left(left))}{ends}")

    def _alone(self, move: _RunningMove) -> None:
        """The last session is gone, and nobody new comes in."""
        move.running = True
        if not move.action.command:
            self._switch(move)
            return
        seconds = max(1.0, move.until - time.monotonic())
        job = RunCommand(move.action.command, seconds)
        end = self._jobs.send(job, lambda result: self._ran(move, result), seconds=seconds + 5.0)
        if not move.given_up:  # as it is at once where no child can be sent out
            self._ends[move.action.id] = end

    def _ran(self, move: _RunningMove, result: Result) -> None:
        self._ends.pop(move.action.id, None)
        if result.failure is not None:
            self._give_up(move, result.failure)
        else:
            self._switch(move)

    def _switch(self, move: _RunningMove) -> None:
        move.until = max(move.until, time.monotonic() + LONGEST_SECONDS)  # what is half done is brought to its end
        self._do(move, move.action.switched, lambda: self._finish(move))

    def _finish(self, move: _RunningMove) -> None:
        if gone := self._gone(move.action):
            self._give_up(move, gone)
            return

        def kept(done: bool, why: str) -> None:
            if done:
                held = self._end(move, "done")
                move.answer(True, noted(move.action.text, held, *move.action.notes, self._gone(move.action)), ())
            else:
                self._give_up(move, why)

        self._keeper.change((*move.action.behind, *move.learned), kept, surely=True)

    def _gone(self, action: Move) -> str:
        """What is wrong with where it leads. The configuration may have changed since it began: one that nobody has
        confirmed goes by itself.
        """
        to = action.leads_to
        return "" if to is None or self._stays(to) else f"the {to.sort} {to.id} is there no more"

    def _give_up(self, move: _RunningMove, why: str, troubles: tuple[str, ...] = ()) -> None:
        """Takes back what was done elsewhere, then what was here; what could not be is told."""
        move.given_up = True
        if move.undo:
            undo = move.undo.pop(0)

            def back(result: Result) -> None:
                move.learned += kept_with(result)
                failed = () if result.failure is None else (f"not taken back: {result.failure}",)
                self._give_up(move, why, troubles + failed)

            self._find_out(undo, back, seconds=LONGEST_SECONDS)
            return

        def kept(_done: bool, note: str) -> None:
            held = self._end(move, "undone")
            end = "everything is as it was before" if not troubles else "here everything is as it was before"
            move.answer(False, noted(f"{why}; {end}", held, note, *troubles), ())

        self._keeper.change((*move.action.undone, *move.learned), kept)

    def _end(self, move: _RunningMove, result: str) -> str:
        """Tells for how long somebody was held."""
        held = time.monotonic() - move.began
        self._ended(result, held)
        if move.timer is not None:
            move.timer.cancel()
        del self._moves[move.action.id]
        return f"held for {held:.2f} s"


def _only_left(found: SweepFound | None) -> SweepFound | None:
    """Without those who go at once."""
    return found._replace(counts=(0, 0, *found.counts[2:])) if found is not None else None
