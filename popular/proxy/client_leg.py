"""The connection to the client until it is joined with a backend: what it says goes to the owner, replies go to it.

Replies that the client does not take wait here, and while one does, the client is not read: so what a session holds
stays bounded, however much the client sends. TLS begins here too.
"""

import socket
from typing import Protocol

from popular.dialogue import Dialogue
from popular.net.channel import Channel
from popular.net.handshake import Agreed, Failure, Handshake
from popular.tls.contexts import TlsSettings
from supervisor.runtime.loop import READ, WRITE
from supervisor.serving.context import WorkerContext

_READ_SIZE = 4096


class Owner(Protocol):
    """Who wants to know how it goes."""

    sid: str

    def client_says(self, data: bytes) -> None: ...

    def client_ended(self) -> None:
        """It will send nothing more, but may still read."""

    def listens(self) -> bool:
        """Whether the client is to be read at the moment."""

    def tls_up(self, agreed: Agreed) -> None: ...

    def tls_failed(self, failure: Failure) -> None: ...

    def end(self, ending: str) -> None: ...

    def fault(self, error: Exception) -> None:
        """An error of ours, which must not reach the event loop."""


class ClientLeg:
    """One connection. `received` and `sent` count octets, `heard` is when the client last said something."""

    __slots__ = (
        "_context",
        "_dialogue",
        "_owner",
        "_waiting",
        "channel",
        "done",
        "heard",
        "last_ending",
        "paused",
        "received",
        "sent",
    )

    def __init__(self, context: WorkerContext, connection: socket.SocketType, owner: Owner) -> None:
        self._context = context
        self._owner = owner
        self.channel = Channel(context.loop, connection, self._ready)
        self._waiting = b""
        self._dialogue: Dialogue | None = None
        self.last_ending = ""
        """Why the session ends as soon as the last reply has left."""
        self.done = False
        """The client sends nothing more."""
        self.paused = False
        """The client is not read: `mind` looks whether that has changed."""
        self.heard = context.clock.now
        self.received = 0
        self.sent = 0

    def send(self, data: bytes) -> None:
        """Sends a reply, or keeps what the client does not take now."""
        if self._context.log.options:
            self._debug("server", data)
        self.sent += len(data)
        if self._waiting:
            self._waiting += data
            return
        try:
            taken = self.channel.send(data)
        except OSError:
            self._owner.end("client_reset")
            return
        if taken < len(data):
            self._waiting = data[taken:]
            self.mind()

    def finish(self, ending: str) -> bool:
        """Whether the session can end now; else it ends, for this reason, when the last reply has left."""
        self.last_ending = ending
        return not self._waiting

    def mind(self) -> None:
        """The client is read unless it is ahead of us: with replies not taken, or questions not answered."""
        reads = not self._waiting and not self.done and self._owner.listens()
        self.paused = not reads
        self.channel.want((READ if reads else 0) | (WRITE if self._waiting else 0))

    def resume(self) -> None:
        """Reads the client again, if it may be read now."""
        self.mind()
        self._read_pending()

    def hand_over(self) -> bytes:
        """Leaves the channel to the relay, which reads it from now on; returns the replies that still wait."""
        waiting, self._waiting = self._waiting, b""
        self.paused = False
        return waiting

    def close(self, ending: str) -> None:
        """Closes and lets go of the owner, so that a session that is over is free without the collector.

        After QUIT nothing can be on the way from the client that would harm the last reply; but TLS says goodbye.
        """
        del self._owner
        if ending == "quit" and not self.channel.tls:
            self.channel.close()
        else:
            self.channel.close_kindly()

    def _ready(self, events: int) -> None:
        owner = self._owner
        try:
            if events & WRITE:
                self._takes_more()
            elif not self.done:
                self._read()
                if self.channel.tls:
                    self._read_pending()
        except Exception as error:
            owner.fault(error)

    def _read(self) -> None:
        try:
            data = self.channel.receive(_READ_SIZE)
        except OSError:
            self._owner.end("client_reset")
            return
        if data:
            self.heard = self._context.clock.now
            self.received += len(data)
            if self._context.log.options:
                self._debug("client", data)
            self._owner.client_says(data)
        elif data is not None:
            self.done = True
            self._owner.client_ended()

    def _read_pending(self) -> None:
        """What TLS has in hand makes no event."""
        while self.channel.tls and self.channel.fd >= 0 and not self.paused and self._owner.listens():
            if not self.channel.pending:
                return
            self._read()

    def _takes_more(self) -> None:
        try:
            self._waiting = self._waiting[self.channel.send(self._waiting) :]
        except OSError:
            self._owner.end("client_reset")
            return
        if self._waiting:
            return
        if self.last_ending:
            self._owner.end(self.last_ending)
            return
        self.resume()

    def _debug(self, who: str, data: bytes) -> None:
        if "POP" in self._context.log.options:
            if self._dialogue is None:
                self._dialogue = Dialogue(self._context.log)
            if who == "client":
                self._dialogue.says(self._owner.sid, data, self.received)
            else:
                self._dialogue.is_told(self._owner.sid, data)

    # TLS

    def start_tls(self, tls_settings: TlsSettings) -> None:
        """Begins the handshake; the answer is `tls_up` or `tls_failed`."""
        self.paused = False
        if self._waiting:
            self._owner.tls_failed(Failure("other", "the client did not take the reply to STLS"))
            return
        Handshake(self._context.loop, self, tls_settings)

    def hands_shaken(self, agreed: Agreed) -> None:
        """See handshake.Leg."""
        self.channel.hand_to(self._ready)
        self.channel.want(READ)
        self._owner.tls_up(agreed)
        self._read_pending()

    def fault(self, error: Exception) -> None:
        """See handshake.Leg."""
        self._owner.fault(error)

    def hands_refused(self, failure: Failure) -> None:
        """See handshake.Leg."""
        self._owner.tls_failed(failure)
