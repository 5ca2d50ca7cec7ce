"""The room that the history and traces share in the state directory."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.master.keeping import WriteState
from supervisor.runtime.statedir import StateDirectory
from supervisor.runtime.statespace import StoredFile, give_up_traces, make_room, too_many


def _file(age: int, size: int) -> StoredFile:
    return StoredFile(1000 - age, "history", name=f"age {age}", size=size)


@pytest.mark.parametrize(
    ("sizes", "most", "gone"),
    [
        ([], 100, []),
        ([50, 50], 100, []),
        ([50, 50, 1], 100, [2]),
        ([10, 60, 40, 1, 1], 100, [2, 3, 4]),
        ([500], 100, []),
        ([500, 1], 100, [1]),
    ],
)
def test_the_oldest_goes(sizes: list[int], most: int, gone: list[int]) -> None:
    """From the first that does not fit any more on; the newest stays however long it is."""
    files = [_file(age, size) for age, size in enumerate(sizes)]
    assert [file.name for file in too_many(files[::-1], most)] == [f"age {age}" for age in gone]


def test_both_share_the_room(tmp_path: Path) -> None:
    """A trace can push out a configuration, and the other way round; links, directories, and what is another program's
    are left alone.
    """
    files = (
        ("history", "p.1.rc", 30),
        ("traces", "p-1.trace", 20),
        ("history", "p.2.rc", 10),
        ("traces", "p-2.trace", 0),
    )
    others = (("history", "other.1.rc", 40), ("traces", "other-1.trace", 50), ("history", "pp.1.rc", 60))
    for directory, name, age in (*files, *others):
        path = tmp_path / directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (10_000 - age, 10_000 - age))
    (tmp_path / "history" / "p.link").symlink_to("/etc/passwd")
    (tmp_path / "traces" / "p-directory").mkdir()
    assert make_room(tmp_path, "p", 400) == []
    assert make_room(tmp_path, "p", 250) == ["p.1.rc"]
    assert _names(tmp_path / "history") == ["other.1.rc", "p.2.rc", "p.link", "pp.1.rc"]
    assert _names(tmp_path / "traces") == ["other-1.trace", "p-2.trace", "p-directory"]
    assert make_room(tmp_path / "nowhere", "p", 0) == []


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(("needed", "left"), [(0, "abc"), (1, "bc"), (2, "c")])
def test_traces_make_room_for_orders(tmp_path: Path, needed: int, left: str) -> None:
    """On a full disk the oldest go until the order is kept; the history stays, the newest trace, and others'."""
    tries = _full_until(tmp_path, needed)
    WriteState(tries, b"orders").perform()
    assert tries.read() == b"orders"
    assert _names(tmp_path / "traces") == ["other-a", *(f"pproxy-{name}" for name in left)]
    assert (tmp_path / "history/pproxy.d").exists()


def test_orders_that_find_no_room_at_all(tmp_path: Path) -> None:
    """It fails as it did when there was no trace; another fault than a full disk costs no trace."""
    with pytest.raises(OSError, match="No space left"):
        WriteState(_full_until(tmp_path, 3), b"orders").perform()
    assert _names(tmp_path / "traces") == ["other-a", "pproxy-c"]
    (tmp_path / "nowhere").touch()
    with pytest.raises(NotADirectoryError):
        WriteState(StateDirectory(tmp_path / "nowhere/x", "pproxy"), b"orders").perform()


def test_a_trace_at_work_is_cut_and_says_so(tmp_path: Path) -> None:
    """After all that are over; of how many octets there were nothing is left but a line, the second time too. It is as
    old as it was, and who has it open goes on in it. What is in one block makes no room, and stays.
    """
    head, gap = b"- +0.000000 -- trace 1: user default:joe\n", "- +0.000000 -- {} octets are missing here: "
    gap += "they made room for what was ordered, on a full disk\n"
    at_work = ("pproxy-1", "pproxy-2", "pproxy-4")
    for age, (name, content) in enumerate(
        {"4": b"newest", "3": b"over", "2": bytes(4096), "1": head + b"a line\n" * 1000}.items()
    ):
        (path := tmp_path / "traces" / f"pproxy-{name}").parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (10_000 - age, 10_000 - age))
    with (tmp_path / "traces/pproxy-1").open("ab") as trace:
        assert [*give_up_traces(tmp_path, "pproxy", at_work)] == ["pproxy-3", "pproxy-1"]
        left = head + gap.format("7,000").encode()
        path = tmp_path / "traces/pproxy-1"
        assert (path.read_bytes(), path.stat().st_mtime) == (left, 9997)
        trace.write(b"another\n" * 1000)
    os.utime(path, (9997, 9997))
    assert [*give_up_traces(tmp_path, "pproxy", at_work)] == ["pproxy-1"]
    assert path.read_bytes() == head + gap.format("15,000").encode()
    assert (tmp_path / "traces/pproxy-2").read_bytes() == bytes(4096)


class FullDisk(StateDirectory):
    """One on which there is room as soon as so many traces have gone."""

    gone = 0

    def write(self, content: bytes, unless: Callable[[], bool] = lambda: False) -> bool:
        """Raises OSError."""
        if len(list((self.path / "traces").iterdir())) > 4 - self.gone:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content, unless)


def _full_until(directory: Path, gone: int) -> FullDisk:
    for age, path in enumerate(
        ("history/pproxy.d", "traces/pproxy-c", "traces/pproxy-b", "traces/pproxy-a", "traces/other-a")
    ):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).touch()
        os.utime(directory / path, (10_000 - age, 10_000 - age))
    full = FullDisk(directory, "pproxy")
    full.gone = gone
    return full
