"""The programs that there are, for the commands that look for a running one.

The commands themselves know none: `pcontrol` is the supervisor's, `pstatus` the watchers'.
"""

from collections.abc import Sequence

PROGRAMS = ("pproxy", "pserv")
"""In the order in which they are tried."""


def pcontrol(argv: Sequence[str] | None = None) -> int:
    """The command `pcontrol`."""
    from supervisor.pcontrol.main import main

    return main(argv, PROGRAMS, _is_read_only)


def _is_read_only(program: str, line: str) -> bool:
    """Whether it is a question to the program; asked of those that are not the first one, and rarely: it reads much."""
    from popular.store.pserv.program import PROGRAM
    from supervisor.control.language.language import Language

    assert program == PROGRAM.name
    return Language(PROGRAM.commands).is_read_only(line)


def pstatus(argv: Sequence[str] | None = None) -> int:
    """The command `pstatus`."""
    from metrics.pstatus import main

    return main(argv, PROGRAMS)
