"""The sockets of the mail check: used again, and yet nobody hears what was meant for another, or was not asked."""

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest

from popular.protocol.mailcheck import Mail, error_answer, mail_answer
from popular.proxy.session.backend import mail_race, mailcheck
from popular.proxy.session.backend.mail_race import MailRace
from popular.proxy.session.backend.mailcheck import CheckSocket, CheckSockets, RestingRoom
from popular.proxy.session.events import SessionEvents
from supervisor.serving.eventloop import EventLoop
from tests.patience import patient

LOOPBACK = "127.0.0.1"
REST = 0.02
"""Seconds in which a socket has rested for long enough."""
Peer = tuple[str, int]


class Asker(SessionEvents):
    """Who asks: hears once."""

    def __init__(self) -> None:
        self.sid = "p01.1.2"
        self.heard: list[tuple[Mail | None, str]] = []
        self._hears = asyncio.Event()

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        self.heard.append((mail, reason))
        self._hears.set()

    def fault(self, error: Exception) -> None:
        raise error

    async def answer(self) -> tuple[Mail | None, str]:
        """What it hears."""
        async with asyncio.timeout(patient(5)):
            await self._hears.wait()
        (only,) = self.heard
        return only


class Server:
    """A pcheckd that does what a test says."""

    def __init__(self, sockets: CheckSockets, listening: socket.socket, room: RestingRoom) -> None:
        self.sockets = sockets
        self.room = room
        self._socket = listening
        self.close = listening.close

    async def question(self) -> tuple[str, Peer]:
        """The mailbox that is asked about next, and from where."""
        async with asyncio.timeout(patient(5)):
            while True:
                try:
                    packet, peer = self._socket.recvfrom(512)
                    return packet.decode().removeprefix("*M").strip(), peer
                except BlockingIOError:
                    await asyncio.sleep(0.001)

    def says(self, packet: bytes, peer: Peer) -> None:
        """To whoever asks from there."""
        self._socket.sendto(packet, peer)

    async def answers(self, mail: Mail, mailbox: str = "ann") -> Peer:
        """A question and its answer, as they should be; says from where it was asked, when that socket has rested."""
        asker = Asker()
        self.sockets.ask(mailbox, asker)
        asked, peer = await self.question()
        assert asked == mailbox
        self.says(mail_answer(mail), peer)
        assert await asker.answer() == (mail, "")
        await asyncio.sleep(REST)
        return peer


Scene = Callable[[Server], Awaitable[None]]
Play = Callable[..., None]


OLD_SECONDS = 60.0
"""A socket is used no longer than this, where a test says nothing else."""


