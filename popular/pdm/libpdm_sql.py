"""The module `sql URL query TEXT|queryfile FILE [NAME VALUE]…`: users in an SQL database, by the operator's query.

    pdm add users sql postgresql://popular@db.example.org/mail passwordfile /etc/popular/db.secret
        query "SELECT password, store AS backend FROM mailbox WHERE username = :user AND active"

`URL` is one of

    sqlite:/PATH                       a file, read only; comes with Python
    postgresql://USER@HOST[:PORT]/DB   with the extra `postgresql`; what libpq takes after `?` is passed on
    mysql://USER@HOST[:PORT]/DB        with the extra `mysql`; MariaDB too

The query's parameters are bound, never pasted into it: `:user` the name as given, `:name` and `:domain` its parts
before and after the last '@' (all of it, and nothing, if there is none), `:namespace`, `:vserv`, `:address`. The
columns of what it gives are taken by their names (`record.py`). No row: there is no such user. Several rows, up to
ten: one user with several passwords, of which one has to fit.

`tls on` has MySQL asked in TLS only, its certificate being for its name and of an authority in `cafile FILE` (default:
of the system's); without it all goes in clear. For PostgreSQL that stands in the URL, as
`?sslmode=verify-full&sslrootcert=FILE`: without, TLS is used where the server has it, and nobody is verified.

`query` is the query itself, `queryfile` a file with it; `passwordfile` is a file with the database's password,
`backend ID` and `target TARGET` are what counts where a row does not say it, `connections N` is how many connections a
worker has at most (default 4). `takes KIND,…` says which credentials the rows can answer: `password`, `challenge` where
all passwords are stored in clear, `scram` where they are that or keys of SCRAM-SHA-256, `certificate` where a client
with a certificate of the user's name may come in.

`update TEXT` (or `updatefile FILE`) is what `user move` has done (`pdm conf ID moves on`), with `:backend` for the
new one beside the parameters of the user: `update "UPDATE mailbox SET store = :backend WHERE username = :user"`. It may
change as many rows as `query` gives of the user, else it is not made. The database's user needs the right to do so.
"""

import os
import ssl
from collections.abc import Callable, Mapping, Sequence

from popular.pdm import linefile
from popular.pdm.arguments import PASSWORDFILE, number, pairs, refuse_password_in, secret_from, text_of
from popular.pdm.cafile import CAFILE, trusted
from popular.pdm.contract import (
    Answer,
    AsyncModule,
    KnownUser,
    Module,
    ModuleFailed,
    NeedsPassword,
    Question,
    QuestionFailed,
    Secret,
)
from popular.pdm.mysql import MysqlEngine
from popular.pdm.postgresql import PostgresqlEngine
from popular.pdm.record import ROUTING, TAKES, Defaults, StoredUser, Verifier, is_name, stored_user, takes_of
from popular.pdm.sqlengines import AsyncEngine, SqliteEngine
from popular.pdm.sqlquery import OF_UPDATE, PARAMETERS, Query

MOST_ROWS = 10
_WORDS = ("query", "queryfile", "update", "updatefile", PASSWORDFILE, *ROUTING, TAKES, "connections", "tls", CAFILE)
_CONNECTIONS = 4
_MOST_CONNECTIONS = 64


def parameters_of(namespace: str, user: str, question: Question | None = None) -> dict[str, str]:
    """The values of the query's parameters."""
    name, at, domain = user.rpartition("@")
    values = (
        user,
        name if at else user,
        domain if at else "",
        namespace,
        question.vserv if question else "",
        question.client_ip if question else "",
    )
    return dict(zip(PARAMETERS, values, strict=True))


