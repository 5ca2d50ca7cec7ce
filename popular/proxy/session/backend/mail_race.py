"""Asks a storage server by UDP whether a mailbox has mail, by sockets for this one question. Where it has several
addresses the next one is asked too when the one before has not answered within a quarter of a second, or cannot; the
first answer counts. (A backend that is configured with one address, as nearly all are: mailcheck.py.)
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from popular.protocol.mailcheck import question
from popular.proxy.session.backend.backend_race import HEAD_START_SECONDS
from popular.proxy.session.backend.mailcheck import connected, heard, put
from popular.proxy.session.events import SessionEvents
from supervisor.runtime.loop import READ
from supervisor.serving.eventloop import EventLoop
from supervisor.system import close


class MailRace:
    """One question. The owner hears of the answer once, unless it is given up first."""

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
        self._sockets: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failure = ""
        self._ask_next()

    def _ask_next(self) -> None:
        """Raises OSError where nobody is left to answer."""
        while self._hosts:
            try:
                self._ask(self._hosts.pop(0))
            except OSError:
                if self._hosts or self._sockets:
                    continue
                raise
            if self._hosts:
                self._timer = self._loop.call_later(HEAD_START_SECONDS, self._take_turn)
            return

    def _ask(self, host: str) -> None:
        asked = _sent(self._packet, (host, self._port), self._source)
        self._sockets.append(asked)
        try:
            self._loop.watch(asked, READ, partial(self._ready, asked))
        except OSError:
            self._leave(asked)
            raise

    def _ready(self, asked: int, _events: int) -> None:
        try:
            self._read(asked)
        except Exception as error:
            self._owner.fault(error)

    def _take_turn(self) -> None:
        try:
            self._ask_another()
        except Exception as error:
            self._owner.fault(error)

    def _ask_another(self) -> None:
        """One more is asked; where nobody answers any more the owner hears so."""
        self._stop_timer()
        try:
            self._ask_next()
        except OSError as error:
            self._failure = error.strerror or type(error).__name__
        if not self._sockets:
            self._owner.mail_checked(None, self._failure)

    def _read(self, asked: int) -> None:
        answer = heard(asked)
        if answer is None:
            return
        mail, self._failure = answer
        if mail is None:
            self._leave(asked)
            self._ask_another()
        else:
            self._stop()
            self._owner.mail_checked(mail, "")

    def _leave(self, asked: int) -> None:
        self._sockets.remove(asked)
        self._loop.forget(asked)
        close(asked)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def give_up(self, _owner: SessionEvents) -> None:
        """As CheckSocket does."""
        self._stop()

    def _stop(self) -> None:
        self._stop_timer()
        self._hosts = []
        for asked in list(self._sockets):
            self._leave(asked)


def _sent(packet: bytes, address: tuple[str, int], source: str) -> int:
    """The socket by which the question is on its way. Raises OSError."""
    asked = connected(address, source)
    try:
        put(asked, packet)
    except OSError:
        close(asked)
        raise
    return asked
