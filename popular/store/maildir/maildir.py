"""The extended Maildir: a mailbox is a directory with `new`, `cur` and `tmp`.

A message is a file with CRLF line ends, named TIME.PID_SIZE: its size in octets is in its name, so that listing a
mailbox needs no stat. New mail is in `new`; what was read is in `cur`, under the same name. What this module writes is
named TIME.PID-MICROSECONDS-RANDOM_SIZE, unique also when two containers deliver with the same pid. Files of others are
read too, with LF or CRLF line ends: their size is asked for, and flags after a `:` do not count.

A mailbox that does not exist is empty; one that cannot be read is an error (MailboxError), and so is a mail root that
is not there. Nothing below the root is reached through a symbolic link. Nothing is locked: a message may vanish between
any two calls, and that is no error, or have other flags (see `renamed.py`). Every call blocks on the disk, keeps no
directory open, and may be made from any thread.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from popular.protocol.mailcheck import Mail
from popular.protocol.xpop import check_mailbox_name
from popular.store.maildir.folders import RootUnusable, make_folder, make_step, open_folder, open_root, step_into
from popular.store.maildir.listing import CUR, NEW, Gathered, Listing, ListingNote, StoredMessage, reason_of
from popular.store.maildir.renamed import Whereabouts
from popular.store.messages import DELETE_FAILED, FOLDER_MISSING, MOVE_FAILED


class MailboxError(Exception):
    """The mailbox cannot be used; says which and why, for the log. Clients are told only that it cannot."""


class MessageGone(MailboxError):
    """The message is no longer there: another session removed it."""


class Updated(NamedTuple):
    """What an UPDATE did. `vanished`: another session had removed them; `failed`: deleted ones that are still there."""

    removed: int
    moved: int
    vanished: int
    failed: int
    notes: list[ListingNote]


class Maildir:
    """One mailbox below the mail root. Making one touches no file."""

    __slots__ = ("_root", "_steps", "name")

    def __init__(self, root: Path, name: str) -> None:
        """Raises BadMailboxName."""
        check_mailbox_name(name)
        self.name = name
        self._root = root
        self._steps = name.split("/")

    def list(self) -> Listing:
        """All messages, oldest first. Order and unique ids stay the same over sessions. Raises MailboxError."""
        gathered = Gathered()
        # `new` before `cur`: a message that is moved meanwhile is met twice, never missed.
        with self._handler("list"), self._open_folders((NEW, CUR)) as folders:
            for folder, fd in folders.items():
                if fd is None:
                    gathered.notes.append(ListingNote(FOLDER_MISSING, folder, "no such directory"))
                    continue
                for name in os.listdir(fd):
                    gathered.add(folder, fd, name)
        return gathered.listing()

    def has_mail(self) -> Mail:
        """Mail.NEW, ONLY_READ or NONE, without listing everything. Raises MailboxError."""
        with self._handler("check"), self._open_folders((NEW, CUR)) as folders:
            for folder, fd in folders.items():
                if fd is not None and _holds_anything(fd):
                    return Mail.NEW if folder == NEW else Mail.ONLY_READ
        return Mail.NONE

    def open(self, message: StoredMessage) -> BinaryIO:
        """The content of a message, unbuffered; the caller closes it. Raises MessageGone, MailboxError."""
        with self._handler("read"), self._open_folders(_both(message.folder)) as folders:
            for fd in folders.values():
                with suppress(FileNotFoundError):
                    if fd is not None:
                        return _open_regular(message.name, fd)
            found = Whereabouts(folders, [message.name]).of(message.name)
            if found is not None:
                with suppress(FileNotFoundError):
                    return _open_regular(found[1], found[0])
        raise MessageGone(f"mailbox {self.name}: {message.name} is gone")

    def update(self, deleted: Iterable[StoredMessage], retrieved: Iterable[StoredMessage]) -> Updated:
        """Removes the deleted, moves the retrieved from `new` to `cur`. Raises MailboxError if nothing can be done.

        For a master session `retrieved` is empty: what it read stays new.
        """
        with self._handler("update"), self._open_folders((NEW, CUR)) as folders:
            removals = _remove_all(folders, deleted)
            moves = [(message, _move_to_cur(folders, message)) for message in retrieved if message.folder == NEW]
        failed = [
            ListingNote(DELETE_FAILED, message.name, reason_of(error))
            for message, error in removals
            if _is_fault(error)
        ]
        stuck = [ListingNote(MOVE_FAILED, it.name, reason_of(error)) for it, error in moves if _is_fault(error)]
        return Updated(
            removed=sum(error is None for _, error in removals),
            moved=sum(error is None for _, error in moves),
            vanished=sum(isinstance(error, FileNotFoundError) for _, error in removals + moves),
            failed=len(failed),
            notes=failed + stuck,
        )

    def deliver(self, chunks: Iterable[bytes], before_link: Callable[[], object] | None = None) -> StoredMessage:
        """Puts a mail (CRLF content, in chunks) into `new`; makes the mailbox if it does not exist.

        When it returns the mail is on the disk under its final name. Raises MailboxError: try again later, since then
        it is not there. `before_link` is called when all is written, and the mail is about to appear in `new`.
        """
        with self._handler("deliver to"), ExitStack() as stack:
            mailbox = open_root(self._root, stack)
            for step in self._steps:
                mailbox = make_step(step, mailbox, stack)
            tmp, new, _cur = (make_folder(folder, mailbox, stack) for folder in ("tmp", NEW, CUR))
            base = _fresh_name()
            try:  # already here: a signal may end us as soon as there is a file
                file = os.open(base, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=tmp)
                size = _write_all(file, chunks)
                name = f"{base}_{size}"
                if before_link is not None:
                    before_link()
                # Unlike a rename, a link never replaces a file that is there.
                os.link(base, name, src_dir_fd=tmp, dst_dir_fd=new)
            finally:
                with suppress(OSError):  # what stays in tmp is not mail
                    os.unlink(base, dir_fd=tmp)
            try:
                os.fsync(new)
            except OSError:
                # Who is told to try again sends it again. Where even this fails it comes twice, which is better than
                # to be gone after a power failure.
                with suppress(OSError):
                    os.unlink(name, dir_fd=new)
                raise
        return StoredMessage(size, name, NEW, name=name)

    @contextmanager
    def _handler(self, handler: str) -> Iterator[None]:
        """Turns the system's errors into one that says what could not be done to which mailbox."""
        try:
            yield
        except OSError as error:
            raise MailboxError(f"cannot {handler} mailbox {self.name}: {reason_of(error)}") from error
        except RootUnusable as error:
            raise MailboxError(f"cannot {handler} mailbox {self.name}: {error}") from error

    @contextmanager
    def _open_folders(self, folders: tuple[str, ...]) -> Iterator[dict[str, int | None]]:
        """Descriptors of the folders; None for one that is missing; an empty dict if there is no mailbox."""
        with ExitStack() as stack:
            mailbox = open_root(self._root, stack)
            opened: dict[str, int | None] = {}
            with suppress(FileNotFoundError):
                for step in self._steps:
                    mailbox = step_into(step, mailbox, stack)
                opened = {folder: open_folder(folder, mailbox, stack) for folder in folders}
            yield opened


