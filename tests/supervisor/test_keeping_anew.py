"""What is kept of orders: that of a newer instance which has ended, and that which cannot be read."""

import os
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.control.language.lookups import Job, Result, run
from supervisor.master import keeping
from supervisor.master.keeping import StateKeeper
from supervisor.operatorstate import OperatorState, OrderEntry, from_octets, to_octets
from supervisor.runtime.loop import Loop
from supervisor.runtime.statedir import StateDirectory
from tests.patience import patient
from tests.supervisor.changing import QUIET, Clock

LOCK, BLOCK = OrderEntry("user lock", "default:joe", {"until": None}), OrderEntry("block", "192.0.2.0/24", {})
HOLD, MOVE = (
    OrderEntry("user hold", "default:ann", {}),
    OrderEntry("move", "m", {"undo": [["user hold", "default:ann"]]}),
)


class Upgrade:
    """An older instance's keeper, and what the newer one does to it."""

    def __init__(self, path: Path) -> None:
        self.directory = StateDirectory(path, "proxy")
        self.has_successor = False
        self.returns = 0
        self.told: list[OrderEntry] = []
        self.took_up: list[OrderEntry] = []
        self.said: list[OrderEntry] = []
        self.held: list[Callable[[], None]] | None = None
        """Jobs that are done when a test wants, and not at once."""
        self.answers: list[tuple[bool, str]] = []
        self.unheeded: list[OrderEntry] = []
        self.keeper = StateKeeper(
            self.directory,
            cast(Loop, Clock()),
            QUIET,
            pool=cast(Any, SimpleNamespace(workers=[], tell_all=lambda order: self.told.extend(order.entries))),
            jobs=cast(Any, SimpleNamespace(send=self._send)),
            has_successor=lambda: self.has_successor,
            returns=lambda: self.returns,
            took_up=self._take_up,
            unheeded=self._unheeded_of,
        )
        self.keeper.load()

    def _send(self, job: Job, done: Callable[[Result], None]) -> None:
        if self.held is None:
            done(run(job))
        else:
            self.held.append(lambda: done(run(job)))

    def _take_up(self, changes: list[OrderEntry], said: list[OrderEntry]) -> None:
        self.took_up += changes
        self.said += said

    def _unheeded_of(self, entries: Iterable[OrderEntry]) -> list[OrderEntry]:
        self.unheeded += entries
        return []

    def order(self, *entries: OrderEntry, surely: bool = False) -> tuple[bool, str]:
        """Gives the last answer that there was."""
        self.keeper.change(entries, lambda done, unkept: self.answers.append((done, unkept)), surely=surely)
        return self.answers[-1] if self.answers else (False, "")

    def newer(self, *entries: OrderEntry) -> None:
        """It comes, keeps these, and goes."""
        self.directory.write(to_octets(entries))
        self.returns += 1

    def in_force(self) -> set[str]:
        return {entry.id for entry in self.keeper.state.entries(0)}

    def kept(self) -> set[str]:
        return {entry.id for entry in from_octets(self.directory.read() or b"")}


@pytest.mark.parametrize("first", ["look", "order"])
def test_what_a_newer_instance_has_kept_counts_when_it_has_ended(tmp_path: Path, first: str) -> None:
    """Whether a second passes or something is ordered before: new ones, those that were ended, and what stays; every
    worker is told.
    """
    upgrade = Upgrade(tmp_path)
    assert upgrade.order(BLOCK) == (True, "")
    upgrade.has_successor = True
    assert "a newer instance" in upgrade.order(HOLD)[1]
    upgrade.newer(LOCK)
    upgrade.has_successor = False
    if first == "look":
        upgrade.keeper.look()
        assert upgrade.in_force() == upgrade.kept() == {LOCK.id, HOLD.id}, "what was ordered here meanwhile stays"
    other = OrderEntry("block", "192.0.2.9/32", {})
    assert upgrade.order(other) == (True, "")
    assert upgrade.in_force() == upgrade.kept() == {LOCK.id, HOLD.id, other.id}
    assert upgrade.took_up == [OrderEntry(*BLOCK[:2]), LOCK]
    assert OperatorState(upgrade.told).entries(0) == upgrade.keeper.state.entries(0)


@pytest.mark.parametrize("left", [None, b"{"])
def test_a_newer_instance_that_leaves_nothing_to_read_ends_no_order(tmp_path: Path, left: bytes | None) -> None:
    """The file is gone, or damaged: what is in force here stays, and is kept at once."""
    upgrade = Upgrade(tmp_path)
    upgrade.order(BLOCK)
    file = tmp_path / "proxy.operator.json"
    file.unlink() if left is None else file.write_bytes(left)
    upgrade.returns += 1
    upgrade.keeper.look()
    assert upgrade.kept() == {BLOCK.id}
    assert upgrade.order(LOCK) == (True, "")
    assert upgrade.in_force() == upgrade.kept() == {BLOCK.id, LOCK.id}


