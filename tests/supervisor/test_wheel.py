"""The wheel of deadlines: never early, at most two ticks late, and only for who still wants it."""

import asyncio
import time
from collections.abc import Callable

from supervisor.serving.wheel import TICK_SECONDS, Timed, Wheel


class Alarm(Timed):
    """Something with a deadline."""

    def __init__(self, wheel: Wheel, rung: Callable[["Alarm"], None] = lambda _alarm: None) -> None:
        super().__init__()
        self.wheel = wheel
        self.times: list[float] = []
        self._rung = rung

    def on_time(self, now: float) -> None:
        self.times.append(now)
        self._rung(self)


def _with_wheel(play: Callable[[Wheel], list[Alarm]], seconds: float) -> list[Alarm]:
    async def run() -> list[Alarm]:
        wheel = Wheel(asyncio.get_running_loop())
        alarms = play(wheel)
        await asyncio.sleep(seconds)
        wheel.stop()
        return alarms

    return asyncio.run(run())


def test_deadlines_come_in_their_order_and_not_early() -> None:
    """Ten deadlines within a second; one in the past comes with the next tick."""
    wanted = [time.monotonic() + 0.1 * number for number in range(-2, 8)]

    def play(wheel: Wheel) -> list[Alarm]:
        alarms = [Alarm(wheel) for _ in wanted]
        for alarm, when in zip(alarms, wanted, strict=True):
            wheel.put(alarm, when)
        return alarms

    alarms = _with_wheel(play, 0.7 + 3 * TICK_SECONDS)

    assert [len(alarm.times) for alarm in alarms] == [1] * len(wanted)
    assert all(alarm.times[0] >= when for alarm, when in zip(alarms, wanted, strict=True))
    assert all(
        alarm.times[0] <= max(when, wanted[2]) + 3 * TICK_SECONDS for alarm, when in zip(alarms, wanted, strict=True)
    )


def test_a_deadline_that_was_moved_counts_once() -> None:
    """Later, earlier, taken back: only what was asked last counts; a thing may ask again when its time has come."""
    start = time.monotonic()

    def again(alarm: Alarm) -> None:
        if len(alarm.times) < 2:
            alarm.wheel.put(alarm, time.monotonic())

    def play(wheel: Wheel) -> list[Alarm]:
        earlier, removed, again_and_again = Alarm(wheel), Alarm(wheel), Alarm(wheel, again)
        wheel.put(earlier, start + 60)
        wheel.put(earlier, start + 0.1)
        wheel.put(removed, start + 0.1)
        wheel.remove(removed)
        wheel.remove(removed)
        wheel.put(again_and_again, start)
        return [earlier, removed, again_and_again]

    alarms = _with_wheel(play, 4 * TICK_SECONDS)

    assert [len(alarm.times) for alarm in alarms] == [1, 0, 2]
    assert all(alarm.bucket is None for alarm in alarms)


def test_one_that_ends_others_of_its_tick() -> None:
    """When its time comes a thing may take another off the wheel whose time is now, too: that is not called, the rest
    are.
    """
    alarms: list[Alarm] = []

    def end_one(alarm: Alarm) -> None:
        alarm.wheel.remove(alarms[2])

    def play(wheel: Wheel) -> list[Alarm]:
        when = time.monotonic() + 0.01
        alarms.extend(Alarm(wheel, end_one) for _ in range(5))
        for alarm in alarms:
            wheel.put(alarm, when)
        return alarms

    _with_wheel(play, 3 * TICK_SECONDS)

    assert [len(alarm.times) for alarm in alarms] == [1, 1, 0, 1, 1]


def test_each_knows_its_place() -> None:
    """A hundred on the wheel, each third taken off or moved: whoever is left is called once, the others never."""
    alarms: list[Alarm] = []

    def play(wheel: Wheel) -> list[Alarm]:
        now = time.monotonic()
        alarms.extend(Alarm(wheel) for _ in range(100))
        for alarm in alarms:
            wheel.put(alarm, now + 0.01)
        for number, alarm in enumerate(alarms):
            if number % 3 == 0:
                wheel.remove(alarm)
            elif number % 3 == 1:
                wheel.put(alarm, now + 60)
            assert all(other.bucket is None or other.bucket[other.place] is other for other in alarms)
        return alarms

    _with_wheel(play, 3 * TICK_SECONDS)

    assert [len(alarm.times) for alarm in alarms] == [0, 0, 1] * 33 + [0]
