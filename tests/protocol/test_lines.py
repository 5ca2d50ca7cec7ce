"""Lines, and what is one."""

import pytest

from popular.protocol.lines import single_line


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"USER joe\r\n", 8),
        (b"\r\n", 0),
        (b"", -1),
        (b"\n", -1),
        (b"USER joe", -1),
        (b"USER joe\n", -1),
        (b"USER joe\r\nPASS x\r\n", -1),
        (b"USER joe\nPASS x\r\n", -1),
        (b"USER joe\r\nPA", -1),
    ],
)
def test_one_whole_line(data: bytes, length: int) -> None:
    """With its CRLF, and nothing before or after it."""
    assert single_line(data) == length
