"""A connection to a directory, for the module `ldap`: made, and in TLS if that is wanted, within a bound time.

libldap is given a connection that is there already (ldap_init_fd). What it makes by itself has no bound in TLS: with
GnuTLS, as Debian has it, libldap 2.5 waits for a server that is silent in the handshake for ever, and takes a processor
meanwhile. So the handshake is Python's; then libldap speaks in clear to one end of a pair of sockets, and a thread
carries what it says to the server, and back. Of the server libldap is told nothing: it might connect to it anew by
itself, in clear.
"""

import select
import socket
import ssl
import threading
from contextlib import suppress
from time import monotonic
from typing import Any
from urllib.parse import SplitResult

from popular.pdm import keptsocket

NOWHERE = "ldapi://%2Fnonexistent%2F"
SECONDS = 1.5
"""For a connect, for the way into TLS, and for an answer."""

LDAPS, LDAPI = "ldaps", "ldapi"
_PORTS = {"ldap": 389, LDAPS: 636}
_AT_ONCE = 1 << 16
_TCP = {socket.TCP_NODELAY: 1, **keptsocket.OPTIONS}

_START_TLS = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
"""An ExtendedRequest with the message id 1 (RFC 4511 sections 4.12 and 4.14.1)."""
_SEQUENCE, _INTEGER, _ENUMERATED, _EXTENDED_RESPONSE = 0x30, 0x02, 0x0A, 0x78
_LONGEST_RESPONSE = 4096


class NotInTls(Exception):
    """The directory does not go into TLS; the text says why."""


def connect(library: Any, url: SplitResult, tls: ssl.SSLContext | None) -> Any:
    """An object of the library, connected, on which nobody is bound yet. `tls`: with ldap:// it begins with StartTLS.
    Raises OSError, NotInTls.
    """
    if url.scheme == LDAPI:
        connection = library.initialize(url.geturl())
        connection.set_option(library.OPT_NETWORK_TIMEOUT, SECONDS)
    else:
        with _to(url, tls) as ours:
            connection = library.initialize(NOWHERE, fileno=ours.fileno())
            ours.detach()  # the library closes it
    connection.set_option(library.OPT_TIMEOUT, SECONDS)
    connection.set_option(library.OPT_REFERRALS, 0)
    connection.protocol_version = library.VERSION3
    return connection


def _to(url: SplitResult, tls: ssl.SSLContext | None) -> socket.socket:
    """A socket on which the directory is spoken to in clear."""
    assert url.hostname is not None, "the module has looked at its URLs"
    made = socket.create_connection((url.hostname, url.port or _PORTS[url.scheme]), SECONDS)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _TCP.items():
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        if tls is None:
            made.settimeout(None)
            return made
        if url.scheme != LDAPS:
            _start_tls(made)
        made.settimeout(SECONDS)
        return _carried(tls.wrap_socket(made, server_hostname=url.hostname))
    except BaseException:
        made.close()
        raise


def _start_tls(made: socket.socket) -> None:
    """Has the directory go into TLS; nothing is read that comes after its answer. Raises OSError, NotInTls."""
    until = monotonic() + SECONDS
    made.sendall(_START_TLS)
    tag, length = _head(made, until)
    if tag != _SEQUENCE or length > _LONGEST_RESPONSE:
        raise NotInTls("it answers StartTLS with what is no LDAP")
    result = _result_of(_received(made, length, until))
    if result != 0:
        raise NotInTls(f"it refuses StartTLS (result {result})")


def _head(made: socket.socket, until: float) -> tuple[int, int]:
    """Tag and length of an element of BER, whose length may have a long form (Active Directory uses it)."""
    tag, length = _received(made, 2, until)
    return tag, length if length < 0x80 else int.from_bytes(_received(made, min(length & 0x7F, 8), until))


def _received(made: socket.socket, count: int, until: float) -> bytes:
    octets = b""
    while len(octets) < count:
        made.settimeout(max(until - monotonic(), 0.001))
        more = made.recv(count - len(octets))
        if not more:
            raise ConnectionResetError
        octets += more
    return octets


def _result_of(message: bytes) -> int:
    """The resultCode of an ExtendedResponse. Raises NotInTls."""
    _number, rest = _element(message, _INTEGER)
    response, _controls = _element(rest, _EXTENDED_RESPONSE)
    result, _texts = _element(response, _ENUMERATED)
    return int.from_bytes(result)


def _element(octets: bytes, tag: int) -> tuple[bytes, bytes]:
    """What is in the first element, which has this tag, and what comes after it. Raises NotInTls."""
    begin, length = 2, octets[1] if len(octets) > 1 else 0
    if length >= 0x80:
        begin += length & 0x7F
        length = int.from_bytes(octets[2:begin])
    if octets[:1] != bytes([tag]) or begin + length > len(octets):
        raise NotInTls("it answers StartTLS with what is no answer to it")
    return octets[begin : begin + length], octets[begin + length :]


def _carried(tls: ssl.SSLSocket) -> socket.socket:
    """An end at which the TLS connection is spoken to in clear; it ends when this end is closed."""
    theirs, ours = socket.socketpair()
    try:
        threading.Thread(target=_carry, args=(tls, ours), name="pdm-ldap-tls", daemon=True).start()
    except BaseException:
        for one in (tls, theirs, ours):
            one.close()
        raise
    return theirs


def _carry(tls: ssl.SSLSocket, clear: socket.socket) -> None:
    """Until one of the two is closed, or fails."""
    waiting = select.poll()
    waiting.register(tls, select.POLLIN)
    waiting.register(clear, select.POLLIN)
    with tls, clear, suppress(OSError):
        while True:
            ready = dict(waiting.poll())
            if clear.fileno() in ready:
                said = clear.recv(_AT_ONCE)
                if not said:
                    return
                tls.settimeout(SECONDS)
                tls.sendall(said)
            # Looked at in any case: OpenSSL may have read something, of which the kernel knows no more.
            tls.setblocking(False)
            with suppress(ssl.SSLWantReadError):
                while octets := tls.recv(_AT_ONCE):
                    clear.sendall(octets)
                return
