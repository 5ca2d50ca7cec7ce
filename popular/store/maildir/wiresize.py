"""How many octets a file of a Maildir has on the wire, where its line ends are CRLF.

Postfix, Dovecot and most others write bare LF, each of which is one octet more for a client. They can only be counted,
so a file is read once; what came of it is remembered, by the file's identity and state, for as many files as fit. An
old mailbox of ten thousand mails is thus read at the first login, and only asked for its files' state at the next ones.
"""

import os
import threading
from typing import TypeAlias

from popular.protocol.dotstuff import LineEnds

_PIECE_OCTETS = 1 << 18

_Key: TypeAlias = tuple[int, int, int, int]
"""Device, inode, octets and time of the last change: a file that is written again is another one."""


class WireSizes:
    """The sizes of at most `most` files. `measured`: how many files had to be read so far. For any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[_Key, int] = {}
        self._lock = threading.Lock()
        self.measured = 0

    def __len__(self) -> int:
        return len(self._known)

    def of(self, folder: int, name: str, status: os.stat_result) -> int:
        """The size of a regular file of this folder, whose `status` was just asked for.

        The size on the disk if it cannot be read: whoever then asks for the message learns that; the others are listed.
        """
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        size = self._known.get(key)
        if size is None:
            try:
                size = _measure(folder, name)
            except OSError:
                return status.st_size
            self._remember(key, size)
        return size

    def _remember(self, key: _Key, size: int) -> None:
        with self._lock:
            self.measured += 1
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]  # the one that was measured first
            self._known[key] = size


KNOWN = WireSizes(100_000)
"""The sizes that this process knows: some 20 MB when it is full, and nothing where all names tell their size."""


def _measure(folder: int, name: str) -> int:
    # As maildir.py opens messages: whatever the name has become meanwhile, it is not followed, nor waited for.
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb", buffering=0) as file:
        line_ends, octets = LineEnds(), 0
        while piece := file.read(_PIECE_OCTETS):
            octets += len(piece) + line_ends.count(piece)
        return octets
