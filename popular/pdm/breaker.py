"""The breaker in front of a module: after so many failures in a row it is not asked for a while, then tried once. Pure.

Without it, everybody who needs a database that hangs would wait for the whole deadline, and hold a thread meanwhile.
"""

CLOSED, OPEN, TRYING = "closed", "open", "trying"


class Breaker:
    """One module's, in one process. `state` may be looked at."""

    __slots__ = ("_failed_at", "_failures", "_until", "state")

    def __init__(self) -> None:
        self._failures = 0
        self._failed_at = 0.0
        self._until = 0.0
        self.state = CLOSED

    def lets_ask(self, now: float) -> bool:
        """Whether the module may be asked; where that is the trial, nobody else is let through until it is over."""
        if self.state is CLOSED:
            return True
        if self.state is TRYING or now < self._until:
            return False
        self.state = TRYING
        return True

    def has_failed_lately(self, now: float, pause: float) -> bool:
        """Whether it would hardly be asked, or answer: it is being tried, or has failed last, and not long ago."""
        return self.state is TRYING or (self._failures > 0 and now < self._failed_at + pause)

    def answered(self) -> bool:
        """It did, whatever it said. Whether this closes the breaker."""
        self._failures = 0
        closes = self.state is not CLOSED
        self.state = CLOSED
        return closes

    def failed(self, now: float, *, most: int, pause: float) -> bool:
        """It did not. Whether this opens the breaker, which a failed trial does not do anew. `most` 0: never."""
        self._failures += 1
        self._failed_at = now
        was = self.state
        if was is CLOSED and not 0 < most <= self._failures:
            return False
        self.state = OPEN
        if was is not OPEN:  # who was asked before it opened must not make the pause longer
            self._until = now + pause
        return was is CLOSED

    def given_up(self) -> None:
        """Nobody wants to know any more, so nothing was learned: another one is let through."""
        if self.state is TRYING:
            self.state = OPEN
