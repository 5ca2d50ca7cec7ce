"""Leads one user of a database of the module `cdb` to another backend: a new database, in the place of the old one.

It is made by a process of its own, for it takes a while where there are many users, and would hold up a worker; and it
is written, synced and renamed as `pcdb` does it. Two at once come one after the other. It ends with the worker: a move
whose worker is gone is taken back by another one, and nothing must come after that.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator

from popular.pdm import cdb, linefile, pcdb
from popular.pdm.contract import ModuleFailed
from popular.pdm.userfile import key_of
from supervisor.runtime import rights

DONE, FAILED, NO_USER = 0, 1, 3
SECONDS = 25.0


def lead(path: str, whom: tuple[str, str], backend: str) -> bool:
    """See `contract.LEAD`. Blocks."""
    command = [sys.executable, "-m", "popular.pdm.cdbchange", str(os.getpid()), path, *whom, backend]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise ModuleFailed(f"{path}: no new database was made in time") from None
    if done.returncode not in (DONE, NO_USER):
        raise ModuleFailed(done.stderr.strip().rpartition("\n")[2] or f"{path}: no new database was made")
    return done.returncode == DONE


def change(path: str, key: bytes, backend: bytes) -> bool:
    """Whether the user is there; he is at this backend then. Raises BadDatabase, OSError, ModuleFailed."""
    locked = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(locked, fcntl.LOCK_EX)
        fd, _status = linefile.opened(path)
        reader = cdb.Reader(fd)
        data = reader.get(key)
        if data is not None and data.split(b":", 2)[1] != backend:
            pcdb.replace_database(path, _changed(reader, key, backend))
        reader.close()
        return data is not None
    finally:
        os.close(locked)


def _changed(reader: cdb.Reader, key: bytes, backend: bytes) -> Iterator[tuple[bytes, bytes]]:
    for other, data in reader.first(reader.records):
        if other == key:
            stored, _backend, rest = data.split(b":", 2)
            data = b":".join((stored, backend, rest))
        yield other, data


def main() -> int:
    """`cdbchange PARENT PATH NAMESPACE USER BACKEND`; for `lead` alone."""
    parent, path, namespace, user, backend = sys.argv[1:]
    rights.die_with_parent()
    if os.getppid() != int(parent):  # it was gone before
        return FAILED
    try:
        return DONE if change(path, key_of(namespace, user), backend.encode()) else NO_USER
    except (ModuleFailed, cdb.BadDatabase) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename or path}: {error.strerror}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
