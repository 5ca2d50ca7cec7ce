"""Carries out sentences: a line comes in, the reply goes out when what was said is in force.

    line → deed (pure) → a fact is wanted? send an errand, do the deed again
                       → Reply: answer
                       → Drafted: keep the draft with the connection, then answer
                       → Change, Trial: put the config in force in all workers, or only try it, then answer
                       → Order: have the master do it, then answer

Changes are made one after the other, each from the config that the one before left; everything else is answered
meanwhile. Who speaks is a control connection or the program itself: its start configuration, its routines, and the way
back. Connections have to wait with changes until the start configuration is in force, and may make none while a
confirmation is awaited.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from supervisor import messages
from supervisor.change import Changes
from supervisor.config import Config
from supervisor.control.draft import Spoilt
from supervisor.control.facts import Facts, Finding, Wanted
from supervisor.control.language import Language, Refused
from supervisor.control.outcome import (
    Change,
    Confirm,
    Draft,
    Drafted,
    Order,
    Outcome,
    Replacement,
    Rollback,
    Status,
    Trial,
    View,
)
from supervisor.control.rcfile import ROLLBACK
from supervisor.control.things import resolved_hosts
from supervisor.errands import Errands
from supervisor.log import Log
from supervisor.loop import Loop
from supervisor.program import Program
from supervisor.wayback import WayBack

Answer = Callable[[bool, str, Sequence[str]], None]
"""Called once: whether it was done, the text of the status line, the data lines."""

PerformOrder = Callable[[Order, Answer], None]


_AWAITED = "the last `draft apply` awaits `confirm` or `rollback`; until then nothing else can be changed"
_ENDING = "the program is ending, and cannot change its configuration any more; nothing was changed"
_READERS = "only root and the user of the program may change anything; the control group (--ctrl-group) may read"
_LONGEST_NAMES = 2000


@dataclass(eq=False)
class _Speaker:
    """A control connection, or (own) the program itself; `quiet`: by a routine; `reads`: it may change nothing.
    `facts` are those of its draft.
    """

    uid: int
    own: bool
    quiet: bool = False
    reads: bool = False
    draft: Draft | None = None
    facts: Facts = field(default_factory=Facts)


@dataclass(eq=False)
class _Job:
    line: str
    speaker: _Speaker
    answer: Answer
    facts: Facts


class Clerk:
    """Takes lines from the control socket and the start configuration."""

    def __init__(
        self,
        program: Program,
        language: Language,
        limits: Mapping[str, int],
        status: Status,
        changes: Changes,
        loop: Loop,
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
        self._way_back = WayBack(loop, self._go_back)
        self._time_up = _Speaker(os.getuid(), own=True, quiet=True)
        self._starting = True
        self._ending = False
        self._changing = False
        self._waiting: deque[_Job] = deque()

    def conduct(self, line: str, uid: int, answer: Answer) -> None:
        """Carries out one sentence of the program's own and answers, now or later."""
        self._hear(_Speaker(uid, own=True), line, answer)

    def conduct_by_routine(self, line: str, answer: Answer) -> None:
        """The same for a sentence that nobody said. A refusal is not logged here: it may come every few seconds."""
        self._work(_Job(line, _Speaker(os.getuid(), own=True, quiet=True), answer, Facts()))

    def converse(self, uid: int) -> Callable[[str, Answer], None]:
        """For a new control connection: what carries out its sentences, one at a time. Its draft goes with it."""
        return partial(self._hear, _Speaker(uid, own=False, reads=uid not in (0, os.geteuid())))

    def start(self) -> Callable[[str, Answer], None]:
        """For the start configuration: the same for the program itself, which nobody else can get in the way of."""
        return partial(self._hear, _Speaker(os.getuid(), own=True))

    def started(self) -> None:
        """The start configuration is in force: control connections may change it now."""
        self._starting = False
        self._go_on()

    def end(self) -> None:
        """The listening sockets are given up: whatever would change the configuration is refused from here on."""
        self._ending = True
        self._way_back.forget()
        self._changes.abandon(_ENDING)
        self._go_on()

    def _hear(self, speaker: _Speaker, line: str, answer: Answer) -> None:
        self._log.debug("CTRL", "request", line=line, uid=speaker.uid)
        self._count("control_sentences")
        if speaker.reads and not self._language.reads_only(line):
            self._refuse(_Job(line, speaker, answer, Facts()), _READERS)
            return
        # A fact that one sentence of a draft has found out holds for the whole draft, and no longer.
        drafting = speaker.draft is not None and line.lstrip().startswith("draft ")
        self._work(_Job(line, speaker, answer, speaker.facts if drafting else Facts()))

    def _work(self, job: _Job) -> None:
        try:
            outcome = self._outcome(job, self._changes.running)
        except Wanted as wanted:
            self._find_out(job, wanted)
        except Refused as refused:
            if isinstance(refused, Spoilt):
                self._keep_draft(job.speaker, refused.draft)
            self._refuse(job, str(refused))
        else:
            self._bring_about(job, outcome)

    def _outcome(self, job: _Job, running: Config) -> Outcome:
        """What comes of it if this is the running config. Raises Refused, Wanted."""
        desk = View(
            running,
            self._changes.first,
            self._program,
            job.facts,
            self._language,
            self._limits,
            self._status,
            job.speaker.draft,
            self._way_back.past,
            starting=self._starting,
        )
        outcome = self._language.conduct(job.line, desk)
        return self._program.complete(desk, outcome) if isinstance(outcome, Change) else outcome

    def _bring_about(self, job: _Job, outcome: Outcome) -> None:
        match outcome:
            case Change() | Trial() if self._ending:
                self._refuse(job, _ENDING)
            case Rollback() if job.speaker is self._time_up and not self._way_back.awaited:
                job.answer(False, "confirmed while it waited for its turn", ())
            case Change() if self._way_back.awaited and not job.speaker.own and not isinstance(outcome, Rollback):
                self._refuse(job, _AWAITED)
            case Change() | Trial():
                self._in_turn(job, lambda: self._begin_change(job, outcome))
            case Confirm():
                self._in_turn(job, lambda: self._confirm(job, outcome))
            case Drafted():
                self._keep_draft(job.speaker, outcome.draft)
                self._answer(job, outcome)
            case Order():
                self._perform(outcome, lambda done, text, lines: self._ordered(job, outcome, done, text, lines))
            case _:
                self._answer(job, outcome)

    def _find_out(self, job: _Job, wanted: Wanted) -> None:
        def found(finding: Finding) -> None:
            job.facts.store(wanted.errand, finding)
            self._work(job)

        self._errands.send(wanted.errand, found)

    # Changes, one after the other

    def _in_turn(self, job: _Job, begin: Callable[[], None]) -> None:
        if self._changing or (self._starting and not self._ending and not job.speaker.own):
            self._waiting.append(job)
        else:
            begin()

    def _go_on(self) -> None:
        """One that has become wrong meanwhile is refused at once, and it is the next one's turn."""
        for _ in range(len(self._waiting)):
            if self._changing or not self._waiting:
                return
            self._work(self._waiting.popleft())

    def _begin_change(self, job: _Job, outcome: Change | Trial) -> None:
        self._changing = True
        before = self._changes.running

        def done(reason: str | None) -> None:
            self._changing = False
            if reason is not None:
                self._refuse(job, reason)
            else:
                if isinstance(outcome, Change):
                    if not self._starting:  # of a start its sentences are logged, not that they were applied
                        self._log_done(job)
                    for message, fields in outcome.entries:
                        self._log(message, **fields)
                    self._log_hosts(before)
                    self._look_back(job, outcome, before)
                self._answer(job, outcome)
            self._go_on()

        seed = outcome.seed if isinstance(outcome, Change) else b""
        self._changes.begin(outcome.config, seed, done, trial=isinstance(outcome, Trial))

    def _log_done(self, job: _Job) -> None:
        generation = self._changes.running.generation
        self._log(messages.SENTENCE, uid=job.speaker.uid, line=job.line, generation=generation)

    def _log_hosts(self, before: Config) -> None:
        """The address that a name became is what is connected to: it must be found in the log."""
        had = resolved_hosts(before)
        for (whom, parameter), (host, address) in resolved_hosts(self._changes.running).items():
            if had.get((whom, parameter)) != (host, address):
                self._log(messages.HOST_RESOLVED, of=whom, parameter=parameter, host=host, address=address)

    # Drafts, and the way back

    def _keep_draft(self, speaker: _Speaker, draft: Draft | None) -> None:
        if speaker.draft is None or draft is None:
            speaker.facts = Facts()
        speaker.draft = draft

    def _look_back(self, job: _Job, outcome: Change, before: Config) -> None:
        """A change is in force: what does it mean for the config to go back to?"""
        match outcome:
            case Replacement():
                self._log(messages.CONFIG_IN_FORCE, generation=self._changes.running.generation, **_named(outcome))
                self._keep_draft(job.speaker, None)
                if not self._starting:  # there was nothing before the start that one could go back to
                    self._way_back.keep(before, outcome.confirm_seconds)
            case Rollback():
                self._way_back.forget()
            case _ if job.speaker.own:
                self._change_past_too(job)

    def _change_past_too(self, job: _Job) -> None:
        """What the program has changed by itself, a certificate that was renewed, must not be undone by going back."""
        past = self._way_back.past
        if past is None:
            return
        try:
            outcome = self._outcome(job, past.config)
        except (Refused, Wanted):  # it has no meaning there
            return
        if isinstance(outcome, Change):
            self._way_back.replace(outcome.config)

    def _confirm(self, job: _Job, outcome: Confirm) -> None:
        self._way_back.stay()
        self._log_done(job)
        self._answer(job, outcome)

    def _go_back(self) -> None:
        """Nobody has confirmed in time."""
        if not self._way_back.trouble:
            self._log(messages.NOT_CONFIRMED, generation=self._changes.running.generation)

        def answered(done: bool, text: str, _lines: Sequence[str]) -> None:
            if not done and self._way_back.awaited:
                if text != self._way_back.trouble:
                    self._log(messages.CANNOT_GO_BACK, reason=text)
                self._way_back.later(text)

        self._hear(self._time_up, ROLLBACK, answered)

    # Answers

    def _ordered(self, job: _Job, order: Order, done: bool, text: str, lines: Sequence[str]) -> None:
        if not done:
            self._refuse(job, text)
            return
        self._log_done(job)
        job.answer(True, text or order.text, lines)

    def _answer(self, job: _Job, outcome: Outcome) -> None:
        self._log.debug("CTRL", "answer", text=outcome.text)
        job.answer(True, outcome.text, outcome.data_lines())

    def _refuse(self, job: _Job, reason: str) -> None:
        if not job.speaker.quiet:
            self._count("control_refusals")
            self._log(messages.SENTENCE_REFUSED, uid=job.speaker.uid, line=job.line, reason=reason)
        job.answer(False, reason, ())


def _named(outcome: Replacement) -> dict[str, str]:
    """What is new, gone and changed, for the log."""
    return {word: ", ".join(names)[:_LONGEST_NAMES] for word, names in outcome.data.items() if word != "lines"}
