"""Variables: the rows of `show` and `set`.

A program's variables are `common_variables(name)` and rows of its own. A row with `read` is read-only; the values of
the others stand in `Config.variables`, and begin as `initial_values` says.
"""

import os
from collections.abc import Iterable
from functools import partial
from typing import Any

from supervisor.control.language.context import Ceilings, CommandContext, Variable
from supervisor.control.language.kinds import Bool, Dir, File, Id, Int, String, Time
from supervisor.control.language.lookups import Unfit
from supervisor.control.words import CommandRefused
from supervisor.table.tokens import MOST_TOKENS

BESIDE = "beside the manual"
MOST_WORKERS = 1024
OPEN_FILES = "open files"
"""A limit of the machine's, among those of the start options."""
HOUR = 60 * 60
DAY = 24 * HOUR


def initial_values(variables: Iterable[Variable], ceilings: Ceilings, **given: Any) -> dict[str, Any]:
    """The values of all read-write variables at the start; `given` are those that a start option has set."""
    rows = [variable for variable in variables if not variable.read_only]
    assert given.keys() <= {variable.name for variable in rows}
    return {row.name: given.get(row.name, row.first(ceilings)) for row in rows}


def processors() -> int:
    """How many processors this host has, as far as there may be workers for them."""
    return min(os.cpu_count() or 1, MOST_WORKERS)


def files_wanted(sessions: int) -> int:
    """Open files of a worker that has them all: two each, a pipe in large transfers, and what is its own."""
    return 2 * sessions + 256


def _only_upwards(context: CommandContext, value: int) -> str | None:
    now, most = context.in_force.variables["maxsession"], context.ceilings["sessionlimit"]
    if value == now or (context.starting and value <= most):
        return None
    if now == most:
        raise CommandRefused(f"it is {now}, as many as sessionlimit allows, and cannot be changed any more")
    if value < now:
        raise CommandRefused(f"it is {now} and can only be increased; allowed: {now} to {most} (sessionlimit)")
    if value > most:
        raise CommandRefused(f"it cannot be more than sessionlimit; allowed: {now} to {most}")
    files, wanted = context.ceilings[OPEN_FILES], files_wanted(value)
    if files >= wanted:
        return None
    return (
        f"a worker may open {files} files, and {wanted} are wanted where it has all sessions: fewer can be there than "
        "that; raise LimitNOFILE= of the unit, or `ulimit -n` (limit_low)"
    )


def limit_reached(context: CommandContext) -> str:
    """The variable for which clients wait to be accepted now, or ""."""
    if context.status.overload:
        return context.status.overload
    full = context.status.count_sessions() >= context.in_force.variables["maxsession"]
    return "maxsession" if full else ""


def _can_be_measured(what: str, context: CommandContext, value: int) -> None:
    if value and context.status.measured(what) is None:
        raise CommandRefused(f"the {what} cannot be read on this host, so a limit would never count; allowed: 0")


def _can_be_written(context: CommandContext, value: str) -> None:
    if value == "-" and not context.status.pid:
        return  # of `--check`: its own standard error is not that of the program which will run
    try:
        context.lookups.writable(value)
    except Unfit as unfit:
        raise CommandRefused(str(unfit)) from None


def common_variables(program: str) -> tuple[Variable, ...]:
    """The variables that every program has."""
    return (
        Variable("id", Id(), f'Name of the server, always "{program}".', read=lambda context: context.program.name),
        Variable(
            "limitreached",
            String(),
            "The limit for which clients wait to be accepted at the moment: maxlocalload, maxpressure or maxsession; "
            '"" if for none.',
            read=limit_reached,
            source=BESIDE,
        ),
        Variable(
            "metrics",
            String(),
            'Where the exporter answers (option --metrics): "off" if there is none, "" as long as it does not yet have '
            "its address.",
            read=lambda context: context.status.metrics,
            source=BESIDE,
        ),
        Variable("pid", Int(1, 2**31 - 1), "Process id of the master.", read=lambda context: context.status.pid),
        Variable("rundir", Dir(), "The run directory (option --rundir).", read=lambda context: context.status.rundir),
        Variable(
            "sessionlimit",
            Int(1, MOST_TOKENS),
            "The highest value that maxsession may have (option --sessionlimit).",
            read=lambda context: context.ceilings["sessionlimit"],
        ),
        Variable("version", String(), "Version of the program.", read=lambda context: context.program.version),
        Variable(
            "backlog",
            Int(5, 1024),
            "How many connections the kernel lets wait at each listening socket (listen(2)).",
            default=512,
            when="sockets opened from now on: take a server offline and online again",
        ),
        Variable(
            "displace",
            Bool(),
            "Where maxsession is reached and clients wait, end sessions that are not logged in and have been silent "
            "for 2 seconds: of the address (IPv4), or /64 (IPv6), that has most of them, the oldest first.",
            default=True,
            source=BESIDE,
        ),
        Variable(
            "logfile",
            File(dash=True),
            "Name of the log file; - is standard error.",
            default=f"/var/log/popular/{program}",
            when="when the log is reopened (SIGHUP)",
            check=_can_be_written,
        ),
        Variable(
            "grace",
            Time(0, DAY),
            "How long `shutdown delayed` goes on accepting if the command does not say it (option --grace): load "
            "balancers need that time to look elsewhere.",
            default=0,
            source=BESIDE,
        ),
        Variable(
            "maxlocalload",
            Int(0, 9999),
            "While the load average of the last minute is this or higher, nobody is accepted; clients wait in the "
            "backlog. 0: the load is not looked at.",
            default=0,
            check=partial(_can_be_measured, "load"),
        ),
        Variable(
            "maxpressure",
            Int(0, 100),
            "While processes of our control group wait for a processor in this per cent of the last 10 seconds, or in "
            "more, nobody is accepted (cpu.pressure, some avg10). Made for containers, where the load average is the "
            "host's. 0: it is not looked at.",
            default=0,
            check=partial(_can_be_measured, "pressure"),
            source=BESIDE,
        ),
        Variable(
            "maxsession",
            Int(1, MOST_TOKENS),
            "How many sessions there may be at once, over all workers. A start configuration can set any number up to "
            "sessionlimit; later it can only be increased. Default: 1000, or sessionlimit if that is less.",
            default=lambda ceilings: min(1000, ceilings["sessionlimit"]),
            check=_only_upwards,
        ),
        Variable(
            "tracespace",
            Int(0, 65536),
            "How many MiB the history of configurations and the traces may take in the state directory together; the "
            "oldest goes. 0: no history is kept.",
            default=64,
            source=BESIDE,
        ),
        Variable(
            "workers",
            Int(1, MOST_WORKERS),
            "How many workers there are (option --workers). Those that are too many finish their sessions first. "
            "Default: one for each processor.",
            default=lambda _ceilings: processors(),
            source=BESIDE,
        ),
        Variable(
            "workertimeout",
            Time(0, HOUR),
            "A worker whose event loop has not turned for so long is killed and replaced. 0: never.",
            default=30,
            source=BESIDE,
        ),
    )
