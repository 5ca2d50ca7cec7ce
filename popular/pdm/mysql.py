"""How MySQL and MariaDB are asked, for the module `sql`: by asyncmy, and its pool."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from popular.pdm.arguments import is_at_host, needs, text_of
from popular.pdm.contract import ModuleFailed, QuestionFailed, Secret
from popular.pdm.errorkinds import kind_of
from popular.pdm.sqlengines import CONNECT_SECONDS, IDLE_SECONDS, Row, check_number, told
from popular.pdm.sqlquery import Query

_NUMBERS_OF_ONE = frozenset(
    {
        *(1267, 1270, 1271, 1300, 1366),  # these letters cannot be compared with what the column has
        *(1139, 1242, 1292, 1365, 1411, 1690, 1741),  # a pattern, several rows of a subquery, values out of range
        *(1172, 1329, 1643, 1644),  # what a function found, or says
        *(4036, 4037, 4038, 4042, 4076, 3140, 3141, 3143),  # JSON that is none: MariaDB, MySQL
    }
)
"""What MySQL says of one record, or of one name."""
_FRESH_SECONDS = 5.0
"""So long after its last use a connection is believed to be there, unless another one has failed meanwhile."""
_PING_SECONDS = 1.0


def _check_understood(query: Query) -> None:
    if "\\" in query.text or "#" in query.text:
        raise ModuleFailed("sql: mysql: backslashes and # in the query are not understood here")


class MysqlEngine:
    """asyncmy, and its pool."""

    def __init__(
        self,
        url: str,
        secret: Secret | None,
        query: Query,
        *,
        connections: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls`: by whose authorities; None: all goes in clear."""
        self._asyncmy = needs("asyncmy", extra="mysql")
        self._cursors = needs("asyncmy.cursors", extra="mysql")
        self._errors = needs("asyncmy.errors", extra="mysql")
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise ModuleFailed("sql: mysql: nothing may stand after the database's name")
        _check_understood(query)
        if not is_at_host(parts) or len(parts.path) < 2 or not parts.username:
            raise ModuleFailed("sql: this is no URL of MySQL: mysql://USER@HOST[:PORT]/DB")
        self._where = {
            "host": parts.hostname,
            "port": parts.port or 3306,
            "user": unquote(parts.username),
            "db": unquote(parts.path[1:]),
        }
        self._secret, self._query, self._connections, self._tls = secret, query, connections, tls
        self._pool: Any = None
        self._doubted = 0.0
        """When one failed last. Those that were not used since may be dead, too."""

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
            ssl=self._tls,
        )

    async def rows(self, parameters: Mapping[str, str], most: int) -> Sequence[Row]:
        """See AsyncEngine. A connection on which something went wrong, or somebody gave up, is not used again."""
        bound = {name: parameters[name] for name in self._query.names}
        with told(self._errors.Error, OSError, EOFError):
            connection = await self._acquired()
            whole = False
            try:
                async with connection.cursor(self._cursors.DictCursor) as cursor:
                    await cursor.execute(self._query.pyformat, bound)
                    found: Sequence[Row] = await cursor.fetchmany(most)
                whole = True
                return found
            except self._errors.Error as error:
                if error.args[:1] and error.args[0] in _NUMBERS_OF_ONE:
                    raise QuestionFailed(f"the database: {kind_of(error)}") from None
                raise
            finally:
                self._give_back(connection, whole)

    async def change(self, update: Query, parameters: Mapping[str, str], most: int) -> None:
        """See AsyncEngine."""
        _check_understood(update)
        bound = {name: parameters[name] for name in update.names}
        with told(self._errors.Error, OSError, EOFError):
            connection = await self._acquired()
            whole = False
            try:
                await connection.begin()
                async with connection.cursor() as cursor:
                    await cursor.execute(update.pyformat, bound)
                    check_number(cursor.rowcount, most)
                await connection.commit()
                whole = True
            finally:
                self._give_back(connection, whole)  # closed, it takes back what was begun

    async def _acquired(self) -> Any:
        """A connection that is not dead. Where one is they mostly all are, so those that nobody uses go with it."""
        while True:
            connection = await self._pool.acquire()
            is_alive = False
            try:
                is_alive = await self._is_alive(connection)
            finally:
                if not is_alive:
                    self._give_back(connection, whole=False)
            if is_alive:
                return connection
            for idle in tuple(self._pool._free):  # `clear` would wait for each, in TLS 30 s, with the pool's lock
                idle.close()

    async def _is_alive(self, connection: Any) -> bool:
        now = asyncio.get_running_loop().time()
        if connection.last_usage > max(self._doubted, now - _FRESH_SECONDS):
            return True
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await connection.ping(reconnect=False)
        except (self._errors.Error, OSError, EOFError):
            return False
        return True

    def _give_back(self, connection: Any, whole: bool) -> None:
        if not whole:
            self._doubted = asyncio.get_running_loop().time()
            connection.close()
        self._pool.release(connection)

    async def close(self) -> None:
        """See AsyncEngine."""
        if self._pool is not None:
            self._pool.close()
            await self._pool.wait_closed()
