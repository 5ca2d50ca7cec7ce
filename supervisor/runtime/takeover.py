"""A newer instance takes over, but not while what the one before is to leave to it is on its way to the disk.

Whoever is to be waited for holds octet 0 of its lock file, which the kernel frees with it; whoever takes over shares
that octet of all others meanwhile, so that none begins to hold it.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from supervisor.runtime.directory import Directory

HELD_BACK_SECONDS = 15.0
"""So long a newer instance lets itself be held back; a change of the config goes to the disk within ten."""
_LOOK_SECONDS = 0.02


def hold_back(lock_fd: int) -> None:
    """None takes over from now on. Where one does just now it is too late for that."""
    with suppress(OSError):
        fcntl.lockf(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)


def let_come(lock_fd: int) -> None:
    """What a newer instance is to read is there."""
    with suppress(OSError):
        fcntl.lockf(lock_fd, fcntl.LOCK_UN, 1)


@contextmanager
def held_back_by_none(directory: Directory, locks: Sequence[str]) -> Iterator[None]:
    """Meanwhile none of the others begins to, either; one that is stopped is waited for no longer than it may. `locks`:
    the names of their lock files.
    """
    until = time.monotonic() + HELD_BACK_SECONDS
    with ExitStack() as opened:
        for name in locks:
            with suppress(OSError):  # gone meanwhile, or a stranger's
                fd = directory.open_file(name, os.O_RDONLY)
                opened.callback(os.close, fd)
                while not _is_shared(fd) and time.monotonic() < until:
                    time.sleep(_LOOK_SECONDS)
        yield


def _is_shared(fd: int) -> bool:
    """Whether its octet 0 could be locked beside others who share it."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True
