"""psycopg's pool, in which nobody waits for nothing.

The pool connects behind the back of who asks, and lets him wait while it cannot. So it is watched: where a connection
is not made, and no other one could come back to it, it is closed. That ends the wait of all, they are told why, and who
comes next waits in a new pool.
"""

import errno
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any
from weakref import WeakSet

from popular.pdm.arguments import needs
from popular.pdm.contract import ModuleFailed
from popular.pdm.sqlengines import IDLE_SECONDS

# What it would write to standard error is told here, too, and it quotes names and addresses.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

_POOL = {"open": False, "min_size": 0, "max_idle": IDLE_SECONDS, "num_workers": 1, "reconnect_timeout": 0}
"""It connects when somebody asks, once at a time, and does not go on trying."""
FRESH_SECONDS = 0.2
"""So long a connection that was made for a question takes to it."""
_REFUSALS = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "pg_hba.conf rejects": "28000",
    "not permitted to log in": "28000",
    "does not exist": "3D000 or 28000",
    "too many ": "53300",
    "remaining connection slots": "53300",
    "the database system is": "57P03",
    "server does not support SSL": "it has no TLS",
    "certificate verify failed": "its certificate is not believed",
    "server certificate for": "its certificate is for another name",
    "could not translate host name": "there is no such host",
    "failed to resolve host": "there is no such host",
}
"""What libpq says of a connection that was not made, with SQLSTATE, which it keeps to itself there."""


class PostgresqlPool:
    """Invariant: who waits waits for a connection that lives, or for one that is being made."""

    def __init__(self, url: str, words: Mapping[str, Any], *, connections: int) -> None:
        """`words`: how to connect. Raises ModuleFailed if psycopg is not there."""
        psycopg, pools = needs("psycopg", extra="postgresql"), needs("psycopg_pool", extra="postgresql")
        self._words = dict(words)
        self._made: WeakSet[Any] = WeakSet()
        """Connections, some of them closed since."""
        self._new = partial(pools.AsyncConnectionPool, url, kwargs=self._words, max_size=connections, **_POOL)
        self._kind, self._error, self._closed = psycopg.AsyncConnection, psycopg.Error, pools.PoolClosed
        self._pool = self._new_pool()
        self._reason = "closed"
        """Why the last one has ended."""

    async def open(self, password: str | None) -> None:
        """Nothing is connected yet."""
        if password is not None:
            self._words["password"] = password
        await self._pool.open()

    def _new_pool(self) -> Any:
        async def failed(error: Exception) -> None:
            await self._failed(error, made)

        made = self._new(connection_class=_watched(self._kind, self._made, failed))
        return made

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """For one question. Raises ModuleFailed where none can be made."""
        pool, connection = await self._living()
        try:
            yield connection
        finally:
            await pool.putconn(connection)

    async def _living(self) -> tuple[Any, Any]:
        """One that is not dead, and its pool. Looked at here and not by the pool, which waits longer after each dead
        one that it finds, and may have been closed then. Where one is dead they mostly all are: so they all go.
        """
        while True:
            pool = self._pool
            try:
                connection = await pool.getconn()
            except self._closed:
                raise ModuleFailed(f"the database: {self._reason}") from None
            try:
                if await self._is_alive(connection):
                    return pool, connection
                await pool.drain()
            except BaseException:
                await pool.putconn(connection)
                raise
            await pool.putconn(connection)

    async def _is_alive(self, connection: Any) -> bool:
        """What is wrong with one that was made for this question is for who asks to hear."""
        fresh_until, connection.fresh_until = connection.fresh_until, 0.0
        if monotonic() < fresh_until:
            return True
        try:
            await connection.execute("")
        except self._error:
            return False
        return True

    async def _failed(self, error: Exception, of: Any) -> None:
        """A pool could not make a connection. Called by its own task, so that its end cannot be waited for."""
        self._reason = f"{type(error).__name__}{_refusal(str(error))}"
        if of is not self._pool or of.closed or not all(connection.closed for connection in self._made):
            return
        self._pool = self._new_pool()
        await self._pool.open()
        await of.close(timeout=0)

    async def close(self) -> None:
        """Who waits is told so; a connection that is in use is closed when it comes back."""
        await self._pool.close()


def _watched(kind: Any, made: WeakSet[Any], failed: Callable[[Exception], Awaitable[None]]) -> Any:
    """This class of connections; it is told of each that is made, or is not."""

    class WatchedConnection(kind):  # type: ignore[misc]
        """A connection of the pool."""

        fresh_until = 0.0

        @classmethod
        async def connect(cls, *words: Any, **named: Any) -> Any:
            try:
                connection = await super().connect(*words, **named)
            except Exception as error:
                await failed(error)
                raise
            connection.fresh_until = monotonic() + FRESH_SECONDS
            made.add(connection)
            return connection

    return WatchedConnection


def _refusal(text: str) -> str:
    """Why a connection was not made, as far as that quotes nothing; the error's text has names and addresses in it."""
    for words, reason in _REFUSALS.items():
        if words in text:
            return f" {reason}"
    for number, name in errno.errorcode.items():
        if os.strerror(number) in text:
            return f" {name}"
    return ""
