"""The descriptors of this process: a forked child must know which to let go of, and who keeps some, how many."""

import contextlib
import fcntl
import os
import resource
from collections.abc import Set

_MOST_RESTING = 24
_RESTING_SHARE = 64


def resting_descriptors() -> int:
    """How many a worker may keep open for use by later sessions: a 64th of what it may have, and few in any case."""
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_RESTING if limit == resource.RLIM_INFINITY else min(_MOST_RESTING, limit // _RESTING_SHARE)


def open_descriptors() -> set[int]:
    """All that are open now. Raises OSError if there is none left to look with."""
    return {number for number in map(int, os.listdir("/proc/self/fd")) if _is_open(number)}


def _is_open(number: int) -> bool:
    """The descriptor that the listing itself used is closed by now."""
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def close_all_but(keep: Set[int]) -> None:
    """Closes every descriptor of this process that is not among these.

    Those that valgrind keeps for itself are seen, and do not let themselves be closed.
    """
    for number in open_descriptors() - keep:
        with contextlib.suppress(OSError):
            os.close(number)
