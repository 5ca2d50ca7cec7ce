"""Where our own virtual servers listen. Nobody is sent there to be logged in: the proxy would call itself for ever.

A backend of the configuration that is one of them is refused when it is configured. This is for servers that are named
later, by a module or by another server's referral.
"""

from collections.abc import Iterable
from functools import lru_cache

from popular.proxy.settings.backend import EVERY_ADDRESS
from popular.proxy.settings.vserv import Vserv
from supervisor.control.lookups import FindLocalAddress
from supervisor.control.things import OFFLINE


class Ourselves:
    """Made once for each config."""

    __slots__ = ("_everywhere", "_places")

    def __init__(self, vservs: Iterable[Vserv]) -> None:
        listening = [vserv for vserv in vservs if vserv.state != OFFLINE]
        self._places = frozenset(vserv.place for vserv in listening)
        self._everywhere = frozenset(port for address, port in self._places if address in EVERY_ADDRESS)
        """Ports at which we listen on all addresses of this host."""

    def are_at(self, address: str, port: int) -> bool:
        """Whether one of our virtual servers would take a connection to there. `address`: numeric text."""
        return (address, port) in self._places or (port in self._everywhere and _is_local(address))


@lru_cache(maxsize=256)
def _is_local(address: str) -> bool:
    try:
        return FindLocalAddress(address).perform()
    except OSError:
        return False
