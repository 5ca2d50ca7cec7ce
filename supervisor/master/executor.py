"""Carries out commands: a line comes in, the reply goes out when what was said is in force.

    line → handler (pure) → a fact is missing? start a job, call the handler again
                       → Reply: answer
                       → Drafted: keep the draft with the connection, then answer
                       → Change, Trial: put the config in force in all workers, or only try it, then answer
                       → Action: have the master do it, then answer

Changes are made one after the other, each from the config that the one before left. A move begins between two of them:
where it leads must not go while it is told. Everything else is answered meanwhile. Who speaks is a control connection
or the program itself: its start configuration, its periodic commands, and the rollback. Connections have to wait with
changes until the start configuration is in force, and may make none while a confirmation is awaited.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from supervisor.config import Config, Report
from supervisor.control.commands.draft import Spoilt
from supervisor.control.commands.things import resolved_hosts
from supervisor.control.files.rcfile import APPLY, ROLLBACK, parse
from supervisor.control.language.context import FrozenContext, Status, made_ready
from supervisor.control.language.language import Language
from supervisor.control.language.lookups import AskWorker, Lookups, NeedsLookup, Result
from supervisor.control.language.outcome import (
    Action,
    Change,
    CommandDone,
    Confirm,
    Draft,
    Drafted,
    Move,
    Outcome,
    Reapply,
    Replacement,
    Reply,
    Rollback,
    SecretForNext,
    Signed,
    Trial,
)
from supervisor.control.wire.access import Access
from supervisor.control.wire.peer import Peer
from supervisor.control.words import INCLUDE, CommandRefused, of_no_command, without_secret, without_slip
from supervisor.master.audit import COMMAND_DENIED, Audit
from supervisor.master.change import Changes
from supervisor.master.history import ConfigHistory
from supervisor.master.jobs import Jobs
from supervisor.master.origin import Origin
from supervisor.master.questions import Questions
from supervisor.master.rollback import RollbackPoint
from supervisor.master.whole import WholeConfiguration
from supervisor.program import Program
from supervisor.runtime import messages
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop
from supervisor.runtime.messages import Message
from supervisor.runtime.together import together

PerformAction = Callable[[Action, CommandDone], None]

_AWAITED = "the last `draft apply` awaits `confirm` or `rollback`; until then nothing else can be changed"
_ENDING = "the program is ending, and cannot change its configuration any more; nothing was changed"
_NOT_A_READER = "it would change something, though its row says that it only reads; it was not carried out"
_LONGEST_NAMES = 2000
_MOST_LOGGED_LINES, _MOST_LOGGED_CHARACTERS = 20, 1000
"""What the debug option CTRL logs of an answer's lines, which may be very many."""


@dataclass(eq=False)
class _Task:
    line: str = field(repr=False)
    origin: Origin
    answer: CommandDone
    lookups: Lookups
    reads: bool = False
    """Its row says that it changes nothing."""
    secret: bytes | None = field(default=None, repr=False)
    said: str = field(default="", repr=False)
    """What was said, where the line is carried out for its sake."""

    @property
    def logged(self) -> str:
        """The line that is carried out, as it may be logged."""
        return without_secret(self.said or self.line)


