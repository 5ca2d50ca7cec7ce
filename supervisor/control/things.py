"""Named things with parameters: `vserv conf v1 port 110 …`.

A sort of things is one frozen dataclass, a subclass of `Thing`, whose fields are its table:

    port: int = parameter(Int(1, 65535), default=…, help=…, offline_only=True)

From it follow the commands list, flush, show, conf, del, their help, completion and checks (`commands_of`). `show`
prints one command that can be pasted back; `rc_lines` prints what was said, so that what follows its default goes on
to follow it.

A parameter that was never set follows its default; a default that is a function gets the values of the parameters that
were set or have a constant default. `offline_only` parameters change only while the thing is in the state `offline`,
before or after the command.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Self

from supervisor.config import Config
from supervisor.control.context import Arguments, CommandContext, Completer, ControlCommand, in_rows
from supervisor.control.kinds import Id, Kind, OwnHost, String, nearest, shown
from supervisor.control.language import fit
from supervisor.control.outcome import Change, Outcome, Reply
from supervisor.control.replytext import noted
from supervisor.control.words import CommandRefused, Word, phrase
from supervisor.runtime.plural import count_of

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


def named(sort: str, ident: Word | str, context: CommandContext) -> Any:
    """The thing with this id. Raises CommandRefused that lists those there are."""
    things = context.config.things[sort]
    if ident in things:
        return things[ident]
    there = f"; there are: {', '.join(things)}" if things else "; there is none"
    raise CommandRefused(f"no {sort} {shown(ident)}{nearest(ident, things)}{there}", getattr(ident, "column", None))


def ids(sort: str) -> Completer:
    """Completes the ids of a sort."""
    return lambda context, _arguments: context.config.things[sort]


def room_for_one_more(sort: str, title: str, context: CommandContext) -> None:
    """Raises CommandRefused if there are as many things of a sort as the limits allow."""
    most = context.limits.get(sort)
    if most is not None and len(context.config.things[sort]) >= most:
        raise CommandRefused(
            f"there are {most} {title}s already, which is the limit (the start option --max-{sort}s raises it)"
        )


def list_handler(context: CommandContext, _arguments: Arguments, *, sort: str, title: str) -> Outcome:
    """The ids of a sort, one a line."""
    things = list(context.config.things[sort])
    return Reply(count_of(len(things), title), data=things)


def _show(sort: Sort, context: CommandContext, arguments: Arguments) -> Outcome:
    if sort.single and not context.config.things[sort.name]:
        raise CommandRefused(f"no {sort.title} is configured; make it with: {sort.name} conf")
    thing = named(sort.name, sort.name if sort.single else arguments["id"], context)
    data = {"id": thing.id} | {name: getattr(thing, name) for name in parameters(sort.thing)}
    data |= {f"{name}_address": address for name, (_host, address) in thing.resolved().items()}
    known, comments = sort.known(context, thing)
    return Reply(data={**data, **known}, lines=[*shown_lines(sort, thing), *comments])


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


def _conf(sort: Sort, context: CommandContext, arguments: Arguments) -> Outcome:
    word = sort.name if sort.single else arguments["id"]
    ident = str(fit(Id(), word, context.lookups, what=sort.name))
    old = context.config.things[sort.name].get(ident)
    if old is None:
        room_for_one_more(sort.name, sort.title, context)
    changes = changes_of(sort, context, arguments)
    new = (old or sort.thing.make(ident)).with_parameters(changes)
    if old is not None:
        _check_offline(sort, old, new, arguments=arguments)
    config = context.config.with_thing(sort.name, ident, new)
    notes = [sort.check(context, config, new), *moved_hosts(context.in_force, config, (sort.name, ident))]
    whom = sort.title if sort.single else f"{sort.name} {ident}"
    done = f"{whom} {'is changed' if old else 'is made'}"
    return Change(noted(done, *notes), config=config)


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


def changes_of(sort: Sort, context: CommandContext, arguments: Arguments) -> dict[str, Any]:
    """The parameters that a command sets, by name, as values. Raises CommandRefused."""
    rows = parameters(sort.thing)
    changes: dict[str, Any] = {}
    for name, word in zip(arguments["parameter"], arguments["value"], strict=True):
        if name not in rows:
            hint = nearest(name, rows) + _quote_hint(rows, list(changes))
            raise CommandRefused(
                f"{shown(name)} is unknown{hint}; allowed: {', '.join(rows)}", name.column, of_form=True
            )
        changes[str(name)] = fit(rows[name].kind, word, context.lookups, what=name)
    return changes


def _quote_hint(rows: Mapping[str, Parameter], said: Sequence[str]) -> str:
    """After a text without quotes its second word is taken for a parameter."""
    if not said or not isinstance(rows[said[-1]].kind, String):
        return ""
    return f"; if it belongs to {said[-1]}, put quotes around all of that"


def _check_offline(sort: Sort, old: Any, new: Any, *, arguments: Arguments) -> None:
    rows = parameters(sort.thing)
    others = {
        name
        for name, row in rows.items()
        if row.offline_only and in_effect(getattr(old, name)) != in_effect(getattr(new, name))
    }
    if not others or OFFLINE in (old.state, new.state):
        return
    # Whatever was not said follows from what was: a default port from the protocol.
    name = next(word for word in arguments["parameter"] if word in others)
    whom = [sort.name, "conf"] if sort.single else [sort.name, "conf", old.id]
    first = f"take it offline first: {phrase([*whom, 'state', OFFLINE])}"
    raise CommandRefused(f"{name} can only be changed while it is offline; {first}", name.column)


def _del(sort: Sort, context: CommandContext, arguments: Arguments) -> Outcome:
    ident = named(sort.name, arguments["id"], context).id
    config = context.config.without_thing(sort.name, ident)
    note = sort.check_gone(context, config, ident)
    done = f"{sort.name} {ident} is deleted"
    return Change(noted(done, note), config=config)


def _flush(sort: Sort, context: CommandContext, _arguments: Arguments) -> Outcome:
    gone = context.config.things[sort.name]
    config = context.config.without_things(sort.name)
    notes = [note for ident in gone if (note := sort.check_gone(context, config, ident))]
    return Change(noted(f"{count_of(len(gone), sort.title)} deleted", *notes), config=config)


def explained_parameters(sort: Sort) -> dict[str, str]:
    """What the command that sets the parameters of a sort of things says of each."""
    return {name: f"{row.kind.describe()}  {_help(row)}" for name, row in parameters(sort.thing).items()}


def parameter_help(explained: Mapping[str, str]) -> str:
    """The table of them, for the help of that command."""
    return f"Parameters:\n{in_rows(explained)}"


def _help(row: Parameter) -> str:
    """What a parameter is, and its default; where that is nothing, or follows others, the table's own words tell it."""
    default = "" if callable(row.default) else row.kind.format(row.default)
    return f"{row.help} Default: {default}." if default else row.help


