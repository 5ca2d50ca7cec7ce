"""Looks for leaks at the end of each of our processes; it is `sitecustomize` in the sanitized tree.

Our workers end by `os._exit`, behind which no sanitizer looks. Other programs that are started meanwhile (openssl, a
shell) are not looked at: their leaks are theirs.
"""

import atexit
import ctypes
import os
from collections.abc import Callable

EXIT_LEAKS = 66
_end: Callable[[int], None] = os._exit


def _leaks() -> bool:
    check = getattr(ctypes.CDLL(None), "__lsan_do_recoverable_leak_check", None)
    return check is not None and bool(check())


def _exit(code: int) -> None:
    _end(EXIT_LEAKS if _leaks() else code)


if "libasan" in os.environ.get("LD_PRELOAD", ""):
    os._exit = _exit  # type: ignore[assignment]
    atexit.register(_leaks)
