"""`lead` of the contract: modules that `user move` tells of a user's new place, as a worker calls them."""

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from popular.pdm.contract import ModuleFailed, NeedsPassword, UserAt
from popular.pdm.guarded import CANNOT_BE_TOLD, Guarded
from popular.pdm.loader import OWN_DIRECTORY, load
from tests.patience import patient
from tests.system.wire import wait_until

QUERY = "SELECT pw AS password, store AS backend FROM mailbox WHERE username = :user"
UPDATE = "UPDATE mailbox SET store = :backend WHERE username = :user"


def led(module: Any, user: str, backend: str) -> str:
    """Why it could not be told."""
    return asyncio.run(Guarded(module).lead(UserAt("default", user, backend), patient(30.0)))


def place(module: Any, user: str) -> str:
    """As its successor has it."""
    with closing(module.reload()) as successor:
        found = successor.lookup("default", user)
    assert found is not None
    return str(found.route.backend)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`table(*words)`: three users in a file of SQLite, and the module with these words."""
    path = tmp_path / "mail.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE mailbox (username text, pw text, store text, room text)")
        for name in ("joe", "ann", *(f"u{number}" for number in range(20))):
            connection.execute("INSERT INTO mailbox VALUES (?, '{PLAIN}secret', 'one', 'big')", (name,))
    with ExitStack() as stack:

        def make(*words: str, more: str = "") -> Any:
            module = load(OWN_DIRECTORY, "sql", "m", arguments=(f"sqlite:{path}", "query", QUERY + more, *words))
            return stack.enter_context(closing(module))

        yield make


def database(directory: Path, lines: Sequence[str]) -> Any:
    """Users of these lines in a file of cdb, and the module."""
    path = directory / "users.cdb"
    command = [sys.executable, "-m", "popular.pdm.pcdb", "--quiet", str(path)]
    subprocess.run(command, input="\n".join(lines).encode(), check=True, timeout=patient(30))
    return load(OWN_DIRECTORY, "cdb", "m", arguments=(str(path),))


def has_open(pid: str, path: Path) -> bool:
    """Whether a process is there, and has this open."""
    with suppress(OSError):
        return any(os.readlink(one) == str(path) for one in Path(f"/proc/{pid}/fd").iterdir())
    return False


LINES = [
    "default:joe:{PLAIN}secret:one:joe",
    "other:joe:{PLAIN}secret:one:joe",
    "default:ann:{PLAIN}secret:one:ann:se:cret",
]


@pytest.mark.processes
def test_a_database_of_users_leads_one_of_them(tmp_path: Path) -> None:
    """He alone, and all else of him stays; told again it is true again. Whom it does not have it leads nowhere."""
    module = database(tmp_path, LINES)
    (tmp_path / "users.cdb").chmod(0o600)
    for _ in range(2):
        assert led(module, "ann", "two") == ""
    assert [place(module, "ann"), place(module, "joe")] == ["two", "one"]
    assert module.reload().lookup("default", "ann").route.secret.reveal() == b"se:cret"
    assert module.reload().lookup("other", "joe").route.backend == "one"
    assert (tmp_path / "users.cdb").stat().st_mode & 0o777 == 0o600
    assert "does not have this user" in led(module, "nobody", "two")
    assert {path.name for path in tmp_path.iterdir()} == {"users.cdb"}


@pytest.mark.processes
def test_two_at_once_are_both_led(tmp_path: Path) -> None:
    """Each makes a database of the one before."""
    module = database(tmp_path, LINES)

    async def both() -> list[str]:
        guard = Guarded(module)
        return await asyncio.gather(
            *(guard.lead(UserAt("default", name, "two"), patient(30.0)) for name in ("joe", "ann"))
        )

    assert asyncio.run(both()) == ["", ""]
    assert [place(module, "joe"), place(module, "ann")] == ["two", "two"]


@pytest.mark.processes
def test_a_worker_that_is_killed_changes_no_database_any_more(tmp_path: Path) -> None:
    """Else the new place could come after the old one, which another worker is told when the move is taken back."""
    module = database(tmp_path, LINES)
    script = f"from popular.pdm.cdbchange import lead; lead({str(tmp_path / 'users.cdb')!r}, ('default', 'joe'), 'two')"
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    worker = subprocess.Popen([sys.executable, "-c", script])
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
    waiting = wait_until(
        lambda: [one for one in children.read_text().split() if has_open(one, tmp_path)], "it waits for its turn"
    )
    worker.kill()
    worker.wait()
    wait_until(lambda: not has_open(waiting[0], tmp_path), "it is gone")
    os.close(directory)
    assert place(module, "joe") == "one"


@pytest.mark.processes
def test_what_a_killed_writer_has_left_goes_with_the_next_database(tmp_path: Path) -> None:
    """Not what somebody still writes, be it in another container, where his process is none here."""
    module = database(tmp_path, LINES)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, ours, locked, other = (
        tmp_path / name
        for name in (
            f".users.cdb.{gone.pid}.new",
            f".users.cdb.{os.getpid()}.new",
            f".users.cdb.{gone.pid}0.new",
            f".others.cdb.{gone.pid}.new",
        )
    )
    for path in (left, ours, locked, other):
        path.touch()
    with locked.open("r+b") as writes:
        fcntl.flock(writes, fcntl.LOCK_EX)
        assert led(module, "joe", "two") == ""
    assert [path.exists() for path in (left, ours, locked, other)] == [False, True, True, True]


@pytest.mark.processes
def test_a_database_that_cannot_be_written_is_as_it_was(tmp_path: Path) -> None:
    """Its directory is gone, say: the reason is told."""
    module = database(tmp_path, LINES)
    (tmp_path / "users.cdb").unlink()
    assert "users.cdb" in led(module, "joe", "two")


def test_an_update_leads_a_user(table: Callable[..., Any]) -> None:
    """By the operator's statement, with bound parameters."""
    module = table("update", UPDATE)
    assert led(module, "joe", "two") == ""
    assert led(module, "joe", "two'; DROP TABLE mailbox; --") == ""
    assert led(module, "joe", "two") == ""
    assert [place(module, "joe"), place(module, "ann")] == ["two", "one"]
    assert "does not have this user" in led(module, "nobody", "two")


