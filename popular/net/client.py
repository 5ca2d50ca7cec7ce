"""The connection to a client: what it sends goes to the owner, replies go to it.

Replies gather (`put`) until `flush`, so that a client that pipelines is answered in one piece. What it does not take
waits here, and while anything waits the client is not read: so what a session holds stays bounded, however much the
client sends. The owner says whether it wants to be fed (`set_reading`). TLS begins here too.

`flush_later` sends when all who have events now have had them, `flush_last` what the end follows. None of these calls
the owner, nor does `put`; `set_reading(True)` does only in TLS, with what was decrypted already.
"""

from typing import Protocol

from popular.dialogue import DIALOGUE_OPTIONS, Dialogue
from popular.net.channel import BROKEN, Channel
from popular.net.deadlines import DeadlineOwner
from popular.net.handshake import Agreed, Failure, Handshake
from popular.net.make import channel_while_debugging
from popular.net.syscall_log import CLIENT
from popular.tls.contexts import TlsSettings
from supervisor.octets import joined
from supervisor.runtime.log import Log
from supervisor.runtime.loop import READ, WRITE
from supervisor.system import Clock, EventTaker, Poller

_READ_SIZE = 4096


class ClientOwner(DeadlineOwner):
    """The session. Each of these is called from the event loop, and what it raises is given to `fault`."""

    __slots__ = ("sid",)

    sid: str

    def client_says(self, data: bytes) -> None:
        raise NotImplementedError

    def client_eof(self) -> None:
        """It will send nothing more, but may still read."""
        raise NotImplementedError

    def client_took_all(self) -> None:
        """No reply waits any more."""
        raise NotImplementedError

    def client_broke(self) -> None:
        """The connection is gone."""
        raise NotImplementedError

    def fault(self, error: Exception) -> None:
        """An error of ours, which must not reach the event loop."""
        raise NotImplementedError


class ConnectionContext(Protocol):
    """What it needs of its worker (WorkerContext)."""

    @property
    def core(self) -> Poller: ...

    @property
    def log(self) -> Log: ...


class TlsAsker(Protocol):
    """Who has begun TLS and wants to know what became of it."""

    def tls_up(self, agreed: Agreed) -> None: ...

    def tls_failed(self, failure: Failure) -> None: ...


