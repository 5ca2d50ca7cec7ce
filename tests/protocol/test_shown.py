"""What of a login at a server may be shown."""

import pytest

from popular.protocol.shown import is_open, without_secrets


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"USER joe", "USER joe"),
        (b"UTF8", "UTF8"),
        (b"STLS", "STLS"),
        (b"LANG de", "LANG de"),
        (b"PASS canary", "PASS ****"),
        (b"AUTH PLAIN canary", "AUTH PLAIN ****"),
        (b"AUTH PLAIN", "AUTH PLAIN"),
        (b"Y2FuYXJ5", "****"),
        (b"STLScanary", "****"),
        (b"UTF8 canary", "****"),
    ],
)
@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_line_is_shown_as_far_as_it_is_known(line: bytes, shown: str, end: bytes) -> None:
    """With its end or without; of an unknown word, or one with more after it than belongs there, nothing."""
    assert without_secrets(line + end).removesuffix("\r\n") == shown
    assert is_open(line + end) is ("*" not in shown and not line.startswith(b"AUTH"))


def test_lines_in_one_piece_are_not_open() -> None:
    """What stands after the first may be a secret."""
    assert not is_open(b"USER joe\r\nPASS canary\r\n")
    assert "canary" not in without_secrets(b"USER joe\r\nPASS canary\r\n")
