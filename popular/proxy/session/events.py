"""What the parts of a session tell it: the PROXY header's reader, the mail check, the backend, the relay.

Each is called from the event loop, at most one for each event, and what it raises is given to `fault`.
"""

from typing import Protocol

from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Header


class BackendEvents(Protocol):
    """Whose the connection to a backend is: a session, or who asks what the backend announces."""

    def backend_connected(self) -> None:
        """Told only of a backend that does not greet. TLS stands, if it comes first."""

    def backend_tls_up(self) -> None: ...

    def backend_says(self, data: bytes) -> None: ...

    def backend_broke(self, reason: str, word: str = "") -> None:
        """The connection is closed already. `word` is for the counter, if it is known (backend_login.FAILURES)."""

    def fault(self, error: Exception) -> None:
        """An error of ours, which must not reach the event loop."""


class SessionEvents(BackendEvents, Protocol):
    """The session, as its parts see it."""

    def introduced(self, header: Header) -> None:
        """The PROXY header is read."""

    def header_failed(self, reason: str) -> None: ...

    def client_ended(self) -> None:
        """There is no PROXY header, nor anything else: the connection was closed."""

    def client_broke(self) -> None:
        """The same, by a reset."""

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        """The answer, or None and the reason why there is none."""

    def relay_ended(self, ending: str) -> None: ...
