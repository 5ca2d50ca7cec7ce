"""The wait for events: what is put off until a turn is over."""

import socket
import sys

from supervisor.runtime.loop import READ
from supervisor.serving.eventloop import EventLoop
from supervisor.system import EventTaker, Poller
from tests.patience import PATIENCE, within


class Late(EventTaker):
    """Notes when it is called."""

    def __init__(self, core: Poller, noted: list[str]) -> None:
        self.core = core
        self.noted = noted

    def ready(self, fd: int, _events: int) -> None:
        self.noted.append("ready")
        self.core.unwatch(fd)
        self.core.later(self)

    def turn_over(self) -> None:
        self.noted.append("over")


def test_a_turn_is_over_when_all_have_had_their_events() -> None:
    """Not in between; and what somebody does outside of a turn is seen to before the next wait."""
    loop = EventLoop()
    noted: list[str] = []
    pairs = [socket.socketpair() for _ in range(3)]
    for near, far in pairs:
        far.send(b"x")
        loop.watch(near.fileno(), READ, Late(loop.core, noted))
    loop.core.run(0.0)
    assert noted == ["ready"] * 3 + ["over"] * 3
    loop.core.later(Late(loop.core, noted))
    loop.core.run(0.0)
    assert noted[6:] == ["over"]
    for pair in pairs:
        for end in pair:
            end.close()
    loop.close()


class Successive(EventTaker):
    """Has something more to do whenever its turn is over, and somebody else has too."""

    def __init__(self, core: Poller, noted: list[str], most: int) -> None:
        self.core = core
        self.noted = noted
        self.left = most

    def turn_over(self) -> None:
        self.noted.append("again")
        if self.left:
            self.left -= 1
            self.core.later(self)
            self.core.later(Late(self.core, self.noted))


def test_as_many_as_want_to_are_called_behind_a_turn() -> None:
    """Hundreds, and those who ask for it only then; each is let go of afterwards."""
    loop = EventLoop()
    noted: list[str] = []
    takers: list[EventTaker] = [Late(loop.core, noted) for _ in range(300)]
    takers.append(Successive(loop.core, noted, 200))
    held = [sys.getrefcount(taker) for taker in takers]
    for number in range(len(takers)):
        loop.core.later(takers[number])
    loop.core.run(0.0)
    assert noted == ["over"] * 300 + ["again"] + ["again", "over"] * 200
    loop.core.run(0.0)
    assert len(noted) == 701
    assert [sys.getrefcount(taker) for taker in takers] == held
    loop.close()


class Interrupting(EventTaker):
    """Has something for asyncio to do, when it is called."""

    def __init__(self, loop: EventLoop, noted: list[str]) -> None:
        self.loop = loop
        self.noted = noted

    def turn_over(self) -> None:
        self.loop.call_soon(self.noted.append, "soon")


def test_what_is_to_be_done_behind_a_turn_waits_for_no_event() -> None:
    """Also where the turn was over only in front of the next wait, whose length asyncio had worked out before."""
    loop = EventLoop()
    noted: list[str] = []
    loop.core.later(Interrupting(loop, noted))
    with within(0.1):
        loop.core.run(PATIENCE)
    loop.call_later(0.0, loop.stop)
    loop.run_forever()
    assert noted == ["soon"]
    loop.close()
