"""What all workers remember together: a bounded table of entries, each found by a digest of whom it is about.

An entry says how many sessions somebody has, how often he has failed of late, and until when something counts for him;
what follows from that is the program's affair.

- A digest leads to one bucket of 16 entries. Where all of them are taken, the one goes whose influence ends first, but
  never one that counts sessions: so the memory is bounded, whoever comes. Digests are keyed by a secret of this run,
  which is not in the shared memory: nobody can choose a bucket, and nothing can be read out of a copy.
- Who changes an entry holds the lock of its bucket, an octet of a file (fcntl), which the kernel frees with its holder.
  Others wait for it for some milliseconds only, so that nobody hangs if a worker was stopped that holds one; then
  they go on as if nothing were known, and change nothing. An entry has a checksum, for a worker may be killed while it
  writes.
- A *hold* is a cell of a session, found by the number of its row, with the digest of an entry that counts it (0: none).
  The holds are the truth, and the counts follow from them: what a dead worker held, `give_back` takes off, at whatever
  instruction it died.
"""

import fcntl
import hashlib
import math
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar
from zlib import crc32

Answer = TypeVar("Answer")

BUCKET_ENTRIES = 16
ENTRY_OCTETS = 64
HOLDS = 3
"""Entries that may count one session."""
RECENT = 4
"""Marks that an entry remembers."""

HALF_LIFE = 600.0
"""Seconds in which a score halves."""
_FAINT = 0.5
"""A score that is as good as none."""

_FORM = struct.Struct(f"<IQdddd{RECENT}I")
_CHECKSUM_OCTETS = 4
_DIGEST_OCTETS = 8
_CELLS = ENTRY_OCTETS // 8
_FEWEST_BUCKETS = 64
_PAUSES = (0.0, 0.0, 0.0001, 0.0002, 0.0005, 0.001, 0.002)
"""Seconds between tries to get a lock."""
_MOST_LOOKS = 5
_WHOLE = 0
"""As the length of a lock: all of the file."""


class Entry(NamedTuple):
    """What is remembered of somebody. Times are seconds of the monotonic clock, which all processes share."""

    held: int = 0
    """How many sessions it counts."""
    score: float = 0.0
    """How often he has failed; it halves by and by."""
    at: float = 0.0
    """When the score was that."""
    until: float = 0.0
    """Until when something counts for him."""
    due: float = 0.0
    """When all that he did so far would be allowed by his rate: past it, he has a whole burst to spend again."""
    recent: tuple[int, ...] = (0,) * RECENT
    """Marks of what he has tried last."""

    def weight(self, now: float) -> float:
        """The score now."""
        return self.score * 0.5 ** max(0.0, (now - self.at) / HALF_LIFE) if self.score else 0.0

    def fades(self) -> float:
        """From when on it is as good as none; never while it counts sessions."""
        if self.held:
            return math.inf
        faded = self.at + HALF_LIFE * math.log2(self.score / _FAINT) if self.score > _FAINT else 0.0
        return max(self.until, self.due, faded)


BLANK = Entry()


