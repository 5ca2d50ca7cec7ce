"""Tries a start configuration with no program running: `pproxy --check -c FILE`.

Everything is done that a start does, but in this process, and nothing stays: host names are looked up, files and
certificates read, and a service is made, which opens the modules. No port is bound, no run directory, log or running
program is touched. Exit codes are those of `pcontrol check`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from supervisor.config import Config, Report
from supervisor.control.commands.draft import Spoilt
from supervisor.control.files.historyfile import KeptConfigurations
from supervisor.control.files.rcfile import CHECK, FileCommand, draft_line, fault_in_draft, told
from supervisor.control.language.context import FrozenContext
from supervisor.control.language.inforce import InForceSince
from supervisor.control.language.language import Language
from supervisor.control.language.lookups import Lookups, NeedsLookup, run
from supervisor.control.language.outcome import Draft, Drafted, Outcome, Trial
from supervisor.control.words import CommandRefused
from supervisor.master.accounting import table_layout
from supervisor.operatorstate import OperatorState
from supervisor.program import Program
from supervisor.runtime.load import LoadFiles
from supervisor.runtime.log import Log
from supervisor.runtime.together import apart, together
from supervisor.serving.context import WorkerContext
from supervisor.serving.eventloop import EventLoop
from supervisor.table.blocked import Network
from supervisor.table.indexes import CounterIndexes
from supervisor.table.notes import Note
from supervisor.table.segment import Segment, remove
from supervisor.table.sightings import Sighting
from supervisor.table.tokens import TokenPipe

EXIT_GOOD = 0
EXIT_FAULTY = 1

_BLOCKS = 2


class _NotRunning:
    """What there is to know of a program that does not run."""

    pid = 0
    rundir = "/"
    metrics = "off"
    overload = ""
    operator = OperatorState()
    statedir = ""
    history = KeptConfigurations()

    def __init__(self, load_files: LoadFiles) -> None:
        self._load_files = load_files

    def generations(self) -> list[InForceSince]:
        return [InForceSince(1, wall=0.0, clock=0.0)]

    def measured(self, what: str) -> float | None:
        return self._load_files.read(what)

    def sessions(self) -> list[dict[str, Any]]:
        return []

    def sweeps(self) -> list[dict[str, Any]]:
        return []

    def count_sessions(self) -> int:
        return 0

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        del name
        return {}

    def blocked(self) -> dict[Network, float]:
        return {}

    def noted(self) -> list[Note]:
        return []

    def seen(self, about: str) -> list[Sighting]:
        del about
        return []

    def workers(self) -> list[dict[str, Any]]:
        return []


class Trying:
    """One draft, said line by line."""

    def __init__(self, program: Program, first: Config, ceilings: Mapping[str, int], *, load_files: LoadFiles) -> None:
        self.name = program.name
        self._program = program
        self._first = first
        self._ceilings = ceilings
        self._status = _NotRunning(load_files)
        self._language = Language(program.commands)
        self._facts = Lookups()
        self._draft = Draft(first)

    def faults(self, commands: Sequence[FileCommand]) -> list[str]:
        """What is wrong with the commands themselves, as lines for people."""
        found = [self._fault(command) for command in commands]
        return told(fault for fault in found if fault is not None)

    def _fault(self, command: FileCommand) -> Any:
        try:
            outcome = self._outcome(draft_line(command))
        except CommandRefused as refused:
            if isinstance(refused, Spoilt):
                self._draft = refused.draft
            return fault_in_draft(command, False, str(refused))
        assert isinstance(outcome, Drafted)
        assert outcome.draft is not None
        self._draft = outcome.draft
        return fault_in_draft(command, True, outcome.text)

    def _outcome(self, line: str) -> Outcome:
        while True:
            context = FrozenContext(
                self._first,
                self._first,
                self._program,
                lookups=self._facts,
                language=self._language,
                ceilings=self._ceilings,
                status=self._status,
                draft=self._draft,
                starting=True,
            )
            try:
                return self._language.execute_line(line, context)
            except NeedsLookup as needed:
                self._facts.store(needed.job, run(needed.job))

    def serve(self) -> str:
        """Makes a service, and lets go of it; gives the verdict. Raises CommandRefused."""
        outcome = self._outcome(CHECK)
        assert isinstance(outcome, Trial)
        faults = [outcome.faults] if outcome.faults else []
        try:
            reports = _make_service(self._program, outcome.config, self._ceilings)
        except CommandRefused as refused:
            faults.append(str(refused))
        if faults:
            raise CommandRefused(together(faults))
        return outcome.with_reports(reports).text


def _make_service(program: Program, config: Config, ceilings: Mapping[str, int]) -> Sequence[Report]:
    """As a worker makes it; its table has one row, and its shared memory has no name any more when it is used.

    Raises CommandRefused.
    """
    name = f"/popular-{program.name}-check-{os.urandom(8).hex()}"  # one that nobody can have taken
    segment = Segment.create(name, table_layout(program, _BLOCKS, {**ceilings, "sessionlimit": 1}))
    remove(name)
    context = WorkerContext(
        EventLoop(),
        Log(program.name, os.devnull),
        segment,
        block=0,
        tokens=TokenPipe(1),
        released=lambda: None,
        request=lambda _action: None,
    )
    service = program.make_service(
        context, replace(config, counter_indexes=CounterIndexes(segment).settle(config.things)), None
    )
    reports = program.reports(service)
    service.retire()
    return reports


def try_start(trial: Trying, commands: Sequence[FileCommand], names: str) -> int:
    """Tells what is wrong, or that nothing is; returns the exit code."""
    faults = trial.faults(commands)
    if not faults:
        try:
            verdict = trial.serve()
        except CommandRefused as refused:
            faults = [f"{names}: {fault}" for fault in apart(str(refused))]
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"{trial.name}: {verdict}", file=sys.stderr)
    return EXIT_FAULTY if faults else EXIT_GOOD
