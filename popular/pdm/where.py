"""Where a module is asked, by what it says of itself, and where several are asked together.

| a module that                             | is asked     | deadline, breaker |
|---|---|---|
| never waits (`blocking` is False)         | `AT_ONCE`    | no                |
| only computes (`local`)                   | `IN_TURN`    | no                |
| may wait, and is called                   | `IN_THREADS` | yes               |
| answers by coroutines                     | `ON_LOOP`    | yes               |

Together they are asked by one call as long as each is asked at once or in turn, and the terms of none want more; else
one step after the other, on the loop, each step where its module is asked.
"""

import enum
import inspect
from collections.abc import Iterable

from popular.pdm.contract import AnyModule


class Where(enum.IntEnum):
    """The further down, the more there is to be done for a question."""

    AT_ONCE = 0
    """On the event loop, by a call that returns at once."""
    IN_TURN = 1
    """In the threads for what only computes, when it is the client's turn."""
    IN_THREADS = 2
    """In threads that are the module's own."""
    ON_LOOP = 3
    """On the event loop, by a task that waits."""


def where_asked(module: AnyModule) -> Where:
    """Where one module is asked."""
    if inspect.iscoroutinefunction(module.check):
        return Where.ON_LOOP
    if not getattr(module, "blocking", True):
        return Where.AT_ONCE
    return Where.IN_TURN if getattr(module, "local", False) else Where.IN_THREADS


def where_asked_together(places: Iterable[Where], *, wants_loop: bool = False) -> Where:
    """Where the chain of such modules is asked: never `IN_THREADS`. `wants_loop`: some terms want more."""
    furthest = max(places, default=Where.AT_ONCE)
    return Where.ON_LOOP if wants_loop or furthest > Where.IN_TURN else furthest
