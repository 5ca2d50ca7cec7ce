"""The master's loop in a test: turned by hand until something has happened."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from supervisor.runtime.loop import Loop
from tests.patience import patient

_PATIENCE = patient(5.0)


@contextlib.contextmanager
def closed_loop() -> Iterator[Loop]:
    """A loop that is closed at the end."""
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()


def turn_until(loop: Loop, true: Callable[[], Any], seconds: float = _PATIENCE) -> None:
    """Turns the loop until the answer is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds

    def tick() -> None:
        loop.after(0.01, tick)

    tick()
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        loop.run_once()
