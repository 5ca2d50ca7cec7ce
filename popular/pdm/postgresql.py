"""How PostgreSQL is asked, for the module `sql`: by psycopg 3, and its pool."""

from collections.abc import Mapping, Sequence
from typing import Any

from popular.pdm.arguments import needs, text_of
from popular.pdm.contract import ModuleFailed, QuestionFailed, Secret
from popular.pdm.errorkinds import kind_of
from popular.pdm.postgresqlpool import PostgresqlPool
from popular.pdm.sqlengines import CONNECT_SECONDS, Row, check_number, told
from popular.pdm.sqlquery import Query

_DEAD_PEER = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 10_000}
"""Until a server that has vanished without a word is given up (libpq's names; seconds, milliseconds)."""
_STATES_OF_ONE = ("21", "22", "38", "39", "P0")
"""How SQLSTATE begins where it is about one user: cardinality, data, what a function says of what it was asked."""


class PostgresqlEngine:
    """psycopg, over a pool."""

    def __init__(self, url: str, secret: Secret | None, query: Query, *, connections: int) -> None:
        self._psycopg = needs("psycopg", extra="postgresql")
        self._query, self._secret = query, secret
        try:
            said = self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.Error:
            said = None
        # One for each host; where none is said libpq leaves it empty.
        if said is None or not all(not port or _is_port(port) for port in str(said.get("port") or "").split(",")):
            raise ModuleFailed("sql: this is no URL of PostgreSQL: postgresql://USER@HOST[:PORT]/DB")
        words = {
            "autocommit": True,
            "connect_timeout": CONNECT_SECONDS,
            **{name: value for name, value in _DEAD_PEER.items() if name not in said},
            "row_factory": self._psycopg.rows.dict_row,
            "context": _adapters(self._psycopg),
        }
        self._pool = PostgresqlPool(url, words, connections=connections)

    async def open(self) -> None:
        """See AsyncEngine. Nothing is connected yet."""
        await self._pool.open(None if self._secret is None else text_of("sql", self._secret))

    async def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """See AsyncEngine."""
        bound = {name: parameters[name] for name in self._query.names}
        with told(self._psycopg.Error):
            async with self._pool.connection() as connection:
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
            async with self._pool.connection() as connection, connection.transaction():
                cursor = await connection.execute(update.pyformat, bound)
                check_number(cursor.rowcount, most)

    async def close(self) -> None:
        """See AsyncEngine."""
        await self._pool.close()


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