class Executor:
    """Takes lines from the control socket and the start configuration."""

    def __init__(
        self,
        program: Program,
        language: Language,
        ceilings: Mapping[str, int],
        *,
        status: Status,
        changes: Changes,
        loop: Loop,
        jobs: Jobs,
        questions: Questions,
        log: Log,
        access: Access,
        audit: Audit,
        history: ConfigHistory,
        perform: PerformAction,
        count: Callable[[str], None],
    ) -> None:
        """`count` counts control_sentences and control_refusals."""
        self._program = program
        self._language = language
        self._ceilings = ceilings
        self._status = status
        self._changes = changes
        self._jobs = jobs
        self._questions = questions
        self._log = log
        self._access = access
        self._audit = audit
        self._history = history
        self._loop = loop
        self._perform = perform
        self._count = count
        self._rollback_point = RollbackPoint(loop, self._go_back)
        self._own_peer = Peer(os.getuid(), os.getpid())
        self._time_up = Origin(self._own_peer, own=True, quiet=True)
        self._starting = True
        self._ending = False
        self._changing = False
        self._waiting: deque[_Task] = deque()

    def conduct_periodically(self, line: str, answer: CommandDone) -> None:
        """Carries a periodic command out. A refusal is not logged here: it may come every few seconds."""
        self._evaluate(_Task(line, Origin(self._own_peer, own=True, quiet=True), answer, lookups=Lookups()))

    def converse(self, peer: Peer) -> Callable[[str, CommandDone], None]:
        """For a new control connection: what carries out its commands, one at a time. Its draft goes with it."""
        return partial(self._hear, Origin(peer, own=False))

    def admit(self, access: Access) -> None:
        """These are the rights of all control connections from now on, also of those that are there."""
        self._access = access

    def start(self) -> Callable[[str, CommandDone], None]:
        """For the start configuration: what carries out its commands, which nobody else can get in the way of."""
        return partial(self._hear, Origin(self._own_peer, own=True))

    def started(self, commands: int) -> None:
        """The start configuration, of so many commands, is in force: control connections may change it now."""
        self._starting = False
        own = Origin(self._own_peer, own=True)
        self._audit.started(own, commands)
        self._history.started(own, self._changes.running)
        self._begin_next_change()

    def end(self) -> None:
        """The listening sockets are given up: whatever would change the configuration is refused from here on."""
        self._ending = True
        self._rollback_point.forget()
        self._changes.abandon(_ENDING)
        self._begin_next_change()

    def _hear(self, origin: Origin, line: str, answer: CommandDone) -> None:
        self._log.debug("CTRL", "request", line=self._as_refused(line), uid=origin.uid)
        secret, origin.secret = origin.secret, None
        self._count("control_sentences")
        refusal = "" if origin.own else self._access.refusal(origin.peer, line, self._language)
        if refusal:
            self._deny(_Task(line, origin, answer, lookups=Lookups()), refusal)
            return
        # A fact that one command of a draft has found out holds for the whole draft, and no longer.
        drafting = origin.draft is not None and line.lstrip().startswith("draft ")
        lookups = origin.lookups if drafting else Lookups()
        reads = self._language.is_read_only(line)
        self._evaluate(_Task(line, origin, answer, lookups=lookups, reads=reads, secret=secret))

    def _evaluate(self, task: _Task) -> None:
        try:
            outcome = self._outcome(task, self._changes.running)
        except NeedsLookup as needed:
            self._find_out(task, needed)
        except CommandRefused as refused:
            if isinstance(refused, Spoilt):
                self._keep_draft(task.origin, refused.draft)
            self._refuse(task, str(refused))
        except Exception as error:  # of a handler, which is pure: nothing was begun
            what = kind_and_location_of(error)
            self._refuse(task, f"an error of ours, which is logged: {what}; nothing was changed", messages.COMMAND_BUG)
        else:
            self._dispatch(task, outcome)

    def _outcome(self, task: _Task, config: Config) -> Outcome:
        """What the handler of a command makes of this config. Raises CommandRefused, NeedsLookup."""
        context = FrozenContext(
            config,
            self._changes.first,
            self._program,
            lookups=task.lookups,
            language=self._language,
            ceilings=self._ceilings,
            status=self._status,
            draft=task.origin.draft,
            past=self._rollback_point.past,
            starting=self._starting,
            secret=task.secret,
        )
        outcome = self._language.execute_line(task.line, context)
        return made_ready(context, outcome) if isinstance(outcome, Change) else outcome

    def _dispatch(self, task: _Task, outcome: Outcome) -> None:
        match outcome:
            case _ if task.reads and not isinstance(outcome, Reply | Signed):
                self._refuse(task, _NOT_A_READER)
            case Change() | Trial() if self._ending:
                self._refuse(task, _ENDING)
            case Rollback() if task.origin is self._time_up and not self._rollback_point.awaited:
                task.answer(False, "confirmed while it waited for its turn", ())
            case Change() if self._rollback_point.awaited and not task.origin.own and not isinstance(outcome, Rollback):
                self._refuse(task, _AWAITED)
            case Change() | Trial() | Confirm() | Move() if self._must_wait(task):
                self._waiting.append(task)  # without its outcome: its line is evaluated anew when it is its turn
            case Change() | Trial():
                self._begin_change(task, outcome)
            case Confirm():
                self._confirm(task, outcome)
            case Drafted():
                self._keep_draft(task.origin, outcome.draft)
                self._answer(task, outcome)
            case SecretForNext():
                task.origin.secret = outcome.secret
                self._answer(task, outcome)
            case Reapply():
                self._reapply(task, outcome)
            case Signed():
                task.origin.sign(outcome.name, outcome.reason)
                self._answer(task, outcome)
            case Action():
                self._perform_action(task, outcome)
            case _:
                self._answer(task, outcome)

    def _find_out(self, task: _Task, needed: NeedsLookup) -> None:
        def found(result: Result) -> None:
            task.lookups.store(needed.job, result)
            self._evaluate(task)

        if isinstance(needed.job, AskWorker):
            self._questions.ask(needed.job.question, found)
        else:
            self._jobs.send(needed.job, found)

    # Changes, one after the other

    def _must_wait(self, task: _Task) -> bool:
        return self._changing or (self._starting and not self._ending and not task.origin.own)

    def _begin_next_change(self) -> None:
        """The next change that waits begins; one that has become wrong by now is refused, and the next begins."""
        for _ in range(len(self._waiting)):
            if self._changing or not self._waiting:
                return
            self._evaluate(self._waiting.popleft())

    def _begin_change(self, task: _Task, outcome: Change | Trial) -> None:
        self._changing = True
        done = partial(self._change_done, task, outcome, before=self._changes.running)
        seed = outcome.seed if isinstance(outcome, Change) else b""
        is_trial, is_back = isinstance(outcome, Trial), isinstance(outcome, Rollback)
        self._changes.begin(outcome.config, seed, done, trial=is_trial, proven=is_back)

    def _change_done(self, task: _Task, outcome: Change | Trial, reason: str | None, *, before: Config) -> None:
        """It is in force, or tried; or nothing was changed, for this reason."""
        self._changing = False
        faults = [outcome.faults] if isinstance(outcome, Trial) and outcome.faults else []
        faults += [reason] if reason is not None else []
        if faults:
            self._refuse(task, together(faults))
        else:
            self._announce(task, outcome, before)
        self._begin_next_change()

    def _announce(self, task: _Task, outcome: Change | Trial, before: Config) -> None:
        """Tells the log, the history and whoever said the command what was done and found."""
        found = self._changes.reports
        # A periodic command asks for nothing: what was told already is no news, whatever its facts are now.
        told = {one[:2] for one in before.reports} if task.origin.quiet else set()
        fresh = [one for one in found if one not in before.reports and one[:2] not in told]
        news = found if isinstance(outcome, Trial) else fresh
        if isinstance(outcome, Change):
            if not self._starting:  # of a start its commands are logged, not that they were applied
                self._log_done(task, _names(outcome))
                self._history.changed(task.origin, task.logged, self._changes.running)
            for message, fields in outcome.entries:
                self._log(message, **fields)
            self._log_hosts(before)
            self._log_reports(news)
            self._set_rollback_point(task, outcome, before)
        self._answer(task, outcome.with_reports(news))

    def _log_done(self, task: _Task, names: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        generation = self._changes.running.generation
        self._log(messages.COMMAND, uid=task.origin.uid, line=task.logged, generation=generation)
        self._audit.done(task.origin, task.logged, generation, names=names)

    def _log_hosts(self, before: Config) -> None:
        """The address that a name became is what is connected to: it must be found in the log."""
        had = resolved_hosts(before)
        for (whom, parameter), (host, address) in resolved_hosts(self._changes.running).items():
            if had.get((whom, parameter)) != (host, address):
                self._log(messages.HOST_RESOLVED, of=whom, parameter=parameter, host=host, address=address)

    def _log_reports(self, reports: Sequence[Report]) -> None:
        for report in reports:
            for note in report.notes:
                self._log(messages.CONFIG_NOTE, of=report.subject, note=note)

    # Drafts, and the rollback point

    def _keep_draft(self, origin: Origin, draft: Draft | None) -> None:
        if origin.draft is None or draft is None:
            origin.lookups = Lookups()
        origin.draft = draft

    def _set_rollback_point(self, task: _Task, outcome: Change, before: Config) -> None:
        """A change is in force: what does it mean for the config to go back to?"""
        match outcome:
            case Replacement():
                self._log(messages.CONFIG_IN_FORCE, generation=self._changes.running.generation, **_named(outcome))
                self._keep_draft(task.origin, None)
                if not self._starting:  # there was nothing before the start that one could go back to
                    self._rollback_point.keep(before, outcome.confirm_seconds)
            case Rollback():
                self._rollback_point.forget()
            case _ if task.origin.own:
                self._change_past_too(task)

    def _reapply(self, task: _Task, outcome: Reapply) -> None:
        """As a draft, which is said by whoever said the command, apart from the one that he may have begun."""
        origin = task.origin.apart()

        def say(line: str, answer: CommandDone) -> None:
            self._evaluate(_Task(line, origin, answer, lookups=origin.lookups, said=task.line))

        def applied(faults: Sequence[str], text: str) -> None:
            if faults:
                self._refuse(task, "\n".join(faults))
            else:
                task.answer(True, f"{outcome.text}: {text}", ())

        confirm = f" confirm {outcome.confirm_seconds}s" if outcome.confirm_seconds is not None else ""
        commands = parse("\n".join(outcome.commands).encode(), "history")
        whole = WholeConfiguration(commands, say, applied, apply=f"{APPLY}{confirm}", pause=self._later)
        whole.begin()

    def _later(self, call: Callable[[], None]) -> None:
        self._loop.after(0.0, call)

    def _change_past_too(self, task: _Task) -> None:
        """What the program has changed by itself, a certificate that was renewed, must not be undone by going back."""
        past = self._rollback_point.past
        if past is None:
            return
        try:
            outcome = self._outcome(task, past.config)
        except (CommandRefused, NeedsLookup):  # it has no meaning there
            return
        if isinstance(outcome, Change):
            self._rollback_point.replace(outcome.config)

    def _confirm(self, task: _Task, outcome: Confirm) -> None:
        self._rollback_point.stay()
        self._log_done(task)
        self._answer(task, outcome)

    def _go_back(self) -> None:
        """Nobody has confirmed in time."""
        if not self._rollback_point.trouble:
            self._log(messages.NOT_CONFIRMED, generation=self._changes.running.generation)

        def answered(done: bool, text: str, _lines: Sequence[str]) -> None:
            if not done and self._rollback_point.awaited:
                if text != self._rollback_point.trouble:
                    self._log(messages.CANNOT_GO_BACK, reason=text)
                self._rollback_point.later(text)

        self._hear(self._time_up, ROLLBACK, answered)

    # Answers

    def _perform_action(self, task: _Task, action: Action) -> None:
        self._perform(action, lambda done, text, lines: self._performed(task, action, done, text=text, lines=lines))

    def _performed(self, task: _Task, action: Action, done: bool, *, text: str, lines: Sequence[str]) -> None:
        if not done:
            self._refuse(task, text)
            return
        self._log_done(task)
        self._tell(task, text or action.text, lines or (action.data_lines() if action.data is not None else ()))

    def _answer(self, task: _Task, outcome: Outcome) -> None:
        self._tell(task, outcome.text, outcome.data_lines())

    def _tell(self, task: _Task, text: str, lines: Sequence[str]) -> None:
        if "CTRL" in self._log.options:
            said = " | ".join(itertools.islice(lines, _MOST_LOGGED_LINES))
            self._log.debug("CTRL", "answer", text=text, count=len(lines), lines=said[:_MOST_LOGGED_CHARACTERS])
        task.answer(True, text, lines)

    def _deny(self, task: _Task, reason: str) -> None:
        self._audit.denied(task.origin, self._as_refused(task.said or task.line))
        self._refuse(task, reason, COMMAND_DENIED)

    def _as_refused(self, line: str) -> str:
        """What may be logged of a line that is refused, or may be."""
        shown = without_slip(line)
        return of_no_command(shown, (*self._language.next_words(()), INCLUDE)) or shown

    def _refuse(self, task: _Task, reason: str, message: Message = messages.COMMAND_REFUSED) -> None:
        if not task.origin.quiet and not task.said:  # else it is refused, and told, as what was said
            self._count("control_refusals")
            line, why = self._as_refused(task.line), reason
            if line != task.line:
                why = "(not shown: it could repeat a secret)"
            self._log(message, uid=task.origin.uid, line=line, reason=why)
        task.answer(False, reason, ())


def _names(outcome: Change) -> dict[str, Sequence[str]]:
    """What is new, gone and changed in a whole configuration that was applied."""
    if not isinstance(outcome, Replacement):
        return {}
    return {word: names for word, names in outcome.data.items() if word != "lines"}


def _named(outcome: Replacement) -> dict[str, str]:
    """What is new, gone and changed in it, as fields for the log."""
    return {word: ", ".join(names)[:_LONGEST_NAMES] for word, names in _names(outcome).items()}
