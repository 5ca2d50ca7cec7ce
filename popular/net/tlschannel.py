"""A connection in TLS, with the calls of one in clear (channel.py). How OpenSSL is asked, tlscore.py knows."""

import ssl
from typing import cast

from popular.net.channel import Channel
from popular.net.tlscore import gather, tls_of
from popular.net.tlsmodule import TlsEnd
from supervisor.system import Watcher


class TlsChannel(Channel):
    """A connection in TLS. `handshake` first, until it says that it is done."""

    __slots__ = ("_gathers", "_tls")

    def __init__(
        self,
        plain: Channel,
        context: ssl.SSLContext,
        watcher: Watcher,
        *,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Takes the connection over, with the events that it wants; the plain channel is not to be used any more.

        Which side this is, the context says. On the client's side, `server_name` is whom it wants to speak with, and
        `session` one of before that may be resumed.
        """
        self._tls: TlsEnd = tls_of(context, plain, server_name, session)
        super().__init__(plain._core, plain.fd, watcher)
        self.tls = True
        self._gathers = False
        self.most = 1 << 14
        """A record (RFC 8446 section 5.1): OpenSSL gives no more at a time."""
        self._connection = self._tls.connection or plain._connection
        self._events = plain._events
        if self._events:
            self._core.redirect(self.fd, watcher)

    @property
    def about(self) -> ssl.SSLSocket:
        """What was agreed, and with whom: `version`, `cipher`, `getpeercert`, `session`, `session_reused`."""
        return cast(ssl.SSLSocket, self._tls.about)

    def change_context(self, context: ssl.SSLContext) -> None:
        """Another one, before the first octet is read; see contexts.py."""
        self._tls.change(context)

    def agreed(self) -> tuple[str, str, bool]:
        """Version, cipher suite, and whether a session was resumed, when hands are shaken."""
        return self._tls.agreed()

    def handshake(self) -> str | None:
        """Goes on with the handshake: None if it is done, else what it waits for ("read" or "write")."""
        return self._tls.handshake()

    def receive(self, most: int) -> bytes | None:
        return self._tls.receive(most)

    def send(self, data: bytes) -> int:
        return self._tls.send(data)

    def send_last(self, data: bytes) -> int:
        self.gather(True)
        return self._tls.send(data)

    def pending(self) -> bool:
        return self._tls.pending()

    def end_sending(self) -> None:
        """Sends close_notify (RFC 8314 section 3.2 wants it) and waits for nobody's. For the end only: it goes out with
        the end of the stream, or in 0.2 s.
        """
        self.gather(True)
        self._tls.end_sending()

    def gather(self, begins: bool) -> None:
        """What is sent from now on waits until this is called again, and goes out in as few packets as it can."""
        if begins != self._gathers:
            self._gathers = begins
            gather(self.fd, begins)

    def close(self) -> None:
        """See Channel."""
        self._tls.close()
        Channel.close(self)  # not by super(), which Cython has not in methods that are a cpdef
