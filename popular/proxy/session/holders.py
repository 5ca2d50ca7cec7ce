"""How many sessions hold a service: it is let go of when another one has taken over, and its last session is over."""

from collections.abc import Callable


class Holders:
    """The holders of one service, counted."""

    __slots__ = ("_count", "_release", "_retired")

    def __init__(self, release: Callable[[], None]) -> None:
        """`release` is called when the service is of no use any more."""
        self._release = release
        self._count = 0
        self._retired = False

    def come(self) -> None:
        """One more holds it."""
        self._count += 1

    def leave(self) -> None:
        """One of them does no more."""
        self._count -= 1
        if self._retired and self._count == 0:
            self._release()

    def retire(self) -> None:
        """Nobody new will hold it."""
        self._retired = True
        if self._count == 0:
            self._release()
