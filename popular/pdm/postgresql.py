"""How PostgreSQL is asked, for the module `sql`: by psycopg 3, over connections that are kept.

Who asks connects, where there is no connection to be had: so what is wrong with the server is said to him, and at once.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple

from popular.pdm.arguments import needs, text_of
from popular.pdm.contract import ModuleFailed, QuestionFailed, Secret
from popular.pdm.sqlengines import CONNECT_SECONDS, IDLE_SECONDS, Row, check_number, kind_of, told
from popular.pdm.sqlquery import Query

_DEAD_PEER = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 10_000}
"""Until a server that has vanished without a word is given up (libpq's names; seconds, milliseconds)."""
_STATES_OF_ONE = ("21", "22", "38", "39", "P0")
"""How SQLSTATE begins where it is about one user: cardinality, data, what a function says of what it was asked."""
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


class _Kept(NamedTuple):
    since: float
    connection: Any


class PostgresqlEngine:
    """Invariant: no more than so many connections; each is used by one question, or kept, or closed."""

    def __init__(self, url: str, secret: Secret | None, query: Query, *, connections: int) -> None:
        self._psycopg = needs("psycopg", extra="postgresql")
        self._url, self._query = url, query
        try:
            said = self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.Error:
            said = None
        # One for each host; where none is said libpq leaves it empty.
        if said is None or not all(not port or _is_port(port) for port in str(said.get("port") or "").split(",")):
            raise ModuleFailed("sql: this is no URL of PostgreSQL: postgresql://USER@HOST[:PORT]/DB")
        self._words: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": CONNECT_SECONDS,
            **{name: value for name, value in _DEAD_PEER.items() if name not in said},
            "row_factory": self._psycopg.rows.dict_row,
            "context": _adapters(self._psycopg),
        }
        self._secret = secret
        self._places = asyncio.Semaphore(connections)
        self._kept: list[_Kept] = []
        """The longest unused first."""
        self._is_closed = False

    async def open(self) -> None:
        """See AsyncEngine. Nothing is connected yet."""
        if self._secret is not None:
            self._words["password"] = text_of("sql", self._secret)

    async def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """See AsyncEngine."""
        bound = {name: parameters[name] for name in self._query.names}
        with told(self._psycopg.Error):
            async with self._connected() as connection:
                try:
                    cursor = await connection.execute(self._query.pyformat, bound)
                    found: Sequence[Row] = await cursor.fetchmany(most)
                except (self._psycopg.Error, ValueError, ArithmeticError) as error:
                    if self._is_of_one(error):
                        raise QuestionFailed(f"the database: {kind_of(error)}") from None
                    raise
                return found

    def _is_of_one(self, error: Exception) -> bool:
        """Whether only what is stored of one user is wrong: by the server's word, or by psycopg's, which reads it."""
        if not isinstance(error, self._psycopg.Error):
            return True
        state = error.sqlstate
        return state.startswith(_STATES_OF_ONE) if state else isinstance(error, self._psycopg.DataError)

    async def change(self, update: Query, parameters: Mapping[str, str], most: int) -> None:
        """See AsyncEngine."""
        bound = {name: parameters[name] for name in update.names}
        with told(self._psycopg.Error):
            async with self._connected() as connection, connection.transaction():
                cursor = await connection.execute(update.pyformat, bound)
                check_number(cursor.rowcount, most)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A connection for one question; kept for the next one if it is in order then. Raises ModuleFailed."""
        async with self._places:
            connection = await self._found() or await self._made()
            try:
                yield connection
            finally:
                if self._is_closed or connection.info.transaction_status != self._psycopg.pq.TransactionStatus.IDLE:
                    await connection.close()  # broken, or somebody gave up in the middle
                else:
                    self._kept.append(_Kept(monotonic(), connection))

    async def _found(self) -> Any:
        """One that was kept, and is still good for something; None if there is none."""
        while self._kept and self._kept[0].since < monotonic() - IDLE_SECONDS:
            await self._kept.pop(0).connection.close()
        while self._kept:
            connection = self._kept.pop().connection
            try:
                await connection.execute("")
            except self._psycopg.Error:
                await connection.close()
            except BaseException:
                await connection.close()
                raise
            else:
                return connection
        return None

    async def _made(self) -> Any:
        try:
            return await self._psycopg.AsyncConnection.connect(self._url, **self._words)
        except self._psycopg.Error as error:
            raise ModuleFailed(f"the database: {type(error).__name__}{_refusal(str(error))}") from None

    async def close(self) -> None:
        """See AsyncEngine."""
        self._is_closed = True
        while self._kept:
            await self._kept.pop().connection.close()


def _adapters(library: Any) -> Any:
    """As usual, but for char(n): the blanks that fill it up are no part of what was stored."""
    needs("psycopg.types.string", extra="postgresql")

    class Filled(library.types.string.TextLoader):  # type: ignore[misc]
        """Reads a char(n)."""

        def load(self, data: Any) -> Any:
            found = super().load(data)
            return found.rstrip(b" " if isinstance(found, bytes) else " ")  # octets, in a database of SQL_ASCII

    adapters = library.adapt.AdaptersMap(library.adapters)
    adapters.register_loader("bpchar", Filled)
    return adapters


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _refusal(text: str) -> str:
    """Why a connection was not made, as far as that quotes nothing; the error's text has names and addresses in it."""
    for words, reason in _REFUSALS.items():
        if words in text:
            return f" {reason}"
    for number, name in errno.errorcode.items():
        if os.strerror(number) in text:
            return f" {name}"
    return ""
