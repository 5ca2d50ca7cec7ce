"""Configured things as lines of text: how each is, since when and why, who is there, and how long it takes. Pure."""

from collections.abc import Sequence
from typing import Any

from metrics.duration import age
from metrics.headline import BUSY, CLOSED
from metrics.ink import PLAIN, InkedText, Line
from metrics.latency import Latency
from metrics.listing import table
from metrics.things import ThingSeen, moments_of
from metrics.trouble import last_error, share, since_when, users_of
from supervisor.table.contents import UP, ThingLook
from supervisor.table.layout import Layout

_TEXTS = 3
"""Columns that are texts: which it is, its state, how it was found."""


def lines_of(found: Sequence[ThingSeen], look: ThingLook, layout: Layout, *, now: float) -> tuple[str, list[Line]]:
    """The bar above the table, and a line for each in its tone."""
    heads = heads_of(look)
    moments = moments_of(layout, look)
    rows = [row_of(one, look, moments, now=now) for one in found]
    last = len(heads) - 2
    bar, *texts = table(heads, rows, set(range(_TEXTS, last)))
    return bar, [[InkedText(text, tone_of(one))] for text, one in zip(texts, found, strict=True)]


def heads_of(look: ThingLook) -> list[str]:
    """The columns."""
    counted, took = (title for title, _name in look.counted), (f"{title} 50/99%" for title, _name in look.durations)
    return [look.by, "state", "found", "since", "fails", "users", "sessions", *counted, *took, "last error", "ordered"]


def row_of(one: ThingSeen, look: ThingLook, moments: set[str], *, now: float) -> list[str]:
    """What stands in them; nothing where nothing is known."""
    health, since = one.health, since_when(one.health)
    return [
        *(one.ident, one.state, health.condition),
        age(now - since) if since else "",
        f"{share(health):.0%}" if health.good + health.bad else "",
        users_of(health),
        str(one.sessions),
        *(str(one.counted[title]) for title, _name in look.counted),
        *(_milliseconds(one.took[title]) for title, _name in look.durations),
        last_error(health) if one.is_failing or health.condition != UP else "",
        ", ".join(_told(name, value, moments, now=now) for name, value in one.ordered().items()),
    ]


def tone_of(one: ThingSeen) -> str:
    """Red for what fails, and stressed what is on its way back, or is held back by the operator."""
    if one.is_failing:
        return CLOSED
    return BUSY if one.health.condition != UP or one.ordered() else PLAIN


def _milliseconds(took: Latency | None) -> str:
    return f"{took.median * 1000:.0f}/{took.late * 1000:.0f}ms" if took is not None else ""


def _told(name: str, value: Any, moments: set[str], *, now: float) -> str:
    words = name.replace("_", " ")
    return f"{words} {age(now - value)}" if name in moments else f"{words} {value}"
