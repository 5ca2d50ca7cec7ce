"""What the handler of a command gives back.

The master puts a `Change` into force, carries out an `Action`, and then sends the outcome's text and lines as the
reply. What a handler may see stands in `context.py`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from supervisor.config import Config, Report
from supervisor.control.language.lookups import Job
from supervisor.control.language.replytext import lines_of, noted
from supervisor.operatorstate import OrderEntry
from supervisor.runtime.messages import Message
from supervisor.table.blocked import Network

CommandDone = Callable[[bool, str, Sequence[str]], None]
"""Called once, now or later: whether a command was done, the text of the status line, the data lines."""


@dataclass(frozen=True)
class Draft:
    """A whole configuration that is being said on one control connection, and is in force nowhere."""

    config: Config
    seed: bytes = field(default=b"", repr=False)
    doubtful: frozenset["ThingName"] = frozenset()
    """What commands of the draft that were refused would have set."""


class ThingName(NamedTuple):
    """A thing by sort and id, or a variable (sort VARIABLE); sort ANY_SORT means whichever thing has this id."""

    sort: str
    id: str


VARIABLE, ANY_SORT = "variable", "*"


@dataclass(frozen=True)
class Past:
    """The config before the last `draft apply`. `seconds_left`: until it comes back by itself, or None: never."""

    config: Config
    seconds_left: int | None = None


LogEntry = tuple[Message, Mapping[str, Any]]
"""An entry of the log: the message and its fields."""


MOST_NOTES = 12
"""How many notes of the workers stand in one reply."""


@dataclass(frozen=True)
class Outcome:
    """What a handler gives back: a text for the status line, data (JSON-able), and the lines that show it.

    Lines that are not given are derived from the data.
    """

    text: str = ""
    data: Any = None
    lines: Sequence[str] | None = None

    def data_lines(self) -> list[str]:
        """The lines of the reply."""
        return lines_of(self.data) if self.lines is None else list(self.lines)

    def with_finding(self, text: str, data: Any, line: str) -> Self:
        """This outcome with what was found when it was carried out: as a line, or in JSON where that was asked for."""
        found = replace(self, text=text, data=data)
        return replace(found, lines=(line,)) if self.lines is None else found.as_json()

    def as_json(self) -> Self:
        """This outcome with its data as one JSON line (`null` where there is none)."""
        return replace(self, lines=(json.dumps(self.data, ensure_ascii=True, separators=(", ", ": "), default=str),))

    def with_reports(self, reports: Sequence[Report]) -> Self:
        """This outcome with notes of what the workers found; where there are too many of them the log has all."""
        notes = list(dict.fromkeys(note for report in reports for note in report.notes))
        more = [f"{len(notes) - MOST_NOTES} more in the log"] if len(notes) > MOST_NOTES else []
        return replace(self, text=noted(self.text, *notes[:MOST_NOTES], *more))


class Reply(Outcome):
    """Nothing is changed."""


@dataclass(frozen=True)
class Change(Outcome):
    """A new config to be put into force.

    `seed` is fed to the TLS generator of all processes; `entries` go to the log when the config is in force.
    """

    config: Config = field(kw_only=True)
    seed: bytes = field(default=b"", kw_only=True, repr=False)
    entries: Sequence[LogEntry] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Replacement(Change):
    """A whole new config. The one before is kept; it comes back by itself unless `confirm` is said within so many
    seconds (None: it does not).
    """

    confirm_seconds: int | None = field(default=None, kw_only=True)


class Rollback(Change):
    """Back to the config that was kept."""


class Comparison(Change):
    """A config that is only compared with the running one: what stands against it is a note, and no refusal."""


@dataclass(frozen=True)
class Trial(Outcome):
    """A config to be tried in full, and taken back. `faults`: why it is no good, whatever comes of that; what they are
    about is not in it.
    """

    config: Config = field(kw_only=True)
    faults: str = field(kw_only=True, default="")


@dataclass(frozen=True)
class Drafted(Outcome):
    """The draft of this control connection is this one from now on; None: there is none."""

    draft: Draft | None = field(kw_only=True)


@dataclass(frozen=True)
class SecretForNext(Outcome):
    """A secret, to be kept for the next command of this control connection."""

    secret: bytes = field(kw_only=True, repr=False)


@dataclass(frozen=True)
class Signed(Outcome):
    """For whom the commands of this control connection are said from now on, and why; None: as before."""

    name: str | None = field(kw_only=True)
    reason: str | None = field(kw_only=True)


@dataclass(frozen=True)
class Reapply(Outcome):
    """A whole configuration, as the lines of an rc file, to be put into force as a draft is; `confirm_seconds`: as in
    Replacement.
    """

    commands: Sequence[str] = field(kw_only=True)
    confirm_seconds: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Action(Outcome):
    """Something for the master to do. Where it has data whoever says it is to see it: what was found, a number that was
    given.

    `told`: has others know of it first, and brings what is to be kept with it (OrderEntry); if they cannot be told it
    holds here alone for now, or, where it must be `surely_told`, not at all. `told_by`: who has said it, where that was
    not one of us.
    """

    told: Job | None = field(default=None, kw_only=True)
    surely_told: bool = field(default=False, kw_only=True)
    told_by: str = field(default="", kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    """What must be seen when it is carried out."""


@dataclass(frozen=True)
class Shutdown(Action):
    """`how`: parent, children, all or delayed. Of `delayed`: seconds of grace, whether they were said (or are those of
    the variable), and seconds until the deadline (None: none).
    """

    how: str = field(kw_only=True)
    grace: int = field(default=0, kw_only=True)
    grace_is_said: bool = field(default=False, kw_only=True)
    deadline: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Recycle(Action):
    """Renew the workers, one after the other."""


class Confirm(Action):
    """The running config stays."""


@dataclass(frozen=True)
class EndSession(Action):
    """End the session with this id."""

    sid: str = field(kw_only=True)


@dataclass(frozen=True)
class Block(Action):
    """Serve nobody from this network for so many seconds; None: for ever, 0: no longer."""

    network: Network = field(kw_only=True)
    seconds: int | None = field(kw_only=True)
    entries: tuple[OrderEntry, ...] = field(kw_only=True)
    """To be kept."""


@dataclass(frozen=True)
class Ordered(Action):
    """The operator orders something beside the configuration, or ends such an order."""

    entries: tuple[OrderEntry, ...] = field(kw_only=True)
    """With an order that ends the sweep ends that it wanted."""


EVERYBODY = "generation"
"""The sort of a sweep that is about whoever had begun by then."""


@dataclass(frozen=True)
class SessionSweep(Action):
    """Has the sessions of a thing, a user or a network be gone, when these orders are in force. `gentle`: those that
    lose nothing at once; else they end by themselves. `deadline`: seconds until all are ended, after QUIT a minute
    later (None: never).
    """

    entries: tuple[OrderEntry, ...] = field(default=(), kw_only=True)
    sort: str = field(kw_only=True)
    id: str = field(kw_only=True)
    gentle: bool = field(kw_only=True)
    deadline: float | None = field(kw_only=True)
    before: float | None = field(default=None, kw_only=True)
    """Only sessions that had begun by then (monotonic); None: by now."""
    gone: Job | None = field(default=None, kw_only=True)
    """Done when nobody is left."""


class MoveStep(NamedTuple):
    """Something that a move has done elsewhere (a job, or what a worker is asked), and what takes it back."""

    do: Job
    undo: Job | None = None


@dataclass(frozen=True)
class Move(Action):
    """Holds something, has its sessions be gone, runs a command, and leads somewhere else: all of it, or nothing.

    `before`, `behind` and `undone` are the orders of its beginning, of its end, and of its failure. Elsewhere are done:
    `announced`, when the hold is in force here; `alone`, when nobody is left here; `switched`, after the command.
    `deadline`: as of a sweep.
    """

    sort: str = field(kw_only=True)
    id: str = field(kw_only=True)
    before: tuple[OrderEntry, ...] = field(kw_only=True)
    behind: tuple[OrderEntry, ...] = field(kw_only=True)
    undone: tuple[OrderEntry, ...] = field(kw_only=True)
    announced: tuple[MoveStep, ...] = field(default=(), kw_only=True)
    alone: tuple[MoveStep, ...] = field(default=(), kw_only=True)
    command: tuple[str, ...] = field(kw_only=True)
    switched: tuple[MoveStep, ...] = field(default=(), kw_only=True)
    leads_to: ThingName | None = field(default=None, kw_only=True)
    """What has to be there at its end, else it fails."""
    seconds: int = field(kw_only=True)
    deadline: int | None = field(default=None, kw_only=True)
