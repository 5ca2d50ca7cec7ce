"""Whoever can read a run directory can lock it: nobody waits for that for ever. And its disk can be full."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.runtime import directory
from supervisor.runtime.rundir import CannotStart, RunDirectory


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As somebody else's `flock` does it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "SURE_SECONDS", 0.1)


def test_a_start_is_told_why_it_cannot(tmp_path: Path) -> None:
    """And the one that runs is not touched."""
    first = RunDirectory(tmp_path / "run", "pproxy")
    first.publish()
    there = sorted(os.listdir(first.path))
    with locked(first.path), pytest.raises(CannotStart, match="another process keeps it locked"):
        RunDirectory(tmp_path / "run", "pproxy")
    assert sorted(os.listdir(first.path)) == there
    first.withdraw_all()


def test_links_are_not_set_without_the_lock(tmp_path: Path) -> None:
    """The start ends, and leaves nothing."""
    first = RunDirectory(tmp_path / "run", "pproxy")
    with locked(first.path), pytest.raises(CannotStart, match="another process keeps it locked"):
        first.publish()
    first.withdraw_all()
    assert os.listdir(first.path) == []


def test_who_ends_ends(tmp_path: Path) -> None:
    """What is its own goes; what others have left is left to the next one."""
    first = RunDirectory(tmp_path / "run", "pproxy")
    first.publish()
    with locked(first.path):
        first.withdraw_all()
    assert os.listdir(first.path) == []


def test_a_start_without_room_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has no room for the process id."""

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CannotStart, match="No space left on device"):
        RunDirectory(tmp_path / "run", "pproxy")
    assert os.listdir(tmp_path / "run") == []
