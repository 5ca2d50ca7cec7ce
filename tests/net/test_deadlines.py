"""The deadlines of a session: each is kept, whatever becomes of the others."""

import time

from popular.net.deadlines import DeadlineOwner, Deadlines
from supervisor.serving.eventloop import EventLoop
from supervisor.serving.wheel import Wheel


class Stepping(DeadlineOwner):
    """Begins a long step, when one is over."""

    def __init__(self, wheel: Wheel, to_log_in: float) -> None:
        self.deadlines = Deadlines(wheel, self, to_log_in)
        self.heard: list[str] = []

    def idle_at(self) -> float:
        return time.monotonic() + 600.0

    def expired(self, what: str) -> None:
        self.heard.append(what)
        self.deadlines.expect_within(30.0)


def test_a_hold_ends_before_the_login_has_to_be_done_but_for_its_least() -> None:
    """After the least the session may be over: then nobody has heard sooner what others wait for."""
    loop = EventLoop()
    wheel = Wheel(loop)
    now = time.monotonic()
    for hold, due in (((30.0,), 1.5), ((30.0, 2.0), 2.0), ((30.0, 1.0), 1.5), ((0.5, 0.5), 0.5)):
        owner = Stepping(wheel, now + 2.5)
        owner.deadlines.hold(*hold)
        owner.deadlines.on_time(now + due - 0.1)
        assert owner.heard == []
        owner.deadlines.on_time(now + due + 0.1)
        assert owner.heard == ["step"]
        owner.deadlines.stop()
    wheel.stop()
    loop.close()


def test_a_step_that_another_one_ends_in_puts_no_deadline_off() -> None:
    """The time to log in is looked at when it is over, and not when the new step is."""
    loop = EventLoop()
    wheel = Wheel(loop)
    now = time.monotonic()
    owner = Stepping(wheel, now + 2.0)
    owner.deadlines.expect_within(1.0)
    owner.deadlines.on_time(now + 1.5)
    assert owner.heard == ["step"]
    assert owner.deadlines._wakes == now + 2.0
    owner.deadlines.stop()
    wheel.stop()
    loop.close()


def test_the_time_to_log_in_is_told_until_something_comes_of_it() -> None:
    """Whoever is answered then, and does not end by it, is not in, and has no more time."""
    loop = EventLoop()
    wheel = Wheel(loop)
    owner = Stepping(wheel, time.monotonic() + 2.0)
    now = time.monotonic()
    for seconds in (3.0, 4.0):
        owner.deadlines.on_time(now + seconds)
    assert owner.heard == ["auth", "auth"]
    owner.deadlines.login_done(10.0)
    owner.deadlines.on_time(now + 5.0)
    assert owner.heard == ["auth", "auth"]
    owner.deadlines.stop()
    wheel.stop()
    loop.close()


def test_the_end_of_a_session_is_told_once() -> None:
    """Whoever may go on for a while has asked for a step, and is not told at each turn of the wheel."""
    loop = EventLoop()
    wheel = Wheel(loop)
    owner = Stepping(wheel, time.monotonic() + 2.0)
    owner.deadlines.login_done(10.0)
    now = time.monotonic()
    for seconds in (11.0, 12.0):
        owner.deadlines.on_time(now + seconds)
    assert owner.heard == ["session"]
    owner.deadlines.on_time(now + 31.0)
    assert owner.heard == ["session", "step"]
    owner.deadlines.stop()
    wheel.stop()
    loop.close()
