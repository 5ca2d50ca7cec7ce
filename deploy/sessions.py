"""What a session can be doing, as diagrams: `python -m deploy.sessions` writes docs/sessions.md.

Phases, phrases and moves are those of the tables of the machines; a test compares.
"""

from collections.abc import Mapping, Set
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from popular.proxy.session.machine import phases as proxy
from popular.store.pserv import phases as store

PAGE = Path(__file__).parents[1] / "docs/sessions.md"

INTRODUCTION = """\
# What a session can be doing

A session is decided by a machine: octets and facts go in, and it calls verbs (send this, ask the modules, connect,
end). It is always in one of these phases. The phrase of a phase is what the log, `pcontrol sessions`, `pstatus`, the
status page and the metric `popular_sessions` show.

This page is made from the machines' tables of legal moves, by `make diagrams`. A move that is not in the table is a
fault of ours, and ends the session. Any phase may lead to the end (the client goes away, a time limit passes, an
operator says so), so the diagrams show that arrow only where there is no other.
"""


class Drawing(NamedTuple):
    """One machine: what is said of it, the file with its table of legal moves, the table, where it begins and ends."""

    title: str
    text: str
    source: str
    legal: Mapping[Any, Set[Any]]
    beginnings: Set[Any]
    end: Any


DRAWINGS = (
    Drawing(
        "The proxy: pproxy",
        "A mail program has connected. From `RELAYING` on, octets are passed both ways, and no command is looked at\n"
        "but QUIT and DELE.",
        "popular/proxy/session/machine/phases.py",
        proxy.LEGAL,
        proxy.BEGINNINGS,
        proxy.ENDED,
    ),
    Drawing(
        "The storage server: pserv",
        "A proxy has connected, and names the mailbox in the three lines of XPOP. Then it is POP3, already logged in.",
        "popular/store/pserv/phases.py",
        store.LEGAL,
        frozenset({store.ASKED_NOTHING}),
        store.ENDED,
    ),
)


def page() -> str:
    """The whole text of docs/sessions.md."""
    return INTRODUCTION + "".join(section(drawing) for drawing in DRAWINGS)


def section(drawing: Drawing) -> str:
    """A heading, the diagram, and the same as a table."""
    parts = [f"## {drawing.title}", drawing.text, diagram(drawing), table(drawing), f"The table is `{drawing.source}`."]
    return "".join(f"\n{part}\n" for part in parts)


def diagram(drawing: Drawing) -> str:
    """In Mermaid's language, which the usual hosts of repositories draw."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {phase.name}: {phase.phrase}" for phase in drawing.legal if phase is not drawing.end]
    lines += [f"    [*] --> {phase.name}" for phase in in_order(drawing.beginnings)]
    for before, afters in drawing.legal.items():
        lines += [f"    {before.name} --> {after.name}" for after in in_order(afters - {drawing.end})]
        if afters == {drawing.end}:
            lines.append(f"    {before.name} --> [*]")
    return "\n".join([*lines, "```"])


def table(drawing: Drawing) -> str:
    """For who sees no diagram."""
    lines = ["| phase | number | shown as | may lead to |", "|---|---|---|---|"]
    for phase, afters in drawing.legal.items():
        names = ", ".join(after.name for after in in_order(afters))
        lines.append(f"| {phase.name} | {phase.value} | {phase.phrase} | {names} |")
    return "\n".join(lines)


def in_order(phases: Set[Any]) -> list[Enum]:
    """By their numbers."""
    return sorted(phases, key=lambda phase: int(phase.value))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
