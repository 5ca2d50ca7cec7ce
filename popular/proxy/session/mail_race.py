"""Asks a storage server that has several addresses by UDP whether a mailbox has mail: at the next one too when the one
before has not answered within a quarter of a second, or cannot. The first answer counts. (One address: mailcheck.py.)
"""

import asyncio
import socket
from collections.abc import Sequence
from functools import partial

from popular.protocol.lines import NullByte
from popular.protocol.mailcheck import LONGEST_ANSWER, BadPacket, CheckFailed, parse_mail_answer, question
from popular.proxy.session.backend_race import HEAD_START_SECONDS
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.mailcheck import MailQuestion
from popular.proxy.settings.backend import Backend
from supervisor.runtime.loop import READ
from supervisor.serving.eventloop import EventLoop


class MailRace:
    """One question. The owner hears of the answer once, unless `close` comes first."""

    __slots__ = ("_failure", "_hosts", "_loop", "_owner", "_packet", "_port", "_sockets", "_source", "_timer")

    def __init__(
        self,
        loop: EventLoop,
        hosts: Sequence[str],
        port: int,
        *,
        mailbox: str,
        owner: SessionEvents,
        source: str = "",
    ) -> None:
        """Sends the question to the first of the server's addresses, from the address `source` if there is one.

        Raises OSError where that is not possible, and BadMailboxName.
        """
        self._loop = loop
        self._owner = owner
        self._packet = question(mailbox)
        self._hosts = list(hosts)
        self._port = port
        self._source = source
        self._sockets: list[socket.socket] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failure = ""
        self._ask_next()

    def _ask_next(self) -> None:
        """Raises OSError where nobody is left to answer."""
        while self._hosts:
            try:
                asked = _sent(self._packet, self._hosts.pop(0), self._port, source=self._source)
            except OSError:
                if self._hosts or self._sockets:
                    continue
                raise
            self._sockets.append(asked)
            self._loop.watch(asked.fileno(), READ, partial(self._ready, asked))
            if self._hosts:
                self._timer = self._loop.call_later(HEAD_START_SECONDS, self._take_turn)
            return

    def _ready(self, asked: socket.socket, _events: int) -> None:
        try:
            self._read(asked)
        except Exception as error:
            self._owner.fault(error)

    def _take_turn(self) -> None:
        try:
            self._go_on()
        except Exception as error:
            self._owner.fault(error)

    def _go_on(self) -> None:
        """One more is asked; where nobody answers any more the owner hears so."""
        self._stop_timer()
        try:
            self._ask_next()
        except OSError as error:
            self._failure = error.strerror or type(error).__name__
        if not self._sockets:
            self._owner.mail_checked(None, self._failure)

    def _read(self, asked: socket.socket) -> None:
        try:
            mail = parse_mail_answer(asked.recv(LONGEST_ANSWER))
        except BlockingIOError:
            return
        except OSError as error:
            self._failure = error.strerror or type(error).__name__
        except (BadPacket, CheckFailed, NullByte) as error:
            self._failure = str(error) or type(error).__name__
        else:
            self.close()
            self._owner.mail_checked(mail, "")
            return
        self._leave(asked)
        self._go_on()

    def _leave(self, asked: socket.socket) -> None:
        self._sockets.remove(asked)
        self._loop.forget(asked.fileno())
        asked.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Gives the question up. Twice is fine."""
        self._stop_timer()
        self._hosts = []
        for asked in list(self._sockets):
            self._leave(asked)


def mail_question(
    loop: EventLoop, backend: Backend, port: int, *, mailbox: str, owner: SessionEvents
) -> MailQuestion | MailRace:
    """Put to a backend, however many addresses it has. Raises as the classes do."""
    source = backend.source
    if backend.host.further:
        return MailRace(loop, backend.addresses, port, mailbox=mailbox, owner=owner, source=source)
    return MailQuestion(loop, backend.host.address, port, mailbox=mailbox, owner=owner, source=source)


def _sent(packet: bytes, host: str, port: int, *, source: str) -> socket.socket:
    """The question on its way. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    asked = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if source:
            asked.bind((source, 0))
        asked.connect((host, port))
        asked.send(packet)
    except OSError:
        asked.close()
        raise
    return asked
