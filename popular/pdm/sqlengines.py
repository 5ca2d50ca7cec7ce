"""How each kind of SQL database is asked: one class for each, with the same two or three functions.

Whatever a driver raises becomes a ModuleFailed that says the kind of error, and not its text: that may quote the
parameters. Where the database has answered, and says that something is wrong with what is stored of this user or with
his name, it is a QuestionFailed: nobody else is to wait for his record.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlsplit

from popular.pdm.arguments import needs, text_of
from popular.pdm.contract import ModuleFailed, QuestionFailed, Secret
from popular.pdm.sqlquery import Query

Row: TypeAlias = Mapping[object, object]
CONNECT_SECONDS = 5
IDLE_SECONDS = 300
_SQLITE_WAIT_SECONDS = 2.0
_DEAD_PEER = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 10_000}
"""Until a server that has vanished without a word is given up (libpq's names; seconds, milliseconds)."""
_STATES_OF_ONE = ("21", "22", "38", "39", "P0")
"""PostgreSQL, the beginning of SQLSTATE: cardinality, data, and what a function says of what it was asked."""
_NUMBERS_OF_ONE = frozenset(
    {
        *(1267, 1270, 1271, 1300, 1366),  # these letters cannot be compared with what the column has
        *(1139, 1242, 1292, 1365, 1411, 1690, 1741),  # a pattern, several rows of a subquery, values out of range
        *(1172, 1329, 1643, 1644),  # what a function found, or says
        *(4036, 4037, 4038, 4042, 4076, 3140, 3141, 3143),  # JSON that is none: MariaDB, MySQL
    }
)
"""MySQL: wrong with one record, or one name."""
_SQLITE_CODES_OF_ONE = frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT})


class AsyncEngine(Protocol):
    """A database server, asked on the event loop."""

    async def open(self) -> None:
        """Connects. Raises ModuleFailed."""

    async def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """What the query gives, up to so many rows. Raises ModuleFailed."""

    async def change(self, update: Query, parameters: Mapping[str, str], most: int) -> None:
        """Makes a change, unless it is one of more rows than that. Raises ModuleFailed; nothing is changed then."""

    async def close(self) -> None:
        """Gives its connections back."""


def _check_number(rows: int, most: int) -> None:
    if rows > most:
        raise ModuleFailed(f"the update would change {rows} rows, and he has {most}: it is not made")


