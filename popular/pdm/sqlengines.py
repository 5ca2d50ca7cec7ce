"""How an SQL database is asked: what its engine has to have, and that of SQLite. PostgreSQL's and MySQL's have files of
their own.

Whatever a driver raises becomes a ModuleFailed that says the kind of error, and not its text: that may quote the
parameters; and the number that goes with it (SQLSTATE, errno), which quotes nothing. Where the database has answered,
and says that something is wrong with what is stored of this user or with his name, it is a QuestionFailed: nobody else
is to wait for his record.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import quote

from popular.pdm.contract import ModuleFailed, QuestionFailed
from popular.pdm.errorkinds import kind_of
from popular.pdm.sqlquery import Query

Row: TypeAlias = Mapping[object, object]
CONNECT_SECONDS = 3
"""Less than a module's own usual deadline, after which nobody could say what was the matter."""
IDLE_SECONDS = 300
_SQLITE_WAIT_SECONDS = 2.0
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


def check_number(rows: int, most: int) -> None:
    """Raises ModuleFailed if an update is one of too many rows."""
    if rows > most:
        raise ModuleFailed(f"the update would change {rows} rows, and he has {most}: it is not made")


@contextmanager
def told(*kinds: type[BaseException]) -> Iterator[None]:
    """Raises ModuleFailed for a driver's error."""
    try:
        yield
    except kinds as error:
        raise ModuleFailed(f"the database: {kind_of(error)}") from None


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
        with told(sqlite3.Error, OSError):
            connection = self._connection()
            try:
                cursor = connection.execute(self._query.text, bound)
                return [dict(zip(row.keys(), row, strict=True)) for row in cursor.fetchmany(most)]
            except sqlite3.Error as error:
                if self._is_of_one(error, connection, bound):
                    raise QuestionFailed(f"the database: {kind_of(error)}") from None
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
            told(sqlite3.Error, OSError),
            closing(sqlite3.connect(uri, uri=True, timeout=_SQLITE_WAIT_SECONDS, isolation_level=None)) as one,
            one,
        ):  # a transaction, which is taken back by what is raised in it
            one.execute("BEGIN IMMEDIATE")  # the library begins none for WITH … UPDATE, and counts none of its rows
            one.execute(update.text, {name: parameters[name] for name in update.names}).fetchall()
            (changed,) = one.execute("SELECT changes()").fetchone()
            check_number(changed, most)

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
