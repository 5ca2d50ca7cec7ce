"""Report before enforce: the variable `reports`, and the commands `report cleartext` and `report tls`.

They tell whom a stricter configuration would refuse, while nobody is refused yet: workers note each user who logs in so
(popular/proxy/session/shared/reports.py).
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand, Variable
from supervisor.control.language.kinds import Kind, nearest, shown
from supervisor.control.language.lookups import Lookups, Unfit
from supervisor.control.language.outcome import Outcome, Reply
from supervisor.runtime.plural import count_of

OFF = "off"
CLEARTEXT, TLS = "cleartext", "tls"
REPORTS = {
    CLEARTEXT: "who logs in without TLS, and could not with `starttls force`",
    TLS: "who logs in by an older TLS than the next higher tlsminversion",
}
"""What is reported, and whom it concerns."""


@dataclass(frozen=True)
class ReportList(Kind):
    """Some of REPORTS, with commas and no blanks between them; or `off`."""

    def describe(self) -> str:
        return f"{OFF}, or of {', '.join(REPORTS)}"

    def parse(self, text: str, lookups: Lookups) -> tuple[str, ...]:
        del lookups
        words = text.lower().split(",")
        if words == [OFF]:
            return ()
        for word in words:
            if word not in REPORTS:
                allowed = f"{OFF}, {', '.join(REPORTS)}"
                raise Unfit(f"{shown(word)} is no report{nearest(word, REPORTS)}; allowed: {allowed}")
        return tuple(report for report in REPORTS if report in words)

    def format(self, value: Any) -> str:
        return ",".join(value) or OFF

    def complete(self, prefix: str) -> list[str]:
        before, comma, last = prefix.rpartition(",")
        said = before.lower().split(",")
        words = REPORTS if comma else (OFF, *REPORTS)
        return [before + comma + word for word in words if word.startswith(last.lower()) and word not in said]


REPORT_VARIABLES = (
    Variable(
        "reports",
        ReportList(),
        "Whom a stricter configuration would refuse is noted, by user, when he has logged in: "
        + "; ".join(f"{word}: {whom} (`report {word}`)" for word, whom in REPORTS.items())
        + ". Nobody is refused for it.",
        default=(),
        when="new sessions",
        source=BESIDE,
    ),
)


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _report(context: CommandContext, _arguments: Arguments, about: str) -> Outcome:
    rows = [
        {
            "namespace": seen.namespace,
            "user": seen.user,
            "vserv": seen.where,
            "logins": seen.times,
            "first": _iso(seen.first),
            "last": _iso(seen.last),
            "client": seen.network,
            "how": seen.how,
        }
        for seen in context.status.seen(about)
    ]
    is_on = about in context.config.variables["reports"]
    why = "nobody was concerned" if is_on else f"it is off: `set reports {about}` begins it"
    return Reply(count_of(len(rows), "user"), data=rows, lines=None if rows else [why])


def report_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        ControlCommand(
            f"report {word}",
            partial(_report, about=word),
            f"Lists {whom}; who did so last comes first.\nEach user of a virtual server once, with how often, when "
            "last, from where and by what. It is collected while the variable `reports` says so, for 1,024 users at "
            "most; popular_logins_reported_total counts the logins.",
            source=BESIDE,
        )
        for word, whom in REPORTS.items()
    ]
