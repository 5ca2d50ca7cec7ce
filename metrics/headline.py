"""The state of a running program in one line, as one would say it to a colleague: "Serving 412 sessions".

Pure: gauges of the table and the facts about the configuration go in. The status page shows it; what it says is ordered
by what an operator must know first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics.servers import ServersSeen
from metrics.trouble import Concern, concerns
from supervisor.runtime.load import Level
from supervisor.runtime.plural import noun
from supervisor.table.segment import HealthReading

GOOD, BUSY, CLOSED, QUIET = "good", "busy", "closed", "quiet"
"""Tones: all is well; look at it; nobody new is served; nothing to say. They decide about colours."""

_BACK_BELOW = 0.9
"""Part of a limit below which the program accepts again (see supervisor.runtime.load.next_level)."""


class Headline(NamedTuple):
    """`text` says what is so, `detail` why, or what comes next ("" if there is nothing to say)."""

    tone: str
    text: str
    detail: str = ""


class LimitReading(NamedTuple):
    """Something that is measured against a limit (0: not checked)."""

    what: str
    value: float
    limit: float


def headline(
    gauges: Mapping[str, int],
    sessions: int,
    facts: Mapping[str, Any],
    *,
    healths: Mapping[str, Sequence[HealthReading]],
    now: float,
    servers: ServersSeen | None = None,
    standstill: str = "",
    more: Sequence[Concern] = (),
) -> Headline:
    """What is most important now.

    `facts` is what the master tells of the configuration (Program.describe); who has the table only does without.
    `servers` is what clients connect to, as far as it is known; `standstill` why nobody should be sent here, or nobody
    is served, whatever stands in the table; `more` is what else is to be known.
    """
    if standstill:
        return Headline(CLOSED, f"{standstill[0].upper()}{standstill[1:]}", "What is said below may be old.")
    if gauges.get("draining"):
        return Headline(CLOSED, f"Draining, {sessions or 'nobody'} left", "New clients are served elsewhere.")
    if not gauges.get("workers"):
        return Headline(CLOSED, "Not accepting: no worker lives", "A successor is on its way; clients wait.")
    if gauges.get("load_state") == Level.MAX:
        return _overloaded(readings(gauges, facts))
    found = [*more, *concerns(gauges, healths, now)]
    if gauges.get("workers_missing", 0) >= gauges.get("workers_configured", 0) > 0:
        return _concerned(Headline(CLOSED, "Not accepting: no worker serves", "Clients wait."), found)
    if servers is not None and servers.are_closed:
        closed = Headline(CLOSED, f"Not serving: no {servers.one} is online", _instead(servers.states))
        return _concerned(closed, found)
    return _concerned(_serving(gauges, sessions, readings(gauges, facts)), found)


def _concerned(said: Headline, found: Sequence[Concern]) -> Headline:
    """The headline, and what else is to be known."""
    tone = BUSY if said.tone == GOOD and any(one.is_urgent for one in found) else said.tone
    texts = [said.text, *(one.text for one in found)]
    details = [said.detail, *(one.detail for one in found)]
    return Headline(tone, "; ".join(texts), " ".join(filter(None, details)))


def readings(gauges: Mapping[str, int], facts: Mapping[str, Any]) -> list[LimitReading]:
    """Load and pressure with their limits."""
    limits = facts.get("variables", {})
    return [
        LimitReading("load", gauges.get("load_hundredths", 0) / 100, limits.get("maxlocalload", 0)),
        LimitReading("pressure", gauges.get("pressure_hundredths", 0) / 100, limits.get("maxpressure", 0)),
    ]


def _overloaded(measured: list[LimitReading]) -> Headline:
    over = [one for one in measured if one.limit and one.value >= _BACK_BELOW * one.limit]
    if not over:
        return Headline(CLOSED, "Not accepting: the load is too high", "Clients wait until it falls.")
    worst = max(over, key=lambda one: one.value / one.limit)
    sign = "≥" if worst.value >= worst.limit else "near"
    back = f"Clients wait until it is below {_BACK_BELOW * worst.limit:.3g}."
    return Headline(CLOSED, f"Not accepting: {worst.what} {worst.value:.3g} {sign} {worst.limit:g}", back)


def _instead(states: Sequence[str]) -> str:
    return f"Configured are: {', '.join(sorted(set(states)))}." if states else "None is configured."


def _serving(gauges: Mapping[str, int], sessions: int, measured: list[LimitReading]) -> Headline:
    most = gauges.get("maxsession", 0)
    if sessions >= most > 0:
        return Headline(
            CLOSED, f"Full: {sessions:,} of {most:,} {noun(most, 'session')}", "Newcomers wait until somebody leaves."
        )
    text = f"Serving {sessions:,} {noun(sessions, 'session')}" if sessions else "Ready, nobody is connected"
    if gauges.get("session_state", 0) >= Level.WARN:
        return Headline(BUSY, text, f"Near the limit of {most:,}.")
    if gauges.get("load_state") == Level.WARN:
        high = max(measured, key=lambda one: one.value / one.limit if one.limit else 0.0)
        return Headline(BUSY, text, f"The {high.what} is {high.value:.3g}; at {high.limit:g} nobody is accepted.")
    return Headline(GOOD, text)
