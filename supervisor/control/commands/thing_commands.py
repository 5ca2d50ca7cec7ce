"""The commands about named things, made from the table of their sort: list, flush, show, conf, del."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from supervisor.control.commands.things import (
    OFFLINE,
    Parameter,
    Sort,
    in_effect,
    kinds_of_pairs,
    moved_hosts,
    parameters,
    shown_lines,
)
from supervisor.control.language.context import Arguments, CommandContext, Completer, ControlCommand, in_rows
from supervisor.control.language.kinds import Id, Kind, String, nearest, shown
from supervisor.control.language.language import fit
from supervisor.control.language.outcome import Change, Outcome, Reply
from supervisor.control.language.replytext import noted
from supervisor.control.words import CommandRefused, Word, phrase
from supervisor.runtime.plural import count_of


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
    """Raises CommandRefused if there are as many things of a sort as the ceilings allow."""
    most = context.ceilings.get(sort)
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
