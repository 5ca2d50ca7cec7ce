"""The deadlines of a session, a part that it has: all in one bucket of the wheel, which is asked for the earliest.

authtimeout until the login, idletimeout without a word of the client, proxytimeout without a byte while proxying,
sessiontimeout from the login on, and a limit for whatever step the session is waiting for. A deadline that moves later
costs an attribute; only one that moves earlier is put on the wheel anew.
"""

from supervisor.serving.wheel import Timed, Wheel
from supervisor.system import monotonic

NEVER = float("inf")
_BEFORE_THE_END = 1.0
"""Seconds that a reply has which was held back."""


class DeadlineOwner:
    """The session."""

    __slots__ = ()

    def idle_at(self) -> float:
        """When it will have been idle for too long, as things stand."""
        raise NotImplementedError

    def expired(self, what: str) -> None:
        """A deadline has passed: "step", "auth", "session" or "idle", which alone is told again if nothing changes."""
        raise NotImplementedError


class Deadlines(Timed):
    """The deadlines of one session, until `stop`. Times are seconds of the monotonic clock."""

    __slots__ = ("_is_in", "_owner", "_to_step", "_until", "_wakes", "_wheel")

    def __init__(self, wheel: Wheel, owner: DeadlineOwner, to_log_in: float) -> None:
        """`to_log_in`: until when. Nothing is asked of the wheel yet: `schedule_at` or `schedule` does."""
        self._wheel = wheel
        self._owner = owner
        self._is_in = False
        """The login is done."""
        self._until = to_log_in
        """The end of the authentication phase; after it, that of the session."""
        self._to_step = NEVER
        self._wakes = NEVER
        self.bucket = None

    def schedule(self) -> None:
        """Asks the wheel for the earliest deadline, unless it calls earlier anyway."""
        earliest = min(self._to_step, self._until, self._owner.idle_at())
        if earliest < self._wakes:
            self._wakes = earliest
            self._wheel.put(self, earliest)

    def schedule_at(self, when: float) -> None:
        """Looks at the deadlines at this time, whatever they may be then.

        A first look that comes soon saves the wheel's being asked again for each step of a login: no step is shorter.
        """
        self._wakes = when
        self._wheel.put(self, when)

    def expect_within(self, seconds: float) -> None:
        """The next step has to come in time; this takes the place of the limit before."""
        self._to_step = when = monotonic() + seconds
        if when < self._wakes:
            self._wakes = when
            self._wheel.put(self, when)

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        """The next step comes by itself after so long, and in time before the login has to be done; but not before
        `at_least` is over, even if the login ends by that.
        """
        self.expect_within(max(at_least, min(seconds, self._until - monotonic() - _BEFORE_THE_END)))

    def expect_nothing(self) -> None:
        """The step has come."""
        self._to_step = NEVER

    def login_done(self, sessiontimeout: float) -> None:
        """The authentication phase is over and does not count; the session's own time begins."""
        self._is_in = True
        self._until = self._to_step = NEVER
        if sessiontimeout != NEVER:
            self._until = monotonic() + sessiontimeout
            self.schedule()

    def stop(self) -> None:
        """The session is over; it is let go of, so that it is free without the collector."""
        self._wheel.remove(self)
        self._owner = None  # type: ignore[assignment]
        self._wakes = -NEVER  # nothing is earlier

    def on_time(self, now: float) -> None:
        owner = self._owner
        self._wakes = NEVER
        if now >= self._to_step:
            self._to_step = NEVER
            owner.expired("step")
        elif now >= self._until:
            if self._is_in:
                self._until = NEVER  # who commits may go on for a while; before the login nobody may
            owner.expired("session" if self._is_in else "auth")
        elif now >= owner.idle_at():
            owner.expired("idle")
        if self._wakes != -NEVER:
            self.schedule()
