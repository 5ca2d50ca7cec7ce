"""Moves: something happens while nobody is there, and the way leads somewhere else after it; whole, or not at all.

    BEGUN    the hold is in force and on the disk, with what takes it back; and whoever else has to know is told
    LEAVING  the sessions go (sweeping.py), elsewhere too, or the time is up
    RUNNING  the operator's command, if there is one; then whoever else leads the user hears of the new way
    BEHIND   the new way, and the end of the hold, in one write: only then is it answered

Whatever fails before the last step takes all of it back, what was done elsewhere (`MoveStep`) too, the last first. So
does the next start here, if the program was killed in between (`unfinished` in operatorstate.py): the file knows a move
as long as it is not over.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from supervisor.control.lookups import AskWorker, Job, Result, Unfit
from supervisor.control.outcome import Move, MoveStep
from supervisor.control.replytext import noted
from supervisor.master.executor import Answer
from supervisor.master.jobs import LONGEST_SECONDS, Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.order_keeping import kept_with
from supervisor.master.questions import Questions
from supervisor.master.sweeping import Sweeps, described
from supervisor.operatorstate import OrderEntry
from supervisor.runtime import rights
from supervisor.runtime.loop import Loop, Timer
from supervisor.workerline import Cut, SweepFound

_LONGEST_WORDS = 200


@dataclass(frozen=True)
class RunCommand(Job):
    """The operator's command, for so long; what it last said on standard error tells why it failed."""

    words: tuple[str, ...]
    seconds: float

    def perform(self) -> None:
        # If the master is killed the move is taken back, so nothing of it goes on.
        rights.die_with_parent()
        rights.renounce()
        run = subprocess.Popen(
            self.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            preexec_fn=rights.die_with_parent,
        )
        try:
            _out, said = run.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            raise Unfit(f"the command {self.words[0]} was not done in time, and is killed") from None
        if run.returncode:
            words = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:_LONGEST_WORDS]
            code = f"exit code {run.returncode}" if run.returncode > 0 else f"signal {-run.returncode}"
            raise Unfit(
                f"the command {self.words[0]} ended with {code}{': ' + words if words and words.isprintable() else ''}"
            )


@dataclass(eq=False)
class _RunningMove:
    action: Move
    answer: Answer
    began: float
    """From here on somebody may be held: nobody is for longer than until the end of it is in force."""
    until: float
    timer: Timer | None = None
    sweep: int = 0
    running: bool = False
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
        ended: Callable[[str, float], None],
    ) -> None:
        """`ended` is told what came of each, and for how many seconds it has held."""
        self._questions = questions
        self._loop = loop
        self._keeper = keeper
        self._sweeps = sweeps
        self._jobs = jobs
        self._ended = ended
        self._moves: dict[str, _RunningMove] = {}

    def begin(self, action: Move, answer: Answer) -> None:
        """Answers when it is done, or all is as it was."""
        if action.id in self._moves:
            answer(False, f"{action.sort} {action.id} is being moved already", ())
            return
        now = time.monotonic()
        move = self._moves[action.id] = _RunningMove(action, answer, now, until=now + action.seconds)
        self._keeper.change(action.before, lambda done, why: self._held(move, done, why), surely=True)

    def _held(self, move: _RunningMove, done: bool, why: str) -> None:
        action = move.action
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
        self._jobs.send(job, lambda result: self._ran(move, result), seconds=seconds + 5.0)

    def _ran(self, move: _RunningMove, result: Result) -> None:
        if result.failure is not None:
            self._give_up(move, result.failure)
        else:
            self._switch(move)

    def _switch(self, move: _RunningMove) -> None:
        move.until = max(move.until, time.monotonic() + LONGEST_SECONDS)  # what is half done is brought to its end
        self._do(move, move.action.switched, lambda: self._finish(move))

    def _finish(self, move: _RunningMove) -> None:
        def kept(done: bool, why: str) -> None:
            if done:
                held = self._end(move, "done")
                move.answer(True, noted(move.action.text, held, *move.action.notes), ())
            else:
                self._give_up(move, why)

        self._keeper.change((*move.action.behind, *move.learned), kept, surely=True)

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