@pytest.fixture
def play() -> Iterator[Play]:
    """Lets a scene happen on an event loop, in front of a server."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening,
        asyncio.Runner(loop_factory=EventLoop) as runner,
    ):
        listening.setblocking(False)
        listening.bind((LOOPBACK, 0))

        async def begin(scene: Scene, most: int, **times: float) -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, EventLoop)
            room = RestingRoom(most)
            at = listening.getsockname()
            await scene(Server(CheckSockets(loop, at, source="", room=room, **times), listening, room))

        def act(scene: Scene, *, most: int = 8, **times: float) -> None:
            runner.run(begin(scene, most, **{"seconds": OLD_SECONDS, **times}))

        yield act


def test_one_that_was_answered_asks_again(play: Play) -> None:
    """When it has rested; and each hears what was answered to it."""

    async def scene(server: Server) -> None:
        first = await server.answers(Mail.NONE)
        assert await server.answers(Mail.NEW, "joe") == first
        assert server.room.left == 7
        asker, other = Asker(), Asker()
        server.sockets.ask("ann", asker)
        server.sockets.ask("joe", other)
        (_, peer), (_, another) = [await server.question(), await server.question()]
        assert peer == first
        assert another != first
        server.says(mail_answer(Mail.ONLY_READ), another)
        server.says(mail_answer(Mail.NONE), peer)
        assert await asker.answer() == (Mail.NONE, "")
        assert await other.answer() == (Mail.ONLY_READ, "")

    play(scene)


def test_one_that_has_not_rested_is_not_used_again(play: Play) -> None:
    """An answer that the network has doubled may be on the way."""

    async def scene(server: Server) -> None:
        assert len({await server.answers(Mail.NONE) for _ in range(5)}) == 5

    play(scene, rest=60.0)


def test_an_answer_that_is_late_reaches_nobody(play: Play) -> None:
    """Its question was given up, and the socket asks no other."""

    async def scene(server: Server) -> None:
        asker, other = Asker(), Asker()
        asked = server.sockets.ask("ann", asker)
        _, peer = await server.question()
        asked.give_up(other)  # not its own
        assert asked.fd >= 0
        asked.give_up(asker)
        asked.give_up(asker)
        assert asked.fd == -1
        server.sockets.ask("joe", other)
        _, another = await server.question()
        assert another != peer
        server.says(mail_answer(Mail.NONE), peer)
        server.says(mail_answer(Mail.NEW), another)
        assert await other.answer() == (Mail.NEW, "")
        assert not asker.heard

    play(scene)


@pytest.mark.parametrize("turns", [False, True])
def test_what_nobody_has_asked_closes_it(play: Play, turns: bool) -> None:
    """A doubled or a forged answer: whether the loop hears of it, or the next question comes first."""

    async def scene(server: Server) -> None:
        first = await server.answers(Mail.NONE)
        server.says(mail_answer(Mail.NONE), first)
        if turns:
            await asyncio.sleep(REST)
            assert server.room.left == 8
        assert await server.answers(Mail.NEW, "joe") != first

    play(scene)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (error_answer("no such mailbox"), "no such mailbox"),
        (b"+OK 7\n", "the answer has no code from 0 to 3"),
        (b"", "neither +OK nor -ERR"),
        (b"\0", "a NUL octet in the answer"),
    ],
)
def test_one_that_brought_no_answer_is_not_used_again(play: Play, packet: bytes, reason: str) -> None:
    """Who knows what else comes."""

    async def scene(server: Server) -> None:
        asker = Asker()
        asked = server.sockets.ask("ann", asker)
        _, peer = await server.question()
        server.says(packet, peer)
        assert await asker.answer() == (None, reason)
        assert asked.fd == -1
        await asyncio.sleep(REST)
        assert await server.answers(Mail.NONE) != peer

    play(scene)


def test_only_so_many_rest(play: Play) -> None:
    """Whatever comes beyond is closed; where nobody asks any more nothing stays open."""

    async def scene(server: Server) -> None:
        askers = [Asker() for _ in range(4)]
        asked = [server.sockets.ask("ann", asker) for asker in askers]
        for _ in asked:
            server.says(mail_answer(Mail.NONE), (await server.question())[1])
        for asker in askers:
            assert await asker.answer() == (Mail.NONE, "")
        assert [one.fd >= 0 for one in asked].count(True) == 2
        assert server.room.left == 0
        async with asyncio.timeout(patient(5)):
            while server.room.left != 2:
                await asyncio.sleep(0.01)
        assert [one.fd for one in asked] == [-1] * 4

    play(scene, most=2, seconds=0.2)


def test_one_that_has_had_its_time_is_not_used_again(play: Play) -> None:
    """Also if it was busy when those that rested were looked through."""

    async def scene(server: Server) -> None:
        asker = Asker()
        asked = server.sockets.ask("ann", asker)
        _, peer = await server.question()
        server.says(mail_answer(Mail.NONE), peer)
        assert await asker.answer() == (Mail.NONE, "")
        asked.made -= OLD_SECONDS + 1
        await asyncio.sleep(REST)
        assert await server.answers(Mail.NONE) != peer
        assert asked.fd == -1

    play(scene)


def test_where_nobody_listens_that_is_told(play: Play) -> None:
    """At once, by the kernel; and by a socket that has rested too."""

    async def scene(server: Server) -> None:
        await server.answers(Mail.NONE)
        server.close()
        for _ in range(2):
            asker = Asker()
            server.sockets.ask("ann", asker)
            assert await asker.answer() == (None, "Connection refused")

    play(scene)


def test_in_all_confusion_each_hears_its_own(play: Play) -> None:
    """Answers out of order, doubled, late, lost and given up: nobody hears of another's mailbox."""
    chance = random.Random(11)

    async def scene(server: Server) -> None:
        asked: dict[str, tuple[CheckSocket, Asker, Mail]] = {}
        open_ones: list[tuple[str, Peer]] = []
        for number in range(400):
            name, mail = f"u{number}", Mail(number % 4)
            asker = Asker()
            asked[name] = server.sockets.ask(name, asker), asker, mail
            open_ones.append(await server.question())
            while len(open_ones) > chance.randrange(8):
                about, peer = open_ones.pop(chance.randrange(len(open_ones)))
                what = chance.choice(("answer", "answer", "answer", "double", "lose", "late"))
                if what in ("lose", "late"):
                    question, its_asker, _ = asked[about]
                    question.give_up(its_asker)
                if what != "lose":
                    for _ in range(1 + (what == "double")):
                        server.says(mail_answer(asked[about][2]), peer)
            await asyncio.sleep(chance.choice((0, 0, 0, 0.003, 0.008)))
        for _, asker, mail in asked.values():
            assert asker.heard in ([], [(mail, "")])
        assert sum(bool(asker.heard) for _, asker, _ in asked.values()) > 200

    play(scene)


@pytest.mark.parametrize("rests", [True, False])
def test_one_that_cannot_be_watched_is_closed(play: Play, monkeypatch: pytest.MonkeyPatch, rests: bool) -> None:
    """The kernel watches only so many descriptors, and none of a file on a disk."""
    made = os.open(__file__, os.O_RDONLY)
    monkeypatch.setattr(mailcheck, "connected", lambda _address, _source: made)
    monkeypatch.setattr(mail_race, "_sent", lambda _packet, _address, _source: made)

    async def scene(server: Server) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        ask = partial(MailRace, loop, [LOOPBACK], 1)
        with pytest.raises(PermissionError):
            server.sockets.ask("ann", Asker()) if rests else ask(mailbox="ann", owner=Asker())
        with pytest.raises(OSError):
            os.fstat(made)

    play(scene)
