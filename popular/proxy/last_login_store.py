"""The last login of each user, in a file of the state directory: of SQLite, since there may be millions of them.

Workers write it (session/last_login_writer.py), in threads and many logins at a time; commands read it, in a job
(settings/lastlogins.py). It outlives the program, and two instances may share it. Whatever is done here may block.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.operatorstate import LATEST

FILE = "lastlogins.sqlite"
"""In the state directory."""
_WAIT_SECONDS = 5.0
"""For the others who write."""
_MOST_DAMAGES = 4
"""So often a file may be found damaged, or be put aside by another worker, while one thing is written."""
_PRIMARY = 0xFF
"""The bits of an error's code that tell its kind."""
_DAMAGE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_TABLE = """
create table last (
    namespace text not null, user text not null, at real not null, client text not null, how text not null,
    logins integer not null, primary key (namespace, user)
) without rowid;
create index last_at on last (at);
"""
_REMEMBER = """
insert into last values (?, ?, ?, ?, ?, ?) on conflict do update set
    logins = logins + excluded.logins,
    client = case when excluded.at >= at then excluded.client else client end,
    how = case when excluded.at >= at then excluded.how else how end,
    at = max(at, excluded.at)
"""
_FORGET = "delete from last where at < (select at from last order by at desc limit 1 offset ?)"


class LastLogin(NamedTuple):
    """The last login of one user; `logins`: how many there were."""

    namespace: str
    user: str
    at: float
    client: str
    how: str
    logins: int


class NotRemembered(Exception):
    """The file cannot be read, or written; the text is for people."""


class _Damaged(NotRemembered):
    """What is there is no such file, or another worker has put it aside meanwhile; `inode`: which one it was."""

    def __init__(self, reason: str, inode: int) -> None:
        super().__init__(reason)
        self.inode = inode


@contextmanager
def _opened(path: Path, *, reads: bool) -> Iterator[Any]:
    """A connection, and one transaction of it. Raises NotRemembered."""
    inode = 0
    try:
        if not reads:
            if not os.path.lexists(path):
                _make(path)
            os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))
            inode = path.stat().st_ino
        elif not path.is_file():
            raise FileNotFoundError(f"{path} is not there")
        there = f"{path.absolute().as_uri()}?mode=rw"  # or one that was put aside just now would be made, empty
        with closing(sqlite3.connect(there, timeout=_WAIT_SECONDS, uri=True)) as connection, connection:
            yield connection
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        code = (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY
        if not reads and (isinstance(error, FileNotFoundError) or code in _DAMAGE or _is_over(path, inode)):
            raise _Damaged(reason, inode) from None
        raise NotRemembered(reason) from None


def _is_still(path: Path, inode: int) -> bool:
    try:
        return path.stat().st_ino == inode
    except OSError:
        return False


def _is_over(path: Path, inode: int) -> bool:
    """Whether it is empty, or another one stands there by now. One look: between two it may be put aside."""
    try:
        found = path.stat()
    except OSError:
        return inode != 0
    return found.st_size == 0 or inode not in (0, found.st_ino)


def _set_aside(path: Path, inode: int) -> bool:
    """The damaged file goes out of the way, for people to look at; False: another worker has done that."""
    with _alone_in(path.parent):
        if not _is_still(path, inode):
            return False
        path.rename(path.with_name(f"{path.name}.damaged"))
        return True


def _make(path: Path) -> None:
    """The file is there, whole from its first moment: while it is put in order, others would be refused.

    What lies beside it of one that was taken away, or was never done, is none of its own.
    """
    made = path.with_name(f"{path.name}.new")
    with _alone_in(path.parent):
        if os.path.lexists(path):  # another worker was faster
            return
        for left in (made, *(one.with_name(one.name + kind) for one in (made, path) for kind in ("-wal", "-shm"))):
            left.unlink(missing_ok=True)
        with closing(sqlite3.connect(made)) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.executescript(_TABLE)
        made.chmod(0o600)
        made.rename(path)


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Nobody else makes a file there meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remember(path: Path, logins: Sequence[LastLogin]) -> str:
    """They have happened. Gives what was lost of those before, for people; "" if nothing was. Raises NotRemembered."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    lost = reason = ""
    for _ in range(_MOST_DAMAGES):
        try:
            _write(path, logins)
        except _Damaged as damaged:
            reason = str(damaged)
            if _set_aside(path, damaged.inode):
                lost = f"{damaged}: it is set aside as {path.name}.damaged, and a new one begins"
        else:
            return lost
    raise NotRemembered(reason)


def _write(path: Path, logins: Sequence[LastLogin]) -> None:
    with _opened(path, reads=False) as connection:
        connection.execute("pragma synchronous = normal")
        connection.executemany(_REMEMBER, logins)


def forget(path: Path, most: int) -> int:
    """Only so many stay, those who came last; how many went. Raises NotRemembered."""
    with _opened(path, reads=False) as connection:
        return int(connection.execute(_FORGET, (most - 1,)).rowcount)


def recall(
    path: Path, *, user: str | None = None, namespace: str = "", since: float = 0.0, most: int
) -> tuple[int, list[LastLogin]]:
    """How many there are of this user (None: of all) in this namespace ("": in all) since then, and so many of them;
    who came last comes first.

    Raises NotRemembered.
    """
    if not path.exists():
        return 0, []
    wanted = {f"at between ? and {LATEST}": since, "user = ?": user, "namespace = ?": namespace or None}
    where = "where " + " and ".join(test for test, value in wanted.items() if value is not None)
    values = [value for value in wanted.values() if value is not None]
    with _opened(path, reads=True) as connection:
        (count,) = connection.execute(f"select count(*) from last {where}", values).fetchone()
        rows = connection.execute(f"select * from last {where} order by at desc limit ?", [*values, most])
        return count, [LastLogin._make(row) for row in rows]
