"""Makes the connections of a session: ordinary ones, or such as log their system calls (debug option IO)."""

import ssl

from popular.net.channel import Channel
from popular.net.logged_channels import LoggedChannel, LoggedTlsChannel, LoggedTransfer
from popular.net.splice import Pipes, Transfer
from popular.net.syscall_log import syscall_log_of
from popular.net.tlschannel import TlsChannel
from supervisor.runtime.log import Log
from supervisor.system import Poller, Watcher


def channel_while_debugging(core: Poller, fd: int, watcher: Watcher, *, log: Log, sid: str, leg: str) -> Channel:
    """A connection in clear while some debug option is on: without one whoever needs it makes a Channel himself, which
    spares a call.
    """
    syscalls = syscall_log_of(log, sid, leg)
    return Channel(core, fd, watcher) if syscalls is None else LoggedChannel(core, fd, watcher, syscalls=syscalls)


def tls_channel_of(
    channel: Channel,
    context: ssl.SSLContext,
    watcher: Watcher,
    *,
    server_name: str | None = None,
    session: ssl.SSLSession | None = None,
) -> TlsChannel:
    """TLS on this connection, logged if that is, its handshake yet to be done; see TlsChannel."""
    syscalls = channel.syscalls
    if syscalls is None:
        return TlsChannel(channel, context, watcher, server_name=server_name, session=session)
    return LoggedTlsChannel(channel, context, watcher, server_name=server_name, session=session, syscalls=syscalls)


def transfer_of(pipes: Pipes, source: Channel, sink: Channel) -> Transfer:
    """What moves octets from one to the other inside the kernel; both in clear."""
    if source.syscalls is None or sink.syscalls is None:
        return Transfer(pipes)
    return LoggedTransfer(pipes, source.syscalls, sink.syscalls)
