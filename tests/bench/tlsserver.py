"""A POP3 server in TLS for the tests of the load generator, which can be made to deserve no +OK.

It relays to a storage server in clear, one thread for each connection, and counts the sessions that it resumed itself.
"""

import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.patience import patient


class Relay:
    """Connections take the contexts in turn. `old` becomes `new` in what the server says."""

    def __init__(self, backend: int, contexts: Sequence[ssl.SSLContext], *, old: bytes = b"", new: bytes = b"") -> None:
        self.resumed = 0
        self._backend = backend
        self._contexts = itertools.cycle(contexts)
        self._change = old, new
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]

    def accept(self) -> None:
        """Until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client, next(self._contexts)), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        plain.settimeout(patient(10))
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._backend), timeout=patient(10)) as server,
        ):
            self.resumed += bool(client.session_reused)
            self._say(client, server.recv(512))
            while line := client.recv(512):
                server.sendall(line)
                reply = server.recv(512)
                while line.startswith(b"RETR") and not reply.endswith(b"\r\n.\r\n"):
                    reply += server.recv(65536)
                self._say(client, reply)
                if line.startswith(b"QUIT"):
                    client.unwrap()
                    return

    def _say(self, client: ssl.SSLSocket, reply: bytes) -> None:
        old, new = self._change
        client.sendall(reply.replace(old, new) if old else reply)


def context(pem: Path, *, tickets: int = 2) -> ssl.SSLContext:
    """With ticket keys of its own."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem)
    made.num_tickets = tickets
    return made


@contextlib.contextmanager
def relay(backend: int, *contexts: ssl.SSLContext, old: bytes = b"", new: bytes = b"") -> Iterator[Relay]:
    """Serves as long as the block lasts."""
    server = Relay(backend, contexts, old=old, new=new)
    thread = threading.Thread(target=server.accept)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(patient(10))
