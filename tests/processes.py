"""Forbids a test to start a process, by an audit hook: `with forbidden(TEST): …` fails if it was tried."""

import contextlib
import sys
from collections.abc import Iterator

_STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
"""Events of a process that is started (Python's table of audit events)."""

_forbidden_to: list[str] = []
_tried: list[str] = []


@contextlib.contextmanager
def forbidden(test: str) -> Iterator[None]:
    """In the block each try is refused, and remembered: a test that takes no notice fails all the same."""
    _forbidden_to.append(test)
    try:
        yield
    finally:
        _forbidden_to.pop()
    assert forget() == [], f"{test} starts a process: mark it with pytest.mark.processes"


def forget() -> list[str]:
    """What was tried, from the beginning or the last call."""
    tried = _tried.copy()
    _tried.clear()
    return tried


def _audit(event: str, _arguments: tuple[object, ...]) -> None:
    if event in _STARTS and _forbidden_to:
        _tried.append(event)
        raise AssertionError(f"{_forbidden_to[-1]} starts a process: mark it with pytest.mark.processes")


sys.addaudithook(_audit)  # for good: a hook cannot be taken off
