"""The directory of a demo: empty or new when it is taken, and afterwards as it was before."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from popular.demo.site import CannotRun
from supervisor.table import segment

PARTS = ("run", "log", "mail", "tls")
_MARK = ".popular-demo"


@contextlib.contextmanager
def own_directory(path: Path) -> Iterator[None]:
    """Takes an empty or new directory, and leaves it as it was. What a killed demo left is swept away.

    A lock on a mark in it tells a demo that runs from one that was killed. Raises CannotRun.
    """
    made = not path.exists()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / _MARK).exists() and any(path.iterdir()):
            raise CannotRun(f"{path} is not empty; give another one with --dir")
        mark = _lock(path / _MARK)
    except BlockingIOError:
        raise CannotRun(f"a demo is running in {path} already") from None
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from None
    try:
        _sweep(path)
        for name in PARTS:
            (path / name).mkdir(mode=0o700)
        yield
    finally:
        _sweep(path)
        (path / _MARK).unlink()
        os.close(mark)
        if made:
            path.rmdir()


def _lock(mark: Path) -> int:
    """The descriptor that holds the lock. Raises OSError; BlockingIOError if another demo holds it."""
    fd = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _sweep(path: Path) -> None:
    """Removes everything but the mark, and the session tables of programs that had no chance to do so."""
    for link in path.glob("run/*.state"):
        if link.is_symlink():
            segment.remove(f"/{os.path.basename(os.readlink(link))}")
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARK:
            entry.unlink()
