"""The connection to a backend until it is joined with the client: connect, PROXY header, TLS, and the login dialogue as
the machine wants it.

A backend that greets, and is spoken to in clear, is waited for by its greeting alone: connecting needs no event of its
own.
"""

import errno
import os
import socket
import ssl

from popular.net.channel import ENDED, Channel
from popular.net.make import channel_while_debugging
from popular.net.syscall_log import BACKEND, SyscallLog, syscall_log_of
from popular.net.tlschannel import TlsChannel
from popular.proxy.backend_tls import BackendTls, words_of
from popular.proxy.session.events import SessionEvents
from popular.proxy.settings.backend import IMPLICIT, Backend
from supervisor.octets import joined
from supervisor.runtime.loop import READ, WRITE
from supervisor.serving.context import WorkerContext
from supervisor.system import EventTaker, dial

_READ_SIZE = 4096


class Extras:
    """What a connection needs beyond a plain one: TLS, or a PROXY header."""

    __slots__ = ("_backend", "fresh", "implicit", "proxy_header", "shaking_hands", "tls")

    def __init__(self, backend: Backend, tls: BackendTls | None, proxy_header: bytes) -> None:
        """`tls`: what it needs, None if TLS is off; `proxy_header`: what to send first of all, in clear."""
        self._backend = backend
        self.tls = tls
        self.implicit = backend.tls == IMPLICIT
        self.proxy_header = proxy_header
        self.shaking_hands = False
        self.fresh = False
        """TLS stands, and nothing was heard in it."""

    def at_address(self, number: int) -> "Extras":
        """What a connection needs to one of the backend's several addresses, by its number."""
        tls = None if self.tls is None else self.tls.at_address(number)
        return Extras(self._backend, tls, self.proxy_header)


