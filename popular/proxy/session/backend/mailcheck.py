"""Asks a storage server by UDP whether a mailbox has mail (popular/protocol/mailcheck.py).

The packets carry no number. So a socket has one question at a time, and is connected to the server: what comes in is
the answer to this question or nothing. One that has brought an answer rests, and is used again, which saves three
system calls of six. It must not bring one user what was meant for another, nor make it easier to forge an answer:

- Only a socket that was answered rests. A question that is given up may be answered late: its socket is closed.
- It rests for a while, in which an answer that the network has doubled comes; whatever comes unasked closes it, also
  what comes just before the next question leaves.
- It serves for seconds only. Who forges answers has to guess one port of those that the kernel chooses at random, in
  the time between question and answer, as if each question had a socket of its own.
"""

import errno
import os
import socket

from popular.protocol.mailcheck import LONGEST_ANSWER, BadPacket, CheckFailed, Mail, parse_mail_answer, question
from popular.proxy.session.events import SessionEvents
from supervisor.runtime.loop import READ
from supervisor.serving.eventloop import EventLoop
from supervisor.system import EventTaker, close, receive, send

REST_SECONDS = 0.005
"""How long a socket rests at least."""
SERVICE_SECONDS = 5.0
"""How old it may become."""


class RestingRoom:
    """How many sockets of a worker may rest yet, whatever the servers that they lead to."""

    __slots__ = ("left",)

    def __init__(self, most: int) -> None:
        self.left = most


class CheckSockets:
    """The sockets that lead to one server, and of which each asks one question at a time."""

    __slots__ = ("_address", "_clock", "_loop", "_rest", "_resting", "_room", "_seconds", "_source", "_tidies", "core")

    def __init__(
        self,
        loop: EventLoop,
        address: tuple[str, int],
        *,
        source: str,
        room: RestingRoom,
        rest: float = REST_SECONDS,
        seconds: float = SERVICE_SECONDS,
    ) -> None:
        """`source`: the address from which is asked, or ""; `rest`: how long a socket rests at least, `seconds`: how
        old it may become.
        """
        self._loop = loop
        self._clock = loop.clock
        self.core = loop.core
        self._address = address
        self._source = source
        self._resting: list[CheckSocket] = []
        """Those that rest, the longest first."""
        self._room = room
        self._rest = rest
        self._seconds = seconds
        self._tidies = False
        """It was asked to be called when the first of them is too old."""

    def ask(self, mailbox: str, owner: SessionEvents) -> "CheckSocket":
        """Puts a question, of which the owner hears once, unless it is given up.

        Raises OSError where that is not possible, and BadMailboxName.
        """
        packet = question(mailbox)
        asked = self._rested()
        if asked is not None:
            try:
                asked.put(packet, owner)
                return asked
            except OSError:  # perhaps our own address is another one now
                asked.close()
        asked = CheckSocket(self, connected(self._address, self._source), self._clock.now)
        try:
            self.core.watch(asked.fd, READ, asked)
            asked.put(packet, owner)
        except OSError:
            asked.close()
            raise
        return asked

    def _rested(self) -> "CheckSocket | None":
        """One that can be used again. Those that have had their time, or have heard what nobody asked, are closed."""
        resting = self._resting
        now = self._clock.now
        while resting:
            first = resting[0]
            if now - first.rests_since < self._rest:
                return None
            del resting[0]
            self._room.left += 1
            if now - first.made < self._seconds and first.is_silent():
                return first
            first.close()
        return None

    def rest(self, answered: "CheckSocket") -> None:
        """Keeps a socket whose question was answered for the next one, if there is room."""
        if self._room.left <= 0:
            answered.close()
            return
        self._room.left -= 1
        answered.rests_since = self._clock.now
        self._resting.append(answered)
        if not self._tidies:
            self._tidies = True
            self._loop.call_later(self._seconds, self._tidy)

    def wakes(self, resting: "CheckSocket") -> None:
        """Lets go of a resting socket that has heard something that nobody asked."""
        self._resting.remove(resting)
        self._room.left += 1
        resting.close()

    def _tidy(self) -> None:
        """Closes those that are too old: where nobody asks, nothing stays open."""
        now = self._clock.now
        for one in list(self._resting):
            if now - one.made >= self._seconds:
                self.wakes(one)
        self._tidies = bool(self._resting)
        if self._tidies:
            self._loop.call_later(self._seconds, self._tidy)


class CheckSocket(EventTaker):
    """One of them. While it has a question somebody owns it; else it rests, or is closed."""

    __slots__ = ("_owner", "_sockets", "fd", "made", "rests_since")

    def __init__(self, sockets: CheckSockets, fd: int, now: float) -> None:
        """`fd`: of a connected socket, which is this one's to close; it is to be watched."""
        self._sockets = sockets
        self._owner: SessionEvents | None = None
        self.fd = fd
        self.made = now
        self.rests_since = now

    def put(self, packet: bytes, owner: SessionEvents) -> None:
        """Sends a question. Raises OSError."""
        put(self.fd, packet)
        self._owner = owner

    def is_silent(self) -> bool:
        """Whether nothing has come that nobody asked."""
        try:
            return receive(self.fd, LONGEST_ANSWER) is None
        except OSError:
            return False

    def ready(self, _fd: int, _events: int) -> None:
        owner = self._owner
        if owner is None:
            self._sockets.wakes(self)
            return
        try:
            self._read(owner)
        except Exception as error:
            owner.fault(error)

    def _read(self, owner: SessionEvents) -> None:
        answer = heard(self.fd)
        if answer is None:
            return
        mail, reason = answer
        self._owner = None
        if mail is None:
            self.close()
        else:
            self._sockets.rest(self)
        owner.mail_checked(mail, reason)

    def give_up(self, owner: SessionEvents) -> None:
        """The owner does not want to know any more; if the question is not its own any more that is fine."""
        if self._owner is owner:
            self._owner = None
            self.close()

    def close(self) -> None:
        """Nobody uses it any more."""
        self._sockets.core.forget(self.fd)
        close(self.fd)
        self.fd = -1


def heard(fd: int) -> tuple[Mail | None, str] | None:
    """What the server has answered; no mail word and why, if that is no answer; None if nothing has come."""
    try:
        packet = receive(fd, LONGEST_ANSWER)
        return None if packet is None else (parse_mail_answer(packet), "")
    except OSError as error:
        return None, error.strerror or type(error).__name__
    except (BadPacket, CheckFailed) as error:
        return None, str(error) or type(error).__name__


def connected(address: tuple[str, int], source: str) -> int:
    """A socket that hears nobody but this server. Raises OSError."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if source:
            made.bind((source, 0))
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made.detach()


def put(fd: int, packet: bytes) -> None:
    """Sends it. Raises OSError."""
    if not send(fd, packet):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
