"""The last login of each user: what is remembered of many, and of whom nothing any more."""

import asyncio
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from popular.proxy.last_login_store import FILE, LastLogin, NotRemembered, forget, recall, remember
from popular.proxy.session.shared.last_login_writer import LastLogins
from popular.proxy.session.who import Who
from supervisor.runtime.messages import Message
from supervisor.system import Clock


def login(user: str, at: float, logins: int = 1, **other: str) -> LastLogin:
    said = {"namespace": "n", "client": "192.0.2.1", "how": f"at {at:g}", **other}
    return LastLogin(said["namespace"], user, at, client=said["client"], how=said["how"], logins=logins)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "last"


def test_each_user_once(path: Path) -> None:
    """Counted, by his last login, in whatever order workers write; a namespace has users of its own."""
    assert recall(path, most=10) == (0, [])
    remember(path, [login("joe", 2.0, 3), login("ann", 1.0)])
    remember(path, [login("joe", 5.0, namespace="other"), login("joe", 4.0, 2)])
    remember(path, [login("joe", 3.0)])
    assert recall(path, most=10) == (
        3,
        [login("joe", 5.0, namespace="other"), login("joe", 4.0, 6), login("ann", 1.0)],
    )
    assert recall(path, user="joe", since=4.5, most=10) == (1, [login("joe", 5.0, namespace="other")])
    assert recall(path, most=1) == (3, [login("joe", 5.0, namespace="other")])


@pytest.mark.parametrize("at", ["1e30", "-1", "'x'"])
def test_a_time_for_which_there_is_no_date_is_passed_over(path: Path, at: str) -> None:
    """It is no login of ours."""
    remember(path, [login("joe", 2.0), login("ann", 1.0)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"update last set at = {at} where user = 'joe'")
    assert recall(path, most=10) == (1, [login("ann", 1.0)])


def test_who_did_not_come_goes(path: Path) -> None:
    """No more than so many stay, those who came last."""
    remember(path, [login(f"u{number}", float(number)) for number in range(50_000)])
    assert forget(path, 50_000) == 0
    assert forget(path, 1000) == 49_000
    count, known = recall(path, most=2000)
    assert (count, known[-1].user) == (1000, "u49000")


def test_a_name_is_only_a_name(path: Path) -> None:
    """Whatever it is made of."""
    names = ["' or 1 --", "\u0000", "\u0436", "%", "x" * 255]
    remember(path, [login(name, 1.0) for name in names])
    assert {one.user for one in recall(path, most=10)[1]} == set(names)
    assert recall(path, user="%", most=10)[0] == 1


def test_a_file_that_cannot_be_used(path: Path, tmp_path: Path) -> None:
    """It is told why; a link that somebody has put there is not followed."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotRemembered, match="symbolic links"):
        remember(path, [login("joe", 1.0)])
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("damage", ["another", "torn", "empty"])
def test_a_file_that_is_damaged_goes_aside(path: Path, damage: str) -> None:
    """With what is in it, and once, whoever finds it; from then on logins are remembered again."""
    remember(path, [login("joe", 1.0)])
    torn = path.read_bytes()[:1000] + b"\xff" * 9000
    content = {"another": b"what is this? " * 100, "torn": torn, "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(NotRemembered):
        recall(path, most=1)
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda user: remember(path, [login(user, 2.0)]), ("ann", "bob", "eve", "kim")))
    assert any(one.endswith("last.damaged, and a new one begins") for one in said)
    assert {one.user for one in recall(path, most=10)[1]} == {"ann", "bob", "eve", "kim"}
    assert path.with_name("last.damaged").read_bytes() == content


def test_a_damaged_index_is_damage(path: Path) -> None:
    """Also where it shows only when somebody comes again."""
    remember(path, [login("joe", 1.0), login("ann", 1.0)])
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("select rootpage from sqlite_master where name = 'last_at'").fetchone()
        (size,) = connection.execute("pragma page_size").fetchone()
        connection.execute("pragma wal_checkpoint(truncate)")
    content = bytearray(path.read_bytes())
    content[(page - 1) * size + 3 : (page - 1) * size + 5] = b"\0\0"  # it has no cells
    path.write_bytes(content)
    assert "set aside" in remember(path, [login("joe", 2.0)])
    assert [one.user for one in recall(path, most=10)[1]] == ["joe"]


def test_others_read_while_it_is_written(path: Path) -> None:
    """A reader neither waits for who writes nor keeps him waiting."""
    remember(path, [login("joe", 1.0)])
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("begin immediate")
        assert recall(path, most=1)[0] == 1


def test_others_read_and_write_while_it_is_made(path: Path) -> None:
    """Whoever comes while others make the file, nobody is refused and no login is lost."""

    def noted(user: str, one: Path) -> int:
        remember(one, [login(user, 1.0)])
        return recall(one, most=1)[0]

    path.parent.mkdir()
    with ThreadPoolExecutor(4) as pool:
        for number in range(30):
            one = path.with_name(f"last{number}")
            writing = [pool.submit(noted, user, one) for user in ("joe", "eve")]
            while not all(each.done() for each in writing):
                assert recall(one, most=1)[0] <= 2
            assert {each.result() for each in writing} <= {1, 2}
            assert recall(one, most=1)[0] == 2
    assert sorted(os.listdir(path.parent)) == sorted(f"last{number}" for number in range(30))


def test_a_new_file_has_nothing_of_the_old_one(path: Path) -> None:
    """Somebody has taken away the file alone, after a worker that was killed in the middle of writing."""
    remember(path, [login("joe", 1.0)])
    with closing(sqlite3.connect(path)) as killed:
        killed.executescript("pragma wal_autocheckpoint = 0; update last set user = 'zoe'")
        left = path.with_name(f"{path.name}-wal").read_bytes()
    path.unlink()
    path.with_name(f"{path.name}-wal").write_bytes(left)
    path.with_name(f"{path.name}.new").write_bytes(b"half of one")
    remember(path, [login("eve", 2.0)])
    assert [one.user for one in recall(path, most=10)[1]] == ["eve"]
    assert os.listdir(path.parent) == [path.name]


class Worker:
    """What is needed of one."""

    def __init__(self, statedir: Path) -> None:
        self.statedir = str(statedir)
        self.clock = Clock()
        self.loop = asyncio.new_event_loop()
        self.pool = ThreadPoolExecutor(1)
        self.told: list[object] = []

    def log(self, _message: Message, _sid: str, **fields: object) -> None:
        self.told.append(fields["reason"])


def test_what_a_thread_has_is_written_when_the_worker_ends(path: Path) -> None:
    """It waits for its turn, or for the disk; who is gathered since comes after it."""
    worker: Any = Worker(path.parent)
    logins = LastLogins(worker)
    logins.most = 10
    go_on = threading.Event()
    worker.pool.submit(go_on.wait)
    logins.saw(Who("192.0.2.1", "n", "joe"), "v1, in clear, USER")
    logins._begin()
    logins.saw(Who("192.0.2.1", "n", "ann"), "v1, in clear, USER")
    threading.Timer(0.1, go_on.set).start()
    logins.finish()
    assert worker.told == []
    assert {one.user for one in recall(path.parent / FILE, most=10)[1]} == {"joe", "ann"}
    worker.pool.shutdown()
    worker.loop.close()
