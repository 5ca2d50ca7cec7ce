"""What is left of a handshake that is done."""

import pytest

from popular.net.handshake import MOST_KEPT, first_of


@pytest.mark.parametrize(("offered", "kept"), [(None, None), ((), ()), ((b"imap", b"pop3"), (b"imap", b"pop3"))])
def test_what_a_client_has_offered_is_known(offered: tuple[bytes, ...] | None, kept: tuple[bytes, ...] | None) -> None:
    """None is told apart from nothing."""
    assert first_of(offered) == kept


def test_thousands_of_protocols_take_no_memory() -> None:
    """A ClientHello has room for five thousand, which would be more than all the rest of a session."""
    many = (b"pop3", *(number.to_bytes(2) for number in range(5000)))
    assert first_of(many) == many[:MOST_KEPT]
