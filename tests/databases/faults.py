"""What can be wrong with one user alone, in each database: the record that is stored of him, or his name itself. And
why a database lets nobody connect.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.databases.servers import SERVER_SECRET, AuthHttp, Mariadb, Postgresql, RedisServer, Server
from tests.system.wire import free_port


class FaultyUser(NamedTuple):
    """His name, and what a module is opened with that finds `joe` and stumbles at him."""

    name: str
    words: list[str]


def _columns_with(server: Postgresql | Mariadb, name: str, column: str) -> FaultyUser:
    query = f"SELECT pw AS password, 'store1' AS backend, {column} FROM mailbox WHERE username = :user"
    return FaultyUser(name, [*server.arguments()[:3], "query", query])


def _postgresql(server: Any) -> list[FaultyUser]:
    server.run("INSERT INTO mailbox VALUES ('endless'), ('ancient'), ('twice')")
    date = "CASE username WHEN 'endless' THEN timestamp 'infinity' WHEN 'ancient' THEN '0044-03-15 BC' END"
    twice = "(SELECT 1 FROM generate_series(1, CASE username WHEN 'twice' THEN 2 ELSE 1 END)) AS n"
    dated = [_columns_with(server, name, f"{date} AS since") for name in ("endless", "ancient")]
    return [*dated, _columns_with(server, "twice", twice)]


def _mariadb(server: Any) -> list[FaultyUser]:
    server.run("INSERT INTO mailbox (username) VALUES ('twice'), ('large')")
    twice = "(SELECT 1 UNION SELECT CASE mailbox.username WHEN 'twice' THEN 2 ELSE 1 END) AS n"
    large = "CASE username WHEN 'large' THEN 9223372036854775807 ELSE 0 END + 1 AS n"
    return [_columns_with(server, "twice", twice), _columns_with(server, "large", large)]


def _redis(server: Any) -> list[FaultyUser]:
    with server.client() as client:
        client.set("mail:text", "no hash")
        client.execute_command("ACL", "SETUSER", "some", "on", f">{SERVER_SECRET}", "~mail:joe*", "+@all")
    url, *words = server.arguments()
    return [FaultyUser("text", [url, *words]), FaultyUser("closed", [url.replace("//", "//some@"), *words])]


def _http(server: Any) -> list[FaultyUser]:
    return [FaultyUser(name, server.arguments()) for name in (server.fails_at, server.talks_at)]


FAULTS: Mapping[type[Server], Callable[[Any], list[FaultyUser]]] = {
    Postgresql: _postgresql,
    Mariadb: _mariadb,
    RedisServer: _redis,
    AuthHttp: _http,
}
"""Who is to be found faulty in a server; makes their records."""


class Refusal(NamedTuple):
    """What a module is opened with whom the server refuses, and what is said of that."""

    words: list[str]
    reason: str


def refusals(server: Postgresql | Mariadb) -> list[Refusal]:
    """A wrong password; a database, a server, and TLS that are not there."""
    wrong = server.home / "wrong"
    wrong.write_text("canary-4711\n")
    wrong.chmod(0o600)
    url, word, _secret, *words = server.arguments()
    elsewhere = [f"{url}-gone", *server.arguments()[1:]]
    down = [url.replace(f":{server.port}", f":{free_port()}"), *server.arguments()[1:]]
    if isinstance(server, Mariadb):
        return [
            Refusal([url, word, str(wrong), *words], "OperationalError 1045"),
            Refusal(elsewhere, "OperationalError 1044"),
            Refusal(down, "OperationalError 2003 (ConnectionRefusedError ECONNREFUSED)"),
        ]
    return [
        Refusal([url, word, str(wrong), *words], "OperationalError 28P01"),
        Refusal(elsewhere, "OperationalError 3D000 or 28000"),
        Refusal(down, "OperationalError ECONNREFUSED"),
        Refusal([f"{url}?sslmode=require", *server.arguments()[1:]], "OperationalError it has no TLS"),
    ]