class BackendConnection(EventTaker):
    """One connection. After `close` it is silent."""

    __slots__ = ("_context", "_extras", "_owner", "_unsaid", "channel", "greets")

    def __init__(self, context: WorkerContext, owner: SessionEvents) -> None:
        """To be opened at once."""
        self._context = context
        self._owner = owner
        self.greets = False
        self._unsaid = b""
        """What leaves at the end of this turn."""
        self._extras: Extras | None = None

    def open(self, backend: Backend, greets: bool, extras: Extras | None) -> None:
        """Begins to connect. `greets`: the backend speaks first. Raises OSError if that fails at once."""
        self._open_channel(self._dial(backend), greets, extras)

    def _dial(self, backend: Backend) -> int:
        """A connection under way. Raises OSError."""
        syscalls = self._syscalls()
        try:
            fd = dial(backend.host.address, backend.port, backend.source)
        except OSError as error:
            if syscalls is not None:
                syscalls.show("connect", -1, errno.errorcode.get(error.errno or 0, error.errno))
            raise
        if syscalls is not None:
            syscalls.show("connect", fd, "EINPROGRESS")
        return fd

    def _syscalls(self) -> SyscallLog | None:
        log = self._context.log
        return syscall_log_of(log, self._owner.sid, BACKEND) if log.options else None

    def _open_channel(self, fd: int, greets: bool, extras: Extras | None) -> None:
        """With a connection that is under way, or stands. Raises OSError."""
        self.greets = greets
        self._extras = extras
        core, log = self._context.core, self._context.log
        self.channel: Channel = (
            channel_while_debugging(core, fd, self, log=log, sid=self._owner.sid, leg=BACKEND)
            if log.options
            else Channel(core, fd, self)
        )
        waits = greets and (extras is None or not (extras.implicit or extras.proxy_header))
        try:
            self.channel.want(READ | ENDED if waits else WRITE)
        except OSError:
            self.channel.close()
            raise

    def send(self, data: bytes) -> str:
        """Sends a line of the login. "", or why it broke: it is closed then.

        Without extras (TLS, PROXY header) it leaves at the end of this turn; the owner hears if that fails.
        """
        if self._extras is not None:
            return self._say(data)
        if not self._unsaid:
            self._context.core.later(self)
        self._unsaid = joined(self._unsaid, data)
        return ""

    def turn_over(self) -> None:
        """See EventTaker."""
        data, self._unsaid = self._unsaid, b""
        if not data:
            return
        try:
            if reason := self._say(data):
                self._owner.backend_broke(reason)
        except Exception as error:
            self._owner.fault(error)

    def _say(self, data: bytes) -> str:
        """On a connection that was just made, what does not fit at once never will."""
        try:
            if self.channel.send(data) == len(data):
                return ""
        except OSError as error:
            self.close()
            return _words(error)
        self.close()
        return "it does not take our login"

    def close(self) -> None:
        """Lets go, without a word to the backend (but TLS is ended properly)."""
        self._unsaid = b""
        if self.channel.tls and not self.shaking_hands:
            self.channel.end_sending()
        self.channel.close()

    @property
    def connected(self) -> bool:
        try:
            self.channel.connection.getpeername()
        except OSError:
            return False
        return True

    @property
    def shaking_hands(self) -> bool:
        """Whether TLS has begun, and does not stand yet."""
        return self._extras is not None and self._extras.shaking_hands

    def _break(self, reason: str, word: str = "") -> None:
        self.close()
        self._owner.backend_broke(reason, word)

    def ready(self, _fd: int, events: int) -> None:
        try:
            if events & WRITE:
                self._opened()
            else:
                self._read()
        except Exception as error:
            self._owner.fault(error)

    def _read(self) -> None:
        try:
            data = self.channel.receive(_READ_SIZE)
        except ssl.SSLError as error:  # with TLS 1.3 what it makes of our certificate is only heard now
            self._break(self._words_in_tls(error), "tls")
            return
        except OSError as error:
            stood = error.errno in (errno.ECONNRESET, errno.EPIPE)  # a port without a server refuses, and never resets
            self._break(_words(error), "closed" if stood else "")
            return
        if data:
            if self._extras is not None:
                self._heard(self._extras)
            self._owner.backend_says(data)
        elif data is not None:
            # After a PROXY header, without a word: that is how one is refused.
            refused = self._extras is not None and self._extras.proxy_header
            self._break("it closed the connection", "proxy_header" if refused else "closed")

    def _heard(self, extras: Extras) -> None:
        extras.proxy_header = b""
        if extras.fresh:
            extras.fresh = False
            assert isinstance(self.channel, TlsChannel)
            assert extras.tls is not None
            extras.tls.remember(self.channel)

    def _opened(self) -> None:
        """The backend that waits for us to speak first is connected, or cannot be reached."""
        number = self.channel.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._break(os.strerror(number))
            return
        if not self.connected:
            return  # an event of the connection that had this descriptor before, in the same waking
        self.channel.want(READ | ENDED)
        extras = self._extras
        if extras is not None:
            self._begin(extras)
        elif not self.greets:
            self._owner.backend_connected()

    def _begin(self, extras: Extras) -> None:
        reason = self.send(extras.proxy_header) if extras.proxy_header else ""
        if reason:
            self._owner.backend_broke(reason, "closed")
        elif extras.implicit:
            reason = self.start_tls()
            if reason:
                self._owner.backend_broke(reason, "tls")
        elif not self.greets:
            self._owner.backend_connected()

    # TLS

    def start_tls(self) -> str:
        """Begins the handshake: "", or why there is none; the connection is closed then.

        Later the owner hears `backend_tls_up` (or what it would have heard without TLS) or `backend_broke`.
        """
        extras = self._extras
        assert extras is not None
        assert extras.tls is not None
        extras.shaking_hands = True
        try:
            self.channel = channel = extras.tls.begin(self.channel, self._shake_hands)
            wanted = channel.handshake()
        except OSError as error:
            self.close()
            return words_of(error, extras.tls.name) if self.channel.tls else _words(error)
        # None: a backend on the same machine has answered before we looked. The owner hears of it later all the same.
        channel.want(READ | ENDED if wanted == "read" else WRITE)
        return ""

    def _shake_hands(self, _events: int = 0) -> None:
        try:
            assert self._extras is not None
            self._go_on_shaking_hands(self._extras)
        except Exception as error:
            self._owner.fault(error)

    def _words_in_tls(self, error: OSError) -> str:
        assert self._extras is not None
        assert self._extras.tls is not None
        return words_of(error, self._extras.tls.name)

    def _go_on_shaking_hands(self, extras: Extras) -> None:
        assert isinstance(self.channel, TlsChannel)
        assert extras.tls is not None
        try:
            wanted = self.channel.handshake()
        except OSError as error:
            self._break(self._words_in_tls(error), "tls")
            return
        if wanted is not None:
            self.channel.want(WRITE if wanted == "write" else READ | ENDED)
            return
        extras.shaking_hands = False
        extras.fresh = True
        objection = extras.tls.objection(self.channel)
        if objection:
            self._break(objection, "tls")
            return
        self.channel.hand_to(self)
        self.channel.want(READ | ENDED)
        if not extras.implicit:
            self._owner.backend_tls_up()
        elif not self.greets:
            self._owner.backend_connected()


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
