"""The last login of each user: the variable `lastlogins`, and the commands `users last` and `users export`.

Workers note it beside the reports, in the same bounded list (popular/proxy/session/reports.py).
"""

import json
import time
from typing import Any

from supervisor.control.context import Arguments, CommandContext, ControlCommand, Variable
from supervisor.control.kinds import Bool
from supervisor.control.outcome import Outcome, Reply, lines_of
from supervisor.control.variables import BESIDE
from supervisor.runtime.plural import count_of
from supervisor.table.sightings import MOST_SIGHTINGS

LAST_LOGIN = "last"
"""What such a sighting is about."""
VARIABLE = "lastlogins"

LAST_LOGIN_VARIABLES = (
    Variable(
        VARIABLE,
        Bool(),
        "Of each user the last login is remembered: when, from where, and by what (`users last`); of "
        f"{MOST_SIGHTINGS:,} users at most, together with those of `reports`, and until the program ends.",
        default=False,
        when="new sessions",
        source=BESIDE,
    ),
)


def _rows(context: CommandContext, user: str | None) -> list[dict[str, Any]]:
    return [
        {
            "namespace": seen.namespace,
            "user": seen.user,
            "last": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seen.last)),
            "client": seen.network,
            "how": seen.how,
            "logins": seen.times,
        }
        for seen in context.status.seen(LAST_LOGIN)
        if user in (None, seen.user)
    ]


def _last(context: CommandContext, arguments: Arguments) -> Outcome:
    rows = _rows(context, arguments["user"])
    is_on = context.config.variables[VARIABLE]
    why = "no such login is known" if is_on else f"it is off: `set {VARIABLE} on` begins it"
    return Reply(count_of(len(rows), "user"), data=rows, lines=lines_of(rows) if rows else [why])


def _export(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = _rows(context, None)
    return Reply(count_of(len(rows), "user"), data=rows, lines=[json.dumps(row) for row in rows])


def _names(context: CommandContext, _arguments: Arguments) -> list[str]:
    return list(dict.fromkeys(seen.user for seen in context.status.seen(LAST_LOGIN)))


def last_login_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        ControlCommand(
            "users last [<user>]",
            _last,
            "Lists the last login of each user, or of one; who came last stands first.\nWhen, from which address, over "
            f"which virtual server and how, and how many there were. Remembered while the variable {VARIABLE} is on.",
            {"user": _names},
            source=BESIDE,
        ),
        ControlCommand(
            "users export",
            _export,
            "Gives the same of all users as JSON, one line a user.",
            source=BESIDE,
        ),
    ]