class ClientConnection(EventTaker):
    """One connection, and the handshake's `HandshakeOwner`.

    `received` and `sent` count octets; `heard` and `took` are when it last sent or took some.
    """

    __slots__ = (
        "_asker",
        "_dialogue",
        "_draining",
        "_flush_scheduled",
        "_idle_events",
        "_log",
        "_owner",
        "at_eof",
        "channel",
        "heard",
        "reads",
        "received",
        "sent",
        "took",
        "unsent",
        "write_blocked",
    )

    def __init__(self, context: ConnectionContext, fd: int, owner: ClientOwner) -> None:
        """It is not read before `set_reading`. `fd`: of a non-blocking socket, which is closed in the end."""
        log, core = context.log, context.core
        self._log = log
        self._owner = owner
        self._idle_events = 0
        """The events that are waited for while the client is not read: none, or that the connection broke."""
        self._asker: TlsAsker | None = None
        self._draining = False
        self._flush_scheduled = False
        """What is unsent leaves at the end of this turn."""
        self._dialogue: Dialogue | None = None
        self.channel: Channel = (
            channel_while_debugging(core, fd, self, log=log, sid=owner.sid, leg=CLIENT)
            if log.options
            else Channel(core, fd, self)
        )
        self.unsent = b""
        """Replies that were not sent, or not taken, yet."""
        self.write_blocked = False
        """The client did not take all of them: it is told to us when it takes more."""
        self.reads = False
        """The owner wants to be fed."""
        self.at_eof = False
        """The client sends nothing more."""
        self.heard = self.took = self.channel.now()
        self.received = 0
        self.sent = 0

    def hear_of_reset(self) -> None:
        """From now on `client_broke` also comes while the owner is not fed."""
        self._idle_events = BROKEN

    def put(self, data: bytes) -> None:
        """A reply, to be sent by the next `flush`."""
        if self._log.options:
            self._debug("server", data)
        self.sent += len(data)
        self.unsent = joined(self.unsent, data)

    def put_content(self, data: bytes) -> None:
        """A piece of a message: as a reply, but it is not shown with the dialogue."""
        self.sent += len(data)
        self.unsent = joined(self.unsent, data)

    def flush(self) -> bool:
        """Sends what there is, as far as the client takes it. False if the connection is broken."""
        if self.unsent and not self.write_blocked:
            try:
                self._taken(self.channel.send(self.unsent))
            except OSError:
                return False
        return True

    def flush_last(self) -> bool:
        """Like `flush`, when the connection is closed as soon as nothing is unsent: its end leaves with the octets."""
        if self.unsent and not self.write_blocked:
            try:
                self._taken(self.channel.send_last(self.unsent))
            except OSError:
                return False
        return True

    def flush_later(self) -> None:
        """Like `flush`, but at the end of this turn; the owner hears of a connection that is broken."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.channel.later(self)

    def turn_over(self) -> None:
        """See EventTaker."""
        if self._flush_scheduled:
            self._flush_scheduled = False
            owner = self._owner
            try:
                if not self.flush():
                    owner.client_broke()
            except Exception as error:
                owner.fault(error)

    def _taken(self, taken: int) -> None:
        unsent = self.unsent
        if taken:
            self.took = self.channel.now()
        if taken == len(unsent):
            self.unsent = b""
        else:
            self.unsent = unsent[taken:]
            self.write_blocked = True
            self.channel.want(WRITE)

    def set_reading(self, wanted: bool) -> None:
        """Whether the client is read from now on.

        Not to be read any more costs nothing unless it sends something: most clients wait for their answers.
        """
        self.reads = wanted
        if wanted and not self.at_eof and not self.write_blocked:
            self.channel.want(READ)
            if self.channel.tls:
                self._drain()

    def hand_over(self) -> bytes:
        """Leaves the channel to somebody else, who works it from now on; returns the replies that still wait."""
        unsent, self.unsent = self.unsent, b""
        self.write_blocked = self.reads = False
        return unsent

    def close(self, after_quit: bool) -> None:
        """Closes and lets go of the owner, so that a session that is over is free without the collector.

        After QUIT nothing can be on the way from the client that would harm the last reply; but TLS says goodbye.
        """
        if self._flush_scheduled:
            self._flush_scheduled = False
            self.flush_last()
        self._owner = None  # type: ignore[assignment]
        self._asker = None
        self.reads = False
        if after_quit and not self.channel.tls:
            self.channel.close()
        else:
            self.channel.close_kindly()

    def ready(self, _fd: int, events: int) -> None:
        owner = self._owner
        try:
            if events & WRITE:
                self._takes_more(owner)
            elif events & self._idle_events and (self.at_eof or not self.reads):
                owner.client_broke()
            elif self.at_eof or not self.reads:
                self.channel.want(self._idle_events)
            else:
                self._read(owner)
                if self.channel.tls:
                    self._drain()
        except Exception as error:
            owner.fault(error)

    def _read(self, owner: ClientOwner) -> None:
        try:
            data = self.channel.receive(_READ_SIZE)
        except OSError:
            owner.client_broke()
            return
        if data:
            self.heard = self.channel.now()
            self.received += len(data)
            if self._log.options:
                self._debug("client", data)
            owner.client_says(data)
        elif data is not None:
            self.at_eof = True
            self.channel.want(self._idle_events)
            owner.client_eof()

    def _drain(self) -> None:
        """Octets that OpenSSL has decrypted already do not make the socket readable."""
        if self._draining:
            return
        self._draining = True
        while self.reads and not self.write_blocked and not self.at_eof and self.channel.pending():
            self._read(self._owner)
        self._draining = False

    def _takes_more(self, owner: ClientOwner) -> None:
        self.write_blocked = False
        if not self.flush():
            owner.client_broke()
        elif not self.write_blocked:
            owner.client_took_all()
            self._read_again()

    def _read_again(self) -> None:
        """Unless the owner has put new replies, or closed."""
        if self.write_blocked or self.channel.fd < 0:
            return
        self.channel.want(READ if self.reads and not self.at_eof else self._idle_events)
        if self.channel.tls:
            self._drain()

    def _debug(self, who: str, data: bytes) -> None:
        if not self._log.options.isdisjoint(DIALOGUE_OPTIONS):
            if self._dialogue is None:
                self._dialogue = Dialogue(self._log)
            if who == "client":
                self._dialogue.says(self._owner.sid, data, self.received)
            else:
                self._dialogue.is_told(self._owner.sid, data)

    # TLS

    def start_tls(self, clock: Clock, tls_settings: TlsSettings, asker: TlsAsker) -> None:
        """Begins the handshake; only where no reply waits. The asker hears `tls_up` or `tls_failed`, or nothing where
        nobody came: that is no failure, but a client that has closed, and the owner hears of it as ever.
        """
        assert not self.unsent
        self._asker = asker
        Handshake.begin(clock, self, tls_settings)

    def handshake_done(self, agreed: Agreed) -> None:
        asker, self._asker = self._asker, None
        assert asker is not None
        self.channel.hand_to(self)
        self.channel.want(READ)
        asker.tls_up(agreed)
        self.turn_over()  # a greeting leaves at once: with the last of the handshake (see Handshake)
        self._drain()

    def handshake_failed(self, failure: Failure) -> None:
        asker, self._asker = self._asker, None
        assert asker is not None
        asker.tls_failed(failure)

    def nobody_came(self, broke: bool) -> None:
        """See HandshakeOwner."""
        self._asker = None
        self.at_eof = True
        if broke:
            self._owner.client_broke()
        else:
            self._owner.client_eof()

    def fault(self, error: Exception) -> None:
        self._owner.fault(error)
