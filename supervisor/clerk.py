"""Carries out sentences: a line comes in, the reply goes out when what was said is in force.

    line → deed (pure) → a fact is wanted? send an errand, do the deed again
                       → Reply: answer
                       → Change: put the new config in force in all workers, then answer
                       → Order: have the master do it, then answer

Changes are made one after the other, each from the config that the one before left; everything else is answered
meanwhile.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supervisor import messages
from supervisor.change import Changes
from supervisor.config import Config
from supervisor.control.facts import Facts, Finding, Wanted
from supervisor.control.language import Language, Refused
from supervisor.control.outcome import Change, Order, Outcome, Status
from supervisor.errands import Errands
from supervisor.log import Log
from supervisor.program import Program

Answer = Callable[[bool, str, Sequence[str]], None]
"""Called once: whether it was done, the text of the status line, the data lines."""

PerformOrder = Callable[[Order, Answer], None]


@dataclass(frozen=True)
class _Desk:
    config: Config
    program: Program
    facts: Facts
    language: Language
    limits: Mapping[str, int]
    status: Status


@dataclass(eq=False)
class _Job:
    line: str
    uid: int
    answer: Answer
    by_routine: bool = False
    facts: Facts = field(default_factory=Facts)


class Clerk:
    """Takes lines from the control socket and the start configuration."""

    def __init__(
        self,
        program: Program,
        language: Language,
        limits: Mapping[str, int],
        status: Status,
        changes: Changes,
        errands: Errands,
        log: Log,
        perform: PerformOrder,
        count: Callable[[str], None],
    ) -> None:
        """`count` counts control_sentences and control_refusals."""
        self._program = program
        self._language = language
        self._limits = limits
        self._status = status
        self._changes = changes
        self._errands = errands
        self._log = log
        self._perform = perform
        self._count = count
        self._changing = False
        self._waiting: deque[_Job] = deque()

    def conduct(self, line: str, uid: int, answer: Answer) -> None:
        """Carries out one sentence and answers, now or later."""
        self._log.debug("CTRL", "request", line=line, uid=uid)
        self._count("control_sentences")
        self._work(_Job(line, uid, answer))

    def conduct_by_routine(self, line: str, answer: Answer) -> None:
        """The same for a sentence that nobody said. A refusal is not logged here: it may come every few seconds."""
        self._work(_Job(line, os.getuid(), answer, by_routine=True))

    def _work(self, job: _Job) -> None:
        desk = _Desk(self._changes.running, self._program, job.facts, self._language, self._limits, self._status)
        try:
            outcome: Any = self._language.conduct(job.line, desk)
            if isinstance(outcome, Change):
                outcome = self._program.complete(desk, outcome)
        except Wanted as wanted:
            self._find_out(job, wanted)
        except Refused as refused:
            self._refuse(job, str(refused))
        else:
            match outcome:
                case Change():
                    self._begin_change(job, outcome)
                case Order():
                    self._perform(outcome, lambda done, text, lines: self._ordered(job, outcome, done, text, lines))
                case _:
                    self._answer(job, outcome)

    def _find_out(self, job: _Job, wanted: Wanted) -> None:
        def found(finding: Finding) -> None:
            job.facts.store(wanted.errand, finding)
            self._work(job)

        self._errands.send(wanted.errand, found)

    def _begin_change(self, job: _Job, outcome: Change) -> None:
        if self._changing:
            self._waiting.append(job)
            return
        self._changing = True

        def done(reason: str | None) -> None:
            self._changing = False
            if reason is None:
                self._log(messages.SENTENCE, uid=job.uid, line=job.line, generation=self._changes.running.generation)
                for message, fields in outcome.entries:
                    self._log(message, **fields)
                self._answer(job, outcome)
            else:
                self._refuse(job, reason)
            # One that has become wrong meanwhile is refused at once, and it is the next one's turn.
            while self._waiting and not self._changing:
                self._work(self._waiting.popleft())

        self._changes.begin(outcome.config, outcome.seed, done)

    def _ordered(self, job: _Job, order: Order, done: bool, text: str, lines: Sequence[str]) -> None:
        if not done:
            self._refuse(job, text)
            return
        self._log(messages.SENTENCE, uid=job.uid, line=job.line, generation=self._changes.running.generation)
        job.answer(True, text or order.text, lines)

    def _answer(self, job: _Job, outcome: Outcome) -> None:
        self._log.debug("CTRL", "answer", text=outcome.text)
        job.answer(True, outcome.text, outcome.data_lines())

    def _refuse(self, job: _Job, reason: str) -> None:
        if not job.by_routine:
            self._count("control_refusals")
            self._log(messages.SENTENCE_REFUSED, uid=job.uid, line=job.line, reason=reason)
        job.answer(False, reason, ())
