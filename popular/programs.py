"""The programs that there are, for the commands that look for a running one.

The commands themselves know none: `pcontrol` is the supervisor's, `pstatus` the watchers'.
"""

from collections.abc import Sequence

PROGRAMS = ("pproxy", "pserv")
"""In the order in which they are tried."""


def pcontrol(argv: Sequence[str] | None = None) -> int:
    """The command `pcontrol`."""
    from supervisor.pcontrol.main import main

    return main(argv, PROGRAMS)


def pstatus(argv: Sequence[str] | None = None) -> int:
    """The command `pstatus`."""
    from metrics.pstatus import main

    return main(argv, PROGRAMS)