def _is_port(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


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
        self._path = path
        self._uri = f"file:{quote(path)}?mode=ro"
        self._query = query
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []

    def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """See AsyncEngine."""
        bound = {name: parameters[name] for name in self._query.names}
        with _told(sqlite3.Error, OSError):
            connection = self._connection()
            try:
                cursor = connection.execute(self._query.text, bound)
                return [dict(zip(row.keys(), row, strict=True)) for row in cursor.fetchmany(most)]
            except sqlite3.Error as error:
                if self._is_of_one(error, connection, bound):
                    raise QuestionFailed(f"the database: {type(error).__name__}") from None
                raise

    def _is_of_one(self, error: sqlite3.Error, connection: sqlite3.Connection, bound: Mapping[str, str]) -> bool:
        """Whether only what is stored of one user is wrong. The library's own code for it is that of a faulty query,
        too; so whether that can be explained.
        """
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code != sqlite3.SQLITE_ERROR:
            return code in _SQLITE_CODES_OF_ONE
        try:
            connection.execute(f"EXPLAIN {self._query.text}", bound).fetchone()
        except sqlite3.Error:
            return False
        return True

    def change(self, update: Query, parameters: Mapping[str, str], most: int) -> None:
        """See AsyncEngine."""
        uri = f"file:{quote(self._path)}?mode=rw"
        with (
            _told(sqlite3.Error, OSError),
            closing(sqlite3.connect(uri, uri=True, timeout=_SQLITE_WAIT_SECONDS, isolation_level=None)) as one,
            one,
        ):  # a transaction, which is taken back by what is raised in it
            one.execute("BEGIN IMMEDIATE")  # the library begins none for WITH … UPDATE, and counts none of its rows
            one.execute(update.text, {name: parameters[name] for name in update.names}).fetchall()
            (changed,) = one.execute("SELECT changes()").fetchone()
            _check_number(changed, most)

    def _connection(self) -> sqlite3.Connection:
        """This thread's. A file that has taken the place of the old one is opened in its turn."""
        status = os.stat(self._path)
        which = status.st_dev, status.st_ino
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None and self._local.which != which:
            self._all.remove(found)
            found.close()
            found = None
        if found is None:
            self._local.which = which
            found = sqlite3.connect(self._uri, uri=True, timeout=_SQLITE_WAIT_SECONDS, check_same_thread=False)
            found.row_factory = sqlite3.Row
            found.text_factory = bytes  # what is no UTF-8 is wrong with its field, where that is one of ours
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
            self._said = self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.Error:
            raise ModuleFailed("sql: this is no URL of PostgreSQL: postgresql://USER@HOST[:PORT]/DB") from None

    async def open(self) -> None:
        """See AsyncEngine: the pool connects by itself, also anew."""
        words: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": CONNECT_SECONDS,
            **{name: value for name, value in _DEAD_PEER.items() if name not in self._said},
            "row_factory": self._psycopg.rows.dict_row,
        }
        if self._secret is not None:
            words["password"] = text_of("sql", self._secret)
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
                try:
                    cursor = await connection.execute(self._query.pyformat, bound)
                    found: Sequence[Row] = await cursor.fetchmany(most)
                except (self._psycopg.Error, ValueError, ArithmeticError) as error:
                    if self._is_of_one(error):
                        raise QuestionFailed(f"the database: {type(error).__name__}") from None
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
        with _told(self._psycopg.Error, self._pools.PoolTimeout, self._pools.TooManyRequests):
            async with self._pool.connection() as connection, connection.transaction():
                cursor = await connection.execute(update.pyformat, bound)
                _check_number(cursor.rowcount, most)

    async def close(self) -> None:
        """See AsyncEngine."""
        if self._pool is not None:
            await self._pool.close(timeout=1)


def _check_understood(query: Query) -> None:
    if "\\" in query.text or "#" in query.text:
        raise ModuleFailed("sql: mysql: backslashes and # in the query are not understood here")


class MysqlEngine:
    """asyncmy, and its pool."""

    def __init__(self, url: str, secret: Secret | None, query: Query, *, connections: int) -> None:
        self._asyncmy = needs("asyncmy", extra="mysql")
        self._cursors = needs("asyncmy.cursors", extra="mysql")
        self._errors = needs("asyncmy.errors", extra="mysql")
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise ModuleFailed("sql: mysql: nothing may stand behind the database's name")
        _check_understood(query)
        if not parts.hostname or len(parts.path) < 2 or not parts.username or not _is_port(parts):
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
        password = text_of("sql", self._secret) if self._secret is not None else ""
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
            except self._errors.Error as error:
                if error.args[:1] and error.args[0] in _NUMBERS_OF_ONE:
                    raise QuestionFailed(f"the database: {type(error).__name__}") from None
                raise
            finally:
                if not whole:
                    connection.close()
                self._pool.release(connection)

    async def change(self, update: Query, parameters: Mapping[str, str], most: int) -> None:
        """See AsyncEngine."""
        _check_understood(update)
        bound = {name: parameters[name] for name in update.names}
        with _told(self._errors.Error, OSError, EOFError):
            connection = await self._pool.acquire()
            whole = False
            try:
                await connection.begin()
                async with connection.cursor() as cursor:
                    await cursor.execute(update.pyformat, bound)
                    _check_number(cursor.rowcount, most)
                await connection.commit()
                whole = True
            finally:
                if not whole:
                    connection.close()  # which takes back what was begun
                self._pool.release(connection)

    async def close(self) -> None:
        """See AsyncEngine."""
        if self._pool is not None:
            self._pool.close()
            await self._pool.wait_closed()
