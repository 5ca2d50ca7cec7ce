"""Lines of a terminal in inks: what is to be seen, before anybody knows by which codes. Pure."""

from typing import NamedTuple

PLAIN, BOLD, BAR = "plain", "bold", "bar"
"""Inks besides the tones: normal text, stressed text, and the bar that heads a table or marks a line."""


class InkedText(NamedTuple):
    """A piece of a line in one ink."""

    text: str
    ink: str = PLAIN


Line = list[InkedText]


def cut(line: Line, width: int) -> Line:
    """The line, not longer than `width`."""
    fitting: Line = []
    for text, ink in line:
        if width <= 0:
            break
        fitting.append(InkedText(text[:width], ink))
        width -= len(text)
    return fitting


def marked(line: Line, width: int) -> Line:
    """The line as a bar, over the whole width."""
    return [InkedText("".join(text for text, _ink in line).ljust(width), BAR)]
