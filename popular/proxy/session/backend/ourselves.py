"""Where our own virtual servers listen. Nobody is sent there to be logged in: the proxy would call itself for ever.

A backend of the configuration that is one of them is refused when it is configured. This is for servers that are named
later, by a module or by another server's referral.
"""

from collections.abc import Iterable
from functools import lru_cache

from popular.proxy.settings.backend import EVERY_ADDRESS
from popular.proxy.settings.kinds import plain_address
from popular.proxy.settings.vserv import Vserv
from supervisor.control.commands.things import OFFLINE
from supervisor.control.language.lookups import FindLocalAddress


class Ourselves:
    """Made once for each config."""

    __slots__ = ("_everywhere", "_places", "_ports")

    def __init__(self, vservs: Iterable[Vserv]) -> None:
        listening = [vserv for vserv in vservs if vserv.state != OFFLINE]
        places = [vserv.place for vserv in listening]
        self._everywhere = frozenset(port for address, port in places if address in EVERY_ADDRESS)
        """Ports at which we listen on all addresses of this host."""
        self._places = frozenset(
            (plain_address(address), port) for address, port in places if address not in EVERY_ADDRESS
        )
        self._ports = frozenset(port for _, port in places)

    def are_at(self, address: str, port: int) -> bool:
        """Whether one of our virtual servers would take a connection to there. `address`: numeric text."""
        if port not in self._ports:
            return False
        plain = plain_address(address)
        return not plain or (plain, port) in self._places or (port in self._everywhere and _is_local(plain))


@lru_cache(maxsize=256)
def _is_local(address: str) -> bool:
    try:
        return FindLocalAddress(address).perform()
    except OSError:
        return False
