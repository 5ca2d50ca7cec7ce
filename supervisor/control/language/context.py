"""What the handler of a command may see: the context; and the rows of the tables whose functions get to see it.

A handler has the signature `handler(context, arguments) -> Outcome` and touches nothing outside. The context shows
the tables of variables and commands, and their rows hold functions of the context: so they stand in one file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from supervisor.config import Config
from supervisor.control.files.historyfile import KeptConfigurations
from supervisor.control.language.inforce import InForceSince
from supervisor.control.language.kinds import Choice, Kind
from supervisor.control.language.lookups import Lookups
from supervisor.control.language.outcome import Change, Draft, Outcome, Past
from supervisor.control.language.shape import Shape
from supervisor.control.words import CommandRefused, Word
from supervisor.operatorstate import OperatorState
from supervisor.table.blocked import Network
from supervisor.table.notes import Note
from supervisor.table.sightings import Sighting

CHAPTER = "Runtime configuration: the show and set commands"

Arguments = Mapping[str, Any]
Ceilings = Mapping[str, int]
"""What nothing that is configured may go beyond, by name: how many things of a sort, `sessionlimit`, open files."""


class Status(Protocol):
    """What the master knows about the running program."""

    @property
    def pid(self) -> int: ...

    @property
    def rundir(self) -> str: ...

    @property
    def metrics(self) -> str:
        """Where the exporter listens; "off" if there is none, "" if it does not listen yet."""

    def measured(self, what: str) -> float | None:
        """The `load` or the `pressure` now, or None where it cannot be read."""

    @property
    def overload(self) -> str:
        """The variable with the limit of load or pressure for which nobody is accepted now; "" if there is none."""

    def sessions(self) -> list[dict[str, Any]]:
        """The living sessions, one JSON-able dict each; `sid` is one of the keys."""

    def count_sessions(self) -> int:
        """How many there are: quicker than to list them."""

    def workers(self) -> list[dict[str, Any]]:
        """The workers, one JSON-able dict each."""

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        """What workers found out about configured things (supervisor/table/records.py), by id."""

    def blocked(self) -> dict[Network, float]:
        """The networks that are blocked, each with its end in seconds since 1970; 0: none."""

    @property
    def statedir(self) -> str:
        """Where what outlives the program is kept."""

    @property
    def operator(self) -> OperatorState:
        """What the operator has ordered. Only to be looked at."""

    def generations(self) -> Sequence[InForceSince]:
        """The configurations of this run of the program, the oldest first; there is one at least."""

    @property
    def history(self) -> KeptConfigurations:
        """The configurations that were in force, as far as they are kept."""

    def sweeps(self) -> list[dict[str, Any]]:
        """The sweeps that are under way, one JSON-able dict each."""

    def noted(self) -> list[Note]:
        """What workers have noted for the operator of late, the newest first."""

    def seen(self, about: str) -> list[Sighting]:
        """Whom workers have seen doing this, who was seen last comes first."""


class CommandContext(Protocol):
    """What a handler may see."""

    @property
    def config(self) -> Config:
        """The running one; in a draft, what has been said so far."""

    @property
    def first(self) -> Config:
        """The one that the start options made, before any command."""

    @property
    def draft(self) -> Draft | None:
        """The draft of the control connection that speaks."""

    @property
    def past(self) -> Past | None:
        """What `rollback` goes back to."""

    @property
    def program(self) -> "ProgramTables": ...

    @property
    def lookups(self) -> Lookups: ...

    @property
    def language(self) -> "Vocabulary": ...

    @property
    def ceilings(self) -> Mapping[str, int]:
        """How many things of a sort there may be, and `sessionlimit`."""

    @property
    def status(self) -> Status: ...

    @property
    def in_force(self) -> Config:
        """The one that runs, also where `config` is that of a draft."""

    @property
    def starting(self) -> bool:
        """Whether the start configuration is not in force yet."""

    @property
    def secret(self) -> bytes | None:
        """What `secret` said on this control connection, just before this command."""


Handler = Callable[[CommandContext, Arguments], Outcome]

Completer = Callable[[CommandContext, Arguments], Iterable[str]]
"""Lists the words that may stand in a slot, given the context and the arguments before it."""


@dataclass(frozen=True)
class Variable:
    """One row of `show` and `set`.

    `default` is a value, or a function of the ceilings. `when` says when a new value counts ("at once",
    "new sessions"). `read` makes the variable read-only. `check(context, value)` raises CommandRefused if the value
    cannot be set now; it may give back a note that is added to the reply.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    when: str = "at once"
    read: Callable[[CommandContext], Any] | None = None
    check: Callable[[CommandContext, Any], str | None] | None = None
    source: str = CHAPTER

    @property
    def read_only(self) -> bool:
        return self.read is not None

    def value(self, context: CommandContext) -> Any:
        """The value now."""
        return context.config.variables[self.name] if self.read is None else self.read(context)

    def first(self, ceilings: Ceilings) -> Any:
        """The value at the start."""
        return self.default(ceilings) if callable(self.default) else self.default


