"""Asks a storage server by UDP whether a mailbox has mail (popular/protocol/mailcheck.py).

The packets carry no number, so each question has a socket of its own, connected to the server: what comes in is the
answer to this question or nothing.
"""

import socket

from popular.protocol.lines import NullByte
from popular.protocol.mailcheck import LONGEST_ANSWER, BadPacket, CheckFailed, parse_mail_answer, question
from popular.proxy.session.events import SessionEvents
from supervisor.runtime.loop import READ
from supervisor.serving.eventloop import EventLoop


class MailQuestion:
    """One question. The owner hears of the answer once, unless `close` comes first."""

    __slots__ = ("_loop", "_owner", "_socket")

    def __init__(
        self, loop: EventLoop, host: str, port: int, *, mailbox: str, owner: SessionEvents, source: str = ""
    ) -> None:
        """Sends the question, from the address `source` if there is one.

        Raises OSError where that is not possible, and BadMailboxName.
        """
        self._loop = loop
        self._owner = owner
        packet = question(mailbox)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if source:
                self._socket.bind((source, 0))
            self._socket.connect((host, port))
            self._socket.send(packet)
        except OSError:
            self._socket.close()
            raise
        loop.watch(self._socket.fileno(), READ, self._ready)

    def _ready(self, _events: int) -> None:
        try:
            self._read()
        except Exception as error:
            self._owner.fault(error)

    def _read(self) -> None:
        mail, reason = None, ""
        try:
            mail = parse_mail_answer(self._socket.recv(LONGEST_ANSWER))
        except BlockingIOError:
            return
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except (BadPacket, CheckFailed, NullByte) as error:
            reason = str(error) or type(error).__name__
        self.close()
        self._owner.mail_checked(mail, reason)

    def close(self) -> None:
        """Gives the question up. Twice is fine."""
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
