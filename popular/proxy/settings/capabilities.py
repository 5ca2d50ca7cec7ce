"""Capability sets: lists of lines for the CAPA answer, read from files of `capadir` (`capa load NAME`).

A file holds one capability a line, exactly as it stands in the answer. A set is checked when it is loaded and never
changes afterwards; a vserv names it with its parameter `capa`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from popular.protocol.capabilities import MOST_OCTETS, BadCapabilities, read_lines
from supervisor.config import Config
from supervisor.control.commands.thing_commands import ids, list_handler, named
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.kinds import LONGEST_ID, Id
from supervisor.control.language.language import fit
from supervisor.control.language.outcome import Change, Outcome, Reply
from supervisor.control.words import CommandRefused, phrase

CHAPTER = "Runtime configuration: the capa command"


@dataclass(frozen=True)
class CapabilitySet:
    """A set as it was loaded from `directory`."""

    id: str
    directory: str
    lines: tuple[str, ...]


def _load(context: CommandContext, arguments: Arguments) -> Outcome:
    word = arguments["name"]
    name = str(fit(Id(), word, context.lookups, what="name"))
    if name.strip(".") == "":
        raise CommandRefused(f"{name} is not a file in capadir", word.column)
    directory = context.config.variables["capadir"]
    content = context.lookups.read(f"{directory.rstrip('/')}/{name}", MOST_OCTETS + 1)
    try:
        lines = read_lines(content)
    except BadCapabilities as error:
        raise CommandRefused(f"{name}: {error}", word.column) from None
    config = context.config.with_thing("capa", name, CapabilitySet(name, directory, lines))
    return Change(f"capability set {name}: {len(lines)} capabilities", config=config)


def _del(context: CommandContext, arguments: Arguments) -> Outcome:
    word = arguments["name"]
    ident = named("capa", word, context).id
    users = [vserv.id for vserv in context.config.things["vserv"].values() if vserv.capa == ident]
    if users:
        raise CommandRefused(f"capability set {ident} is in use by vserv {', '.join(users)}", word.column)
    return Change(f"capability set {ident} is deleted", config=context.config.without_thing("capa", ident))


def _show(context: CommandContext, arguments: Arguments) -> Outcome:
    return Reply(data=list(named("capa", arguments["name"], context).lines))


def _list(context: CommandContext, arguments: Arguments) -> Outcome:
    return list_handler(context, arguments, sort="capa", title="capability set")


def rc_lines(config: Config) -> list[str]:
    """Loads every set from the directory that it came from, and leaves `capadir` as it is."""
    lines: list[str] = []
    here = last = config.variables["capadir"]
    for one in config.things["capa"].values():
        if one.directory != here:
            lines.append(phrase(["set", "capadir", one.directory]))
            here = one.directory
        lines.append(phrase(["capa", "load", one.id]))
    if here != last:
        lines.append(phrase(["set", "capadir", last]))
    return lines


def capa_commands() -> Sequence[ControlCommand]:
    """The rows."""
    loaded = {"name": ids("capa")}
    return (
        ControlCommand("capa list", _list, "Lists the ids of all loaded capability sets.", source=CHAPTER),
        ControlCommand(
            "capa load <name>",
            _load,
            "Loads a capability set from the file of that name in capadir.\nOne capability a line, exactly as in the "
            f"answer to CAPA. The name is the id of the set: at most {LONGEST_ID} letters, digits, _, - and dots.",
            loaded,
            changes=True,
            source=CHAPTER,
        ),
        ControlCommand(
            "capa del <name>",
            _del,
            "Forgets a capability set.\nRefused while a vserv uses it.",
            loaded,
            changes=True,
            source=CHAPTER,
        ),
        ControlCommand("capa show <name>", _show, "Shows the capabilities of a set.", loaded, source=CHAPTER),
    )
