"""A console for handlers: config, lookups and status as the master would have them; one says commands to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from popular.proxy.settings.commands import CEILINGS, COMMANDS, SORTS, rc_lines
from popular.proxy.settings.moving import check_nobody_is_led_astray
from popular.proxy.settings.variables import VARIABLES
from popular.tls.supply import complete_change
from supervisor.config import Config
from supervisor.control.commands.variables import OPEN_FILES, initial_values
from supervisor.control.files.historyfile import KeptConfigurations
from supervisor.control.language.context import made_ready
from supervisor.control.language.inforce import InForceSince
from supervisor.control.language.language import Language
from supervisor.control.language.lookups import Job, Lookups, NeedsLookup, Result, run
from supervisor.control.language.outcome import Change, Draft, Drafted, Outcome, Past, Replacement, Rollback
from supervisor.control.words import CommandRefused
from supervisor.operatorstate import OperatorState
from supervisor.table.blocked import Network
from supervisor.table.notes import Note
from supervisor.table.sightings import Sighting

OPTIONS = {name: f"About {name}." for name in ("AUTH", "RINGD", "CTRL", "IO", "MAIN", "NET", "PASS", "POP", "TLS")}

SESSIONS = [
    {"sid": "p.1.1", "user": "joe", "vserv": "v1", "backend": "b1", "state": "relaying"},
    {"sid": "p.1.2", "user": "ann", "vserv": "v1", "backend": "", "state": "waiting for a password"},
    {"sid": "p.1.3", "user": "joe", "vserv": "v2", "backend": "b2", "state": "relaying"},
]


@dataclass
class Status:
    pid: int = 4711
    rundir: str = "/run/popular"
    metrics: str = "127.0.0.1:9110"
    readable: bool = True
    statedir: str = "/var/lib/popular"
    operator: OperatorState = field(default_factory=OperatorState)
    known: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    networks: dict[Network, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    history: KeptConfigurations = field(default_factory=KeptConfigurations)
    under_way: list[dict[str, Any]] = field(default_factory=list)

    def sweeps(self) -> list[dict[str, Any]]:
        return self.under_way

    def generations(self) -> list[InForceSince]:
        return [InForceSince(1, wall=0.0, clock=0.0)]

    def measured(self, what: str) -> float | None:
        return {"load": 1.5, "pressure": 20.0}[what] if self.readable else None

    overload = ""

    def sessions(self) -> list[dict[str, Any]]:
        return [dict(row) for row in SESSIONS]

    def count_sessions(self) -> int:
        return len(SESSIONS)

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        return self.known.get(name, {})

    def blocked(self) -> dict[Network, float]:
        return self.networks

    def noted(self) -> list[Note]:
        return self.notes

    def seen(self, about: str) -> list[Sighting]:
        return [one for one in self.sightings if one.about == about]

    def workers(self) -> list[dict[str, Any]]:
        return [{"slot": 0, "pid": 4712, "generation": 3}]


@dataclass
class ProgramTables:
    """The rows of a program that handlers look at."""

    name: str = "pproxy"
    version: str = "2.0"
    variables: Any = VARIABLES
    debug_options: Mapping[str, str] = field(default_factory=lambda: OPTIONS)
    debug_notes: Mapping[str, str] = field(default_factory=lambda: {"PASS": "passwords are logged"})
    rc_lines: Any = field(default=rc_lines)
    complete_change: Any = field(default=complete_change)
    check_change: Any = field(default=check_nobody_is_led_astray)


class Console:
    """What the master does with commands, without other processes: jobs are run here and now."""

    def __init__(self, ceilings: Mapping[str, int] | None = None) -> None:
        self.ceilings: Mapping[str, int] = {**CEILINGS, "sessionlimit": 10_000, OPEN_FILES: 1 << 20, **(ceilings or {})}
        self.config = Config(0, initial_values(VARIABLES, self.ceilings), things={sort: {} for sort in SORTS})
        self.first = self.config
        self.draft: Draft | None = None
        self.past: Past | None = None
        self.language = Language(COMMANDS)
        self.program: Any = ProgramTables()
        self.status = Status()
        self.lookups = Lookups()
        self.known: dict[Job, Result] = {}
        self.starting = False
        self.secret: bytes | None = None

    @property
    def in_force(self) -> Config:
        return self.config

    def say(self, line: str) -> Outcome:
        """Carries out a command. Raises Refused."""
        self.lookups = Lookups(self.known)
        for _ in range(20):
            try:
                outcome = self.language.execute_line(line, self)
                if isinstance(outcome, Change):
                    outcome = made_ready(self, outcome)
                break
            except NeedsLookup as needed:
                self.lookups.store(needed.job, run(needed.job))
        else:
            raise AssertionError(f"{line} never has enough lookups")
        match outcome:
            case Rollback():
                self.config, self.past = outcome.config, None
            case Replacement():
                self.past, self.config, self.draft = Past(self.config), outcome.config, None
            case Change():
                self.config = outcome.config
            case Drafted():
                self.draft = outcome.draft
        return outcome

    def lines(self, line: str) -> list[str]:
        """The data lines of the reply."""
        return self.say(line).data_lines()


def refused(console: Console, line: str) -> str:
    """The text with which a command is refused; the config must not have changed."""
    before = console.config
    with pytest.raises(CommandRefused) as refusal:
        console.say(line)
    assert console.config is before
    return str(refusal.value)
