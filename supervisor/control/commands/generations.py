"""The census: which configurations and which births of workers still serve sessions, how many, and since when.

A session is served to its end under the configuration that was in force when it was accepted, so the moment when it
began tells which one that is; a row of the table need not say it. Pure.
"""

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from supervisor.control.commands.variables import BESIDE, DAY
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.inforce import InForceSince
from supervisor.control.language.kinds import Choice, Int, Time
from supervisor.control.language.outcome import EVERYBODY, Outcome, Reply, SessionSweep
from supervisor.control.language.replytext import lines_of
from supervisor.control.words import CommandRefused
from supervisor.runtime.plural import count_of

CONFIG, BIRTH = "config", "birth"


class Served(NamedTuple):
    """How many sessions one of them serves, and when the oldest began (seconds since 1970; 0: none)."""

    sessions: int = 0
    oldest: float = 0.0

    def plus(self, began: float) -> "Served":
        return Served(self.sessions + 1, min(self.oldest or began, began))


def by_config(in_force: Sequence[InForceSince], sessions: Sequence[Mapping[str, Any]]) -> dict[int, Served]:
    """What each generation serves that serves anybody, and what the last one does; the oldest first."""
    begun = [one.wall for one in in_force]
    served: dict[int, Served] = {}
    for began in sorted(row["started"] for row in sessions):
        number = in_force[max(0, bisect_right(begun, began) - 1)].generation
        served[number] = served.get(number, Served()).plus(began)
    served.setdefault(in_force[-1].generation, Served())
    return served


def by_process(sessions: Sequence[Mapping[str, Any]]) -> dict[int, Served]:
    """What each process serves."""
    served: dict[int, Served] = {}
    for row in sessions:
        served[row["pid"]] = served.get(row["pid"], Served()).plus(row["started"])
    return served


def _generations(context: CommandContext, _arguments: Arguments) -> Outcome:
    in_force, sessions = context.status.generations(), context.status.sessions()
    since = {one.generation: one.wall for one in in_force}
    configs = by_config(in_force, sessions)
    rows = [_row(CONFIG, number, served, pid=None, since=since[number]) for number, served in configs.items()]
    births = by_process(sessions)
    rows += [
        _row(BIRTH, worker["generation"], births.get(worker["pid"], Served()), pid=worker["pid"], since=None)
        for worker in context.status.workers()
    ]
    serving = sum(served.sessions > 0 for served in configs.values())
    return Reply(f"{count_of(serving, 'configuration')} with sessions", data=rows, lines=lines_of(rows))


def _row(what: str, number: int, served: Served, *, pid: int | None, since: float | None) -> dict[str, Any]:
    return {
        "what": what,
        "number": number,
        "pid": pid,
        "since": _iso(since),
        "sessions": served.sessions,
        "oldest": _iso(served.oldest),
    }


def _iso(moment: float | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) if moment else None


def _drain(context: CommandContext, arguments: Arguments) -> Outcome:
    number, in_force = arguments["number"], context.status.generations()
    newest = in_force[-1].generation
    if number > newest:
        raise CommandRefused(f"there is no generation {number}; {newest} is in force (`generations`)")
    following = next((one for one in in_force if one.generation > number), None)
    if following is None:
        raise CommandRefused(f"generation {number} is in force, and no later one is; `generations` lists them")
    return SessionSweep(
        f"generation {number} and those before it are to go",
        sort=EVERYBODY,
        id=str(number),
        gentle=True,
        deadline=arguments["time"],
        before=following.clock,
    )


def generation_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        ControlCommand(
            "generations",
            _generations,
            "Lists the configurations that still serve sessions, and the workers, with how many and the oldest.\nA "
            "session is served to its end under the configuration that was in force when it was accepted (`config`, by "
            "its generation), by the worker that accepted it (`birth`). The last configuration is the one in force.",
            source=BESIDE,
        ),
        ControlCommand(
            "generations drain <number> [<option> <time>]",
            _drain,
            "Has the sessions of a generation and of those before it be gone.\nThose that are not logged in, or idle, "
            "are ended at once, the others when they have done what they do; with `deadline 10m` all that are left "
            "then, between a QUIT and its reply a minute later. Who comes again is served under the configuration in "
            "force.",
            {"number": Int(1, 2**31 - 1), "option": Choice("deadline"), "time": Time(0, DAY)},
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
    ]
