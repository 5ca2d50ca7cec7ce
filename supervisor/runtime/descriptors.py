"""The descriptors of this process: a forked child must know which to let go of."""

import contextlib
import fcntl
import os
from collections.abc import Set


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