@pytest.mark.parametrize(
    ("update", "why"),
    [
        ("UPDATE mailbox SET store = :backend WHERE :user <> ''", "would change 22 rows"),
        ("UPDATE mailbox SET store = :backend WHERE username IN (:user, 'ann')", "would change 2 rows, and he has 1"),
        ("WITH a AS (SELECT :user) UPDATE mailbox SET store = :backend", "would change 22 rows"),
        ("UPDATE mailbox SET store = :backend WHERE :user <> '' RETURNING store", "would change 22 rows"),
        ("UPDATE mailbox SET room = :backend WHERE username = :user", "does not give this backend"),
        ("UPDATE mailbox SET rooms = :backend WHERE username = :user", "OperationalError"),
    ],
)
def test_an_update_that_does_something_else_is_told(table: Callable[..., Any], update: str, why: str) -> None:
    """A change of too many rows is taken back; nobody is led anywhere."""
    module = table("update", update)
    assert why in led(module, "joe", "two")
    assert [place(module, "joe"), place(module, "ann")] == ["one", "one"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("update", "UPDATE mailbox SET store = 'x' WHERE username = :user"), "needs :backend"),
        (("update", "UPDATE mailbox SET store = :backend"), "asks for no user"),
        (("update", "UPDATE mailbox SET store = :backend WHERE username = :user AND a = :address"), "means nothing"),
        (("update", UPDATE, "updatefile", "/x"), "one of `update TEXT` and `updatefile FILE`"),
    ],
)
def test_an_update_that_cannot_be_one_is_refused(table: Callable[..., Any], words: tuple[str, ...], why: str) -> None:
    """When the module is added."""
    with pytest.raises(ModuleFailed, match=why):
        table(*words)


def test_without_an_update_it_leads_nobody(table: Callable[..., Any]) -> None:
    """Nor does a module that has no `lead`."""
    assert "cannot be told" in led(table(), "joe", "two")
    assert "cannot be told" in led(load(OWN_DIRECTORY, "any", "m", arguments=("one",)), "joe", "two")


@pytest.mark.parametrize("parameter", [":vserv", ":address"])
def test_a_query_that_asks_for_more_than_the_user_finds_nobody_without_a_login(
    table: Callable[..., Any], parameter: str
) -> None:
    """It would find another row or none, as if he were unknown: so he needs a login, and is led nowhere."""
    module = table("update", UPDATE, more=f" AND {parameter} <> ''")
    with pytest.raises(NeedsPassword):
        module.lookup("default", "joe")
    assert led(module, "joe", "two") == CANNOT_BE_TOLD
