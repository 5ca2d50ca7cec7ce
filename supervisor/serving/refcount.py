"""Counts who holds a thing that is retired one day: when the last one has let go after that, it is closed."""

from collections.abc import Callable


class RefCount:
    """How many hold it; compiled, because each session acquires its service and releases it."""

    __slots__ = ("_count", "_let_go", "_retired")

    def __init__(self, let_go: Callable[[], None]) -> None:
        """`let_go` is called once, or again if somebody comes late."""
        self._let_go = let_go
        self._count = 0
        self._retired = False

    def acquire(self) -> None:
        """One more."""
        self._count += 1

    def release(self) -> None:
        """One less."""
        self._count -= 1
        if self._retired and not self._count:
            self._let_go()

    def retire(self) -> None:
        """Nobody comes any more who would hold it for long."""
        self._retired = True
        if not self._count:
            self._let_go()
