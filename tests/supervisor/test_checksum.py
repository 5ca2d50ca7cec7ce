"""The checksum of rows: in the compiled form sixteen octets at a time, where the processor multiplies without carry."""

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from supervisor.octets import checksum


@given(st.binary(max_size=2048))
def test_it_is_zlibs(octets: bytes) -> None:
    """Whoever reads a row, of this release or of an older one, checks it by zlib."""
    assert checksum(octets) == crc32(octets)


def test_it_is_zlibs_whatever_the_length() -> None:
    """All that is left after the last sixteen octets counts."""
    for length in range(200):
        octets = bytes((37 * place + length) % 256 for place in range(length))
        assert checksum(octets) == crc32(octets)
