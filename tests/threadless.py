"""A kernel that gives no thread, as at `pids.max` or `ulimit -u`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

NO_THREAD = "no thread can be started"


def _refused(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@contextmanager
def without_threads() -> Iterator[None]:
    """As long as it lasts no thread can be started."""
    with patch.object(threading.Thread, "start", _refused):
        yield