@dataclass(frozen=True)
class ControlCommand:
    """One command of the language.

    `help`: the first line is the one-liner, paragraphs follow. `explained`: what it says of single words, which `help
    WORD` finds; `in_rows` puts them into the help. `slots`: a Kind fits the word before the handler gets
    it; a Completer leaves the word to the handler, and `pairs` tells of what kind the second word of a pair is, by the
    first, where that is known. `changes`: it may change something. `one_off`: it is done once, and
    cannot stand in a configuration. `again`: of its repeated pairs the first word may be the same. `source`: the
    chapter of the specification that it comes from.
    """

    pattern: str
    handler: Handler
    help: str
    slots: Mapping[str, Kind | Completer] = field(default_factory=dict)
    changes: bool = False
    source: str = ""
    one_off: bool = False
    again: bool = False
    explained: Mapping[str, str] = field(default_factory=dict, repr=False)
    pairs: Mapping[str, Kind] = field(default_factory=dict, repr=False)
    shape: Shape = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = Shape.of(self.pattern)
        assert set(self.slots) == {*shape.required, *shape.tail}, f"slots of {self.pattern}"
        object.__setattr__(self, "shape", shape)

    def kind_of(self, arguments: Sequence[str], position: int) -> Kind | None:
        """What one of these words has to be; None if that is not known, or up to others."""
        slot = self.slots[self.shape.slot(position) or ""]
        if isinstance(slot, Kind):
            return slot
        is_second = position > len(self.shape.required) and (position - len(self.shape.required)) % 2 == 1
        return self.pairs.get(arguments[position - 1]) if is_second else None

    @property
    def usage(self) -> str:
        """The pattern, with the words of a choice written out."""
        usage = self.pattern
        for name, kind in self.slots.items():
            if isinstance(kind, Choice):
                usage = usage.replace(f"<{name}>", kind.describe())
        return usage

    @property
    def summary(self) -> str:
        return self.help.partition("\n")[0]


def in_rows(explained: Mapping[str, str]) -> str:
    """Words and what they mean, as the lines of a help that stand in a table."""
    return "\n".join(f"    {word}  {text}" for word, text in explained.items())


class ProgramTables(Protocol):
    """What a handler may see of the program that is configured."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def debug_options(self) -> Mapping[str, str]:
        """Option → help."""

    @property
    def debug_notes(self) -> Mapping[str, str]:
        """Option → what whoever switches it on should know."""

    @property
    def variables(self) -> Sequence[Variable]: ...

    @property
    def rc_lines(self) -> Callable[[Config], list[str]]:
        """The commands that make the things of a config anew, in order."""

    @property
    def complete_change(self) -> Callable[[CommandContext, Change], Change]:
        """Gives the config of a change what it needs from outside."""

    @property
    def check_change(self) -> Callable[[CommandContext, Change], Change]:
        """Refuses a change that something is against which was ordered beside the config."""


class Vocabulary(Protocol):
    """What a handler may see of the language (language.py)."""

    @property
    def commands(self) -> Sequence[ControlCommand]: ...

    def match(self, words: Sequence[Word]) -> tuple[ControlCommand, dict[str, Any]]:
        """The command that these words are, and its arguments as they were said. Raises CommandRefused."""

    def execute(self, words: Sequence[Word], context: CommandContext) -> Outcome:
        """What the handler of the command gives back, with its arguments fitted to their kinds; changes nothing. Raises
        CommandRefused or NeedsLookup.
        """

    def is_read_only(self, line: str) -> bool:
        """Whether a line can neither change nor order anything; so of one that is no command."""

    def next_words(self, words: Sequence[str]) -> list[str]:
        """The plain words that may follow these plain words."""

    def complete(self, text: str, context: CommandContext) -> list[str]:
        """Candidates for the last word of an unfinished line, each as it must be written. Never refuses."""


class Incomplete(CommandRefused):
    """A config lacks something from outside; `rest` is what can be tried of it, to find what else is wrong."""

    def __init__(self, text: str, rest: Config) -> None:
        super().__init__(text)
        self.rest = rest


@dataclass(frozen=True)
class FrozenContext:
    """A context as a value."""

    config: Config
    first: Config
    program: ProgramTables
    lookups: Lookups
    language: Vocabulary
    ceilings: Mapping[str, int]
    status: Status
    draft: Draft | None = None
    past: Past | None = None
    running: Config | None = None
    starting: bool = False
    secret: bytes | None = field(default=None, repr=False)

    @property
    def in_force(self) -> Config:
        return self.running or self.config


def made_ready(context: CommandContext, change: Change) -> Change:
    """The change as it may be put in force: complete, and checked. Raises CommandRefused, NeedsLookup."""
    return context.program.check_change(context, context.program.complete_change(context, change))


def context_with(context: CommandContext, config: Config, *, starting: bool = False) -> FrozenContext:
    """The context as it would be if this config were running, or, `starting`, the program just starting."""
    return FrozenContext(
        config,
        context.first,
        context.program,
        lookups=context.lookups,
        language=context.language,
        ceilings=context.ceilings,
        status=context.status,
        running=context.in_force,
        starting=starting or context.starting,
    )
