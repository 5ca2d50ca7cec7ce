"""How each server of a config speaks TLS: certificates by the names that clients ask for, as OpenSSL's contexts.

A connection begins in a *ticket context*, which owns the session tickets, and changes to the context with the
certificate before its first octet is read (OpenSSL decrypts tickets with the keys of the context that it began with).
TICKET_CONTEXTS are made when this module is imported, in the process that forks all workers: so a session can be
resumed whichever worker answers, and after `workers recycle`. Each serves for a week.

Virtual servers that ask for client certificates have no part in it: a session resumed from elsewhere would not be
verified again (CVE-2025-23419). Each of their connections has a context for itself, without tickets: nothing is
resumed.

Which certificates answer depends on the name that the client asked for. It is offered every kind of key that there is
for the name (RSA for old clients, ECDSA for the others) and OpenSSL takes the one that it understands; of two of one
kind the one that is valid longer. One that is not valid is shown only where there is none that is, with the name itself
or with a wildcard for it. That is decided when a config is made; `tls check` makes one when a certificate begins or
ends.
"""

import ssl
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from popular.tls import groups
from popular.tls.certificate import Certificate, load_chain
from popular.tls.directory import DEFAULT, CertificateStore
from popular.tls.users import TlsServer, certificate_store_of, servers_in_tls
from supervisor.config import Config
from supervisor.control.words import CommandRefused
from supervisor.system import monotonic

ALPN = "pop3"
"""RFC 7301's registry."""
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
VERIFY_MODES = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "require": ssl.CERT_REQUIRED}
"""`clientcert` of a virtual server → OpenSSL's word for it."""
CertificateSet = tuple[Certificate, ...]
"""What a client is shown: one certificate for each kind of key, those that are valid longest."""
WEEK_SECONDS = 7 * 24 * 3600
WEEKS = 104
"""Longer than any process should run without an upgrade; each costs 14 KiB, shared by all processes."""


