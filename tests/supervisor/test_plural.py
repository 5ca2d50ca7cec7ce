"""Numbers of things in what is said to people."""

import re
from pathlib import Path

import pytest

from supervisor.runtime.plural import count_of

ROOT = Path(__file__).parents[2]
BY_HAND = re.compile(r"""(== 1 else|if \w+ == 1|\} (sessions|workers|certificates|modules)( |"|'))""")


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("session",), "0 sessions"),
        (1, ("session",), "1 session"),
        (2, ("session",), "2 sessions"),
        (1, ("worker is renewed", "workers are renewed"), "1 worker is renewed"),
        (3, ("worker is renewed", "workers are renewed"), "3 workers are renewed"),
    ],
)
def test_one_and_many(number: int, words: tuple[str, ...], said: str) -> None:
    """One thing is singular, none and many are plural."""
    assert count_of(number, *words) == said


def test_nobody_makes_a_plural_by_hand() -> None:
    """It would be "1 sessions" somewhere. Only the protocol, which imports nothing of the supervisor's, has its own."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for package in ("supervisor", "metrics", "popular")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "plural.py" and path.parent.name != "protocol"
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"""\bf["']""", line) and BY_HAND.search(line)
    ]
    assert found == []
