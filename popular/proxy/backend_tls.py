"""TLS towards backends: whom to believe, what the certificate must be, and why it is not.

`BackendTls.of(backend, …)` is made once for each config (it may block: the system's CA certificates are read); then
`begin` starts TLS on a connection, and `objection` says after the handshake whether the certificate is the pinned one.
Contexts are shared: backends that believe the same authorities have the same one, also over changes of the config.
"""

import hashlib
import os
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

from popular.net.channel import TlsChannel
from popular.proxy.backend import OFF, POP3, Backend
from supervisor.config import Config
from supervisor.control.language import Refused
from supervisor.eventloop import EventLoop, Watcher

_ALPN = {POP3: "pop3"}
"""The protocol that is offered (RFC 7301; "pop3" is registered with IANA). XPOP has no name there."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Belief(NamedTuple):
    """What a context is made from: where two are equal, one context serves both."""

    verify: bool
    authorities: str
    """PEM, or "" for those of the system."""
    system: tuple[int, ...]
    """When the system's authorities last changed, if they are meant."""
    least_version: str
    alpn: str


Contexts = Mapping[Belief, ssl.SSLContext]


class BackendTls(NamedTuple):
    """How TLS with one backend is begun and judged."""

    context: ssl.SSLContext
    name: str
    """The name that the certificate must have. It is also the one asked for by SNI, unless it is an address, which
    OpenSSL knows to compare but not to send (RFC 6066 section 3).
    """
    pin: str

    def begin(self, loop: EventLoop, connection: Any, watcher: Watcher) -> TlsChannel:
        """TLS on this connection, its handshake yet to be done. Takes the connection over."""
        return TlsChannel(loop, connection, self.context, watcher, server_name=self.name)

    def objection(self, channel: TlsChannel) -> str:
        """What is wrong with the certificate after a handshake that went well: "" if nothing."""
        if not self.pin:
            return ""
        certificate = channel.connection.getpeercert(binary_form=True)
        found = hashlib.sha256(certificate or b"").hexdigest()
        return "" if found == self.pin else f"the fingerprint of its certificate is {found}, expected {self.pin}"


def backends_in_tls(config: Config, before: Contexts) -> tuple[dict[str, BackendTls], Contexts]:
    """What each backend in TLS needs, and the contexts in use; `before`: those that need not be made again.

    Raises Refused where a file of authorities is no good.
    """
    contexts: dict[Belief, ssl.SSLContext] = {}
    found: dict[str, BackendTls] = {}
    for backend in config.things["backend"].values():
        if backend.tls != OFF:
            belief = _belief(backend, config.variables.get("tlsminversion", "1.2"))
            context = contexts.get(belief) or before.get(belief) or _context(backend, belief)
            contexts[belief] = context
            found[backend.id] = BackendTls(context, backend.certified_name.rstrip("."), backend.pin)
    return found, contexts


def _belief(backend: Backend, least_version: str) -> Belief:
    alpn = _ALPN.get(backend.prot, "")
    if not backend.verify:
        return Belief(False, "", (), least_version, alpn)
    return Belief(True, backend.tlsca.pem, () if backend.tlsca.pem else _system_stamp(), least_version, alpn)


def _system_stamp() -> tuple[int, ...]:
    paths = ssl.get_default_verify_paths()
    return tuple(os.stat(path).st_mtime_ns for path in (paths.cafile, paths.capath) if path and os.path.exists(path))


def _context(backend: Backend, belief: Belief) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[belief.least_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if belief.alpn:
        context.set_alpn_protocols([belief.alpn])
    if not belief.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif belief.authorities:
        try:
            context.load_verify_locations(cadata=belief.authorities)
        except ssl.SSLError as error:
            raise Refused(f"backend {backend.id}: tlsca {backend.tlsca}: {error.reason or error}") from None
    else:
        context.load_default_certs()
    return context


_NAME_MISMATCHES = (62, 63, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, …_EMAIL_…, …_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h."""


def words_of(error: OSError, name: str) -> str:
    """Why a handshake failed, for people. `name`: the name that the certificate must have."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCHES:
            return f"name mismatch: its certificate is not for {name}"
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection during the TLS handshake"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "what it sends is no TLS"
    reason = getattr(error, "reason", None)
    return f"TLS: {str(reason).replace('_', ' ').lower()}" if reason else error.strerror or type(error).__name__
