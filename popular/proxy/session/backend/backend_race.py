"""The connection to a backend that has several addresses: it is made to whichever first is ready for a login.

They are tried in order (reach.py). The next one has its turn when the one before has failed, or is not ready within a
quarter of a second, and goes on all the same. Ready is one that has greeted with +OK; of a backend that does not greet,
one that is connected, with TLS where that comes first. That one is used, and the others are closed: none of them was
told who wants in, so no backend has seen half a login. From then on it is a connection like any other.
"""

import asyncio

from popular.net.channel import Channel
from popular.protocol.lines import LONGEST_REPLY, LineBuffer, PeerFault, is_ok
from popular.proxy.session.backend.backend_connection import BackendConnection, Extras
from popular.proxy.session.backend.contracts import OURS, failure_of
from popular.proxy.session.backend.reach import Reach
from popular.proxy.session.events import SessionEvents
from popular.proxy.settings.backend import Backend
from supervisor.serving.context import WorkerContext

HEAD_START_SECONDS = 0.25
"""RFC 8305 section 5: long enough for a connection that comes about, short enough for a person."""


class RacingConnection(BackendConnection):
    """A connection to a backend of several addresses, the first that is ready of them. After `close` it is silent."""

    __slots__ = ("_attempts", "_backend", "_failures", "_left", "_reach", "_stands", "_timer", "_word")

    def __init__(self, context: WorkerContext, owner: SessionEvents, reach: Reach) -> None:
        """To be opened at once."""
        super().__init__(context, owner)
        self._reach = reach
        self._backend: Backend | None = None
        self._left: list[int] = []
        """Numbers of the addresses whose turn is still to come."""
        self._attempts: dict[int, _Contender] = {}
        """By number."""
        self._failures: dict[int, str] = {}
        self._word = ""
        """What the last failure with a word of its own has, for the counter."""
        self._timer: asyncio.TimerHandle | None = None
        self._stands = False

    def open(self, backend: Backend, greets: bool, extras: Extras | None) -> None:
        """See BackendConnection."""
        self._backend, self.greets, self._extras = backend, greets, extras
        self._left = list(self._reach.order())
        self._try_next(backend)

    def close(self) -> None:
        """See BackendConnection."""
        self._give_up_attempts()
        self._left = []
        if self._stands:
            super().close()

    @property
    def connected(self) -> bool:
        """Whether it stands, or any of its attempts is connected."""
        if self._stands:
            return super().connected
        return any(one.connection.connected for one in self._attempts.values())

    @property
    def shaking_hands(self) -> bool:
        """Whether TLS is being begun, on it or on any of its attempts."""
        if self._stands:
            return super().shaking_hands
        return any(one.connection.shaking_hands for one in self._attempts.values())

    def _try_next(self, backend: Backend) -> None:
        """Raises OSError where nobody is left to be waited for."""
        error = OSError()
        while self._left:
            number = self._left.pop(0)
            attempt = _Contender(self._context, self, number)
            try:
                attempt.begin(backend, self._extras)
            except OSError as failed:
                attempt.let_go()
                if self._attempts and failure_of(failed).word == OURS:  # nothing is said of that address
                    self._left.insert(0, number)
                    self._take_turn_later()
                    return
                error = failed
                self._failures[number] = failed.strerror or type(failed).__name__
                continue
            self._attempts[number] = attempt
            if self._left:
                self._take_turn_later()
            return
        if not self._attempts:
            why = "; ".join(f"{backend.addresses[number]}: {reason}" for number, reason in self._failures.items())
            raise OSError(error.errno, why)

    def _take_turn_later(self) -> None:
        self._timer = self._context.loop.call_later(HEAD_START_SECONDS, self._take_turn)

    def _take_turn(self) -> None:
        """One more: the one before has failed, or had its time."""
        try:
            self._stop_timer()
            assert self._backend is not None
            self._try_next(self._backend)
        except OSError as error:
            self._owner.backend_broke(*failure_of(error, self._word))
        except Exception as error:
            self._owner.fault(error)

    def has_failed(self, number: int, reason: str, word: str) -> None:
        """An attempt (the address of this number) has failed; its connection is closed."""
        self._attempts.pop(number).let_go()
        self._failures[number] = reason
        self._word = word or self._word
        self._take_turn()

    def is_ready(self, number: int, greeting: bytes) -> None:
        """An attempt has won: what it has reached is the backend. `greeting`: all that was heard of it."""
        won = self._attempts.pop(number).let_go()
        self._failures |= {other: one.missing() for other, one in self._attempts.items()}
        self._give_up_attempts()
        self._left = []
        self._stands = True
        self.channel: Channel = won.channel
        self.channel.hand_to(self)
        self._extras = won._extras
        self._reach.found(number, self._failures)
        self._owner.backend_reached(number)
        if self.greets:
            self._owner.backend_says(greeting)
        else:
            self._owner.backend_connected()

    def passes_on(self, error: Exception) -> None:
        """Hands an error of ours, in an attempt, to the owner."""
        self._owner.fault(error)

    def _give_up_attempts(self) -> None:
        self._stop_timer()
        for one in self._attempts.values():
            one.let_go().close()
        self._attempts = {}

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Contender(SessionEvents):
    """One address that is tried. It hears what a session hears of its backend, until it is ready or has failed."""

    __slots__ = ("_greeting", "_heard", "_number", "_race", "connection")

    def __init__(self, context: WorkerContext, race: RacingConnection, number: int) -> None:
        self.sid = race._owner.sid
        self._race = race
        self._number = number
        self._greeting = LineBuffer(LONGEST_REPLY)
        self._heard = b""
        self.connection = BackendConnection(context, self)

    def begin(self, backend: Backend, extras: Extras | None) -> None:
        """Raises OSError if that fails at once."""
        own = None if extras is None else extras.at_address(self._number)
        self.connection.open(backend.at_address(self._number), self._race.greets, own)

    def let_go(self) -> BackendConnection:
        """Its connection, which it knows no more: they know each other, and would be garbage to be collected."""
        connection = self.connection
        del self.connection
        return connection

    def missing(self) -> str:
        """What it has not done in the time that it had for itself."""
        what = "answer" if self.connection.connected else "connection"
        return f"no {what} within {HEAD_START_SECONDS:g} s"

    def backend_connected(self) -> None:
        """The backend does not greet: to be connected is enough to win."""
        self._race.is_ready(self._number, b"")

    def backend_says(self, data: bytes) -> None:
        """Its greeting, or a piece of it."""
        self._heard += data
        try:
            line = self._greeting.next_line(data)
        except PeerFault:
            line = b""
        if line is None:
            return
        if is_ok(line):
            self._race.is_ready(self._number, self._heard)
        else:
            self.connection.close()
            said = line.decode("utf-8", "replace")
            self._race.has_failed(self._number, f"no proper greeting: {said}".removesuffix(": "), "greeting")

    def backend_broke(self, reason: str, word: str = "") -> None:
        """The connection is closed already."""
        self._race.has_failed(self._number, reason, word)

    def fault(self, error: Exception) -> None:
        """See ClientOwner."""
        self._race.passes_on(error)
