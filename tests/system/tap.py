"""A tap on the line: whatever goes through it between a client and a port of loopback is heard.

with Tap(port) as tap:
    …                              # a client connects to tap.port
    assert PASSWORD not in tap.heard
"""

import contextlib
import socket
import threading

from tests.patience import PATIENCE
from tests.system.wire import LOOPBACK


class Tap:
    """Passes connections on, and hears what both sides send in them. Use it in a `with` block."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lines: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.sent = bytearray()
        """What clients sent, of all connections."""
        self.answered = bytearray()
        """What they got."""

    def __enter__(self) -> "Tap":
        self._threads[0].start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RD)
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for line in (*self._lines, self._listener):
            line.close()

    @property
    def heard(self) -> bytes:
        """All that went through, in both directions."""
        return bytes(self.sent + self.answered)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((LOOPBACK, self._target), PATIENCE)
                self._lines += [client, server]
                for source, target, record in ((client, server, self.sent), (server, client, self.answered)):
                    thread = threading.Thread(target=_pass_on, args=(source, target, record), daemon=True)
                    self._threads.append(thread)
                    thread.start()


def _pass_on(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            record += piece
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
