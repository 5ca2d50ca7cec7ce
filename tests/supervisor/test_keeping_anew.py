"""What is kept of orders: that of a newer instance which has ended, and that which cannot be read."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.control.lookups import run
from supervisor.master import keeping
from supervisor.master.keeping import StateKeeper
from supervisor.operatorstate import OperatorState, OrderEntry, from_octets, to_octets
from supervisor.runtime.loop import Loop
from supervisor.runtime.statedir import StateDirectory
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
        self.keeper = StateKeeper(
            self.directory,
            cast(Loop, Clock()),
            QUIET,
            pool=cast(Any, SimpleNamespace(workers=[], tell_all=lambda order: self.told.extend(order.entries))),
            jobs=cast(Any, SimpleNamespace(send=lambda job, done: done(run(job)))),
            has_successor=lambda: self.has_successor,
            returns=lambda: self.returns,
            took_up=self.took_up.extend,
        )
        self.keeper.load()

    def order(self, *entries: OrderEntry, surely: bool = False) -> tuple[bool, str]:
        answers: list[tuple[bool, str]] = []
        self.keeper.change(entries, lambda done, unkept: answers.append((done, unkept)), surely=surely)
        return answers[0]

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
    """The file is gone, or damaged: what is in force here stays, and is kept with the next order."""
    upgrade = Upgrade(tmp_path)
    upgrade.order(BLOCK)
    file = tmp_path / "proxy.operator.json"
    file.unlink() if left is None else file.write_bytes(left)
    upgrade.returns += 1
    upgrade.keeper.look()
    assert upgrade.order(LOCK) == (True, "")
    assert upgrade.in_force() == upgrade.kept() == {BLOCK.id, LOCK.id}


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
