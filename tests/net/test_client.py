"""The connection to a client: replies gather, wait for a slow reader, and hold back who does not read them."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from popular.net.client import ClientConnection, ClientOwner
from popular.net.deadlines import DeadlineOwner, Deadlines
from supervisor.runtime.log import Log
from supervisor.serving.eventloop import EventLoop
from supervisor.serving.wheel import TICK_SECONDS, Wheel
from supervisor.system import Poller
from tests.patience import patient

MUCH = b"x" * (1 << 22)
"""More than the kernel takes for somebody who does not read."""


class Context(NamedTuple):
    """What a connection needs of its worker."""

    loop: EventLoop
    core: Poller
    log: Log


class Session(ClientOwner):
    """An owner that writes down what it is told."""

    def __init__(self, loop: EventLoop, fd: int) -> None:
        self.sid = "t.1.1"
        self.told: list[str] = []
        self.said = b""
        self.client = ClientConnection(Context(loop, loop.core, Log("test", "/dev/null")), fd, self)

    def client_says(self, data: bytes) -> None:
        self.said += data

    def client_eof(self) -> None:
        self.told.append("ended")

    def client_took_all(self) -> None:
        self.told.append("took all")

    def client_broke(self) -> None:
        self.told.append("broke")

    def fault(self, error: Exception) -> None:
        raise error


class Meeting:
    """A session, its client, and the loop that turns for them."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(patient(5))
        self.session = Session(self.loop, ours.detach())
        self.client = self.session.client

    def turn(self, until: Callable[[], object]) -> None:
        async def turning() -> None:
            deadline = time.monotonic() + 5
            while not until():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(turning())

    def turn_a_while(self) -> None:
        """Long enough for anything that is under way."""
        self.loop.run_until_complete(asyncio.sleep(0.03))


@contextlib.contextmanager
def meeting() -> Iterator[Meeting]:
    """All of it is closed at the end."""
    met = Meeting()
    yield met
    met.client.close(False)
    met.peer.close()
    met.loop.close()


def test_replies_gather_until_flush() -> None:
    """Nothing leaves before it, and then all in one piece."""
    with meeting() as met:
        met.client.put(b"+OK one\r\n")
        met.client.put(b"+OK two\r\n")
        assert met.client.sent == 18
        met.peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(met.peer.recv(100))
        assert met.client.flush()
        assert met.peer.recv(100) == b"+OK one\r\n+OK two\r\n"
        assert not met.client.unsent


def test_it_is_read_when_the_owner_listens() -> None:
    """What comes before is not lost, and one who listens no more is not fed."""
    with meeting() as met:
        met.peer.sendall(b"USER ann\r\n")
        met.turn_a_while()
        assert met.session.said == b""
        met.client.set_reading(True)
        met.turn(lambda: met.session.said)
        met.client.set_reading(False)
        met.peer.sendall(b"PASS\r\n")
        met.turn_a_while()
        assert met.session.said == b"USER ann\r\n"
        met.client.set_reading(True)
        met.turn(lambda: met.session.said == b"USER ann\r\nPASS\r\n")
        assert met.client.received == 16


def test_who_does_not_take_his_replies_is_not_read() -> None:
    """Until he has taken all of them; then the owner hears of it, once, and reads on."""
    with meeting() as met:
        met.client.set_reading(True)
        met.client.put(MUCH)
        assert met.client.flush()
        assert met.client.write_blocked
        met.client.put(b"!")
        met.peer.sendall(b"NOOP\r\n")
        met.turn_a_while()
        assert met.session.said == b""
        taken = b""

        def took() -> bool:
            nonlocal taken
            taken += met.peer.recv(1 << 16)
            return len(taken) == len(MUCH) + 1

        met.turn(took)
        met.turn(lambda: met.session.said == b"NOOP\r\n")
        assert taken == MUCH + b"!"
        assert met.session.told == ["took all"]


def test_an_end_and_a_break_are_told_apart() -> None:
    """Who sends nothing more may still read; who is gone may not."""
    with meeting() as met:
        met.client.set_reading(True)
        met.peer.shutdown(socket.SHUT_WR)
        met.turn(lambda: met.session.told == ["ended"])
        met.turn_a_while()
        assert met.client.at_eof
        met.client.put(b"+OK bye\r\n")
        assert met.client.flush()
        assert met.peer.recv(100) == b"+OK bye\r\n"
        met.peer.close()
        met.client.put(b"+OK\r\n")
        assert not met.client.flush()
        assert met.session.told == ["ended"]


class Timed(DeadlineOwner):
    """An owner of deadlines."""

    def __init__(self, loop: EventLoop) -> None:
        self.expirations: list[str] = []
        self.idle = time.monotonic() + 100
        self.deadlines = Deadlines(Wheel(loop), self, time.monotonic() + 100)

    def idle_at(self) -> float:
        return self.idle

    def expired(self, what: str) -> None:
        self.expirations.append(what)
        if what == "session":
            self.deadlines.stop()


def test_deadlines_are_told_to_the_owner() -> None:
    """Each by its name; a step that has come expires no more, and nothing does after the end."""
    loop = EventLoop()
    timed = Timed(loop)
    timed.deadlines.schedule()
    timed.deadlines.expect_within(0.01)
    loop.run_until_complete(asyncio.sleep(3 * TICK_SECONDS))
    assert timed.expirations == ["step"]
    timed.deadlines.expect_within(0.01)
    timed.deadlines.expect_nothing()
    timed.deadlines.login_done(0.01)
    loop.run_until_complete(asyncio.sleep(3 * TICK_SECONDS))
    assert timed.expirations == ["step", "session"]
    loop.close()


def test_replies_leave_when_the_turn_is_over() -> None:
    """All that were put until then in one piece, and not before."""
    with meeting() as met:
        met.client.put(b"+OK one\r\n")
        met.client.flush_later()
        met.client.put(b"+OK two\r\n")
        met.client.flush_later()
        assert met.client.unsent
        met.loop.core.run(0.0)
        assert met.peer.recv(100) == b"+OK one\r\n+OK two\r\n"
        assert not met.client.unsent


def test_what_is_to_leave_later_is_not_lost_with_the_connection() -> None:
    """Whoever closes it in the same turn."""
    met = Meeting()
    met.client.put(b"+OK bye\r\n")
    met.client.flush_later()
    met.client.close(True)
    assert met.peer.recv(100) == b"+OK bye\r\n"
    met.loop.core.run(0.0)
    met.peer.close()
    met.loop.close()


def test_the_owner_hears_that_replies_cannot_leave() -> None:
    """At the end of the turn, once."""
    with meeting() as met:
        met.peer.close()
        met.client.put(b"+OK one\r\n")
        met.client.flush_later()
        met.loop.core.run(0.0)
        assert met.session.told == ["broke"]