def _make_first_context(verify_mode: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
    """A ticket context; where certificates of clients are asked for, one without tickets, for a single connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A client that ends its stream without close_notify is still answered: a command that was cut off is none.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_IGNORE_UNEXPECTED_EOF
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = verify_mode
    # One is enough for a client that comes back once in a while, and each costs the server a record.
    context.num_tickets = 1 if verify_mode == ssl.CERT_NONE else 0
    if verify_mode != ssl.CERT_NONE:
        context.options |= ssl.OP_NO_TICKET
    return context


class TicketContexts:
    """A ticket context for each week: all are made now, and each is dropped, and its ticket keys with it, when its week
    is over.

    So all processes forked later change at the same moment, and what was recorded of a session in one week cannot be
    deciphered with what memory holds in the next (RFC 9325 section 3.4). The last one stays.
    """

    __slots__ = ("_current", "_later", "_minimum", "_until", "_weeks")

    def __init__(self, weeks: int, made: float) -> None:
        """`made`: the monotonic clock's time at which the first week begins."""
        self._weeks = weeks
        self._until = made + WEEK_SECONDS
        self.make()

    def make(self) -> None:
        """Makes them all, or makes them anew, before any worker is born."""
        self._later = deque(_make_first_context() for _ in range(self._weeks - 1))
        self._take(_make_first_context())

    def _take(self, context: ssl.SSLContext) -> None:
        self._current = context
        self._minimum = context.minimum_version

    def rotate_to(self, now: float, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
        """The ticket context of this moment (monotonic clock), made to serve from a version on; those of weeks that are
        over are dropped.
        """
        while now >= self._until and self._later:
            self._take(self._later.popleft())
            self._until += WEEK_SECONDS
        if minimum is not self._minimum:  # kept beside it: to ask the context takes longer than all the rest
            self._current.minimum_version = self._minimum = minimum
        return self._current


with suppress(ValueError):  # an OpenSSL that cannot be told has groups of its own
    groups.restrict(groups.default())
TICKET_CONTEXTS = TicketContexts(WEEKS, time.monotonic())


def set_groups(text: str) -> None:
    """The groups of the key exchange, with commas, the best first; to be called before a config has any context.

    Raises ValueError.
    """
    groups.restrict(text.split(","))
    TICKET_CONTEXTS.make()


class ClientCertificates(NamedTuple):
    """What clients must show, and the authorities that are believed, as PEM text."""

    verify_mode: ssl.VerifyMode = ssl.CERT_NONE
    authorities: str = ""


NOTHING_ASKED = ClientCertificates()


class Contexts:
    """The contexts of one config; those that stay the same are taken over from the config before."""

    def __init__(self, ciphers: str, before: "Contexts | None") -> None:
        """`ciphers`: OpenSSL's cipher list, for TLS 1.2."""
        self._ciphers = ciphers
        self._before = before._made if before is not None else {}
        self._made: dict[tuple[CertificateSet, ClientCertificates, str], ssl.SSLContext] = {}

    def get_or_make(self, certificates: CertificateSet, clients: ClientCertificates) -> ssl.SSLContext:
        """One that serves these certificates to these clients. Raises ssl.SSLError."""
        key = (certificates, clients, self._ciphers)
        if key not in self._made:
            self._made[key] = self._before.get(key) or self._make(certificates, clients)
        return self._made[key]

    def _make(self, certificates: CertificateSet, clients: ClientCertificates) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(self._ciphers)
        context.set_alpn_protocols([ALPN])
        for certificate in certificates:
            load_chain(context, certificate.chain, certificate.key)
        if clients.verify_mode != ssl.CERT_NONE:
            context.verify_mode = clients.verify_mode
            context.load_verify_locations(cadata=clients.authorities)
        return context

    def forget_before(self) -> None:
        """All are made: lets go of those of the config before that were not taken over."""
        self._before = {}


class TlsSettings:
    """How one virtual server speaks TLS."""

    __slots__ = ("_by_name", "_default", "_minimum", "verify_mode")

    def __init__(
        self,
        by_name: Mapping[str, ssl.SSLContext],
        default: ssl.SSLContext,
        minimum: ssl.TLSVersion,
        *,
        verify_mode: ssl.VerifyMode,
    ) -> None:
        """`default` is for clients that name none of these."""
        self._by_name = by_name
        self._default = default
        self._minimum = minimum
        self.verify_mode = verify_mode

    def first_context(self) -> ssl.SSLContext:
        """The context with which the next connection begins."""
        if self.verify_mode is ssl.CERT_NONE:
            return TICKET_CONTEXTS.rotate_to(monotonic(), self._minimum)
        context = _make_first_context(self.verify_mode)
        context.minimum_version = self._minimum
        return context

    def certificate_context(self, server_name: str) -> ssl.SSLContext:
        """The context to change to. Nothing is kept of the name: strangers can send any number of them."""
        if not self._by_name:
            return self._default
        found = self._by_name.get(server_name) or self._by_name.get(wildcard(server_name))
        return found or self._default


# Made of a config


def tls_settings(config: Config, contexts: Contexts) -> dict[str, TlsSettings]:
    """By id, for each server that needs TLS. Raises CommandRefused if OpenSSL cannot be brought to it."""
    servers = servers_in_tls(config)
    if not servers:
        return {}
    store = certificate_store_of(config)
    assert store is not None, "Program.complete_change sees to it"
    try:
        return {one.id: _settings_of(one, store, contexts, variables=config.variables) for one in servers}
    except OSError as error:
        raise CommandRefused(f"TLS: {error.strerror or error}") from None
    finally:
        contexts.forget_before()


def _settings_of(
    server: TlsServer, store: CertificateStore, contexts: Contexts, *, variables: Mapping[str, Any]
) -> TlsSettings:
    now = time.time()
    verify_mode = VERIFY_MODES[server.clientcert]
    clients = ClientCertificates(verify_mode, server.clientca.pem) if verify_mode != ssl.CERT_NONE else NOTHING_ASKED
    default = contexts.get_or_make(default_certificates(server, store, now), clients)
    table = {} if server.certificate else certificates_by_name(store.certificates.values(), now)
    named = {name: contexts.get_or_make(certificate_set, clients) for name, certificate_set in table.items()}
    return TlsSettings(named, default, VERSIONS[variables["tlsminversion"]], verify_mode=verify_mode)


# Which certificates answer


def default_certificates(server: TlsServer, store: CertificateStore, now: float) -> CertificateSet:
    """What a server shows to clients that ask for no name: the one that it names, or the default and its neighbours."""
    if server.certificate:
        return (store.certificates[server.certificate],)
    return certificates_beside(store.certificates[DEFAULT], store.certificates.values(), now)


def certificates_by_name(certificates: Iterable[Certificate], now: float) -> dict[str, CertificateSet]:
    """The table for host names, wildcards among them; without names for which a wildcard has something better."""
    carriers: dict[str, list[Certificate]] = {}
    for certificate in certificates:
        for name in certificate.names:
            carriers.setdefault(name, []).append(certificate)
    table = {name: _best(those, now) for name, those in carriers.items()}

    def is_valid(name: str) -> bool:
        return any(one.is_valid(now) for one in table.get(name, ()))

    return {name: best for name, best in table.items() if is_valid(name) or not is_valid(wildcard(name))}


def certificates_beside(certificate: Certificate, certificates: Iterable[Certificate], now: float) -> CertificateSet:
    """The certificate and those that have exactly its names."""
    return _best([certificate, *(other for other in certificates if other.names == certificate.names)], now)


def _best(certificates: Collection[Certificate], now: float) -> CertificateSet:
    best: dict[str, Certificate] = {}
    candidates = [one for one in certificates if one.is_valid(now)] or certificates
    for one in sorted(candidates, key=lambda one: (one.not_before <= now, one.not_after, one.name)):
        best[one.family] = one
    return tuple(best[family] for family in sorted(best))


def wildcard(name: str) -> str:
    """The name in a certificate that stands for this one and its neighbours (RFC 6125 section 6.4.3)."""
    return f"*.{name.partition('.')[2]}"
