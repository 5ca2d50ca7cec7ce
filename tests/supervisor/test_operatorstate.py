"""What the operator has ordered: what the file may hold, and what becomes of one that is damaged."""

import json
import os
from pathlib import Path

import pytest

from supervisor.operatorstate import DamagedState, OperatorState, OrderEntry, from_octets, to_octets
from supervisor.runtime.statedir import StateDirectory

ENTRIES = [OrderEntry("block", "192.0.2.0/24", {"until": None}), OrderEntry("lock", "example:joe", {"until": 500.0})]


def test_what_is_written_is_read() -> None:
    """Every entry, with its value."""
    assert sorted(from_octets(to_octets(ENTRIES))) == sorted(ENTRIES)


def test_a_mapping_may_be_held_on_to() -> None:
    """It is the same one before the first order, and after the last."""
    state = OperatorState()
    blocks = state.of("block")
    state.change(ENTRIES)
    assert dict(blocks) == {"192.0.2.0/24": {"until": None}}
    state.change([OrderEntry("block", "192.0.2.0/24"), OrderEntry("block", "never there")])
    assert dict(blocks) == {}


def test_what_has_ended_can_be_let_go_of() -> None:
    """Blocks that end by themselves would stay for ever in the memory of all processes."""
    state = OperatorState([*ENTRIES, OrderEntry("block", "192.0.2.8/32", {"until": 400.0})])
    assert state.ended("block", 399.0) == []
    state.change([*state.ended("block", 400.0), OrderEntry("block", "192.0.2.9/32", {"until": 600.0})])
    assert list(state.of("block")) == ["192.0.2.0/24", "192.0.2.9/32"]


def test_what_has_ended_is_not_kept() -> None:
    """At its end, and not before."""
    state = OperatorState(ENTRIES)
    assert [entry.sort for entry in state.entries(499.0)] == ["block", "lock"]
    assert [entry.sort for entry in state.entries(500.0)] == ["block"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        json.dumps({"version": 2, "state": {}}).encode(),
        json.dumps({"version": 1}).encode(),
        json.dumps({"version": 1, "state": {"block": []}}).encode(),
        json.dumps({"version": 1, "state": {"block": {"x": 1}}}).encode(),
        json.dumps({"version": 1, "state": {"block": {"x": {"until": "soon"}}}}).encode(),
        json.dumps({"version": 1, "state": {"block": {"x": {"until": 1e300}}}}).encode(),
        json.dumps({"version": 1, "state": {"block": {"x": {"until": float("nan")}}}}).encode(),
        json.dumps({"version": 1, "state": {"lock": {"x": {"since": float("inf")}}}}).encode(),
        json.dumps({"version": 1, "state": {"lock": {"\ud800": {}}}}).encode(),
    ],
)
def test_a_damaged_file_is_told(content: bytes) -> None:
    """Whatever is in it: one kind of error."""
    with pytest.raises(DamagedState):
        from_octets(content)


def test_a_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """Whole, for nobody else to read, with nothing beside it; the directory is made when it is needed."""
    statedir = StateDirectory(tmp_path / "state", "proxy")
    assert statedir.read() is None
    assert statedir.trouble() == ""
    assert not (tmp_path / "state").exists()
    for content in (b"first", b"second"):
        statedir.write(content)
        assert statedir.read() == content
    (file,) = (tmp_path / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_who_was_killed_while_he_wrote_leaves_nothing(tmp_path: Path) -> None:
    """What he had begun goes; the file, and what belongs to others, stay."""
    statedir = StateDirectory(tmp_path, "proxy")
    statedir.write(b"good")
    for name in (".proxy.operator.json.0a1b2c3d", ".other.operator.json.0a1b2c3d"):
        (tmp_path / name).write_bytes(b"ha")
    statedir.remove_leftovers()
    assert sorted(os.listdir(tmp_path)) == [".other.operator.json.0a1b2c3d", "proxy.operator.json"]


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    """It is said why nothing can be kept."""
    (tmp_path / "file").touch()
    assert StateDirectory(tmp_path / "file" / "state", "proxy").trouble() == f"{tmp_path / 'file'} is no directory"