class _Options:
    """What the words of the command mean."""

    def __init__(self, arguments: Sequence[str]) -> None:
        if not arguments:
            raise ModuleFailed("sql: URL is wanted: sqlite:/PATH, postgresql://USER@HOST/DB, mysql://USER@HOST/DB")
        self.url = arguments[0]
        refuse_password_in("sql", self.url)
        words = pairs("sql", arguments[1:], _WORDS)
        if ("query" in words) == ("queryfile" in words):
            raise ModuleFailed("sql: one of `query TEXT` and `queryfile FILE` is wanted")
        if "update" in words and "updatefile" in words:
            raise ModuleFailed("sql: one of `update TEXT` and `updatefile FILE` is allowed")
        self.files: dict[str, os.stat_result] = {}
        self.ended = frozenset[str]()
        self.query = Query(self._text(words, "query"))
        text = self._text(words, "update")
        self.update = Query(text, OF_UPDATE) if text else None
        if self.update is not None and "backend" not in self.update.names:
            raise ModuleFailed("sql: the update leads nowhere: it needs :backend")
        self.secret: Secret | None = None
        if PASSWORDFILE in words:
            self.secret, files = secret_from(words[PASSWORDFILE])
            text_of("sql", self.secret)  # refused now, and not with each login
            self.files |= files
        self.tls = self._tls(words)
        self.defaults = Defaults.of("sql", words)
        self.takes = takes_of("sql", words)
        self.connections = number("sql", words, "connections", usual=_CONNECTIONS, most=_MOST_CONNECTIONS)

    def _tls(self, words: Mapping[str, str]) -> ssl.SSLContext | None:
        """None: not by words of ours. Raises ModuleFailed."""
        if "tls" not in words and CAFILE not in words:
            return None
        if self.url.partition(":")[0] not in ("mysql", "mariadb"):
            raise ModuleFailed(
                "sql: tls and cafile are for mysql://…; for PostgreSQL say it in the URL: "
                "?sslmode=verify-full&sslrootcert=FILE"
            )
        if words.get("tls") != "on":
            raise ModuleFailed("sql: tls: only `on` is allowed, and cafile wants it")
        context, files = trusted("sql", words)
        self.files |= files
        return context or ssl.create_default_context()

    def _text(self, words: Mapping[str, str], word: str) -> str:
        """What a word says, or the file of the other one; "" if neither is there. Raises ModuleFailed."""
        if f"{word}file" not in words:
            return words.get(word, "")
        path = os.path.abspath(words[f"{word}file"])
        content = linefile.read(path)
        self.files[path] = content.status
        self.ended |= content.ended(path)
        try:
            return content.octets.decode()
        except UnicodeDecodeError:
            raise ModuleFailed(f"sql: {path} is not UTF-8") from None


def _users(rows: Sequence[Mapping[object, object]], user: str, defaults: Defaults) -> list[StoredUser]:
    if len(rows) > MOST_ROWS:
        raise QuestionFailed(f"the query gave more than {MOST_ROWS} rows")
    return [stored_user(user, row, defaults) for row in rows]


def _refuse_without_login(query: Query) -> None:
    """Raises NeedsPassword where only a login has what the query asks for: without, it finds another row, or none."""
    if query.takes_a_login:
        raise NeedsPassword("the query asks for :vserv or :address, which only a login has")


def _is_there(found: Sequence[StoredUser], backend: str) -> bool:
    """That a user is at this backend now, as the query sees him. Raises ModuleFailed."""
    if not found or any(user.route.backend != backend for user in found):
        raise ModuleFailed("the update was made, and the query does not give this backend")
    return True


