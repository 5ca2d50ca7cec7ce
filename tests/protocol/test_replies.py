"""What of a backend's reply may be shown to people."""

import pytest

from popular.protocol.replies import without_words


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"+OK secret", "+OK"),
        (b"+OKsecret", ""),
        (b"-ERR [sys/temp/db] secret", "-ERR [SYS/TEMP]"),
        (b"-ERR [secret] secret", "-ERR"),
        (b"secret", ""),
    ],
)
def test_only_the_status_and_a_code_that_we_know_are_shown(line: bytes, shown: str) -> None:
    """A backend may repeat the password in any other word."""
    assert without_words(line) == shown
