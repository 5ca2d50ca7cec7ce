"""A user's record as databases give it, and the module `sql` on a file of SQLite."""

import asyncio
import base64
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from popular.pdm.breaker import CLOSED
from popular.pdm.contract import (
    Authenticated,
    CannotTell,
    KeysWanted,
    KnownUser,
    ModuleFailed,
    Question,
    QuestionFailed,
    Refused,
    Route,
    Secret,
    Unknown,
    UserLimits,
)
from popular.pdm.dovecotwire import AuthReply, answer_of
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard
from popular.pdm.libpdm_sql import open_module
from popular.pdm.record import Defaults, Verifier, stored_user
from popular.pdm.sqlquery import Query
from popular.pdm.steps import CHECK, Step
from popular.protocol import scram
from tests.threadless import NO_THREAD, without_threads

STORE = Defaults("store1")
ASKED = "SELECT password FROM users WHERE name = :user"


def question(user: str, password: bytes = b"secret") -> Question:
    return Question("192.0.2.1", "POP3", "default", user, Secret(password), "v")


def shown(verifier: Verifier, user: str) -> tuple[int, int]:
    """What a client sees of the keys of somebody who does not exist: iterations, and how long the salt is."""
    wanted = KeysWanted(scram.SCRAM, scram.invented_salt(b"site", "default", user))
    answer = verifier.decide(None, question(user)._replace(proof=wanted))
    assert isinstance(answer, Unknown)
    assert answer.decoy is not None
    keys = answer.decoy()
    assert isinstance(keys, scram.ScramKeys)
    return keys.iterations, len(keys.salt)


def test_who_does_not_exist_is_shown_the_same_in_each_worker() -> None:
    """Where users have several forms, whichever of them a worker has seen first: who exists is always shown his own."""
    workers = [Verifier("here"), Verifier("here")]
    for number, worker in enumerate(workers):
        for iterations, salt in ((4096, 16), (5000, 24)):
            made = scram.keys_of(b"secret", bytes([number]) * salt, iterations)
            assert made is not None
            parts = (base64.b64encode(part).decode() for part in (made.salt, made.stored_key, made.server_key))
            record: dict[object, object] = {"password": f"{{SCRAM-SHA-256}}{iterations},{','.join(parts)}"}
            worker.decide(stored_user("joe", record, STORE), question("joe"))
    seen = [[shown(worker, f"u{number}") for number in range(50)] for worker in workers]
    assert seen[0] == seen[1]
    assert set(seen[0]) == {(4096, 16), (5000, 24)}


@pytest.mark.parametrize("locked", [1, True, "1", "yes", "Y   ", "TRUE", b"\x01", "on"])
def test_locked(locked: object) -> None:
    """However a database says yes; MySQL's BIT is an octet, a CHAR ends with blanks."""
    assert stored_user("joe", {"locked": locked}, STORE).locked


@pytest.mark.parametrize("locked", [0, False, "0", "no", "f", "", None, b"\x00"])
def test_not_locked(locked: object) -> None:
    assert not stored_user("joe", {"Locked": locked}, STORE).locked


@pytest.mark.parametrize(
    ("record", "locked"),
    [({"password": "!"}, True), ({"password": "{PLAIN}secret"}, False), ({"password": "{PLAIN}x", "locked": 1}, True)],
)
def test_what_is_told_without_a_password_is_what_a_login_meets(record: dict[object, object], locked: bool) -> None:
    """`explain` does not foretell a login to whom no password fits."""
    user = stored_user("joe", record, STORE)
    assert user.known({"password"}) == KnownUser(Route("store1"), locked=locked)
    assert isinstance(Verifier("here").decide(user, question("joe")), Refused if locked else Authenticated)


def test_a_record_without_a_password_foretells_no_login() -> None:
    """`explain` says what every login by password meets."""
    with pytest.raises(QuestionFailed, match="has no password"):
        stored_user("joe", {"password": None}, STORE).known({"password"})
    assert stored_user("joe", {"password": None}, STORE).known({"certificate"}) == KnownUser(Route("store1"))


@pytest.mark.parametrize(
    "record",
    [
        {"locked": "2"},
        {"locked": "1.0"},
        {"password": "canary-4711{"},
        {"password": "{NO-SUCH}canary-4711"},
        {"sessions": "-1"},
        {"login_delay": "soon"},
        {"flags": "M N"},
        {"target": "a\r\nb"},
        {"secret": b"canary-4711\xff"},
    ],
)
def test_a_field_that_cannot_be_understood_is_one_users_fault(record: dict[object, object]) -> None:
    """And its content stands nowhere."""
    with pytest.raises(QuestionFailed) as told:
        stored_user("joe", record, STORE)
    assert "canary" not in str(told.value)


def test_names_are_taken_in_any_case_and_others_passed_over() -> None:
    record: dict[object, object] = {"PASSWORD": "{PLAIN}x", b"Backend": b"store2", "shell": "/bin/sh", "sessions": 3}
    user = stored_user("joe", record, STORE)
    assert (user.hash, user.route.backend, user.route.secret) == ("{PLAIN}x", "store2", None)
    assert user.limits is not None
    assert user.limits.sessions == 3


