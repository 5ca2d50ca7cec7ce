"""What the parts of a session tell it: the PROXY header's reader, the mail check, the backend, the relay.

Each is called from the event loop, and what it raises is given to `fault`.
"""

from popular.net.client import ClientOwner
from popular.pdm.decision import Decision
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Header


class SessionEvents(ClientOwner):
    """The session, as its parts see it.

    The header's reader says `client_eof` or `client_broke` where there is no header, nor anything else.
    """

    __slots__ = ()

    def introduced(self, header: Header) -> None:
        """The PROXY header is read."""
        raise NotImplementedError

    def header_failed(self, reason: str) -> None:
        raise NotImplementedError

    def decided(self, decision: Decision) -> None:
        """What the modules say. A thread that has asked them cannot be stopped: the answer may be late."""
        raise NotImplementedError

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        """The answer, or None and the reason why there is none."""
        raise NotImplementedError

    def backend_reached(self, number: int) -> None:
        """A backend with several addresses is connected at this one, 0 being the first; told in front of anything else
        of it.
        """
        raise NotImplementedError

    def backend_connected(self) -> None:
        """Told only of a backend that does not greet. TLS stands, if it comes first."""
        raise NotImplementedError

    def backend_tls_up(self) -> None:
        raise NotImplementedError

    def backend_says(self, data: bytes) -> None:
        raise NotImplementedError

    def backend_broke(self, reason: str, word: str = "") -> None:
        """The connection is closed already. `word` is for the counter, if it is known (backend_login.FAILURES)."""
        raise NotImplementedError

    def relay_ended(self, ending: str) -> None:
        raise NotImplementedError
