"""The commands of POP3, one row each: where they are allowed and how many arguments they take."""

import enum
from typing import NamedTuple


class State(enum.Enum):
    """The states of RFC 1939 in which a client may send commands."""

    AUTHORIZATION = "authorization"
    TRANSACTION = "transaction"


class Verb(NamedTuple):
    """One command: its keyword, the states that know it, the fewest and the most arguments, and its source."""

    keyword: str
    states: frozenset[State]
    fewest: int
    most: int
    source: str


_BOTH = frozenset(State)
_BEFORE = frozenset({State.AUTHORIZATION})
_AFTER = frozenset({State.TRANSACTION})

VERBS: dict[str, Verb] = {
    row.keyword: row
    for row in (
        Verb("USER", _BEFORE, 1, 1, "RFC 1939 section 7"),
        Verb("PASS", _BEFORE, 1, 1, "RFC 1939 section 7"),
        Verb("APOP", _BEFORE, 2, 2, "RFC 1939 section 7"),
        Verb("AUTH", _BEFORE, 0, 2, "RFC 5034 section 4"),
        Verb("STLS", _BEFORE, 0, 0, "RFC 2595 section 4"),
        Verb("CAPA", _BOTH, 0, 0, "RFC 2449 section 5"),
        Verb("UTF8", _BEFORE, 0, 0, "RFC 6856 section 2"),
        Verb("LANG", _BOTH, 0, 1, "RFC 6856 section 3"),
        Verb("QUIT", _BOTH, 0, 0, "RFC 1939 sections 4 and 6"),
        Verb("NOOP", _AFTER, 0, 0, "RFC 1939 section 5"),
        Verb("STAT", _AFTER, 0, 0, "RFC 1939 section 5"),
        Verb("LIST", _AFTER, 0, 1, "RFC 1939 section 5"),
        Verb("UIDL", _AFTER, 0, 1, "RFC 1939 section 7"),
        Verb("RETR", _AFTER, 1, 1, "RFC 1939 section 5"),
        Verb("TOP", _AFTER, 2, 2, "RFC 1939 section 7"),
        Verb("DELE", _AFTER, 1, 1, "RFC 1939 section 5"),
        Verb("RSET", _AFTER, 0, 0, "RFC 1939 section 5"),
    )
}


class Command(NamedTuple):
    """One command line, taken apart. The argument is what stands after the first blank, byte for byte."""

    keyword: str
    argument: bytes

    @property
    def words(self) -> list[bytes]:
        """The argument, split at blanks."""
        return self.argument.split()


def parse(line: bytes) -> Command:
    """Takes a line (without its end) apart. Keywords are case-insensitive (RFC 1939 section 3)."""
    keyword, _, argument = line.partition(b" ")
    return Command(keyword.upper().decode("ascii", "replace"), argument)
