"""Which configurations are kept: the start's, where nothing was kept before."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.config import Config
from supervisor.control.language.lookups import Job, Result, run
from supervisor.control.wire.peer import Peer
from supervisor.master import history
from supervisor.master.history import ConfigHistory
from supervisor.master.origin import Origin
from supervisor.runtime.loop import Loop
from tests.supervisor.changing import QUIET, Clock

HELD: list[Callable[[], None]] = []
"""Jobs that are done when a test wants, while `SLOW`; else each at once."""
SLOW, CANNOT = [False], [False]
"""What becomes of jobs: no child can be sent out for one."""

RETURNS = [0]
"""How often a newer instance has ended."""
NEWER = [False]
"""Whether there is one."""
HELD_BACK = [False]
"""Whether one that starts would wait."""
ANN = Origin(Peer(1000, 2), own=False)


@pytest.fixture(autouse=True)
def _one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    RETURNS[:], NEWER[:], SLOW[:], CANNOT[:], HELD_BACK[:] = [0], [False], [False], [False], [False]
    HELD.clear()
    monkeypatch.setattr(history, "lines_of_config", lambda config, *_: [f"set grace {config.variables['grace']}s"])


def _send(job: Job, done: Callable[[Result], None]) -> None:
    if CANNOT[0]:
        done(Result(failure="cannot be found out now"))
    elif SLOW[0]:
        HELD.append(lambda: done(run(job)))
    else:
        done(run(job))


JOBS: Any = SimpleNamespace(send=_send)


class Newer:
    """As `NEWER`, `RETURNS` and `HELD_BACK` say."""

    def has_successor(self) -> bool:
        return NEWER[0]

    def returns(self) -> int:
        return RETURNS[0]

    def hold_back(self) -> None:
        HELD_BACK[0] = True

    def let_come(self) -> None:
        HELD_BACK[0] = False


def config(grace: int) -> Config:
    return Config(0, {"tracespace": 64, "grace": grace}, things={})


def history_in(statedir: Path, clock: Clock | None = None, log: Any = QUIET) -> ConfigHistory:
    """As a program has it that was started just now."""
    program, loop = SimpleNamespace(name="pproxy"), cast(Loop, clock or Clock())
    kept = ConfigHistory(
        statedir,
        cast(Any, program),
        {},
        loop=loop,
        jobs=JOBS,
        log=log,
        succession=Newer(),
    )
    kept.load()
    return kept


def said(kept: ConfigHistory) -> list[tuple[int, tuple[str, ...], int, int]]:
    """The number of each entry, its commands, and how many lines came and went."""
    return [(one.number, one.commands, one.comes, one.goes) for one in kept.kept.entries]


@pytest.mark.parametrize("is_there", [True, False])
def test_the_start_can_be_come_back_to(tmp_path: Path, is_there: bool) -> None:
    """Also in a new installation, where no directory is made before something is changed."""
    statedir = tmp_path / "state"
    if is_there:
        statedir.mkdir()
    kept = history_in(statedir)
    kept.started(Origin(Peer(0, 1), own=True), config(1))
    assert len(kept.kept.entries) == is_there
    assert statedir.exists() == is_there
    kept.changed(ANN, "set grace 7s", config(7))
    first, second = kept.kept.entries
    assert (first.commands, first.pid, second.commands, second.uid) == (("(start)",), 1, ("set grace 7s",), 1000)
    assert first.when <= second.when
    names = sorted(path.name for path in (statedir / "history").iterdir())
    assert names == ["pproxy.000001.rc", "pproxy.000002.rc"]
    assert (statedir / "history" / names[0]).read_text().splitlines()[-1] == "set grace 1s"


def test_what_cannot_be_written_waits(tmp_path: Path) -> None:
    """It is in no list until it is there, and the list says so; then all come in their order, each with what differs
    from the one before it. The log has one line of it.
    """
    clock, told = Clock(), list[str]()
    kept = history_in(tmp_path, clock, log=lambda _message, **fields: told.append(fields["reason"]))
    kept.started(Origin(Peer(0, 1), own=True), config(1))
    assert said(kept) == [(1, ("(start)",), 1, 0)]
    in_the_way = tmp_path / "history" / "pproxy.000002.rc"
    in_the_way.mkdir()
    for seconds, waiting in ((2, 1), (3, 2)):
        kept.changed(ANN, f"set grace {seconds}s", config(seconds))
        assert [one.number for one in kept.kept.entries] == [1]
        assert (kept.kept.waiting, "directory" in kept.kept.trouble) == (waiting, True)
    assert told == [f'"{in_the_way}": Is a directory']
    in_the_way.rmdir()
    assert said(kept) == [(1, ("(start)",), 1, 0)], "it is not tried at each look"
    assert clock.turn(), "it is tried again by itself"
    both = [(2, ("set grace 2s",), 1, 1), (3, ("set grace 3s",), 1, 1)]
    assert said(kept)[1:] == both
    assert (kept.kept.waiting, kept.kept.trouble) == (0, "")
    assert said(history_in(tmp_path))[1:] == both


def test_what_a_newer_instance_keeps_is_not_missing(tmp_path: Path) -> None:
    """What could not be written waits no more then, and nothing is told to be missing."""
    clock = Clock()
    kept = history_in(tmp_path, clock)
    (tmp_path / "history" / "pproxy.000001.rc").mkdir(parents=True)
    kept.started(Origin(Peer(0, 1), own=True), config(1))
    assert kept.kept.waiting == 1
    NEWER[0] = True
    clock.turn()
    assert (kept.kept.waiting, kept.kept.trouble) == (0, "")


@pytest.mark.parametrize("ends", [False, True])
def test_a_newer_instance_waits_for_what_was_answered(tmp_path: Path, ends: bool) -> None:
    """Until it is on the disk; not for the start, which nobody has said."""
    clock = Clock()
    kept = history_in(tmp_path, clock)
    kept.started(Origin(Peer(0, 1), own=True), config(1))
    assert not HELD_BACK[0]
    SLOW[0] = not ends
    kept.changed(ANN, "set grace 7s", config(7))
    assert HELD_BACK[0]
    if ends:
        kept.close()
    else:
        HELD.pop()()
        assert HELD_BACK[0], "this was the start"
        clock.turn()
        assert HELD_BACK[0], "it is being written"
        HELD.pop()()
    assert not HELD_BACK[0]
    assert said(history_in(tmp_path))[-1] == (2, ("set grace 7s",), 1, 1)


def test_a_newer_instance_does_not_wait_for_a_full_disk(tmp_path: Path) -> None:
    """What cannot be written, or has nowhere to go before something is read, is told."""
    clock = Clock()
    kept = history_in(tmp_path, clock)
    in_the_way = tmp_path / "history" / "pproxy.000001.rc"
    in_the_way.mkdir(parents=True)
    kept.changed(ANN, "set grace 7s", config(7))
    assert HELD_BACK[0]
    clock.turn()
    assert (HELD_BACK[0], kept.kept.waiting) == (False, 1)
    in_the_way.rmdir()
    _newer_comes_and_goes(tmp_path)
    CANNOT[0] = True
    kept.changed(ANN, "set grace 8s", config(8))
    clock.turn()
    assert (HELD_BACK[0], kept.kept.waiting) == (False, 2)


@pytest.mark.parametrize("ends", [False, True])
def test_what_a_newer_instance_is_too_quick_for_is_told(tmp_path: Path, ends: bool) -> None:
    """It has read what was kept, and a change was said here before that and is not written yet."""
    clock, told = Clock(), list[str]()
    kept = history_in(tmp_path, clock, log=lambda _message, **fields: told.append(fields["reason"]))
    kept.started(Origin(Peer(0, 1), own=True), config(1))
    assert len(kept.kept.entries) == 1
    kept.changed(ANN, "set grace 7s", config(7))
    NEWER[0] = True
    if ends:
        kept.close()
    else:
        clock.turn()
    assert told == ["a newer instance keeps it, and does not know of: set grace 7s"]
    assert len(history_in(tmp_path).kept.entries) == 1


@pytest.mark.parametrize("first", ["look", "change", "close"])
def test_a_newer_instance_has_gone_on_with_it(tmp_path: Path, first: str) -> None:
    """When it has ended, its entries are listed, none is overwritten, and what is in force again comes after them."""
    clock = Clock()
    older = history_in(tmp_path, clock)
    older.started(Origin(Peer(0, 1), own=True), config(1))
    assert len(older.kept.entries) == 1
    newer = history_in(tmp_path)
    newer.changed(ANN, "set grace 5s", config(5))
    newer.close()
    RETURNS[0] += 1
    command = "(back)"
    if first == "look":
        older.look()
    if first == "change":
        command = "set grace 7s"
        older.changed(ANN, command, config(7))
        clock.turn()
    if first == "close":
        older.close()
    there = [(1, ("(start)",), 1, 0), (2, ("set grace 5s",), 1, 1), (3, (command,), 1, 1)]
    assert said(older) == there
    assert said(history_in(tmp_path)) == there


def _newer_comes_and_goes(tmp_path: Path, grace: int = 5) -> None:
    newer = history_in(tmp_path)
    newer.changed(ANN, f"set grace {grace}s", config(grace))
    newer.close()
    RETURNS[0] += 1


@pytest.mark.parametrize("then", ["time", "change", "close"])
def test_what_cannot_be_read_is_never_overwritten(tmp_path: Path, then: str) -> None:
    """No child can be sent out when a newer instance has ended: nothing is written until its entries are known."""
    clock = Clock()
    older = history_in(tmp_path, clock)
    older.started(Origin(Peer(0, 1), own=True), config(1))
    assert len(older.kept.entries) == 1
    _newer_comes_and_goes(tmp_path)
    CANNOT[0] = True
    older.look()
    assert "cannot be found out now" in older.kept.trouble
    older.changed(ANN, "set grace 7s", config(7))
    assert older.kept.waiting == 1
    CANNOT[0] = False
    if then == "time":
        clock.turn()
    if then == "change":
        older.changed(ANN, "set grace 8s", config(8))
        clock.turn()
    if then == "close":
        older.close()
    there = [(1, ("(start)",), 1, 0), (2, ("set grace 5s",), 1, 1), (3, ("set grace 7s",), 1, 1)]
    there += [(4, ("set grace 8s",), 1, 1)] if then == "change" else []
    assert said(older) == said(history_in(tmp_path)) == there
    assert older.kept.trouble == ""


@pytest.mark.parametrize("gone", [False, True])
def test_what_is_written_too_late_is_not_written(tmp_path: Path, gone: bool) -> None:
    """A newer instance has come, and has given the number to an entry of its own, while the disk was slow."""
    older = history_in(tmp_path, Clock())
    older.started(Origin(Peer(0, 1), own=True), config(1))
    assert len(older.kept.entries) == 1
    SLOW[0] = True
    older.changed(ANN, "set grace 7s", config(7))
    assert [one.number for one in older.kept.entries] == [1, 2]
    SLOW[0] = False
    _newer_comes_and_goes(tmp_path)
    RETURNS[0], NEWER[0] = (1, False) if gone else (0, True)
    older.look()
    HELD.pop()()
    there = [(1, ("(start)",), 1, 0), (2, ("set grace 5s",), 1, 1)]
    assert said(history_in(tmp_path))[:2] == there
    RETURNS[0], NEWER[0] = 1, False
    older.look()
    assert said(older)[:2] == there
    assert said(history_in(tmp_path)) == said(older) == [*there, (3, ("set grace 7s",) if gone else ("(back)",), 1, 1)]


def test_a_number_on_its_way_is_given_once(tmp_path: Path) -> None:
    """What is read while a file is being written does not have it yet."""
    older = history_in(tmp_path, Clock())
    older.started(Origin(Peer(0, 1), own=True), config(1))
    assert len(older.kept.entries) == 1
    RETURNS[0] += 1
    SLOW[0] = True
    older.look()
    read = HELD.pop()
    older.changed(ANN, "set grace 7s", config(7))
    assert [one.number for one in older.kept.entries] == [1]
    read()
    write = HELD.pop()
    RETURNS[0] += 1
    older.look()
    assert HELD == [], "it is read when that is written"
    SLOW[0] = False
    write()
    assert [one.number for one in older.kept.entries] == [1, 2]


@pytest.mark.parametrize("mode", [0o2, 0o700])
def test_a_directory_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Others can write it, or no descriptor is left: numbers would begin anew, and the files there be overwritten."""
    _newer_comes_and_goes(tmp_path)
    clock, there = Clock(), (1, ("set grace 5s",), 1, 0)
    with monkeypatch.context() as patched:
        (tmp_path / "history").chmod(mode)
        if mode == 0o700:
            patched.setattr("os.listdir", _no_descriptor)
        ending, kept = history_in(tmp_path), history_in(tmp_path, clock)
        for one in (ending, kept):
            one.started(Origin(Peer(0, 1), own=True), config(9))
            assert "what is kept cannot be read: " in one.kept.trouble
        (tmp_path / "history").chmod(0o700)
        if mode == 0o700:
            ending.close()
    assert said(history_in(tmp_path)) == [there]
    clock.turn()
    assert said(kept) == [there, (2, ("(start)",), 1, 1)]


def _no_descriptor(_path: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
