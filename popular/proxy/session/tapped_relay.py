"""A relay that lets others hear what passes: who looks whether there is mail, who records the session.

All others are plain relays (relay.py), and pay nothing for it. As long as somebody listens, large mails go through here
too and not by splice.
"""

from typing import NamedTuple

from popular.net.splice import Pipes
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.relay import Relay
from supervisor.system import Poller


class Tap:
    """One who listens."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False
        """It needs to hear no more."""

    def client_says(self, data: bytes) -> None:
        """The client's octets, on their way to the backend."""
        raise NotImplementedError

    def backend_says(self, data: bytes) -> None:
        """The backend's, on their way to the client; the reply to the login is the first."""
        raise NotImplementedError


class Taps(NamedTuple):
    """Who listens to a relay."""

    taps: list[Tap]
    unheard: int
    """So many octets for the client are replies of ours, in front of the backend's."""


class TappedRelay(Relay):
    """One pair, and who listens."""

    __slots__ = ("_taps", "_unheard")

    def __init__(self, owner: SessionEvents, core: Poller, pipes: Pipes, *, taps: Taps) -> None:
        Relay.__init__(self, owner, core, pipes)
        self._taps, self._unheard = taps

    def _give_backend(self, piece: bytes) -> None:
        for tap in self._taps:
            tap.client_says(piece)
        Relay._give_backend(self, piece)

    def _give_client(self, piece: bytes) -> None:
        heard = piece[self._unheard :] if self._unheard else piece
        self._unheard = 0
        for tap in self._taps:
            tap.backend_says(heard)
        if self._taps:
            self._taps = [tap for tap in self._taps if not tap.done]
        Relay._give_client(self, piece)

    def _splice(self) -> None:
        if not self._taps:
            Relay._splice(self)
