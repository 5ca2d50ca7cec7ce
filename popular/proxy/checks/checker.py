"""The helper process of pproxy: checks each backend whose `health` is not off, and writes what it found into the record
that all workers share (settings/health.py). It serves nobody, and knows no user but the canaries.

When a backend is checked, and what is made of several checks, rhythm.py says.
"""

import asyncio
import os
import time
from typing import NamedTuple

from popular import messages
from popular.protocol.printable import printable
from popular.proxy.backend_tls import BackendsInTls, BackendTls
from popular.proxy.checks.canary import Finding, check
from popular.proxy.checks.drift import Missing, Promised, promised, undelivered
from popular.proxy.checks.rhythm import HURRY, LONGEST_CHECK, Streak, patience_with, pause_behind
from popular.proxy.session.backend.announced import Announced
from popular.proxy.session.backend.backend_health import BackendHealth, terms_of
from popular.proxy.session.backend.breaker import BreakerTerms
from popular.proxy.settings.announced import ANNOUNCED
from popular.proxy.settings.backend import OFF, Backend
from popular.proxy.settings.drift import DRIFT, record_of
from popular.proxy.settings.health import HEALTH
from popular.proxy.settings.healthuser import HEALTHUSER, HealthuserRefusal, last_refusal
from popular.proxy.settings.healthuser import record_of as healthuser_record_of
from supervisor.config import Config
from supervisor.control.commands.things import OFFLINE
from supervisor.control.words import CommandRefused
from supervisor.helperline import HelperFault, HelperInheritance, NewConfig, ToLog
from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.program import Helper
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import Message
from supervisor.serving.threadpool import ThreadPool
from supervisor.system import Clock
from supervisor.table.records import Records

_THREADS = 64


def is_checked(backend: Backend) -> bool:
    return backend.health != OFF and backend.state != OFFLINE and backend.address != ""


class Assignment(NamedTuple):
    """What there is to do about one backend. As long as it stays the same it goes on as it was."""

    backend: Backend
    terms: BreakerTerms
    record: int
    """The number of its record, and of its counters."""
    promised: Promised
    """What each virtual server announces that the backend has to keep."""


