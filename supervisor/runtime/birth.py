"""Gives birth to a child of the master, or leaves everything as it was: without descriptors or processes to spare the
master must go on, and try again later.
"""

import os
from typing import Any

from supervisor.runtime import signals
from supervisor.runtime.descriptors import open_descriptors

ROOM = 8
"""Descriptors that a birth needs for a moment, on both sides of the fork."""


def start(process: Any) -> None:
    """Starts a multiprocessing.Process whose child calls `signals.let_come`. Raises OSError."""
    _find_room()
    held = open_descriptors()
    try:
        # A signal to the child before it has let go of the master's wake-up pipe would wake the master as one of its
        # own.
        with signals.held_back():
            process.start()
    except OSError:
        for left_behind in open_descriptors() - held:  # the library's pipes
            os.close(left_behind)
        raise


def _find_room() -> None:
    """Raises OSError now if descriptors are scarce: `multiprocessing` loses those that it has opened when it gets no
    more half-way.
    """
    found: list[int] = []
    try:
        while len(found) < ROOM:
            found.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    finally:
        for one in found:
            os.close(one)
