"""Sightings: what workers have seen users do, in a bounded list in shared memory, for the operator.

There is one sighting for each user, subject and place. When it is seen again, it is counted and gets the new time. A
bucket that is full loses the sighting that was not seen for the longest time. A writer holds a lock, an octet of a file
that the kernel frees when its holder dies; while another holds it, the sighting is not written down. Each sighting has
a checksum: one that is only half written does not fit it, and its place counts as free.
"""

import fcntl
import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

MOST_SIGHTINGS = 1024
_BUCKET = 16
_FORM = struct.Struct("<Qdd16s64s64s96s64s112s")
_TEXTS = (16, 64, 64, 96, 64, 112)
_CHECKSUM_OCTETS = 4
_OCTETS = _CHECKSUM_OCTETS + _FORM.size
SIGHTINGS_OCTETS = -(-MOST_SIGHTINGS * _OCTETS // 8) * 8
_LOCK = 1 << 41
"""The octet of the file that is theirs: after all others."""


class Sighting(NamedTuple):
    """What was seen, of whom, where. Texts are cut to what there is room for."""

    about: str
    namespace: str
    user: str
    where: str
    network: str = ""
    """From where, the last time."""
    how: str = ""
    """What else was seen, the last time."""
    times: int = 1
    first: float = 0.0
    """When he was first seen, seconds since 1970."""
    last: float = 0.0

    @property
    def key(self) -> tuple[bytes, ...]:
        """By which it is found again."""
        whom = zip((self.about, self.namespace, self.user, self.where), (16, 64, 96, 64), strict=True)
        return tuple(_cut(text, octets) for text, octets in whom)


class Sightings:
    """The list."""

    def __init__(self, memory: memoryview, *, locks: int) -> None:
        """`locks`: a descriptor of the file."""
        self._memory = memory
        self._locks = locks

    def see(self, seen: Sighting) -> None:
        """Once more; `last` of it says when."""
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK)
        except OSError:
            return
        try:
            place, before = self._place_of(seen)
            if before is not None:
                seen = seen._replace(times=before.times + 1, first=before.first)
            else:
                seen = seen._replace(times=1, first=seen.last)
            self._write(place, seen)
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _LOCK)

    def listed(self, about: str) -> list[Sighting]:
        """Those about this, who was seen last comes first."""
        found = (self._read(place) for place in range(MOST_SIGHTINGS))
        return sorted((one for one in found if one is not None and one.about == about), key=_age, reverse=True)

    def _place_of(self, seen: Sighting) -> tuple[int, Sighting | None]:
        """Where it is, or where it is to be written."""
        key = seen.key
        oldest, since = -1, float("inf")
        for place, one in self._bucket(key):
            if one is not None and one.key == key:
                return place, one
            last = one.last if one is not None else 0.0
            if last < since:
                oldest, since = place, last
        return oldest, None

    def _bucket(self, key: tuple[bytes, ...]) -> Iterator[tuple[int, Sighting | None]]:
        first = crc32(b"\0".join(key)) % (MOST_SIGHTINGS // _BUCKET) * _BUCKET
        for place in range(first, first + _BUCKET):
            yield place, self._read(place)

    def _read(self, place: int) -> Sighting | None:
        octets = bytes(self._memory[place * _OCTETS : (place + 1) * _OCTETS])
        if crc32(octets[_CHECKSUM_OCTETS:]) != int.from_bytes(octets[:_CHECKSUM_OCTETS], "little"):
            return None
        times, first, last, *texts = _FORM.unpack(octets[_CHECKSUM_OCTETS:])
        if not times:
            return None
        about, network, namespace, user, where, how = (text.rstrip(b"\0").decode("utf-8", "replace") for text in texts)
        return Sighting(
            about, namespace, user, where=where, network=network, how=how, times=times, first=first, last=last
        )

    def _write(self, place: int, seen: Sighting) -> None:
        texts = (seen.about, seen.network, seen.namespace, seen.user, seen.where, seen.how)
        cut = (_cut(text, octets) for text, octets in zip(texts, _TEXTS, strict=True))
        octets = _FORM.pack(seen.times, seen.first, seen.last, *cut)
        fresh = crc32(octets).to_bytes(_CHECKSUM_OCTETS, "little") + octets
        self._memory[place * _OCTETS : (place + 1) * _OCTETS] = fresh


def _age(one: Sighting) -> float:
    return one.last


def _cut(text: str, octets: int) -> bytes:
    """No character is cut in two: what was read is what was written."""
    return text.encode("utf-8", "replace")[:octets].decode("utf-8", "ignore").encode()
