"""Connections that show their system calls (`syscall_log.py`). Made by `make.py`, where the debug option IO is on."""

import ssl

from popular.net.channel import ENDED, Channel
from popular.net.splice import Pipes, Transfer
from popular.net.syscall_log import SyscallLog
from popular.net.tlschannel import TlsChannel
from supervisor.system import Poller, Watcher


class _Logged(Channel):
    """What both kinds do."""

    __slots__ = ()
    _syscalls: SyscallLog

    @property
    def syscalls(self) -> SyscallLog | None:
        return self._syscalls

    def want(self, events: int) -> None:
        super().want(events & ~ENDED)  # the end is read, and so shown

    def receive(self, most: int) -> bytes | None:
        return self._syscalls.call("read", self.fd, lambda: super(_Logged, self).receive(most), most=most)

    def send(self, data: bytes) -> int:
        return self._syscalls.call("write", self.fd, lambda: super(_Logged, self).send(data), octets=len(data))

    def send_last(self, data: bytes) -> int:
        return self._syscalls.call("write", self.fd, lambda: super(_Logged, self).send_last(data), octets=len(data))

    def end_sending(self) -> None:
        self._syscalls.call("shutdown", self.fd, lambda: super(_Logged, self).end_sending())

    def close(self) -> None:
        self._syscalls.show("close", self.fd, 0)
        super().close()


class LoggedChannel(_Logged):
    """A connection in clear."""

    __slots__ = ("_syscalls",)

    def __init__(self, core: Poller, fd: int, watcher: Watcher, *, syscalls: SyscallLog) -> None:
        super().__init__(core, fd, watcher)
        self._syscalls = syscalls


class LoggedTlsChannel(_Logged, TlsChannel):
    """A connection in TLS: what OpenSSL was asked for, and what it made of it."""

    __slots__ = ("_syscalls",)

    def __init__(
        self,
        plain: Channel,
        context: ssl.SSLContext,
        watcher: Watcher,
        *,
        server_name: str | None,
        session: ssl.SSLSession | None,
        syscalls: SyscallLog,
    ) -> None:
        super().__init__(plain, context, watcher, server_name=server_name, session=session)
        self._syscalls = syscalls

    def handshake(self) -> str | None:
        wanted = self._syscalls.call("handshake", self.fd, lambda: super(LoggedTlsChannel, self).handshake() or "done")
        return None if wanted == "done" else wanted


class LoggedTransfer(Transfer):
    """A splice between two such connections."""

    def __init__(self, pipes: Pipes, source: SyscallLog, sink: SyscallLog) -> None:
        super().__init__(pipes)
        self._source = source
        self._sink = sink

    def fill(self, source: int) -> int | None:
        return self._source.call("splice_from", source, lambda: super(LoggedTransfer, self).fill(source))

    def empty(self, sink: int) -> bool:
        before = self.held
        try:
            return super().empty(sink)
        finally:
            self._sink.show("splice_to", sink, before - self.held)