def completed_pairs(sort: Sort) -> dict[str, Kind | Completer]:
    """Completes what `[<parameter> <value>]…` stands for."""
    rows = parameters(sort.thing)
    return {
        "parameter": lambda _context, said: [row for row in rows if row not in said["parameter"]],
        "value": lambda _context, said: (
            rows[said["parameter"][-1]].kind.complete("") if said["parameter"][-1] in rows else []
        ),
    }


def kinds_of_pairs(sort: Sort) -> dict[str, Kind]:
    """What the value of each parameter has to be."""
    return {word: row.kind for word, row in parameters(sort.thing).items()}


def commands_of(sort: Sort) -> list[ControlCommand]:
    """The commands about one sort of things."""
    title, name = sort.title, sort.name
    explained = explained_parameters(sort)
    known: dict[str, Kind | Completer] = {} if sort.single else {"id": ids(name)}
    pairs = completed_pairs(sort)
    which = "" if sort.single else " <id>"
    show = ControlCommand(
        f"{name} show{which}",
        partial(_show, sort),
        f"Shows a {title} as the command that makes it.\nThe lines can be pasted back. Parameters that were never set "
        "stand after it as a comment, with the default that they follow; so does the address of a host name.",
        known,
        source=sort.source,
    )
    conf = ControlCommand(
        f"{name} conf{which} [<parameter> <value>]…",
        partial(_conf, sort),
        f"Makes or changes a {title}.\nParameters that are not named stay as they are, or get their default in a new "
        f"one. All or nothing is done. New sessions see the change, old ones never do.\n{parameter_help(explained)}",
        {**known, **pairs},
        changes=True,
        source=sort.source,
        explained=explained,
        pairs=kinds_of_pairs(sort),
    )
    return [show, conf] if sort.single else [*_commands_about_many(sort), show, conf]


def _commands_about_many(sort: Sort) -> Sequence[ControlCommand]:
    title, name = sort.title, sort.name
    delete = f"Deletes a {title}.\nSessions that use it go on."
    flush = f"Deletes every {title}.\nSessions that use them go on."
    return (
        ControlCommand(
            f"{name} list",
            partial(list_handler, sort=name, title=title),
            f"Lists the ids of all {title}s.",
            source=sort.source,
        ),
        ControlCommand(f"{name} flush", partial(_flush, sort), flush, {}, changes=True, source=sort.source),
        ControlCommand(
            f"{name} del <id>", partial(_del, sort), delete, {"id": ids(name)}, changes=True, source=sort.source
        ),
    )
