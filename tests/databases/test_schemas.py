"""The queries of docs/databases.md against tables as the projects have them; and what MySQL makes of odd letters."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from popular.pdm.contract import CannotTell, Question, Secret
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.libpdm_sql import open_module
from popular.pdm.steps import Record
from tests.databases.servers import Mariadb, Postgresql
from tests.patience import patient

DOCUMENT = Path(__file__).parents[2] / "docs" / "databases.md"
STORED = "{PLAIN}secret"
pytestmark = pytest.mark.nightly
Engine = Mariadb | Postgresql


class Schema(NamedTuple):
    """Tables of a project, as far as its query reads them, and users who may and may not come in."""

    tables: tuple[str, ...]
    rows: tuple[str, ...]
    backend: str = "store1"


SCHEMAS = {
    "Postfixadmin": Schema(
        tables=(
            "CREATE TABLE domain (domain varchar(255) PRIMARY KEY, description text, active {boolean} NOT NULL)",
            "CREATE TABLE mailbox (username varchar(255) PRIMARY KEY, password varchar(255) NOT NULL, name text,"
            " maildir varchar(255), local_part varchar(255), domain varchar(255), active {boolean} NOT NULL)",
        ),
        rows=(
            "INSERT INTO domain VALUES ('example.org', '', {true}), ('closed.org', '', {false})",
            "INSERT INTO mailbox VALUES ('joe@example.org', '{stored}', 'Joe', 'joe/', 'joe', 'example.org', {true}),"
            " ('max@example.org', '{stored}', 'Max', 'max/', 'max', 'example.org', {false}),"
            " ('ann@closed.org', '{stored}', 'Ann', 'ann/', 'ann', 'closed.org', {true})",
        ),
    ),
    "iRedMail": Schema(
        tables=(
            "CREATE TABLE domain (domain varchar(255) PRIMARY KEY, backupmx smallint, active smallint)",
            "CREATE TABLE mailbox (username varchar(255) PRIMARY KEY, password varchar(255) NOT NULL,"
            " storagenode varchar(255), domain varchar(255), enablepop3 smallint, active smallint)",
        ),
        rows=(
            "INSERT INTO domain VALUES ('example.org', 0, 1), ('closed.org', 0, 0), ('backup.org', 1, 1)",
            "INSERT INTO mailbox VALUES ('joe@example.org', '{stored}', 'vmail1', 'example.org', 1, 1),"
            " ('max@example.org', '{stored}', 'vmail1', 'example.org', 0, 1),"
            " ('pia@example.org', '{stored}', 'vmail1', 'example.org', 1, 0),"
            " ('eva@backup.org', '{stored}', 'vmail1', 'backup.org', 1, 1),"
            " ('ann@closed.org', '{stored}', 'vmail1', 'closed.org', 1, 1)",
        ),
        backend="vmail1",
    ),
    "Modoboa": Schema(
        tables=(
            "CREATE TABLE core_user (id integer PRIMARY KEY, email text, password text, is_active {boolean})",
            "CREATE TABLE admin_domain (id integer PRIMARY KEY, name varchar(100), enabled {boolean})",
            "CREATE TABLE admin_mailbox (id integer PRIMARY KEY, address text, user_id integer, domain_id integer)",
        ),
        rows=(
            "INSERT INTO core_user VALUES (1, 'joe@example.org', '{stored}', {true}),"
            " (2, 'max@example.org', '{stored}', {false}), (3, 'ann@closed.org', '{stored}', {true}),"
            " (4, 'admin@example.org', '{stored}', {true})",
            "INSERT INTO admin_domain VALUES (1, 'example.org', {true}), (2, 'closed.org', {false})",
            "INSERT INTO admin_mailbox VALUES (1, 'joe', 1, 1), (2, 'max', 2, 1), (3, 'ann', 3, 2)",
        ),
    ),
}
NOT_IN = (
    "max@example.org",
    "pia@example.org",
    "ann@closed.org",
    "eva@backup.org",
    "admin@example.org",
    "nobody@example.org",
)


def queries() -> dict[str, str]:
    """What the table in the document tells to ask, by the name of the project."""
    rows = re.findall(r"^\| (\w+) \| `(SELECT [^`]+)` \|$", DOCUMENT.read_text(), re.MULTILINE)
    return dict(rows)


@pytest.fixture(params=(Postgresql, Mariadb), ids=lambda server: server.__name__, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with request.param() as started:
        yield started


def asked(engine: Engine, query: str, names: list[str | bytes], password: str = "secret") -> list[object]:
    """What comes of each login, with one module."""

    async def run() -> list[object]:
        words = engine.arguments()
        module = open_module("m", [*words[: words.index("query")], "query", query, "backend", "store1"])
        guard = Guarded(module)
        try:
            return [await decide([(guard, how)], _question(name, password), Record()) for name in names]
        finally:
            await guard.close()

    how = Asking(Terms(timeout=patient(5.0), breaker=0), Unheard())
    return asyncio.run(run())


def _question(name: str | bytes, password: str) -> Question:
    user = name if isinstance(name, str) else name.decode(errors="surrogateescape")
    return Question("192.0.2.1", "POP3", "default", user, Secret(password.encode()), "v")


def test_each_query_of_the_document_is_tried() -> None:
    assert queries().keys() == SCHEMAS.keys()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_query_lets_in_whom_the_project_lets_in(engine: Engine, name: str) -> None:
    """And nobody who is locked, has no POP3, or whose domain is closed or is elsewhere."""
    schema, query = SCHEMAS[name], queries()[name]
    is_mysql = isinstance(engine, Mariadb)
    words = {"boolean": "tinyint" if is_mysql else "boolean", "stored": STORED}
    words |= {"true": "1", "false": "0"} if is_mysql else {"true": "true", "false": "false"}
    tables = re.findall(r"CREATE TABLE (\w+)", " ".join(schema.tables))
    engine.run("".join(f"DROP TABLE IF EXISTS {table};" for table in tables))
    engine.run("".join(f"{line.format(**words)};" for line in (*schema.tables, *schema.rows)))
    (let_in,) = asked(engine, query, ["joe@example.org"])
    assert isinstance(let_in, Admitted), let_in
    assert let_in.route.backend == schema.backend
    (wrong,) = asked(engine, query, ["joe@example.org"], "wrong")
    assert isinstance(wrong, RefusedLogin), wrong
    for decision in asked(engine, query, list(NOT_IN)):
        assert isinstance(decision, NobodyKnows), decision


NAMES = (
    "joe",
    "jos\u00e9",
    "jose\u0301",
    "\u0436\u0443\u043a",
    "\u5f20\u4f1f",
    "\U0001f600",
    "stra\u00dfe",
    "I\u0307",
    "a'b",
    'a"b',
    "a\\b",
    "a%b",
    "a_b",
    "a;b",
    "a--b",
    "a b",
)
"""Each is a user; those that look alike are different ones."""
STRANGERS = (
    "JOE",
    "joe ",
    " joe",
    "joe\0",
    "jose",
    "jos",
    "strasse",
    "i",
    "a''b",
    "a\\\\b",
    "axb",
    "a\u00a0b",
    "\U0001f601",
    "joe\u200b",
    b"joe\xff",
    "",
)


def test_odd_letters_of_a_name_are_compared_as_they_are(engine: Engine) -> None:
    """Four octets, combining marks, blanks after, NUL, what quotes and what a pattern would take for anything; where
    the column has a binary collation, as the document advises. None of them is an error of the module's.
    """
    is_mysql = isinstance(engine, Mariadb)
    collation = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin" if is_mysql else ""
    engine.run(f"DROP TABLE IF EXISTS odd; CREATE TABLE odd (name varchar(255) {collation} PRIMARY KEY, pw text);")
    for name in NAMES:
        quoted = name.replace("\\", "\\\\" if is_mysql else "\\").replace("'", "''")
        engine.run(f"INSERT INTO odd VALUES ('{quoted}', '{STORED}');")
    query = "SELECT pw AS password FROM odd WHERE name = :user"
    for name, decision in zip(NAMES, asked(engine, query, list(NAMES)), strict=True):
        assert isinstance(decision, Admitted), (name, decision)
    for stranger, decision in zip(STRANGERS, asked(engine, query, list(STRANGERS)), strict=True):
        assert isinstance(decision, (NobodyKnows, CannotTell)), (stranger, decision)
    likes = asked(engine, "SELECT pw AS password FROM odd WHERE name LIKE 'joe' AND :user <> ''", ["whoever"])
    assert isinstance(likes[0], Admitted), "a percent sign or a quote in the query itself is nobody's parameter"
