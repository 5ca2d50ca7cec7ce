"""The last things that workers noted for the operator: a ring in shared memory, of which each note is a few texts.

Who notes holds a lock, an octet of a file that the kernel frees with its holder. A note has a checksum: one that is
half written is passed over.
"""

import fcntl
import struct
from typing import NamedTuple
from zlib import crc32

from supervisor.system import Shared

MOST_NOTES = 256
_HEAD_OCTETS = 8
_FORM = struct.Struct("<d32s64s64s96s64s")
_NOTE_OCTETS = 4 + _FORM.size
NOTES_OCTETS = -(-(_HEAD_OCTETS + MOST_NOTES * _NOTE_OCTETS) // 8) * 8
_LOCK = 1 << 40
"""The octet of the file that is theirs: after all others."""


class Note(NamedTuple):
    """One note: of whom, and about what; `when` is in seconds since 1970. Texts are cut to what there is room for."""

    when: float
    about: str
    network: str
    namespace: str
    user: str
    where: str


class Notes:
    """The ring."""

    def __init__(self, memory: memoryview, *, locks: int) -> None:
        """`locks`: a descriptor of the file."""
        self._memory = memory
        self._count = Shared(memory[:_HEAD_OCTETS])
        self._locks = locks

    def add(self, note: Note) -> None:
        """One more; the oldest goes for it. Where the lock is somebody else's just now, this one is left out."""
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK)
        except OSError:
            return
        try:
            count = self._count.read(0)
            start = _HEAD_OCTETS + count % MOST_NOTES * _NOTE_OCTETS
            octets = _FORM.pack(note.when, *(text.encode("utf-8", "replace") for text in note[1:]))
            self._memory[start : start + _NOTE_OCTETS] = crc32(octets).to_bytes(4, "little") + octets
            self._count.write(0, count + 1)
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _LOCK)

    def listed(self) -> list[Note]:
        """Those that are there, the newest first."""
        count = self._count.read(0)
        found = (self._read(place % MOST_NOTES) for place in range(count - 1, max(-1, count - 1 - MOST_NOTES), -1))
        return [note for note in found if note is not None]

    def _read(self, place: int) -> Note | None:
        start = _HEAD_OCTETS + place * _NOTE_OCTETS
        octets = bytes(self._memory[start : start + _NOTE_OCTETS])
        if crc32(octets[4:]) != int.from_bytes(octets[:4], "little"):
            return None
        when, *texts = _FORM.unpack(octets[4:])
        about, network, namespace, user, where = (text.rstrip(b"\0").decode("utf-8", "replace") for text in texts)
        return Note(when, about, network, namespace=namespace, user=user, where=where)