class BackendChecker:
    """All checks under the running config."""

    def __init__(self, inheritance: HelperInheritance) -> None:
        self._lifeline = Lifeline(inheritance.lifeline)
        self._segment = inheritance.segment
        self._records = Records(self._segment.layout, self._segment.map, HEALTH.name)
        self._drifts = Records(self._segment.layout, self._segment.map, DRIFT.name)
        self._refusals = Records(self._segment.layout, self._segment.map, HEALTHUSER.name)
        self._announced = Records(self._segment.layout, self._segment.map, ANNOUNCED.name)
        self._assignments: dict[str, tuple[Assignment, asyncio.Task[None]]] = {}
        self._tls: BackendsInTls | None = None
        self._faults: set[str] = set()
        self._threads = ThreadPool(_THREADS, "check")

    async def run(self) -> None:
        """Until the master is gone."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._lifeline.socket, self._hear)
        await asyncio.Event().wait()

    def _hear(self) -> None:
        try:
            for message, _fds in self._lifeline.receive():
                if isinstance(message, NewConfig):
                    self._follow(message.config)
        except LifelineLost:
            os._exit(0)  # and not by return: threads may hang in a check

    def _follow(self, config: Config) -> None:
        try:
            self._tls = BackendsInTls(config, self._tls)
        except CommandRefused as error:  # the workers have made the same, so a file has changed meanwhile
            self._say(HelperFault(str(error)))
            return
        assignments = assignments_of(config)
        for ident in set(self._assignments) - set(assignments):
            self._assignments.pop(ident)[1].cancel()
        for place, (ident, assignment) in enumerate(assignments.items()):
            had = self._assignments.get(ident)
            if had is not None and had[0] == assignment:
                continue
            if had is not None:
                had[1].cancel()
            wait = assignment.backend.healthinterval * place / max(1, len(assignments)) / HURRY
            self._assignments[ident] = assignment, asyncio.create_task(self._watch(assignment, wait))

    async def _watch(self, assignment: Assignment, wait: float) -> None:
        backend, clock = assignment.backend, asyncio.get_running_loop()
        health, patience = self._health_of(assignment), patience_with(backend)
        streak, seen = Streak(backend), Missing()
        await asyncio.sleep(wait)
        while True:
            began = clock.time()
            try:
                found = await clock.run_in_executor(self._threads, check, backend, self._tls_of(backend), patience)
                is_well = streak.add(not found.why)
                self._heed(health, is_well, found)
                self._learn(assignment, found)
                self._tell_refusal(assignment, found)
                seen = self._tell_drift(assignment, found, seen)
            except Exception as error:
                self._tell_fault(error)
                is_well = None
            await asyncio.sleep(pause_behind(backend, is_well, clock.time() - began))

    def _health_of(self, assignment: Assignment) -> BackendHealth:
        logins = self._segment.layout.counter_cells["backend_logins"] + assignment.record
        return BackendHealth(
            assignment.backend,
            assignment.record,
            self._records,
            terms=assignment.terms,
            clock=Clock(),
            logins=lambda: self._segment.sum(logins),
            tell=self._tell,
        )

    def _tls_of(self, backend: Backend) -> BackendTls | None:
        return None if backend.tls == OFF or self._tls is None else self._tls[backend.id]

    def _heed(self, health: BackendHealth, is_well: bool | None, found: Finding) -> None:
        backend = health.backend
        if is_well:
            health.found_well(for_certain=found.after is not None)
        elif is_well is False:
            health.found_down(found.why, least=2 * backend.healthinterval + LONGEST_CHECK)

    def _learn(self, assignment: Assignment, found: Finding) -> None:
        """What it announces before a login is known to the workers then, who need not ask it."""
        if found.before is not None:
            announced = Announced(assignment.backend, assignment.record, self._announced, clock=Clock(), ask=_nobody)
            announced.checked(found.before)

    def _tell_refusal(self, assignment: Assignment, found: Finding) -> None:
        """That the backend is well, but its canary refused, is told when it begins, and when it ends."""
        if found.why:
            return  # nobody knows
        backend, records = assignment.backend, self._refusals
        had = last_refusal(records.read(assignment.record), backend.id)
        refused = HealthuserRefusal(had.since if had else time.time(), found.refused) if found.refused else None
        if refused is not None or found.after is not None:
            until = _counts_until(backend)
            records.write(assignment.record, healthuser_record_of(backend.id, refused, until))
        fields: dict[str, object] = {"backend": backend.id, "user": backend.healthuser}
        if refused is not None and had is None:
            self._tell(messages.HEALTHUSER_REFUSED, fields | {"reason": printable(refused.how)})
        elif had is not None and found.after is not None:
            self._tell(messages.HEALTHUSER_LET_IN, fields)

    def _tell_drift(self, assignment: Assignment, found: Finding, seen: Missing) -> Missing:
        """Each capability that a virtual server announces and the backend lacks is told once."""
        if found.before is None:
            return seen
        missing = undelivered(assignment.promised, found.before, found.after)
        until = _counts_until(assignment.backend)
        self._drifts.write(assignment.record, record_of(assignment.backend.id, missing, until))
        for vserv, names in sorted(missing - seen):
            fields: dict[str, object] = {"backend": assignment.backend.id, "vserv": vserv, "missing": names}
            self._tell(messages.CAPABILITIES_DIFFER, fields)
        return missing

    def _tell(self, message: Message, fields: dict[str, object]) -> None:
        self._say(ToLog(message, fields))

    def _tell_fault(self, error: Exception) -> None:
        """Once for each kind and place."""
        text = kind_and_location_of(error)
        if text not in self._faults:
            self._faults.add(text)
            self._say(HelperFault(text))

    def _say(self, message: object) -> None:
        try:
            self._lifeline.send(message)
        except LifelineLost:
            os._exit(0)


def _counts_until(backend: Backend) -> float:
    """For how long counts what was found just now: until the next checks, of which one or two may fail."""
    return time.time() + 3 * backend.healthinterval + LONGEST_CHECK


def _nobody(_announced: Announced) -> None:
    """Is asked here."""


def assignments_of(config: Config) -> dict[str, Assignment]:
    """What there is to check under a config, by id."""
    indexes = config.counter_indexes.get(HEALTH.by, {})
    announced = promised(config)
    return {
        ident: Assignment(backend, terms_of(backend, config), record=indexes[ident], promised=announced)
        for ident, backend in config.things["backend"].items()
        if is_checked(backend) and ident in indexes
    }


def _live(inheritance: HelperInheritance) -> None:
    asyncio.run(BackendChecker(inheritance).run())


CHECKER = Helper(
    "checker",
    wanted=lambda config: any(is_checked(backend) for backend in config.things["backend"].values()),
    live=_live,
)