class SqliteModule(Module):
    """Users in a file of SQLite, asked in threads."""

    def __init__(self, ident: str, arguments: Sequence[str], options: _Options) -> None:
        self.ident, self.arguments = ident, tuple(arguments)
        self._options = options
        self._engine = SqliteEngine(options.url, options.query)
        self._verifier = Verifier(options.url)
        self.by_address = options.query.by_address
        self.files, self.ended = options.files, options.ended
        self.takes = options.takes
        self.leads = options.update is not None and not options.query.takes_a_login

    def check(self, question: Question) -> Answer:
        """See Module."""
        users = self._found(question.namespace, question.user, question)
        return self._verifier.decide_among(users, question)

    def lookup(self, namespace: str, user: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        _refuse_without_login(self._options.query)
        users = self._found(namespace, user, None)
        return users[0].known(self.takes) if users else None

    def _found(self, namespace: str, user: str, question: Question | None) -> list[StoredUser]:
        if not is_name(user):
            return []
        rows = self._engine.rows(parameters_of(namespace, user, question), MOST_ROWS + 1)
        return _users(rows, user, self._options.defaults)

    def lead(self, namespace: str, user: str, backend: str) -> bool:
        """See `contract.LEAD`."""
        update = self._options.update
        found = self._found(namespace, user, None) if update is not None else []
        if update is None or not found:
            return False
        self._engine.change(update, parameters_of(namespace, user) | {"backend": backend}, len(found))
        return _is_there(self._found(namespace, user, None), backend)

    def reload(self) -> Module:
        """See Module."""
        return SqliteModule(self.ident, self.arguments, _Options(self.arguments))

    def close(self) -> None:
        """See Module."""
        self._engine.close()
        self._verifier.close()


class ServerModule(AsyncModule):
    """Users in a database server, asked on the event loop."""

    def __init__(self, ident: str, arguments: Sequence[str], options: _Options) -> None:
        self.ident, self.arguments = ident, tuple(arguments)
        self._options = options
        make = _SERVERS[options.url.partition(":")[0]]
        more = {"tls": options.tls} if options.tls is not None else {}
        self._engine: AsyncEngine = make(
            options.url, options.secret, options.query, connections=options.connections, **more
        )
        self._verifier = Verifier(options.url)
        self.by_address = options.query.by_address
        self.files, self.ended = options.files, options.ended
        self.takes = options.takes
        self.leads = options.update is not None and not options.query.takes_a_login

    async def ready(self) -> None:
        """See AsyncModule."""
        await self._engine.open()

    async def check(self, question: Question) -> Answer:
        """See AsyncModule."""
        users = await self._found(question.namespace, question.user, question)
        return await self._verifier.decide_later(users, question)

    async def lookup(self, namespace: str, user: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        _refuse_without_login(self._options.query)
        users = await self._found(namespace, user, None)
        return users[0].known(self.takes) if users else None

    async def _found(self, namespace: str, user: str, question: Question | None) -> list[StoredUser]:
        if not is_name(user):
            return []
        rows = await self._engine.rows(parameters_of(namespace, user, question), MOST_ROWS + 1)
        return _users(rows, user, self._options.defaults)

    async def lead(self, namespace: str, user: str, backend: str) -> bool:
        """See `contract.LEAD`."""
        update = self._options.update
        found = await self._found(namespace, user, None) if update is not None else []
        if update is None or not found:
            return False
        await self._engine.change(update, parameters_of(namespace, user) | {"backend": backend}, len(found))
        return _is_there(await self._found(namespace, user, None), backend)

    def reload(self) -> AsyncModule:
        """See AsyncModule."""
        return ServerModule(self.ident, self.arguments, _Options(self.arguments))

    async def close(self) -> None:
        """See AsyncModule."""
        await self._engine.close()
        self._verifier.close()


_SERVERS: Mapping[str, Callable[..., AsyncEngine]] = {
    "postgresql": PostgresqlEngine,
    "postgres": PostgresqlEngine,
    "mysql": MysqlEngine,
    "mariadb": MysqlEngine,
}


def open_module(ident: str, arguments: Sequence[str]) -> Module | AsyncModule:
    """See the top of this file."""
    options = _Options(arguments)
    scheme = options.url.partition(":")[0]
    if scheme == "sqlite":
        return SqliteModule(ident, arguments, options)
    if scheme in _SERVERS:
        return ServerModule(ident, arguments, options)
    raise ModuleFailed(f"sql: '{scheme}:' is no database known here; allowed: sqlite, {', '.join(sorted(_SERVERS))}")
