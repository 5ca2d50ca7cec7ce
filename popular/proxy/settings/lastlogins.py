"""The last login of each user: the variables `lastlogins` and `lastloginusers`, the commands `users last` and `export`.

Workers note it in a file of the state directory (popular/proxy/last_login_store.py), which jobs read.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from popular.proxy.last_login_store import FILE, LastLogin, NotRemembered, recall
from popular.proxy.settings.pairs import split_key
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand, Variable
from supervisor.control.language.kinds import Bool, Choice, Int, Time
from supervisor.control.language.lookups import Job, Unfit
from supervisor.control.language.outcome import Outcome, Reply
from supervisor.control.language.replytext import lines_of
from supervisor.runtime.plural import count_of

VARIABLE, USERS = "lastlogins", "lastloginusers"
MOST_LISTED, MOST_EXPORTED = 1000, 20_000
"""In one reply: it has to fit into the memory of the master."""
_LONGEST_SECONDS = 10 * 366 * 86_400

LAST_LOGIN_VARIABLES = (
    Variable(
        VARIABLE,
        Bool(),
        "Of each user the last login is remembered: when, from where, and by what (`users last`); in the state "
        f"directory, beyond the end of the program. Of as many users as {USERS} says.",
        default=False,
        when="new sessions",
        source=BESIDE,
    ),
    Variable(
        USERS,
        Int(1, 100_000_000),
        f"So many users {VARIABLE} remembers; who has not come for the longest time goes. A million has about 150 MB.",
        default=1_000_000,
        when="in a minute",
        source=BESIDE,
    ),
)


@dataclass(frozen=True)
class RecallLogins(Job):
    """How many there are, and those who came last."""

    path: str
    user: str | None
    since: float
    most: int
    namespace: str = ""
    """None but this one's; "": every one's."""

    def perform(self) -> tuple[int, list[LastLogin]]:
        try:
            return recall(Path(self.path), user=self.user, namespace=self.namespace, since=self.since, most=self.most)
        except NotRemembered as error:
            raise Unfit(f"{self.path}: {error}") from None


def _row(one: LastLogin) -> dict[str, Any]:
    return {
        "namespace": one.namespace,
        "user": one.user,
        "last": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.at)),
        "client": one.client,
        "how": one.how,
        "logins": one.logins,
    }


def _recalled(context: CommandContext, job: RecallLogins) -> tuple[str, list[dict[str, Any]]]:
    count, logins = context.lookups.find(job)
    text = count_of(count, "user")
    return (text if count == len(logins) else f"{text}, of whom the last {len(logins)}"), [*map(_row, logins)]


def _path(context: CommandContext) -> str:
    return f"{context.status.statedir}/{FILE}"


def _last(context: CommandContext, arguments: Arguments) -> Outcome:
    word = arguments["user"]
    namespace, user = ("", None) if word is None else split_key(word, context)
    job = RecallLogins(_path(context), user, 0.0, most=MOST_LISTED, namespace=namespace)
    text, rows = _recalled(context, job)
    if not rows and user is not None and not namespace and ":" in user:  # a namespace that no virtual server names
        namespace, _, user = user.partition(":")
        text, rows = _recalled(context, replace(job, user=user, namespace=namespace))
    is_on = context.config.variables[VARIABLE]
    why = "no such login is known" if is_on else f"it is off: `set {VARIABLE} on` begins it"
    return Reply(text, data=rows, lines=lines_of(rows) if rows else [why])


def _export(context: CommandContext, arguments: Arguments) -> Outcome:
    seconds = arguments["time"]
    # In whole minutes: the handler is called again when the job is done, and must ask for the same.
    since = 0.0 if seconds is None else (time.time() - seconds) // 60 * 60
    text, rows = _recalled(context, RecallLogins(_path(context), None, since, most=MOST_EXPORTED))
    return Reply(text, data=rows, lines=[json.dumps(row) for row in rows])


def last_login_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        ControlCommand(
            "users last [<user>]",
            _last,
            f"Lists the last login of each user, or of one; who came last stands first, {MOST_LISTED} at most.\nWhen, "
            "from which address, over which virtual server and how, and how many there were. Remembered while the "
            f"variable {VARIABLE} is on, a second after the login, beyond the end of the program.",
            {"user": lambda _context, _said: ()},
            source=BESIDE,
        ),
        ControlCommand(
            "users export [<option> <time>]",
            _export,
            f"Gives the same of all users as JSON, one line a user, {MOST_EXPORTED:,} at most.\n`users export since "
            "1h` gives those who came within that time. Where there are more, the file of SQLite in the state "
            f"directory ({FILE}) has all; it may be read at any time.",
            {"option": Choice("since"), "time": Time(1, _LONGEST_SECONDS)},
            source=BESIDE,
        ),
    ]
