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

from supervisor.accounts import table_layout
from supervisor.config import Config
from supervisor.control.draft import Spoilt
from supervisor.control.facts import Facts, Wanted, run
from supervisor.control.language import Language, Refused
from supervisor.control.outcome import Draft, Drafted, Outcome, Trial, View
from supervisor.control.rcfile import CHECK, Command, draft_line, fault_in_draft, told
from supervisor.eventloop import EventLoop
from supervisor.load import LOADAVG, LoadFiles, pressure_file
from supervisor.log import Log
from supervisor.program import Program
from supervisor.table.places import PlaceBook
from supervisor.table.segment import Segment, remove
from supervisor.table.tokens import TokenPipe
from supervisor.workshop import Workshop

EXIT_GOOD = 0
EXIT_FAULTY = 1

_BLOCKS = 2


class _NotRunning:
    """What there is to know of a program that does not run."""

    pid = 0
    rundir = "/"
    metrics = "off"

    def measured(self, what: str) -> float | None:
        return LoadFiles(LOADAVG, pressure_file()).read(what)

    def sessions(self) -> list[dict[str, Any]]:
        return []

    def workers(self) -> list[dict[str, Any]]:
        return []


class Trying:
    """One draft, said line by line."""

    def __init__(self, program: Program, first: Config, limits: Mapping[str, int]) -> None:
        self.name = program.name
        self._program = program
        self._first = first
        self._limits = limits
        self._language = Language(program.sentences)
        self._facts = Facts()
        self._draft = Draft(first)

    def faults(self, commands: Sequence[Command]) -> list[str]:
        """What is wrong with the commands themselves, as lines for people."""
        found = [self._fault(command) for command in commands]
        return told(fault for fault in found if fault is not None)

    def _fault(self, command: Command) -> Any:
        try:
            outcome = self._outcome(draft_line(command))
        except Refused as refused:
            if isinstance(refused, Spoilt):
                self._draft = refused.draft
            return fault_in_draft(command, False, str(refused))
        assert isinstance(outcome, Drafted)
        assert outcome.draft is not None
        self._draft = outcome.draft
        return fault_in_draft(command, True, outcome.text)

    def _outcome(self, line: str) -> Outcome:
        while True:
            desk = View(
                self._first,
                self._first,
                self._program,
                self._facts,
                self._language,
                self._limits,
                _NotRunning(),
                self._draft,
                starting=True,
            )
            try:
                return self._language.conduct(line, desk)
            except Wanted as wanted:
                self._facts.store(wanted.errand, run(wanted.errand))

    def serve(self) -> str:
        """Makes a service, and lets go of it; gives the verdict. Raises Refused."""
        outcome = self._outcome(CHECK)
        assert isinstance(outcome, Trial)
        _make_service(self._program, outcome.config, self._limits)
        return outcome.text


def _make_service(program: Program, config: Config, limits: Mapping[str, int]) -> None:
    """As a worker makes it; its table has one row, and no name by the time that it is used. Raises Refused."""
    name = f"/popular-{program.name}-check-{os.getpid()}"
    segment = Segment.create(name, table_layout(program, _BLOCKS, {**limits, "sessionlimit": 1}))
    remove(name)
    shop = Workshop(EventLoop(), Log(program.name, os.devnull), segment, 0, TokenPipe(1))
    program.make_service(shop, replace(config, places=PlaceBook(segment).settle(config.things)), None).retire()


def try_start(trial: Trying, commands: Sequence[Command], names: str) -> int:
    """Tells what is wrong, or that nothing is; returns the exit code."""
    faults = trial.faults(commands)
    if not faults:
        try:
            verdict = trial.serve()
        except Refused as refused:
            faults = [f"{names}: {refused}"]
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"{trial.name}: {verdict}", file=sys.stderr)
    return EXIT_FAULTY if faults else EXIT_GOOD