def _both(folder: str) -> tuple[str, str]:
    """The folder where a message was, and the one where another session may have moved it."""
    return (NEW, CUR) if folder == NEW else (CUR, NEW)


def _holds_anything(fd: int) -> bool:
    with os.scandir(fd) as entries:
        return any(not entry.name.startswith(".") for entry in entries)


def _open_regular(name: str, folder: int) -> BinaryIO:
    # Without O_NONBLOCK a FIFO in a mailbox would block us for ever.
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, f"{name} is not a regular file")
    return open(fd, "rb", buffering=0)


def _remove(folders: dict[str, int | None], message: StoredMessage) -> OSError | None:
    """Removes a message, wherever another session may have moved it; gives back what went wrong."""
    for folder in _both(message.folder):
        fd = folders.get(folder)
        if fd is not None:
            try:
                os.unlink(message.name, dir_fd=fd)
                return None
            except FileNotFoundError:
                continue
            except OSError as error:
                return error
    return FileNotFoundError()


def _remove_all(
    folders: dict[str, int | None], messages: Iterable[StoredMessage]
) -> list[tuple[StoredMessage, OSError | None]]:
    """Removes messages, under whatever flags they are now; gives back what went wrong with each."""
    removals = [(message, _remove(folders, message)) for message in messages]
    missing = [message.name for message, error in removals if isinstance(error, FileNotFoundError)]
    if not missing:
        return removals
    now = Whereabouts(folders, missing)
    return [
        (message, _remove_renamed(now, message) if isinstance(error, FileNotFoundError) else error)
        for message, error in removals
    ]


def _remove_renamed(now: Whereabouts, message: StoredMessage) -> OSError | None:
    try:
        found = now.of(message.name)
        if found is None:
            return FileNotFoundError()
        os.unlink(found[1], dir_fd=found[0])
    except OSError as error:
        return error
    return None


def _move_to_cur(folders: dict[str, int | None], message: StoredMessage) -> OSError | None:
    """Moves a message; gives back what went wrong."""
    new, cur = folders.get(NEW), folders.get(CUR)
    if new is None:
        return FileNotFoundError()
    if cur is None:
        return OSError(errno.ENOTDIR, "there is no folder cur")
    try:
        os.rename(message.name, message.name, src_dir_fd=new, dst_dir_fd=cur)
    except OSError as error:
        return error
    return None


def _is_fault(error: OSError | None) -> bool:
    """Whether something went wrong other than that the message had vanished."""
    return error is not None and not isinstance(error, FileNotFoundError)


def _fresh_name() -> str:
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return f"{seconds}.{os.getpid()}-{nanos // 1000:06d}-{os.urandom(4).hex()}"


def _write_all(fd: int, chunks: Iterable[bytes]) -> int:
    """Writes to the disk, not only to the cache; closes the descriptor; gives the number of octets."""
    with open(fd, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(fd)
        return file.tell()
