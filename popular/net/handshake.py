"""The server's side of a TLS handshake, on a connection that is in clear until now.

The ClientHello is looked at in the kernel's buffer, without being taken: it says which certificate is meant, and a
client that offers only other protocols by ALPN is refused, which Python's ssl cannot do. Until it is whole the kernel
does not wake us (SO_RCVLOWAT), however slowly it comes. Then OpenSSL does everything, from the first octet on.

It ends with one call: `handshake_done`, `handshake_failed` or `nobody_came`. The deadline is the caller's, who may
close the channel at any time.
"""

import functools
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from popular.net.channel import Channel
from popular.net.make import tls_channel_of
from popular.net.tlschannel import TlsChannel
from popular.net.tlscore import peek
from popular.protocol.clienthello import (
    MOST_OCTETS,
    NO_APPLICATION_PROTOCOL,
    NO_HELLO,
    BadHello,
    NotTls,
    read_hello,
)
from popular.tls.contexts import ALPN, TlsSettings
from supervisor.octets import namedtuple_of
from supervisor.runtime.loop import READ, WRITE
from supervisor.serving.context import WorkerContext
from supervisor.serving.counters import Counters
from supervisor.system import Clock, EventTaker

FAILURES = ("alpn", "version", "certificate", "timeout", "other")
"""Why a handshake failed, in one word: labels of a counter."""

_OFFERED = ALPN.encode()
_ESTABLISHED = 1
"""A state of TCP, as Linux counts them (TCP_ESTABLISHED of <netinet/tcp.h>)."""
MOST_KEPT = 8
"""Protocols of those that a client offers: each is of 255 octets at most."""
_VERSION_REASONS = {
    "UNSUPPORTED_PROTOCOL",
    "UNKNOWN_PROTOCOL",
    "VERSION_TOO_LOW",
    "WRONG_SSL_VERSION",
    "WRONG_VERSION_NUMBER",
    "TLSV1_ALERT_PROTOCOL_VERSION",
}


class Failure(NamedTuple):
    """One of FAILURES, and a text for people."""

    why: str
    reason: str


class Agreed(NamedTuple):
    """What a handshake came to. `certificate_name`: of the client's verified certificate, or ""; which is itself
    `certificate` (DER). `alpn`: the protocols that the client has offered, the first ones; None if it does not
    know ALPN.
    """

    version: str
    cipher: str
    resumed: bool
    certificate_name: str
    certificate: bytes = b""
    alpn: tuple[bytes, ...] | None = None


class HandshakeOwner(Protocol):
    """Whose connection it is. Its `channel` is exchanged for one in TLS."""

    channel: Channel
    heard: float
    """When it last sent something."""

    def handshake_done(self, agreed: Agreed) -> None: ...

    def handshake_failed(self, failure: Failure) -> None: ...

    def nobody_came(self, broke: bool) -> None:
        """The client has closed (or was reset) before it said anything, as a health check does."""

    def fault(self, error: Exception) -> None:
        """An error of ours, which must not reach the event loop."""


def first_of(alpn: tuple[bytes, ...] | None) -> tuple[bytes, ...] | None:
    """What is kept, as long as a session lasts, of the protocols that a client has offered: it may offer thousands."""
    return alpn[:MOST_KEPT] if alpn is not None else None