def test_which_orders_were_said_at_a_newer_instance(tmp_path: Path) -> None:
    """New ones, those that were said anew, and ends: by these the sweeps here end, and begin. That the cluster was told
    of one meanwhile is none of it.
    """
    upgrade = Upgrade(tmp_path)
    held, drain = (
        OrderEntry("user hold", "default:ann", {"cluster": "not told yet"}),
        OrderEntry("drain", "b", {"to": 1}),
    )
    upgrade.order(BLOCK, LOCK, held, drain)
    other = OrderEntry("drain", "c", {"to": 1})
    anew = [LOCK, held._replace(value={"cluster": True}), drain._replace(value={"to": 2}), other]
    upgrade.newer(*anew)
    upgrade.keeper.look()
    assert upgrade.said == [OrderEntry(*BLOCK[:2]), anew[2], other]
    assert sorted(upgrade.unheeded) == sorted(anew[1:]), "what nothing comes of is told, each once"


@pytest.mark.parametrize("gone", [False, True])
def test_what_is_written_too_late_is_not_written(tmp_path: Path, gone: bool) -> None:
    """A newer instance has come, and has read what is kept, while the disk was slow: the order counts as one that is
    not kept, and is beside the newer one's when that has ended.
    """
    upgrade = Upgrade(tmp_path)
    upgrade.order(BLOCK)
    upgrade.held = []
    upgrade.keeper.change([HOLD], lambda done, unkept: upgrade.answers.append((done, unkept)))
    upgrade.has_successor = not gone
    upgrade.newer(LOCK)
    (job,), upgrade.held = upgrade.held, None
    job()
    assert "a newer instance" in upgrade.answers[-1][1]
    assert upgrade.kept() == {LOCK.id}
    upgrade.has_successor = False
    upgrade.keeper.look()
    assert upgrade.in_force() == upgrade.kept() == {LOCK.id, HOLD.id}


def test_what_is_written_in_time_is_read(tmp_path: Path) -> None:
    """Who is about to write has asked whether he still may: whoever begins to read then waits for it."""
    directory = StateDirectory(tmp_path, "proxy")
    directory.write(to_octets([BLOCK]))
    asked, go_on, read = threading.Event(), threading.Event(), queue.SimpleQueue[bytes | None]()

    def asks() -> bool:
        asked.set()
        go_on.wait(patient(10))
        return False

    writer = threading.Thread(target=directory.write, args=(to_octets([LOCK]), asks))
    reader = threading.Thread(target=lambda: read.put(directory.read()))
    writer.start()
    assert asked.wait(patient(10))
    reader.start()
    with pytest.raises(queue.Empty):
        read.get(timeout=0.1)
    go_on.set()
    assert read.get(timeout=patient(10)) == to_octets([LOCK])
    for one in (writer, reader):
        one.join()


def test_what_is_under_way_here_goes_on(tmp_path: Path) -> None:
    """A newer instance has taken it for what a killed program has left: who is moved would log in meanwhile."""
    upgrade = Upgrade(tmp_path)
    upgrade.order(HOLD, MOVE, surely=True)
    upgrade.newer(LOCK)
    upgrade.keeper.look()
    assert upgrade.in_force() == {LOCK.id, HOLD.id, MOVE.id}


def _leads_elsewhere(file: Path) -> Callable[[], object]:
    aside = file.rename(file.with_suffix(".real"))
    file.symlink_to(aside)
    return lambda: aside.replace(file)


def _has_a_second_name(file: Path) -> Callable[[], object]:
    os.link(file, file.with_suffix(".second"))
    return file.with_suffix(".second").unlink


@pytest.mark.parametrize("spoil", [_leads_elsewhere, _has_a_second_name])
def test_what_cannot_be_read_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], Callable[[], object]]
) -> None:
    """Each order says that it is not kept, and why; it is all in force as soon as the file can be read again."""
    StateDirectory(tmp_path, "proxy").write(to_octets([LOCK]))
    file = tmp_path / "proxy.operator.json"
    repair = spoil(file)
    upgrade = Upgrade(tmp_path)
    done, unkept = upgrade.order(BLOCK)
    assert done
    assert "nothing of what is kept there is in force, and it is not overwritten" in unkept
    assert not upgrade.order(HOLD, MOVE, surely=True)[0]
    assert upgrade.in_force() == {BLOCK.id}
    assert from_octets(file.read_bytes()) == [LOCK]
    repair()
    upgrade.keeper.look()
    assert upgrade.in_force() == {BLOCK.id}, "not at every look"
    monkeypatch.setattr(keeping, "READ_AGAIN_SECONDS", 0.0)
    upgrade.keeper.look()
    assert upgrade.in_force() == upgrade.kept() == {BLOCK.id, LOCK.id}
    assert upgrade.keeper.count_not_kept(0) == 0
    assert upgrade.order(HOLD) == (True, "")
    assert upgrade.kept() == {BLOCK.id, LOCK.id, HOLD.id}
