"""Makes a listing out of the files of a mailbox: what their names tell, in which order, under which unique ids.

The names are those of the extended Maildir (see `maildir.py`), and those of Postfix, Dovecot and others. A size is that
of the wire, with CRLF line ends: our own `_SIZE` and Dovecot's `,W=SIZE` tell it. Whoever lists feeds entries to a
Gathered; only files whose name does not tell their size or time are asked for it (see `wiresize.py`).
"""

import hashlib
import heapq
import os
import re
import stat
from typing import NamedTuple

from popular.store.maildir import wiresize
from popular.store.maildir.renamed import without_flags
from popular.store.messages import NOT_A_MESSAGE, SAME_UID, STAT_FAILED
from supervisor.runtime.messages import Message as LogMessage

NEW, CUR = "new", "cur"

_SORTED_AT_ONCE = 4096

_NAME = re.compile(
    r"(?P<seconds>\d{1,12})\.(?:\d+(?:-(?P<micros>\d{6})-[0-9a-f]{8})?(?:_(?P<size>\d{1,15}))?|[^:]*?)(?::.*)?",
    re.ASCII | re.DOTALL,
)
"""`_SIZE` counts behind our own forms alone: in others' names a host may be called `mail_1`."""
_MICROS = re.compile(r"\d{1,12}\.[0-9A-Za-z]*?M(\d{1,6})(?!\d)", re.ASCII)
"""Postfix's `…V801I1c4d5M20046.host` and Dovecot's `…M20046P2137.host`: microseconds without leading zeros."""
_VIRTUAL_SIZE = re.compile(r"[^:]*,W=(\d{1,15})(?:[,:].*)?", re.ASCII | re.DOTALL)
_UID = re.compile(r"[!-~]{1,70}")


class StoredMessage(NamedTuple):
    """One message of a listing (the protocol's `Listed`). `folder` is where it was when it was listed."""

    size: int
    uid: str
    folder: str
    name: str


class ListingNote(NamedTuple):
    """Something about a file of the mailbox that the administrator should read in the log."""

    message: LogMessage
    file: str
    reason: str


class Listing(NamedTuple):
    """The messages in the order of their arrival, and what was odd."""

    messages: list[StoredMessage]
    notes: list[ListingNote]


_Arrival = tuple[int, int, str]
"""What messages are ordered by: UNIX time, microseconds where the name tells them, and the name."""


class Gathered:
    """A listing in the making. Unique ids are its keys, so they are unique whatever the files are called."""

    def __init__(self) -> None:
        self.notes: list[ListingNote] = []
        self._found: dict[str, tuple[_Arrival, StoredMessage]] = {}

    def add(self, folder: str, fd: int, name: str) -> None:
        """Adds one entry of the folder that is open as `fd`."""
        if name.startswith("."):
            return
        parsed = _NAME.fullmatch(name)
        seconds, micros, size = parsed.group("seconds", "micros", "size") if parsed else (None, None, None)
        if micros is None and (of_others := _MICROS.match(name)):
            micros = of_others[1]
        if size is None and (virtual := _VIRTUAL_SIZE.fullmatch(name)):
            size = virtual[1]
        if seconds is None or size is None:
            status = self._status(fd, name)
            if status is None:
                return
            seconds, size = seconds or status.st_mtime, size or wiresize.KNOWN.of(fd, name, status)
        uid = _uid(name)
        earlier = self._found.get(uid)
        if earlier and earlier[1].folder == folder:
            self.notes.append(ListingNote(SAME_UID, name, f"same unique id as {earlier[1].name}"))
            uid = _digest(name)
        self._found[uid] = (int(seconds), int(micros or 0), name), StoredMessage(int(size), uid, folder, name=name)

    def _status(self, fd: int, name: str) -> os.stat_result | None:
        """What the system knows of a file whose name does not tell; None if it is not a message."""
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.notes.append(ListingNote(STAT_FAILED, name, reason_of(error)))
            return None
        if not stat.S_ISREG(status.st_mode):
            self.notes.append(ListingNote(NOT_A_MESSAGE, name, stat.filemode(status.st_mode)))
            return None
        return status

    def listing(self) -> Listing:
        """Sorted in parts that are merged: a sort lets no other thread go on, and 100,000 messages take 0.16 s."""
        found = list(self._found.values())
        parts = [sorted(found[start : start + _SORTED_AT_ONCE]) for start in range(0, len(found), _SORTED_AT_ONCE)]
        return Listing([message for _, message in heapq.merge(*parts)], self.notes)


def _uid(name: str) -> str:
    """The file name without its flags, or its digest where RFC 1939 section 7 does not allow it as a unique id."""
    own = without_flags(name)
    return own if _UID.fullmatch(own) else _digest(own)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def reason_of(error: OSError | None) -> str:
    """The system's words for what went wrong."""
    return (error and error.strerror) or type(error).__name__
