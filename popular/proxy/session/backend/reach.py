"""Which of a backend's addresses is tried first, as one worker has found them. Pure.

The one that is preferred, unless it could not be had: then the one that could, and once in a while a login finds out
whether the preferred one is there again. So an address that swallows all packets costs one login in ten seconds a
quarter of a second, and not every one.
"""

from collections.abc import Callable, Mapping, Sequence

from popular import messages
from popular.proxy.settings.backend import Backend
from supervisor.runtime.messages import Message
from supervisor.system import Clock

AGAIN_SECONDS = 10.0
"""So long the preferred one is left alone that could not be had."""

ELSEWHERE = ("second", "third", "fourth")
"""Addresses by their number, 0 being the first, which has no name: for the counter."""

Tell = Callable[[Message, dict[str, object]], None]


def tell_nobody(_message: Message, _fields: dict[str, object]) -> None:
    """For whom it is no news."""


class Reach:
    """Which address of one backend is tried first, under one config."""

    __slots__ = ("_again", "_backend", "_clock", "_tell", "_used")

    def __init__(self, backend: Backend, clock: Clock, tell: Tell = tell_nobody) -> None:
        """`tell` logs."""
        self._backend = backend
        self._clock = clock
        self._tell = tell
        self._used = 0
        """Number of the address that was had the last time."""
        self._again = 0.0

    def order(self) -> Sequence[int]:
        """The numbers of all addresses, in the order in which a login tries them."""
        numbers = range(len(self._backend.addresses))
        if not self._used:
            return numbers
        if self._clock.now >= self._again:
            self._again = self._clock.now + AGAIN_SECONDS
            return numbers
        return sorted(numbers, key=lambda number: (number != self._used, number))

    def found(self, number: int, failures: Mapping[int, str]) -> None:
        """A connection stands at this one. `failures`: why not at others that were tried."""
        before, self._used = self._used, number
        if number == before:
            return
        self._again = self._clock.now + AGAIN_SECONDS
        addresses = self._backend.addresses
        fields = {"backend": self._backend.id, "address": addresses[number], "instead_of": addresses[before]}
        self._tell(messages.BACKEND_ELSEWHERE, {**fields, "reason": failures.get(before, "")})