class Geometry(NamedTuple):
    """How much of it there is, and where, in octets from the beginning."""

    buckets: int
    rows: int

    @classmethod
    def of(cls, rows: int) -> "Geometry":
        """For so many sessions: with two entries for each of them a bucket is a quarter full."""
        return cls(max(_FEWEST_BUCKETS, 1 << max(0, rows // 2 - 1).bit_length()), rows)

    @property
    def holds(self) -> int:
        """Where the holds begin: after all entries."""
        return self.buckets * BUCKET_ENTRIES * ENTRY_OCTETS

    @property
    def size(self) -> int:
        return self.holds + self.rows * HOLDS * 8


class Remembered:
    """The table, for the master and its workers."""

    def __init__(self, memory: memoryview, geometry: Geometry, *, locks: int, key: bytes) -> None:
        """`locks`: a descriptor of any file that nobody else locks; `key`: of digests, the same in all processes."""
        self._map = memory
        self._cells = memory.cast("Q")
        self._buckets = geometry.buckets
        first = geometry.holds // 8
        self._holds = self._cells[first : first + geometry.rows * HOLDS]
        self._locks = locks
        self._key = key

    def digest(self, sort: str, *names: str) -> int:
        """By which an entry is found: of whom it is about. `sort` is a word of the program's, as "user". Never 0."""
        text = "\0".join((sort, *names)).encode("utf-8", "surrogatepass")
        made = hashlib.blake2b(text, digest_size=_DIGEST_OCTETS, key=self._key).digest()
        return int.from_bytes(made, "little") or 1

    def mark(self, *octets: bytes) -> int:
        """By which a password that was tried is known again: a number of 32 bits, never 0."""
        made = hashlib.blake2b(b"\0".join(octets), digest_size=4, key=self._key, person=b"mark").digest()
        return int.from_bytes(made, "little") or 1

    def key_of(self, purpose: str) -> bytes:
        """A key that lives as long as this run, and is the same in all processes."""
        return hashlib.blake2b(purpose.encode(), key=self._key, person=b"key").digest()

    def look(self, digest: int) -> Entry:
        """What is remembered, at this moment; without a lock."""
        place = self._place_of(digest)
        for _ in range(_MOST_LOOKS):
            entry = self._read(place) if place >= 0 else BLANK
            if entry is not None:
                return entry
        return BLANK

    def change(
        self, digest: int, change: Callable[[Entry], tuple[Entry, Answer]], *, hold: tuple[int, int] = (-1, 0)
    ) -> Answer:
        """Changes an entry under the lock of its bucket. The function makes of it the new one, and what is returned.

        `hold`: the session's row, and which of its holds says that it counts there, if the number of sessions changes.
        """
        bucket = digest % self._buckets
        if not self._lock(bucket, 1):
            return change(BLANK)[1]
        try:
            place = self._place_of(digest)
            before = self._known(place, digest)
            after, answer = change(before)
            if after != before:
                place = place if place >= 0 else self._free_place(bucket)
                if place >= 0:
                    self._store(place, digest, after, rises=after.held - before.held, hold=hold)
            return answer
        finally:
            self._unlock(bucket, 1)

    def held(self, row: int) -> list[int]:
        """Which entries count this session; 0: none."""
        return self._holds[row * HOLDS : (row + 1) * HOLDS].tolist()

    def give_back(self, rows: Iterable[int]) -> None:
        """The sessions of these rows are gone, with the worker that had them."""
        affected = {digest for row in rows for digest in self.held(row) if digest}
        if not affected:
            return
        locked = self._lock(0, _WHOLE)
        try:
            for row in rows:
                for hold in range(row * HOLDS, (row + 1) * HOLDS):
                    self._holds[hold] = 0
            counts = Counter(self._holds.tolist())
            for digest in affected:
                place = self._place_of(digest)
                if place >= 0:
                    self._write(place, digest, self._known(place, digest)._replace(held=counts[digest]))
        finally:
            if locked:
                self._unlock(0, _WHOLE)

    # Places: where an entry begins, in cells

    def _place_of(self, digest: int) -> int:
        """-1 if there is none."""
        first = digest % self._buckets * BUCKET_ENTRIES * _CELLS
        digests = self._cells[first + 1 : first + BUCKET_ENTRIES * _CELLS : _CELLS].tolist()
        return first + digests.index(digest) * _CELLS if digest in digests else -1

    def _known(self, place: int, digest: int) -> Entry:
        """What stands there. Of what a dead worker has spoiled, the sessions at least: the holds tell them."""
        if place < 0:
            return BLANK
        entry = self._read(place)
        return entry if entry is not None else Entry(self._holds.tolist().count(digest))

    def _free_place(self, bucket: int) -> int:
        """One that is free, or whose entry has the least influence; -1 if all count sessions."""
        first = bucket * BUCKET_ENTRIES * _CELLS
        fades = math.inf
        found = -1
        for place in range(first, first + BUCKET_ENTRIES * _CELLS, _CELLS):
            if not self._cells[place + 1]:
                return place
            entry = self._read(place)
            end = entry.fades() if entry is not None else 0.0
            if end < fades:
                fades, found = end, place
        return found

    def _read(self, place: int) -> Entry | None:
        """None if it does not check."""
        octets = bytes(self._map[place * 8 : place * 8 + ENTRY_OCTETS])
        if crc32(octets[_CHECKSUM_OCTETS:]) != int.from_bytes(octets[:_CHECKSUM_OCTETS], "little"):
            return None
        held, _digest, score, at, until, due, *recent = _FORM.unpack_from(octets, _CHECKSUM_OCTETS)
        return Entry(held, score, at, until=until, due=due, recent=tuple(recent))

    def _store(self, place: int, digest: int, entry: Entry, *, rises: int, hold: tuple[int, int]) -> None:
        """The hold is there before the count, and goes after it: what a dead worker had half done is found by it."""
        row, which = hold
        assert not rises or row >= 0, "a session that is counted has a hold"
        if rises > 0:
            self._holds[row * HOLDS + which] = digest
        self._write(place, digest, entry)
        if rises < 0:
            self._holds[row * HOLDS + which] = 0

    def _write(self, place: int, digest: int, entry: Entry) -> None:
        fresh = _FORM.pack(entry.held, digest, entry.score, entry.at, entry.until, entry.due, *entry.recent)
        self._map[place * 8 : place * 8 + ENTRY_OCTETS] = crc32(fresh).to_bytes(_CHECKSUM_OCTETS, "little") + fresh

    def _lock(self, start: int, length: int) -> bool:
        for pause in _PAUSES:
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
                return True
            except OSError:  # somebody else is there
                time.sleep(pause)
        return False

    def _unlock(self, start: int, length: int) -> None:
        fcntl.lockf(self._locks, fcntl.LOCK_UN, length, start)
