"""`pcdb`: makes a database for the module `cdb` from a file of users, or from standard input.

    pcdb /etc/popular/users.cdb /etc/popular/users
    psql -Atc 'select …' >users.new && pcdb /etc/popular/users.cdb users.new

A pipe would do, too, but for one thing: if what writes into it fails in the middle, `pcdb` cannot know. Where no user
comes at all nothing is made, unless that is wanted (`--empty`).

The new database is written beside the old one, brought to the disk, and put into its place by a rename: whoever looks
sees one of the two, whole. It keeps owner, group and mode of the old one; the first one has mode 0640.

Exit codes: 0 made, and bad lines, if there were any, are told; 1 not made, and the old one is as it was; 2 bad command
line.
"""

import argparse
import fcntl
import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from popular.pdm import cdb, linefile
from popular.pdm.contract import ModuleFailed
from popular.pdm.usercdb import records_of
from popular.pdm.userfile import Users
from supervisor.commandline import CommandLine
from supervisor.runtime.rights import forbid_cores
from supervisor.version import VERSION

EXIT_MADE = 0
EXIT_NOT_MADE = 1
EXIT_USAGE = 2

_FIRST_MODE = 0o640


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = CommandLine("pcdb", description="Makes a database for the module cdb from a file of users.")
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {VERSION}", help="show the version and exit")
    add("-s", "--strict", action="store_true", help="make nothing if a line is bad (default: bad lines are skipped)")
    add("-q", "--quiet", action="store_true", help="do not say how many users there are")
    add("--empty", action="store_true", help="make a database of no users, too (default: that is a failure)")
    add("database", help="the file to make, or to replace")
    add("users", nargs="?", default="-", help="file with a user a line, as for the module passwd (default: -, standard "
        "input)")  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs pcdb; returns its exit code."""
    chosen = options().parse_args(argv)
    forbid_cores()  # hashes, and secrets of backends
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _give_up)
    try:
        content = _standard_input() if chosen.users == "-" else None
        users = Users("standard input" if content else os.path.abspath(chosen.users), chosen.strict, content)
        if not users.number and not chosen.empty:
            return _fail("there are no users, so nothing is made; with --empty it is")
        made = replace_database(os.path.abspath(chosen.database), records_of(users)) - 1
    except (ModuleFailed, cdb.BadDatabase) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or chosen.database}: {error.strerror}")
    for note in users.faults.notes():
        print(f"pcdb: {note}", file=sys.stderr)
    if not chosen.quiet:
        print(f"users {made}; bad lines {users.faults.count}")
    return EXIT_MADE


def _standard_input() -> linefile.LineFileContent:
    return linefile.LineFileContent(sys.stdin.buffer.read(), os.fstat(0))


def replace_database(path: str, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Gives the number of records. Raises BadDatabase, OSError; then nothing has changed."""
    directory, name = os.path.split(path)
    remove_leftovers(directory, name)
    new = os.path.join(directory, f".{name}.{os.getpid()}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=1 << 20) as file:
            fcntl.flock(fd, fcntl.LOCK_EX)
            made = cdb.write(file, records)
            _give_rights(fd, path)
            file.flush()
            os.fsync(fd)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
    _sync_directory(directory)
    return made


def remove_leftovers(directory: str, name: str) -> None:
    """Removes what those have left who were killed while they wrote a new database. Whoever still writes lives, or, if
    he is in another container and no process here, holds a lock. What cannot be removed stays.
    """
    for other in os.listdir(directory or "."):
        written_by = re.fullmatch(rf"\.{re.escape(name)}\.([0-9]{{1,9}})\.new", other)
        if written_by is not None and not _is_another_that_lives(int(written_by[1])):
            with suppress(OSError):
                _remove_unless_locked(os.path.join(directory, other))


def _is_another_that_lives(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _remove_unless_locked(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(fd)


def _give_rights(fd: int, old: str) -> None:
    """Gives a new file owner and mode of the file that it replaces. Raises OSError for who may not give a file away."""
    try:
        status = os.stat(old)
    except FileNotFoundError:
        os.fchmod(fd, _FIRST_MODE)
        return
    ours = os.fstat(fd)
    if (status.st_uid, status.st_gid) != (ours.st_uid, ours.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, status.st_mode & 0o777)


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fail(text: str) -> int:
    print(f"pcdb: {text}", file=sys.stderr)
    return EXIT_NOT_MADE


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    """A signal ends it the way every failure does: the new file goes, the old one stays."""
    raise SystemExit(EXIT_NOT_MADE)


if __name__ == "__main__":
    sys.exit(main())
