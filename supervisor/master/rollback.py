"""The rollback point: the config that was in force before the last `draft apply`, and whether it comes back by itself.

    keep(config, 60)   → 60 s later `time_up()` is called, unless `stay()` was called before
    keep(config, None) → it is only kept

If going back fails then (a certificate is gone, a worker dies over it) it is tried again every few seconds.
"""

import math
import time
from collections.abc import Callable

from supervisor.config import Config
from supervisor.control.language.outcome import Past
from supervisor.runtime.loop import Loop, Timer

AGAIN_SECONDS = 2.0


class RollbackPoint:
    """Holds one config at most."""

    def __init__(self, loop: Loop, time_up: Callable[[], None]) -> None:
        self._loop = loop
        self._time_up = time_up
        self._config: Config | None = None
        self._timer: Timer | None = None
        self._until = 0.0
        self.trouble = ""
        """Why it could not come back the last time."""

    def keep(self, config: Config, seconds: float | None) -> None:
        """This is the config to go back to, by itself after so many seconds (None: not by itself)."""
        self.stay()
        self._config, self.trouble = config, ""
        if seconds is not None:
            self._until = time.monotonic() + seconds
            self._timer = self._loop.after(seconds, self._time_up)

    def replace(self, config: Config) -> None:
        """It is another config to go back to; when stays as it is."""
        self._config = config

    def stay(self) -> None:
        """It does not come back by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self) -> None:
        """There is nothing to go back to."""
        self.stay()
        self._config = None

    def later(self, reason: str) -> None:
        """It could not come back just now: it is tried again."""
        self.trouble = reason
        if self._timer is not None:
            self._timer = self._loop.after(AGAIN_SECONDS, self._time_up)

    @property
    def awaited(self) -> bool:
        """Whether it comes back by itself unless somebody says that the new one stays."""
        return self._timer is not None

    @property
    def past(self) -> Past | None:
        """What a handler may know of it."""
        if self._config is None:
            return None
        left = max(0, math.ceil(self._until - time.monotonic())) if self.awaited else None
        return Past(self._config, left)
