"""Connections that show their system calls (`trace.py`)."""

import ssl

from popular.net.channel import ENDED, Channel
from popular.net.splice import Pipes, Transfer
from popular.net.tlschannel import TlsChannel
from popular.net.trace import Trace
from supervisor.system import Poller, Watcher


class _Traced(Channel):
    """What both kinds do."""

    __slots__ = ()
    _trace: Trace

    @property
    def trace(self) -> Trace | None:
        return self._trace

    def want(self, events: int) -> None:
        super().want(events & ~ENDED)  # the end is read, and so shown

    def receive(self, most: int) -> bytes | None:
        return self._trace.call("read", self.fd, lambda: super(_Traced, self).receive(most), most=most)

    def send(self, data: bytes) -> int:
        return self._trace.call("write", self.fd, lambda: super(_Traced, self).send(data), octets=len(data))

    def send_last(self, data: bytes) -> int:
        return self._trace.call("write", self.fd, lambda: super(_Traced, self).send_last(data), octets=len(data))

    def end_sending(self) -> None:
        self._trace.call("shutdown", self.fd, lambda: super(_Traced, self).end_sending())

    def close(self) -> None:
        self._trace.show("close", self.fd, 0)
        super().close()


class TracedChannel(_Traced):
    """A connection in clear."""

    __slots__ = ("_trace",)

    def __init__(self, core: Poller, fd: int, watcher: Watcher, *, trace: Trace) -> None:
        super().__init__(core, fd, watcher)
        self._trace = trace


class TracedTlsChannel(_Traced, TlsChannel):
    """A connection in TLS: what OpenSSL was asked for, and what it made of it."""

    __slots__ = ("_trace",)

    def __init__(
        self,
        plain: Channel,
        context: ssl.SSLContext,
        watcher: Watcher,
        *,
        server_name: str | None,
        session: ssl.SSLSession | None,
        trace: Trace,
    ) -> None:
        super().__init__(plain, context, watcher, server_name=server_name, session=session)
        self._trace = trace

    def handshake(self) -> str | None:
        wanted = self._trace.call("handshake", self.fd, lambda: super(TracedTlsChannel, self).handshake() or "done")
        return None if wanted == "done" else wanted


class TracedTransfer(Transfer):
    """A splice between two such connections."""

    def __init__(self, pipes: Pipes, source: Trace, sink: Trace) -> None:
        super().__init__(pipes)
        self._source = source
        self._sink = sink

    def fill(self, source: int) -> int | None:
        return self._source.call("splice_from", source, lambda: super(TracedTransfer, self).fill(source))

    def empty(self, sink: int) -> bool:
        before = self.held
        try:
            return super().empty(sink)
        finally:
            self._sink.show("splice_to", sink, before - self.held)


def tls_channel_of(
    channel: Channel,
    context: ssl.SSLContext,
    watcher: Watcher,
    *,
    server_name: str | None = None,
    session: ssl.SSLSession | None = None,
) -> TlsChannel:
    """TLS on this connection, traced if that is, its handshake yet to be done; see TlsChannel."""
    trace = channel.trace
    if trace is None:
        return TlsChannel(channel, context, watcher, server_name=server_name, session=session)
    return TracedTlsChannel(channel, context, watcher, server_name=server_name, session=session, trace=trace)


def transfer_of(pipes: Pipes, source: Channel, sink: Channel) -> Transfer:
    """What moves octets from one to the other inside the kernel; both in clear."""
    if source.trace is None or sink.trace is None:
        return Transfer(pipes)
    return TracedTransfer(pipes, source.trace, sink.trace)
