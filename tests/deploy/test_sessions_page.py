"""The page about sessions says what the machines' tables of legal moves say."""

import re

import pytest

from deploy.sessions import DRAWINGS, PAGE, Drawing, page

TEXT = PAGE.read_text("utf-8")


def test_the_page_is_up_to_date() -> None:
    """`make diagrams` would change nothing."""
    assert page() == TEXT


@pytest.mark.parametrize("drawing", DRAWINGS, ids=[drawing.source for drawing in DRAWINGS])
def test_the_page_shows_every_legal_move_and_no_other(drawing: Drawing) -> None:
    """Read back from the page: rows are moves, and arrows those moves that do not end the session."""
    section = TEXT.split(f"## {drawing.title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z_]+) \| (\d+) \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    shown = {name: (int(number), phrase, set(filter(None, after.split(", ")))) for name, number, phrase, after in rows}
    assert shown == {
        phase.name: (phase.value, phase.phrase, {after.name for after in afters})
        for phase, afters in drawing.legal.items()
    }
    arrows = set(re.findall(r"^    ([A-Z_]+) --> ([A-Z_]+)$", section, re.MULTILINE))
    moves = {(phase.name, after.name) for phase, afters in drawing.legal.items() for after in afters}
    assert arrows == {(before, after) for before, after in moves if after != drawing.end.name}
    assert set(re.findall(r"^    \[\*\] --> ([A-Z_]+)$", section, re.MULTILINE)) == {
        phase.name for phase in drawing.beginnings
    }


@pytest.mark.parametrize("drawing", DRAWINGS, ids=[drawing.source for drawing in DRAWINGS])
def test_every_phase_can_be_reached_and_left(drawing: Drawing) -> None:
    """A phase to which no move leads, or from which none leads to the end, is a fault of the table."""
    reached = set(drawing.beginnings)
    while more := {after for phase in reached for after in drawing.legal[phase]} - reached:
        reached |= more
    assert reached == set(drawing.legal)
    leads_to_end = {drawing.end}
    while more := {phase for phase, afters in drawing.legal.items() if afters & leads_to_end} - leads_to_end:
        leads_to_end |= more
    assert leads_to_end == set(drawing.legal)