def test_of_several_rows_one_that_is_faulty_keeps_nobody_out() -> None:
    """Whichever comes first: one without a password is passed over; one that nobody can verify, if another one fits."""
    fits, other, none = (stored_user("joe", {"password": text}, STORE) for text in ("{PLAIN}secret", "{PLAIN}x", None))
    faulty = fits._replace(hash="$argon2id$v=19$m=1,t=1,p=1$YWJjZGVmZ2g$YWJj")
    verifier = Verifier("here")
    for rows in ([none, fits], [fits, none], [none, other, fits], [faulty, fits], [faulty, none, fits]):
        assert isinstance(verifier.decide_among(rows, question("joe")), Authenticated)
    assert verifier.decide_among([none, other], question("joe")) == Refused(Route("store1"))
    for rows in ([none], [none, none], [faulty, other], [other, faulty]):
        with pytest.raises(QuestionFailed):
            verifier.decide_among(rows, question("joe"))
    verifier.close()


def test_as_whom_he_is_counted() -> None:
    """By the field account; Dovecot says it as `user`, where that is another name than the client's."""
    one = stored_user("JOE", {"password": "{PLAIN}secret", "account": "joe"}, STORE)
    limits = UserLimits(account="joe")
    assert Verifier("here").decide(one, question("JOE")) == Authenticated(Route("store1"), limits)
    for user, said in (("JOE", limits), ("joe", None)):
        answer = answer_of(AuthReply("OK", 1, {"user": "joe"}), user, "store1")
        assert isinstance(answer, Authenticated)
        assert answer.limits == said


@pytest.mark.parametrize(
    ("text", "pyformat"),
    [
        ("SELECT a FROM t WHERE u = :user", "SELECT a FROM t WHERE u = %(user)s"),
        (
            "SELECT a::text, 'x:y' FROM t WHERE n = :name -- :user",
            "SELECT a::text, 'x:y' FROM t WHERE n = %(name)s -- :user",
        ),
        ("SELECT a FROM t WHERE u = :user AND b LIKE '%x';", "SELECT a FROM t WHERE u = %(user)s AND b LIKE '%%x'"),
    ],
)
def test_parameters_of_a_query(text: str, pyformat: str) -> None:
    assert Query(text).pyformat == pyformat


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT ':user'", "SELECT :user, :password"])
def test_a_query_that_asks_for_no_user_or_for_what_there_is_not(text: str) -> None:
    with pytest.raises(ModuleFailed):
        Query(text)


def make(path: Path, *rows: tuple[str, str]) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE users (name TEXT, password TEXT)")
        database.executemany("INSERT INTO users VALUES (?, ?)", rows)
    database.close()


def test_a_file_of_sqlite_is_asked_and_its_successor_too(tmp_path: Path) -> None:
    """Another file takes its place by a rename, and counts at once; several rows are several passwords."""
    path = tmp_path / "users.db"
    make(path, ("joe", "{PLAIN}secret"), ("joe", "{PLAIN}second"))
    module = open_module("m", [f"sqlite:{path}", "backend", "store1", "query", ASKED])
    try:
        for password in (b"secret", b"second"):
            assert isinstance(module.check(question("joe", password)), Authenticated)
        assert isinstance(module.check(question("joe", b"third")), Refused)
        assert isinstance(module.check(question("joe' OR '1'='1")), Unknown)
        make(tmp_path / "new.db", ("joe", "{PLAIN}third"))
        os.rename(tmp_path / "new.db", path)
        assert isinstance(module.check(question("joe", b"third")), Authenticated)
        assert isinstance(module.check(question("joe")), Refused)
    finally:
        module.close()


@pytest.mark.parametrize(
    ("stored", "column"),
    [
        ("'{NO-SUCH}x'", "1"),
        ("CAST(x'e9e8' AS TEXT)", "1"),
        ("'!'", "CASE name WHEN 'bad' THEN abs(-9223372036854775808) END"),
        ("'!'", "CASE name WHEN 'bad' THEN json('{') END"),
    ],
    ids=["unknown form", "no UTF-8", "integer overflow", "malformed JSON"],
)
def test_one_users_fault_does_not_close_the_module(tmp_path: Path, stored: str, column: str) -> None:
    """However often he comes."""
    path = tmp_path / "users.db"
    make(path, ("joe", "{PLAIN}secret"))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"INSERT INTO users VALUES ('bad', {stored})")

    async def tried() -> None:
        asked = f"SELECT password, {column} AS other FROM users WHERE name = :user"
        words = [f"sqlite:{path}", "backend", "store1", "query", asked]
        guarded = Guarded(open_module("m", words))
        how = Asking(Terms(breaker=2), Unheard())
        for _ in range(5):
            assert isinstance(await guarded.put(Step(guarded.module, CHECK), question("bad"), how), CannotTell)
        assert guarded.breaker.state is CLOSED
        assert isinstance(await guarded.put(Step(guarded.module, CHECK), question("joe"), how), Authenticated)
        await guarded.close()

    asyncio.run(tried())


def test_a_query_that_is_wrong_itself_closes_the_module(tmp_path: Path) -> None:
    """It fails for everybody."""
    path = tmp_path / "users.db"
    make(path, ("joe", "{PLAIN}secret"))
    module = open_module("m", [f"sqlite:{path}", "backend", "store1", "query", ASKED.replace("users", "nowhere")])
    with pytest.raises(ModuleFailed) as told:
        module.check(question("joe"))
    assert not isinstance(told.value, QuestionFailed)
    module.close()


def test_without_a_thread_nobody_can_tell_and_the_module_is_not_blamed() -> None:
    """One user's question fails: of the database nothing was learned, so its breaker does not count it."""
    verifier = Verifier("here")
    user = stored_user("joe", {"password": "{PLAIN}secret", "backend": "b"}, STORE)
    with without_threads(), pytest.raises(QuestionFailed, match=NO_THREAD):
        asyncio.run(verifier.decide_later([user], question("joe")))
    assert isinstance(asyncio.run(verifier.decide_later([user], question("joe"))), Authenticated)
