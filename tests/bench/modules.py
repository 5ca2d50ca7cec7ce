"""What a login costs by module, each with 400,000 users: `make bench BENCH=--modules`.

Beside the usual bench, since no other proxy takes part: one pproxy with two workers and one module, a backend that is
`fake`, and clients who log in as users of whom none comes twice. The passwords are stored in plain, so that it is the
module that is measured and not a hash. `start`: until `pdm add` is answered, so until every worker has the users;
`memory`: what one worker has more of its own by that; the server's processor time is beside the proxy's.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from popular.pdm import pcdb
from tests.bench import processes, surroundings
from tests.bench.contestants import BENCH, BIN
from tests.bench.measures import KIB, LOAD_SECONDS, MICRO
from tests.databases import servers
from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, need

USERS = 400_000
PAGE = BENCH / "MODULES.md"
WORKERS = 2
AT_ONCE = 50
_STORED = "{PLAIN}secret"
_QUERY = "SELECT password FROM users WHERE name = :user"


class Source(NamedTuple):
    """Where users are: the words after `pdm add users`, and the processes of the server, if there is one."""

    words: Sequence[str | Path]
    server: int | None = None


@contextlib.contextmanager
def _any(directory: Path) -> Iterator[Source]:
    del directory
    yield Source(["any", "store"])


def _file(directory: Path) -> Path:
    path = directory / "users"
    if not path.exists():
        path.write_text("".join(f"default:user{number}:{_STORED}:store:\n" for number in range(USERS)))
        path.chmod(0o600)
    return path


@contextlib.contextmanager
def _passwd(directory: Path) -> Iterator[Source]:
    yield Source(["passwd", _file(directory)])


@contextlib.contextmanager
def _cdb(directory: Path) -> Iterator[Source]:
    if pcdb.main([str(directory / "users.cdb"), str(_file(directory))]) != pcdb.EXIT_MADE:
        raise processes.NotReady("pcdb has made no database")
    yield Source(["cdb", directory / "users.cdb"])


@contextlib.contextmanager
def _sqlite(directory: Path) -> Iterator[Source]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(directory / "users.db")) as database, database:
        database.execute("CREATE TABLE users (name TEXT PRIMARY KEY, password TEXT) WITHOUT ROWID")
        database.executemany("INSERT INTO users VALUES (?, ?)", ((f"user{n}", _STORED) for n in range(USERS)))
    yield Source(["sql", f"sqlite:{directory}/users.db", "backend", "store", "query", _QUERY])


class ManyInPostgresql(servers.Postgresql):
    """The table, made by the server itself."""

    query = _QUERY

    def fill(self) -> None:
        import psycopg

        super().fill()
        with psycopg.connect(self._url("mail"), password=servers.SERVER_SECRET) as connection:
            connection.execute("CREATE TABLE users (name text PRIMARY KEY, password text)")
            connection.execute(
                f"INSERT INTO users SELECT 'user' || n, '{_STORED}' FROM generate_series(0, {USERS - 1}) AS n"
            )
            connection.execute("ANALYZE users")

    def arguments(self) -> list[str]:
        return [*super().arguments(), "backend", "store"]


class ManyInMariadb(servers.Mariadb):
    """The table of ManyInPostgresql, in MariaDB."""

    query = _QUERY

    def fill(self) -> None:
        super().fill()
        self.run(
            "CREATE TABLE users (name varchar(255) PRIMARY KEY, password text);"
            f"INSERT INTO users SELECT CONCAT('user', seq), '{_STORED}' FROM seq_0_to_{USERS - 1};"
        )

    def arguments(self) -> list[str]:
        return [*super().arguments(), "backend", "store"]


class ManyInRedis(servers.RedisServer):
    """A hash for each."""

    def fill(self) -> None:
        import redis

        with redis.Redis(LOOPBACK, self.port, password=servers.SERVER_SECRET) as client:
            for start in range(0, USERS, 10_000):
                with client.pipeline(transaction=False) as pipeline:
                    for number in range(start, min(start + 10_000, USERS)):
                        pipeline.hset(f"mail:user{number}", "password", _STORED)
                    pipeline.execute()


_ENTRY = """
dn: uid=user{number},ou=people,dc=example,dc=org
objectClass: account
objectClass: simpleSecurityObject
uid: user{number}
userPassword: secret
"""


class ManyInSlapd(servers.Slapd):
    """An entry for each; the attribute that is searched for has an index."""

    more = "maxsize 4294967296\nindex objectClass,uid eq"

    def prepare(self) -> None:
        super().prepare()
        with (self.home / "many").open("w") as entries:
            entries.writelines(_ENTRY.format(number=number) for number in range(USERS))
        command = [
            need("slapadd"),
            "-q",
            "-f",
            str(self.home / "slapd.conf"),
            "-l",
            str(self.home / "many"),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=patient(600))

    def arguments(self) -> list[str]:
        words = ["base", "dc=example,dc=org", "filter", "(uid=%u)", "binddn", "cn=admin,dc=example,dc=org"]
        words += ["passwordfile", str(self.home / "secret"), "backend", "store"]
        return [f"ldap://{LOOPBACK}:{self.port}", *words]


class ManyInDovecot(servers.DovecotAuth):
    """A line for each in its file."""

    def prepare(self) -> None:
        super().prepare()
        (self.home / "users").write_text("".join(f"user{number}:{_STORED}\n" for number in range(USERS)))


def _of(server: type[servers.Server]) -> Callable[[Path], contextlib.AbstractContextManager[Source]]:
    @contextlib.contextmanager
    def source(directory: Path) -> Iterator[Source]:
        del directory
        with server() as started:
            assert started.process is not None
            words = [word.replace("store1", "store") for word in started.arguments()]
            yield Source([server.module, *words], started.process.pid)

    return source


@contextlib.contextmanager
def _http(directory: Path) -> Iterator[Source]:
    """Its server has no users: it lets everybody in."""
    log = directory / "auth_http.log"
    process = processes.start([BIN / "auth_http", "-b", "110", "-t", "600"], log, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Source(["http", f"http://{LOOPBACK}:{port}/", "backend", "store"], process.pid)
    finally:
        processes.stop(process)


SOURCES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Source]]] = {
    "any": _any,
    "passwd": _passwd,
    "cdb": _cdb,
    "sql: SQLite": _sqlite,
    "sql: PostgreSQL": _of(ManyInPostgresql),
    "sql: MariaDB": _of(ManyInMariadb),
    "redis": _of(ManyInRedis),
    "ldap: OpenLDAP": _of(ManyInSlapd),
    "http": _http,
    "dovecot": _of(ManyInDovecot),
}
"""By what the page calls them."""


def _phrase(words: Sequence[str | Path]) -> str:
    from supervisor.control.words import phrase

    return phrase([str(word) for word in words])


def measured(directory: Path, source: Source, sessions: int) -> dict[str, float]:
    """One module. Raises NotReady."""
    port = free_port()
    proxy = Proxy(
        directory,
        [
            "set maxsession 1000",
            "backend conf store state fake",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ],
        workers=WORKERS,
    )
    with proxy:
        bare = _memory(proxy)
        began = time.monotonic()
        proxy.said(_phrase(["pdm", "add", "users", *source.words]))
        started = time.monotonic() - began
        _load(port, max(sessions // 10, 1))
        memory = _memory(proxy) - bare
        ours = processes.tree(proxy.pid)
        others = processes.tree(source.server) if source.server is not None else []
        before, server_before = processes.cpu_seconds(ours), processes.cpu_seconds(others)
        told = _load(port, sessions)
        spent, server = processes.cpu_seconds(ours) - before, processes.cpu_seconds(others) - server_before
    return {
        "start": started,
        "memory": memory / WORKERS / KIB / KIB,
        "rate": sessions / told["seconds"],
        "cpu": spent / sessions * MICRO,
        "server": server / sessions * MICRO,
    }


def _memory(proxy: Proxy) -> int:
    return processes.memory_bytes(proxy.workers())["anonymous"]


def _load(port: int, sessions: int) -> dict[str, Any]:
    import json

    command = [BIN / "pop3load", "-p", port, "-t", LOAD_SECONDS, "-s", sessions, "-c", min(AT_ONCE, sessions), "-e"]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=patient(120), check=False
    )
    if done.returncode != 0:
        raise processes.NotReady(f"the clients say: {done.stderr.strip()}")
    told: dict[str, Any] = json.loads(done.stdout)
    if told["errors"]:
        raise processes.NotReady(f"{told['errors']} of {told['sessions']} sessions went wrong")
    return told


def page(rows: dict[str, dict[str, float] | str], sessions: int) -> str:
    """MODULES.md."""
    about = surroundings.about([])
    busy = ["**Not a figure:** the machine was busy.", ""] if surroundings.is_busy(about) else []
    lines = [
        "# What a login costs by module: the last run",
        "",
        f"Written by `make bench BENCH=--modules`: {USERS:,} users, of whom {sessions:,} log in, {AT_ONCE} at once,",
        f"in {WORKERS} workers. Passwords are stored in plain, the mailbox is empty without a backend. *start*: until",
        "every worker has the users; *memory*: what a worker then has more of its own; *server*: the processor time of",
        "the server that is asked.",
        "",
        *busy,
        "| module | start, s | memory, MiB | logins a second | pproxy, µs a login | server, µs a login |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if isinstance(row, str):
            lines.append(f"| {name} | – | – | – | – | {row} |")
        else:
            cells = [f"{row['start']:.2f}", f"{max(row['memory'], 0):.1f}", f"{row['rate']:,.0f}", f"{row['cpu']:,.0f}"]
            lines.append(f"| {name} | {' | '.join(cells)} | {row['server']:,.0f} |")
    lines += ["", f"{about['date']}, commit {about['commit']}, {about['machine']}, Python {about['python']}.", ""]
    return "\n".join(lines)


def main(sessions: int, only: Sequence[str], keep: bool) -> int:
    """Measures, prints the page, and keeps it if that is wanted; 1 if a module could not be measured."""
    import pytest

    rows: dict[str, dict[str, float] | str] = {}
    failed = False
    for name, source in SOURCES.items():
        if only and name.partition(":")[0] not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="bench-") as made:
            directory = Path(made)
            directory.chmod(0o755)
            try:
                with source(directory) as there:
                    rows[name] = measured(directory, there, sessions)
            except (processes.NotReady, AssertionError, subprocess.SubprocessError) as error:
                rows[name], failed = "failed", True
                print(f"{name}: {error}", file=sys.stderr)
            except pytest.skip.Exception as missing:
                rows[name] = str(missing)
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
    text = page(rows, sessions)
    print(text)
    if keep:
        PAGE.write_text(text, "utf-8")
    return 1 if failed else 0
