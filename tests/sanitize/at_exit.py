"""Looks for leaks at the end of each of our processes; it is `sitecustomize` in the sanitized tree.

Our workers end by `os._exit`, after which no sanitizer looks. Other programs that are started meanwhile (openssl, a
shell) are not looked at: their leaks are theirs.
"""

import atexit
import ctypes
import os
from collections.abc import Callable

_end: Callable[[int], None] = os._exit


def _look() -> None:
    getattr(ctypes.CDLL(None), "__lsan_do_recoverable_leak_check")()


def _exit(code: int) -> None:
    _look()
    _end(code)


if "libasan" in os.environ.get("LD_PRELOAD", ""):
    os._exit = _exit  # type: ignore[assignment]
    atexit.register(_look)
