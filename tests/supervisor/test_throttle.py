"""How many lines of a kind are written, and that what was left out is told."""

from pathlib import Path

import pytest

from supervisor.runtime import log as log_module
from supervisor.runtime.log import Log
from supervisor.runtime.messages import LINES_LEFT_OUT, Message
from supervisor.runtime.throttle import MINUTE, LeftOut, Throttle
from tests.system.site import log_entries

SICK = Message(0x9999, "ADM", "sick", "A thing is sick.", most=3, by="thing")
OTHER = Message(0x9998, "ADM", "other", "Something else.", most=2)


def test_so_many_of_a_kind_and_thing() -> None:
    """One thing hides no other, nor one kind another; what was left out is told once, at the end of the minute."""
    throttle = Throttle()
    assert throttle.ended(100.0) == []
    assert [throttle.admits(SICK, "a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert [throttle.admits(SICK, "b") for _ in range(2)] == [True] * 2
    assert [throttle.admits(OTHER, "") for _ in range(3)] == [True] * 2 + [False]
    assert throttle.ended(100.0 + MINUTE - 0.1) == []
    assert throttle.ended(100.0 + MINUTE) == [LeftOut(SICK, "a", 2), LeftOut(OTHER, "", 1)]
    assert throttle.admits(SICK, "a")
    assert throttle.ended(100.0 + 2 * MINUTE) == []


def test_things_without_end_are_counted_together() -> None:
    """However many names somebody invents, memory and lines are bounded."""
    throttle = Throttle()
    throttle.ended(0.0)
    written = sum(throttle.admits(SICK, str(number)) for number in range(10_000))
    assert written == 200 + 3
    assert throttle.ended(MINUTE) == [LeftOut(SICK, "", 10_000 - 203)]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_log_leaves_out_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beat of a process tells, also if nothing of the kind comes any more; other lines are written as ever."""
    clock = Clock()
    monkeypatch.setattr(log_module, "monotonic", clock)
    log = Log("test", str(tmp_path / "log"))
    for _ in range(10):
        log(SICK, thing="store1", reason="x")
        log(Message(1, "INF", "plain", "Plain."))
    log.tell_left_out()
    clock.now += MINUTE
    log.tell_left_out()
    log.tell_left_out()
    log(SICK, thing="store1", reason="x")
    entries = [entry for entry in log_entries(tmp_path / "log") if entry.name != "plain"]
    assert [entry.name for entry in entries] == ["sick"] * 3 + [LINES_LEFT_OUT.name, "sick"]
    assert entries[3].fields == {"event": "sick", "of": "store1", "lines": "7", "seconds": "60"}
    assert len(log_entries(tmp_path / "log")) == 10 + len(entries)
