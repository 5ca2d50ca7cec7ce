"""Manual pages (troff, man macros), made from the tables: options, variables, commands. Pure: text out.

`page()` puts a page together out of sections; `synopsis`, `options`, `variables` and `commands` make their bodies.
"""

import argparse
import re
from collections.abc import Iterable, Sequence

from supervisor.control.language.context import Ceilings, ControlCommand, Variable
from supervisor.control.language.kinds import Kind
from supervisor.control.words import quote


def escape(text: str) -> str:
    """Text as troff takes it literally: backslashes, hyphens, and a dot or quote at the beginning of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.MULTILINE)


def page(name: str, number: int, title: str, *, version: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page; `sections` are headings and troff bodies."""
    head = f'.TH "{escape(name.upper())}" {number} "" "POPular {escape(version)}" "POPular"\n'
    first = section("NAME", f"{escape(name)} \\- {escape(title)}")
    return head + first + "".join(section(heading, body) for heading, body in sections)


def section(heading: str, body: str) -> str:
    """A heading and a troff body."""
    return f'.SH "{escape(heading)}"\n{body.rstrip()}\n'


def synopsis(parser: argparse.ArgumentParser) -> str:
    """The usage of a command on one line."""
    words = " ".join(parser.format_usage().split()).removeprefix("usage: ")
    name, _, rest = words.partition(" ")
    return f".B {escape(name)}\n{escape(rest)}"


def options(parser: argparse.ArgumentParser) -> str:
    """All options of a command that are not hidden, with their help."""
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return "\n".join(_option(parser, action) for action in shown)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    takes_value = action.nargs != 0
    what = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    value = f" \\fI{escape(str(what))}\\fR" if takes_value else ""
    names = [f"\\fB{escape(name)}\\fR{value}" for name in action.option_strings] or [f"\\fI{escape(str(what))}\\fR"]
    told = (action.help or "") % {**vars(action), "prog": parser.prog}
    return f".TP\n{', '.join(names)}\n{_as_command(told)}"


def _as_command(text: str) -> str:
    begun = text[:1].upper() + text[1:]
    return escape(begun if not begun or begun.endswith(".") else f"{begun}.")


def variables(rows: Sequence[Variable], ceilings: Ceilings) -> str:
    """All variables, with type, range, default and when they count."""
    return "\n".join(_variable(row, ceilings) for row in rows)


def _variable(row: Variable, ceilings: Ceilings) -> str:
    head = f".TP\n\\fB{escape(row.name)}\\fR  {escape(row.kind.describe())}"
    if row.read_only:
        return f"{head}\n{escape(row.help)} Read\\-only."
    # A default that depends on the host or the ceilings would be wrong on another one.
    default = "" if callable(row.default) else f" Default: {escape(quote(row.kind.format(row.first(ceilings))))}."
    return f"{head}\n{escape(row.help)}{default} Counts for: {escape(row.when)}."


def commands(rows: Sequence[ControlCommand]) -> str:
    """All commands, with their whole help."""
    return "\n".join(_one(row) for row in rows)


def _one(command: ControlCommand) -> str:
    first, *rest = command.help.split("\n")
    body = [f".TP\n\\fB{escape(command.usage)}\\fR\n{escape(first)}"]
    for line in rest:
        # Indented lines of a help are rows of a table: they keep their own line.
        body.append(f".br\n{escape(line.strip())}")
    kinds = [
        f".br\n<{escape(name)}>: {escape(kind.describe())}"
        for name, kind in command.slots.items()
        if isinstance(kind, Kind)
    ]
    return "\n".join([*body, *kinds])