def has_closed(connection: socket.socket) -> bool:
    """Whether the other side sends nothing more, also where there is still something to be read."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED


class Handshake(EventTaker):
    """One handshake. Nothing holds it but the watch on the connection."""

    __slots__ = ("_alpn", "_clock", "_owner", "_seen", "_tls_settings", "_unread")

    def __init__(self, clock: Clock, owner: HandshakeOwner, tls_settings: TlsSettings) -> None:
        """Nothing happens before `begin`, which makes one."""
        self._clock = clock
        self._owner = owner
        self._tls_settings = tls_settings
        self._seen = 0
        self._alpn: tuple[bytes, ...] | None = None
        self._unread = ""
        """Why we do not know what the ClientHello says, if we do not."""

    @classmethod
    def begin(cls, clock: Clock, owner: HandshakeOwner, tls_settings: TlsSettings) -> None:
        """Takes over the owner's channel, whose watch keeps the handshake from now on."""
        handshake = cls(clock, owner, tls_settings)
        owner.channel.hand_to(handshake)
        owner.channel.want(READ)

    def ready(self, _fd: int, _events: int) -> None:
        owner = self._owner
        owner.heard = self._clock.now
        try:
            channel = owner.channel
            if channel.tls:
                self._shake_hands_and_greet(channel)
            else:
                self._look(channel)
        except Exception as error:
            owner.fault(error)

    # The ClientHello

    def _look(self, channel: Channel) -> None:
        try:
            data = peek(channel.fd, MOST_OCTETS)
            if data is None:
                return
            if not data:
                self._owner.nobody_came(broke=False)
                return
            if len(data) > self._seen:
                hello = read_hello(data)
            elif has_closed(channel.connection):
                raise ConnectionError("the client closed before its ClientHello was whole")
            else:  # we are woken sooner than we have asked for
                hello, self._unread = NO_HELLO, "the kernel is short of memory"
            if isinstance(hello, int):
                self._seen = len(data)
                channel.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, hello)
                return
        except BadHello as error:  # OpenSSL knows the right alert
            hello, self._unread = NO_HELLO, str(error)
        except NotTls as error:
            self._owner.handshake_failed(Failure("other", str(error)))
            return
        except OSError as error:
            if self._seen:
                self._owner.handshake_failed(Failure("other", error.strerror or str(error)))
            else:
                self._owner.nobody_came(broke=True)
            return
        if hello.alpn is not None and _OFFERED not in hello.alpn:
            self._refuse_protocols(hello.alpn)
        else:
            self._alpn = first_of(hello.alpn)
            self._begin(channel, hello.server_name)

    def _refuse_protocols(self, offered: tuple[bytes, ...]) -> None:
        try:
            self._owner.channel.send(NO_APPLICATION_PROTOCOL)
        except OSError:
            pass
        names = ", ".join(name.decode("ascii", "replace") for name in offered)
        self._owner.handshake_failed(Failure("alpn", f"the client wants to speak {names}"))

    # OpenSSL

    def _begin(self, plain: Channel, server_name: str) -> None:
        settings = self._tls_settings
        try:
            if self._seen:  # also after a BadHello
                plain.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._owner.channel = channel = tls_channel_of(plain, settings.first_context(), self)
            channel.change_context(settings.certificate_context(server_name))
        except (OSError, AttributeError):  # AttributeError: on a connection that is broken by now there is no TLS
            self._owner.handshake_failed(Failure("other", "the connection broke"))
            return
        self._shake_hands(channel)

    def _shake_hands(self, channel: TlsChannel) -> None:
        try:
            wanted = channel.handshake()
        except OSError as error:
            self._owner.handshake_failed(failure_of(error))
            return
        if wanted is not None:
            channel.want(WRITE if wanted == "write" else READ)
            return
        if self._unread:  # and OpenSSL could, which does not refuse who offers other protocols
            self._owner.handshake_failed(Failure("other", f"the ClientHello could not be read: {self._unread}"))
            return
        try:
            agreed = self._agreed(channel)
        except (OSError, ValueError):  # signed by an authority that we believe, and yet Python cannot decode it
            self._owner.handshake_failed(Failure("certificate", "the names in the client's certificate cannot be read"))
            return
        self._owner.handshake_done(agreed)

    def _shake_hands_and_greet(self, channel: Channel) -> None:
        """The last of it may be a ticket of ours, and after it comes the greeting: they travel together."""
        assert isinstance(channel, TlsChannel)
        channel.gather(True)
        self._shake_hands(channel)
        if channel.fd >= 0:
            channel.gather(False)

    def _agreed(self, channel: TlsChannel) -> Agreed:
        version, cipher, resumed = channel.agreed()
        name, certificate = "", None
        if self._tls_settings.verify_mode != ssl.CERT_NONE:
            about = channel.about
            name = name_in(about.getpeercert() or {})
            certificate = about.getpeercert(True)  # by place: _ssl knows no name for it
        elif self._alpn is None:
            return _usual(version, cipher, resumed)
        return namedtuple_of(Agreed, (version, cipher, resumed, name, certificate or b"", self._alpn))


@functools.cache
def _usual(version: str, cipher: str, resumed: bool) -> Agreed:
    """What most handshakes come to, one value for all that agree so: OpenSSL knows few versions and suites."""
    return Agreed(version, cipher, resumed, certificate_name="")


def failure_of(error: OSError) -> Failure:
    """OpenSSL's error in our words."""
    reason = str(getattr(error, "reason", None) or "")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure("certificate", f"certificate of the client: {error.verify_message}")
    text = reason.lower().replace("_", " ") or error.strerror or type(error).__name__
    if reason in _VERSION_REASONS:
        return Failure("version", text)
    if "CERTIFICATE" in reason or reason == "TLSV1_ALERT_UNKNOWN_CA":
        return Failure("certificate", text)
    return Failure("other", text)


def name_in(certificate: Mapping[str, Any]) -> str:
    """Whose certificate it is: the first e-mail address or host name in it, else the common name.

    One that cannot be printed is none: it goes to modules, and from there into queries.
    """
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind in ("email", "DNS")]
    names += [name for part in certificate.get("subject", ()) for kind, name in part if kind == "commonName"]
    return next((str(name) for name in names if name.isprintable()), "")


def log_handshake(context: WorkerContext, sid: str, agreed: Agreed, *, seconds: float) -> None:
    """A handshake with a client is done after so many seconds: counted, and with the debug option TLS told."""
    _count_handshake(context.counters, agreed, seconds)
    if context.log.options:
        context.log.debug("TLS", "handshake", sid, **agreed._asdict())


def _count_handshake(counters: Counters, agreed: Agreed, seconds: float) -> None:
    counters.observe("tls_handshake_duration", seconds)
    counters.count_one("tls_handshakes", agreed.version, "")
    if agreed.resumed:
        counters.count_one("tls_resumptions", None, "")
