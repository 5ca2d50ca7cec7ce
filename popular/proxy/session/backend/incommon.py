"""What all backends offer in common, as of UTF8 and LANG: where a user's mail lies, nobody knows before the login."""

from collections.abc import Callable, Mapping

from popular.protocol.capabilities import NOBODY_KNOWS, Common
from popular.protocol.capabilities import common as shared_by
from popular.protocol.international import NOTHING, International, common
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from supervisor.control.commands.things import OFFLINE

_UNUSED = (OFFLINE, "fake")
"""States of a backend in which nobody's mail is fetched from it."""
_KNOWN_SECONDS = 1.0
"""For so long it counts: a site may have hundreds of backends, and each login to an empty mailbox asks."""
_ALWAYS = float("inf")


def no_clock() -> float:
    """The time, for whom it does not pass: what is known counts for this once."""
    return _ALWAYS


class InCommon:
    """What all backends of one config offer in common; looked up at most once a second."""

    __slots__ = ("_backends", "_known", "_now", "_shared", "_shared_until", "_until")

    def __init__(self, backends: Mapping[str, BackendRuntime], now: Callable[[], float] = no_clock) -> None:
        """`now` tells the time in seconds."""
        self._backends = backends
        self._now = now
        self._known = NOTHING
        self._until = 0.0
        self._shared = NOBODY_KNOWS
        self._shared_until = 0.0

    def offered(self) -> International:
        """What a client may be told of before it is known who it is, and while it is shown an empty mailbox."""
        now = self._now()
        if now >= self._until:
            self._until = now + _KNOWN_SECONDS
            self._known = common(_of(one) for one in self._backends.values() if one.state not in _UNUSED)
        return self._known

    def capabilities(self) -> Common:
        """What they announce (CAPA), as far as they were asked."""
        now = self._now()
        if now >= self._shared_until:
            self._shared_until = now + _KNOWN_SECONDS
            used = (one.announced for one in self._backends.values() if one.state not in _UNUSED)
            self._shared = shared_by(known.capabilities() if known is not None else None for known in used)
        return self._shared


def _of(backend: BackendRuntime) -> International:
    return backend.announced.international() if backend.announced is not None else NOTHING
