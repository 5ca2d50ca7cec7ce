"""Variables: the rows of `show` and `set`.

A program's variables are `common_variables(name)` and rows of its own. A row with `read` is read-only; the values of
the others stand in `Config.variables`, and begin as `initial_values` says.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.control.kinds import Dir, File, Id, Int, Kind, String
from supervisor.control.language import Refused
from supervisor.control.outcome import Desk

CHAPTER = "Runtime configuration: the show and set commands"
LARGEST_TABLE = 10_000_000
"""More sessions than one host will hold."""

Limits = Mapping[str, int]


@dataclass(frozen=True)
class Variable:
    """One row.

    `default` is a value, or a function of the limits. `when` says when a new value counts ("at once", "new sessions").
    `read` makes the variable read-only. `check(desk, value)` raises Refused if the value cannot be set now; it may give
    back a note that is added to the reply.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    when: str = "at once"
    read: Callable[[Desk], Any] | None = None
    check: Callable[[Desk, Any], str | None] | None = None
    source: str = CHAPTER

    @property
    def read_only(self) -> bool:
        return self.read is not None

    def value(self, desk: Desk) -> Any:
        """The value now."""
        return desk.config.variables[self.name] if self.read is None else self.read(desk)

    def first(self, limits: Limits) -> Any:
        """The value at the start."""
        return self.default(limits) if callable(self.default) else self.default


def initial_values(variables: Iterable[Variable], limits: Limits, **given: Any) -> dict[str, Any]:
    """The values of all read-write variables at the start; `given` are those that a start option has set."""
    rows = [variable for variable in variables if not variable.read_only]
    assert given.keys() <= {variable.name for variable in rows}
    return {row.name: given.get(row.name, row.first(limits)) for row in rows}


def _only_upwards(desk: Desk, value: int) -> None:
    now, most = desk.config.variables["maxsession"], desk.limits["sessionlimit"]
    if value < now:
        raise Refused(f"it is {now} and can only be increased; allowed: {now} to {most} (sessionlimit)")
    if value > most:
        raise Refused(f"it cannot be more than sessionlimit; allowed: {now} to {most}")


def common_variables(program: str) -> tuple[Variable, ...]:
    """The variables that every program has."""
    return (
        Variable("id", Id(), f'Name of the server, always "{program}".', read=lambda desk: desk.program.name),
        Variable("pid", Int(1, 2**31 - 1), "Process id of the master.", read=lambda desk: desk.status.pid),
        Variable("rundir", Dir(), "The run directory (option --rundir).", read=lambda desk: desk.status.rundir),
        Variable(
            "sessionlimit",
            Int(1, LARGEST_TABLE),
            "The highest value that maxsession may have (option --sessionlimit).",
            read=lambda desk: desk.limits["sessionlimit"],
        ),
        Variable("version", String(), "Version of the program.", read=lambda desk: desk.program.version),
        Variable(
            "backlog",
            Int(5, 1024),
            "How many connections the kernel lets wait at each listening socket (listen(2)).",
            default=512,
            when="sockets opened from now on: take a server offline and online again",
        ),
        Variable(
            "logfile",
            File(dash=True),
            "Name of the log file; - is standard error.",
            default=f"/var/log/popular/{program}",
            when="when the log is reopened (SIGHUP)",
        ),
        Variable(
            "maxlocalload",
            Int(0, 9999),
            "While the load average of the last minute is this or higher, nobody is accepted; clients wait in the "
            "backlog. 0: the load is not looked at.",
            default=0,
        ),
        Variable(
            "maxsession",
            Int(1, LARGEST_TABLE),
            "How many sessions there may be at once, over all workers. It can only be increased, up to sessionlimit.",
            default=lambda limits: min(1000, limits["sessionlimit"]),
            check=_only_upwards,
        ),
    )
