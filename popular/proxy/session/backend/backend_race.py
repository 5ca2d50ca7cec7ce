"""The connection to a backend that has several addresses: it is made to whichever has one first.

They are tried in order (reach.py). The next one has its turn when the one before has failed, or has not connected
within a quarter of a second, and goes on all the same; the first connection that stands is used, and the others are
closed. Nothing was sent on them, so no backend has seen half a login. From then on it is a connection like any other.
"""

import asyncio
import os
import socket
from functools import partial

from popular.proxy.session.backend.backend_connection import BackendConnection, Extras
from popular.proxy.session.backend.reach import Reach
from popular.proxy.session.events import SessionEvents
from popular.proxy.settings.backend import Backend
from supervisor.runtime.loop import WRITE
from supervisor.serving.context import WorkerContext

HEAD_START_SECONDS = 0.25
"""RFC 8305 section 5: long enough for a connection that comes about, short enough for a person."""
SLOW = f"no connection within {HEAD_START_SECONDS:g} s"


class RacingConnection(BackendConnection):
    """One. After `close` it is silent."""

    __slots__ = ("_attempts", "_backend", "_failures", "_left", "_reach", "_stands", "_timer")

    def __init__(self, context: WorkerContext, owner: SessionEvents, reach: Reach) -> None:
        """To be opened at once."""
        super().__init__(context, owner)
        self._reach = reach
        self._backend: Backend | None = None
        self._left: list[int] = []
        """Numbers of the addresses whose turn is still to come."""
        self._attempts: dict[int, int] = {}
        """Descriptors by number."""
        self._failures: dict[int, str] = {}
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
        return self._stands and super().connected

    def _try_next(self, backend: Backend) -> None:
        """Raises OSError where nobody is left to be waited for."""
        error = OSError()
        while self._left:
            number = self._left.pop(0)
            try:
                fd = self._dial(backend.at_address(number))
            except OSError as failed:
                error = failed
                self._failures[number] = failed.strerror or type(failed).__name__
                continue
            self._attempts[number] = fd
            self._context.loop.watch(fd, WRITE, partial(self._attempted, number))
            if self._left:
                self._timer = self._context.loop.call_later(HEAD_START_SECONDS, self._take_turn)
            return
        if not self._attempts:
            why = "; ".join(f"{backend.addresses[number]}: {reason}" for number, reason in self._failures.items())
            raise OSError(error.errno, why)

    def _attempted(self, number: int, _events: int) -> None:
        try:
            self._look_at(number)
        except Exception as error:
            self._owner.fault(error)

    def _take_turn(self) -> None:
        """One more: the one before has failed, or had its time."""
        try:
            self._stop_timer()
            assert self._backend is not None
            self._try_next(self._backend)
        except OSError as error:
            self._owner.backend_broke(error.strerror or type(error).__name__)
        except Exception as error:
            self._owner.fault(error)

    def _look_at(self, number: int) -> None:
        connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, self._attempts[number])
        try:
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not error:
                connection.getpeername()
        except OSError:
            return  # an event of the connection that had this descriptor before, in the same waking
        finally:
            connection.detach()
        if error:
            self._give_up(number)
            self._failures[number] = os.strerror(error)
            self._take_turn()
        else:
            self._use(number)

    def _use(self, number: int) -> None:
        """This one stands."""
        fd = self._attempts.pop(number)
        self._context.loop.unwatch(fd)
        self._failures |= dict.fromkeys(self._attempts, SLOW)
        self._give_up_attempts()
        self._left = []
        self._stands = True
        self._reach.found(number, self._failures)
        self._owner.backend_reached(number)
        if self._extras is not None and self._extras.tls is not None:
            self._extras.tls = self._extras.tls.at_address(number)
        try:
            self._go_on(fd, self.greets, self._extras)
        except OSError as error:
            self._owner.backend_broke(error.strerror or type(error).__name__)

    def _give_up(self, number: int) -> None:
        fd = self._attempts.pop(number)
        self._context.loop.unwatch(fd)
        os.close(fd)

    def _give_up_attempts(self) -> None:
        self._stop_timer()
        for number in list(self._attempts):
            self._give_up(number)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
