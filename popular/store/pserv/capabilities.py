"""The answer of `pserv` to CAPA: the built-in list, or one that was loaded from a file.

There is one list and it has no name: pserv's `capa` differs from pproxy's. The file looks as it does
there: one capability a line, exactly as in the answer to CAPA. It is checked when it is loaded, and read only then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from popular.protocol.capabilities import DEFAULT, MOST_OCTETS, BadCapabilities, read_lines, with_logins
from supervisor.config import Config
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.kinds import File
from supervisor.control.language.outcome import Change, Outcome, Reply
from supervisor.control.words import CommandRefused, phrase

CHAPTER = "Runtime configuration of pserv: the capa command"
SORT = "capa"
_ONE = "loaded"
BUILT_IN = with_logins(DEFAULT, user=True, mechanisms=("PLAIN", "LOGIN"))
"""What proxies announce that have no set of their own, and modules that look at passwords: SASL belongs in both states
(RFC 2449 section 6.3), and only they know what they say of it."""


@dataclass(frozen=True)
class CapabilityList:
    """The list as it was loaded from `file`."""

    file: str
    lines: tuple[str, ...]


def _loaded(config: Config) -> CapabilityList | None:
    found: CapabilityList | None = config.things[SORT].get(_ONE)
    return found


def lines_of(config: Config) -> Sequence[str]:
    """The list in force."""
    loaded = _loaded(config)
    return BUILT_IN if loaded is None else loaded.lines


def _load(context: CommandContext, arguments: Arguments) -> Outcome:
    file = arguments["file"]
    content = context.lookups.read(file, MOST_OCTETS + 1)
    try:
        lines = read_lines(content)
    except BadCapabilities as error:
        raise CommandRefused(f"{file}: {error}") from None
    config = context.config.with_thing(SORT, _ONE, CapabilityList(file, lines))
    return Change(f"{file}: {len(lines)} capabilities", config=config)


def _del(context: CommandContext, _arguments: Arguments) -> Outcome:
    if _loaded(context.config) is None:
        raise CommandRefused("no capability list is loaded")
    return Change("the built-in capability list is used", config=context.config.without_things(SORT))


def _show(context: CommandContext, _arguments: Arguments) -> Outcome:
    loaded = _loaded(context.config)
    return Reply("built in" if loaded is None else f"from {loaded.file}", data=list(lines_of(context.config)))


def rc_lines(config: Config) -> list[str]:
    """The command that loads the list anew, if one is loaded."""
    loaded = _loaded(config)
    return [] if loaded is None else [phrase(["capa", "load", loaded.file])]


def capa_commands() -> Sequence[ControlCommand]:
    """The rows."""
    return (
        ControlCommand(
            "capa load <file>",
            _load,
            "Loads the capability list from a file; it takes the place of the one before.\nOne capability a line, "
            "exactly as in the answer to CAPA. It should be the list that the proxies give before login, with the "
            "lines that they add by themselves: SASL by their mechanisms, and LOGIN-DELAY where they have logindelay.",
            {"file": File()},
            changes=True,
            source=CHAPTER,
        ),
        ControlCommand(
            "capa del", _del, "Forgets the loaded list: the built-in one is used again.", changes=True, source=CHAPTER
        ),
        ControlCommand("capa show", _show, "Shows the capability list in force.", source=CHAPTER),
    )
