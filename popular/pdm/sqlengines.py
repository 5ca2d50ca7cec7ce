"""How each kind of SQL database is asked: one class for each, with the same two or three functions.

Whatever a driver raises becomes a ModuleFailed that says the kind of error, and not its text: that may quote the
parameters.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from popular.pdm.arguments import needs
from popular.pdm.contract import ModuleFailed, Secret
from popular.pdm.sqlquery import Query

Row: TypeAlias = Mapping[object, object]
CONNECT_SECONDS = 5
IDLE_SECONDS = 300
_SQLITE_WAIT_SECONDS = 2.0


class AsyncEngine(Protocol):
    """A database server, asked on the event loop."""

    async def open(self) -> None:
        """Connects. Raises ModuleFailed."""

    async def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """What the query gives, up to so many rows. Raises ModuleFailed."""

    async def close(self) -> None:
        """Gives its connections back."""


@contextmanager
def _told(*kinds: type[BaseException]) -> Iterator[None]:
    """A driver's error in words that quote nothing."""
    try:
        yield
    except kinds as error:
        raise ModuleFailed(f"the database: {type(error).__name__}") from None


class SqliteEngine:
    """A file, read only, with a connection for each thread."""

    def __init__(self, url: str, query: Query) -> None:
        """Raises ModuleFailed if there is no such file."""
        path = url.partition(":")[2]
        path = "/" + path.lstrip("/") if path.startswith("/") else path
        if not Path(path).is_file():
            raise ModuleFailed(f"sql: {path} is no file")
        self._uri = f"file:{quote(path)}?mode=ro"
        self._query = query
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []

    def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """See AsyncEngine."""
        with _told(sqlite3.Error):
            cursor = self._connection().execute(
                self._query.text, {name: parameters[name] for name in self._query.names}
            )
            return [dict(zip(row.keys(), row, strict=True)) for row in cursor.fetchmany(most)]

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._uri, uri=True, timeout=_SQLITE_WAIT_SECONDS, check_same_thread=False)
            found.row_factory = sqlite3.Row
            self._local.connection = found
            self._all.append(found)
        return found

    def close(self) -> None:
        """See AsyncEngine."""
        for connection in self._all:
            connection.close()


class PostgresqlEngine:
    """psycopg 3, and its pool."""

    def __init__(self, url: str, secret: Secret | None, query: Query, *, connections: int) -> None:
        self._psycopg = needs("psycopg", extra="postgresql")
        self._pools = needs("psycopg_pool", extra="postgresql")
        self._url, self._secret, self._query, self._connections = url, secret, query, connections
        self._pool: Any = None
        try:
            self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.Error:
            raise ModuleFailed("sql: this is no URL of PostgreSQL: postgresql://USER@HOST[:PORT]/DB") from None

    async def open(self) -> None:
        """See AsyncEngine: the pool connects by itself, also anew."""
        words: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": CONNECT_SECONDS,
            "row_factory": self._psycopg.rows.dict_row,
        }
        if self._secret is not None:
            words["password"] = self._secret.reveal().decode()
        self._pool = self._pools.AsyncConnectionPool(
            self._url,
            kwargs=words,
            min_size=1,
            max_size=self._connections,
            open=False,
            timeout=CONNECT_SECONDS,
            reconnect_timeout=CONNECT_SECONDS,
            max_idle=IDLE_SECONDS,
            max_waiting=100,
            check=self._pools.AsyncConnectionPool.check_connection,
        )
        await self._pool.open(wait=False)

    async def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """See AsyncEngine."""
        bound = {name: parameters[name] for name in self._query.names}
        with _told(self._psycopg.Error, self._pools.PoolTimeout, self._pools.TooManyRequests):
            async with self._pool.connection() as connection:
                cursor = await connection.execute(self._query.pyformat, bound)
                found: Sequence[Row] = await cursor.fetchmany(most)
                return found

    async def close(self) -> None:
        """See AsyncEngine."""
        if self._pool is not None:
            await self._pool.close(timeout=1)


class MysqlEngine:
    """asyncmy, and its pool."""

    def __init__(self, url: str, secret: Secret | None, query: Query, *, connections: int) -> None:
        self._asyncmy = needs("asyncmy", extra="mysql")
        self._cursors = needs("asyncmy.cursors", extra="mysql")
        self._errors = needs("asyncmy.errors", extra="mysql")
        parts = urlsplit(url)
        if not parts.hostname or len(parts.path) < 2 or not parts.username:
            raise ModuleFailed("sql: this is no URL of MySQL: mysql://USER@HOST[:PORT]/DB")
        self._where = {
            "host": parts.hostname,
            "port": parts.port or 3306,
            "user": unquote(parts.username),
            "db": unquote(parts.path[1:]),
        }
        self._secret, self._query, self._connections = secret, query, connections
        self._pool: Any = None

    async def open(self) -> None:
        """See AsyncEngine."""
        password = self._secret.reveal().decode() if self._secret is not None else ""
        self._pool = await self._asyncmy.create_pool(
            **self._where,
            password=password,
            minsize=0,
            maxsize=self._connections,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            pool_recycle=IDLE_SECONDS,
            charset="utf8mb4",
        )

    async def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """See AsyncEngine. A connection on which something went wrong, or somebody gave up, is not used again."""
        bound = {name: parameters[name] for name in self._query.names}
        with _told(self._errors.Error, OSError, EOFError):
            connection = await self._pool.acquire()
            whole = False
            try:
                async with connection.cursor(self._cursors.DictCursor) as cursor:
                    await cursor.execute(self._query.pyformat, bound)
                    found: Sequence[Row] = await cursor.fetchmany(most)
                whole = True
                return found
            finally:
                if not whole:
                    connection.close()
                self._pool.release(connection)

    async def close(self) -> None:
        """See AsyncEngine."""
        if self._pool is not None:
            self._pool.close()
            await self._pool.wait_closed()
