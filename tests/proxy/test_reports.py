"""What is told of clients that a stricter configuration would not let in, where they are hostile."""

import pytest

from popular.proxy.session.shared.reports import offered


@pytest.mark.parametrize(
    ("alpn", "told"),
    [
        (None, "no ALPN"),
        ((b"imap", b"pop3"), "ALPN imap/pop3"),
        ((b"pop3", b"\x1b[2J", b"\nx"), r"ALPN pop3/\x1b[2J/\x0ax"),
        ((b"pop3", b"\xff\0"), "ALPN pop3/\ufffd\\x00"),
    ],
)
def test_what_a_client_offers_is_one_line(alpn: tuple[bytes, ...] | None, told: str) -> None:
    """Whoever can log in may offer any octets beside `pop3`: they make no line of the report, and move no cursor."""
    assert offered(alpn) == told
