"""A proxy for tests of TLS, with virtual servers that need no backend (state fake), and clients for its handshakes."""

import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.system.certificates import Authority
from tests.system.site import LOOPBACK, PATIENCE, Proxy, free_port

AUTHORITY = Authority()
CONF = f"iface {LOOPBACK} state fake port"


class TlsSite(Proxy):
    """`tlsdir` holds a default certificate for localhost; `port` is POP3s and `stls` has `starttls optional`.

    `more` are commands said after these.
    """

    def __init__(self, directory: Path, more: Iterable[str] = (), watch: str = "0", workers: int = 1) -> None:
        self.tlsdir = directory / "tls"
        self.tlsdir.mkdir()
        self.default = AUTHORITY.issue("localhost")
        self.default.write(self.tlsdir, "default")
        self.port, self.stls = free_port(), free_port()
        lines = [
            f"set tlsdir {self.tlsdir}",
            f"set tlswatch {watch}",
            f"vserv conf implicit {CONF} {self.port} prot POP3s",
            f"vserv conf stls {CONF} {self.stls} starttls optional",
            *more,
        ]
        super().__init__(directory, lines, workers)

    def count(self, counter: str, label: str | None = None) -> int:
        """A counter of the table, summed up over the workers."""
        counted: Any = self.state().counters()[counter]
        return int(counted if label is None else counted[label])


def client_context(**attributes: Any) -> ssl.SSLContext:
    """A client that believes the authority; `attributes` are set on the context."""
    context = AUTHORITY.trusting()
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


class TlsClient:
    """A client after its handshake, and after the greeting."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        name: str | None = "localhost",
        session: ssl.SSLSession | None = None,
    ) -> None:
        """`name`: whom it asks for by SNI; None: nobody, and no name is verified."""
        context = context or client_context()
        if name is None:
            context.check_hostname = False
        plain = socket.create_connection((LOOPBACK, port), PATIENCE)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=name, session=session, suppress_ragged_eofs=False)
        except BaseException:
            plain.close()
            raise
        self._file = self.socket.makefile("rb")
        try:
            self.greeting = self._file.readline()
        except BaseException:  # where a client of TLS 1.3 hears that its certificate is not believed
            self.close()
            raise

    def __enter__(self) -> "TlsClient":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def ask(self, command: str) -> bytes:
        self.socket.sendall(command.encode() + b"\r\n")
        return self._file.readline()

    def quit(self) -> None:
        """Says QUIT, and waits for the end of TLS: close_notify must come."""
        assert self.ask("QUIT").startswith(b"+OK")
        assert self._file.read() == b""

    @property
    def serial(self) -> int:
        """The serial number of the certificate that it was shown."""
        shown = self.socket.getpeercert()
        assert shown is not None
        return int(str(shown["serialNumber"]), 16)


def serial(port: int, context: ssl.SSLContext | None = None, name: str | None = "localhost") -> int:
    """Which certificate a client is shown that asks for a name; the session ends orderly."""
    with TlsClient(port, context, name) as client:
        shown = client.serial
        client.quit()
    return shown
