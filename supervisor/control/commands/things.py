"""Named things with parameters: `vserv conf v1 port 110 …`.

A sort of things is one frozen dataclass, a subclass of `Thing`, whose fields are its table:

    port: int = parameter(Int(1, 65535), default=…, help=…, offline_only=True)

From it follow the commands list, flush, show, conf, del, their help, completion and checks (thing_commands.py). What
makes a thing anew is one command that can be pasted back; `rc_lines` prints what was said, so that what follows its
default goes on to follow it.

A parameter that was never set follows its default; a default that is a function gets the values of the parameters that
were set or have a constant default. `offline_only` parameters change only while the thing is in the state `offline`,
before or after the command.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from supervisor.config import Config
from supervisor.control.language.context import CommandContext
from supervisor.control.language.kinds import Kind, OwnHost
from supervisor.control.words import phrase

OFFLINE = "offline"


@dataclass(frozen=True)
class Parameter:
    """One row of a thing's table."""

    kind: Kind
    default: Any
    help: str
    offline_only: bool


def parameter(kind: Kind, default: Any, help: str, *, offline_only: bool = False) -> Any:
    """A field of a Thing. `default`: a value, or a function of the other parameters' values."""
    return field(kw_only=True, metadata={"parameter": Parameter(kind, default, help, offline_only=offline_only)})


@dataclass(frozen=True)
class Thing:
    """A named thing. `given`: the parameters that were set by someone; the others follow their defaults."""

    id: str
    given: frozenset[str] = field(default=frozenset(), kw_only=True)

    @classmethod
    def make(cls, ident: str, **given: Any) -> Self:
        """A thing with these parameters, the others at their defaults."""
        rows = parameters(cls)
        constant = {name: row.default for name, row in rows.items() if not callable(row.default)}
        known = constant | given
        derived = {name: row.default(known) for name, row in rows.items() if name not in known}
        return cls(ident, given=frozenset(given), **known, **derived)

    def resolved(self) -> Mapping[str, tuple[str, str]]:
        """The host names among its parameters, by parameter: as it was typed, and the address that it stands for."""
        hosts = {name: value for name in parameters(type(self)) if isinstance(value := getattr(self, name), OwnHost)}
        return {name: (host.name, host.address) for name, host in hosts.items() if host.name != host.address}

    def with_parameters(self, changes: Mapping[str, Any]) -> Self:
        """The thing with some parameters set; those never set follow their defaults anew."""
        kept = {name: getattr(self, name) for name in self.given}
        return self.make(self.id, **{**kept, **changes})


def in_effect(thing: Any) -> Any:
    """What can be compared with another one's, thing or value, to see whether both work alike, whatever was said."""
    return replace(thing, given=frozenset()) if isinstance(thing, Thing) else getattr(thing, "in_effect", thing)


def parameters(thing: type[Thing]) -> Mapping[str, Parameter]:
    """The table of a sort of things, by name."""
    return {row.name: row.metadata["parameter"] for row in fields(thing) if "parameter" in row.metadata}


def _nothing_to_check(_context: CommandContext, _config: Config, _thing: Any) -> str | None:
    return None


def _nothing_known(_context: CommandContext, _thing: Any) -> tuple[Mapping[str, object], list[str]]:
    return {}, []


@dataclass(frozen=True)
class Sort:
    """A sort of things.

    `title` is what people call one. `check(context, config, thing)` looks at a thing in the config that it would be
    part of: it raises CommandRefused, and may give back a note for the reply. `check_gone(context, config, id)` does
    the same for a config that it is gone from. `known(context, thing)` tells what was found out about one, beside what
    was said of it: for JSON, and as lines of comment. `single`: there is only one, it has no name, and it is made by
    its first `conf`.
    """

    name: str
    thing: type[Thing]
    title: str
    check: Callable[[CommandContext, Config, Any], str | None] = _nothing_to_check
    check_gone: Callable[[CommandContext, Config, str], str | None] = _nothing_to_check
    known: Callable[[CommandContext, Any], tuple[Mapping[str, object], list[str]]] = _nothing_known
    single: bool = False
    source: str = ""


def command_of(sort: Sort, thing: Thing, names: Iterable[str] | None = None) -> str:
    """The `conf` command that makes a thing, with all its parameters or only those named."""
    rows = parameters(sort.thing)
    head = [sort.name, "conf"] if sort.single else [sort.name, "conf", thing.id]
    pairs = [
        (name, row.kind.format(getattr(thing, name))) for name, row in rows.items() if names is None or name in names
    ]
    return phrase([*head, *(word for pair in pairs for word in pair)])


def rc_lines(sort: Sort, config: Config) -> list[str]:
    """The commands that make all things of a sort as they are."""
    return [command_of(sort, thing, thing.given) for thing in config.things[sort.name].values()]


def shown_lines(sort: Sort, thing: Thing) -> list[str]:
    """The command that makes a thing with what was said of it; as comments the defaults that it follows, and what a
    host name stands for. So all of it can be pasted, and a default stays one.
    """
    rows = parameters(sort.thing)
    pairs = [(name, row.kind.format(getattr(thing, name))) for name, row in rows.items() if name not in thing.given]
    defaults = phrase(word for pair in pairs for word in pair)
    return [
        command_of(sort, thing, thing.given),
        *([f"# defaults: {defaults}"] if defaults else []),
        *(f"# {name} {host} is {address}" for name, (host, address) in thing.resolved().items()),
    ]


def resolved_hosts(config: Config) -> dict[tuple[str, str], tuple[str, str]]:
    """What host names stand for: (sort and id, parameter) → (name, address)."""
    return {
        (f"{sort} {ident}", parameter): found
        for sort, things in config.things.items()
        for ident, thing in things.items()
        if isinstance(thing, Thing)
        for parameter, found in thing.resolved().items()
    }


def moved_hosts(before: Config, after: Config, only: tuple[str, str] | None = None) -> list[str]:
    """For people: host names that stand for another address than before, of one thing (sort, id) or of all."""
    had = resolved_hosts(before)
    return [
        f"{whom}: {parameter} {host} is {address} now, it was {had[whom, parameter][1]}"
        for (whom, parameter), (host, address) in resolved_hosts(after).items()
        if (only is None or whom == " ".join(only))
        and had.get((whom, parameter), (host, address))[0] == host
        and had.get((whom, parameter), (host, address)) != (host, address)
    ]


def kinds_of_pairs(sort: Sort) -> dict[str, Kind]:
    """What the value of each parameter has to be."""
    return {word: row.kind for word, row in parameters(sort.thing).items()}
