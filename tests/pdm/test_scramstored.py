"""Keys of SCRAM among the values of a directory's attribute."""

import base64

import pytest

from popular.pdm import scramstored
from popular.protocol.scram import keys_of

KEYS = keys_of(b"pencil", b"sixteen or more ", 5000)
assert KEYS is not None
SALT, STORED, SERVER = (base64.b64encode(part).decode() for part in (KEYS.salt, KEYS.stored_key, KEYS.server_key))


@pytest.mark.parametrize(
    "value",
    [
        f"SCRAM-SHA-256$5000:{SALT}${STORED}:{SERVER}",
        f"scram-sha-256 $ 5000:{SALT} $ {STORED}:{SERVER} ",
        f"{{SCRAM-SHA-256}}5000:{SALT}${STORED}:{SERVER}",
        f"{{scram-sha-256}}5000,{SALT},{STORED},{SERVER}",
    ],
)
def test_keys_are_found_among_other_values(value: str) -> None:
    """As RFC 5803 writes them, and as those who know passwords with braces do."""
    others = [b"{SSHA}abc", b"secret", b"\xff\xfe", b"SCRAM-SHA-1$4096:c2FsdA==$eA==:eA==", b"SCRAM-SHA-256-PLUS$x"]
    (found,) = scramstored.among([*others, value.encode()])
    assert scramstored.read(found.removeprefix(scramstored.FORM)) == KEYS
    assert scramstored.among(others) == []


@pytest.mark.parametrize(
    "value", ["SCRAM-SHA-256$", "SCRAM-SHA-256$1:a$b:c", "{SCRAM-SHA-256}x", f"SCRAM-SHA-256$5000:{SALT}${STORED}"]
)
def test_what_only_says_that_it_is_keys(value: str) -> None:
    """It is told, unless there are others that are; and never quoted."""
    with pytest.raises(scramstored.BadKeys) as told:
        scramstored.among([value.encode(), b"{SSHA}abc"])
    assert SALT not in str(told.value)
    assert len(scramstored.among([value.encode(), f"SCRAM-SHA-256$5000:{SALT}${STORED}:{SERVER}".encode()])) == 1


def test_what_is_too_long_for_keys_is_not_looked_at() -> None:
    """Some directories let a user write his own: a million blanks would keep a worker busy for all others."""
    with pytest.raises(scramstored.BadKeys, match="too long"):
        scramstored.among([b"{SCRAM-SHA-256}x" + b" " * 20_000 + b"x"])
