"""The phases of a proxy session, and which may follow which.

`docs/sessions.md` is drawn from the table.
"""

from collections.abc import Iterable

from popular.phrased import Phrased


class Phase(Phrased):
    """What a session is doing. The number stands in its row, the phrase completes "… while ___"."""

    GREETED = 1, "waiting for a user name"
    NAMED = 2, "waiting for a password"
    STARTING_TLS = 3, "starting TLS"
    ASKING = 4, "asking the modules"
    CHECKING = 5, "checking the mailbox"
    CONNECTING = 6, "connecting to the backend"
    LOGGING_IN = 7, "logging in to the backend"
    SIMULATING = 8, "showing an empty mailbox"
    RELAYING = 9, "passing mail on"
    ENDED = 10, "ending"
    AWAITING_HEADER = 11, "waiting for the PROXY header"
    HELD = 12, "holding the client back"
    EXCHANGING = 13, "waiting for the answer to a challenge"


GREETED, NAMED, STARTING_TLS, ASKING, CHECKING, CONNECTING, LOGGING_IN, SIMULATING, RELAYING, ENDED, *_ = Phase
AWAITING_HEADER, HELD, EXCHANGING = Phase.AWAITING_HEADER, Phase.HELD, Phase.EXCHANGING
# Names of the module, because a member of an enum is ten times as far away, and a session asks for two dozen.

STATES = ("free", *(phase.phrase for phase in Phase))
"""For the table: index 0 is a row without a session."""

BEGINNINGS = frozenset({GREETED, AWAITING_HEADER})
"""A session begins in one of these."""

LEGAL: dict[Phase, frozenset[Phase]] = {
    AWAITING_HEADER: frozenset({GREETED, ENDED}),
    GREETED: frozenset({NAMED, STARTING_TLS, EXCHANGING, ASKING, SIMULATING, ENDED}),
    STARTING_TLS: frozenset({GREETED, ENDED}),
    NAMED: frozenset({NAMED, STARTING_TLS, EXCHANGING, ASKING, SIMULATING, ENDED}),
    EXCHANGING: frozenset({GREETED, ENDED}),
    ASKING: frozenset({GREETED, EXCHANGING, HELD, CHECKING, CONNECTING, SIMULATING, ENDED}),
    HELD: frozenset({GREETED, EXCHANGING, ASKING, ENDED}),
    CHECKING: frozenset({GREETED, CONNECTING, SIMULATING, ENDED}),
    CONNECTING: frozenset({LOGGING_IN, SIMULATING, ENDED}),
    LOGGING_IN: frozenset({GREETED, HELD, CONNECTING, SIMULATING, RELAYING, ENDED}),
    SIMULATING: frozenset({ENDED}),
    RELAYING: frozenset({ENDED}),
    ENDED: frozenset(),
}
"""From each phase, where it may lead."""


def bits(phases: Iterable[Phase]) -> int:
    """Phases as a number, with a bit for each: one look tells whether one is among them, where a tuple takes a call,
    and a set two (enums compute their hash in Python).
    """
    return sum(1 << phase for phase in phases)


MOVES = (0, *(bits(LEGAL[before]) for before in Phase))
"""LEGAL as numbers, by the number of the phase: the bits of those that may follow."""

PLACED = (CHECKING, CONNECTING, LOGGING_IN, SIMULATING, RELAYING)
"""Phases in which the user has come in, and to a backend: he counts among its sessions and his."""

ANSWERING = (GREETED, NAMED, SIMULATING, EXCHANGING)
"""Phases in which a line of the client is answered at once; in all others it waits."""

PENDING = (ASKING, HELD, CHECKING, CONNECTING, LOGGING_IN)
"""Phases in which the client waits for the answer to PASS: somebody is asked on his behalf, or he is held back."""

SILENT = (GREETED, NAMED, STARTING_TLS, EXCHANGING, HELD)
"""Phases in which nothing but the client is waited for, who has not logged in; or who has guessed, and is held back for
that. Where no session is free, these may make room (supervisor/worker/displacer.py).
"""

NOTHING_SAID = (AWAITING_HEADER, STARTING_TLS)
"""Phases in which a client that closes has said nothing of what was expected: the session just ends."""

NOT_READ = (STARTING_TLS, RELAYING, ENDED, AWAITING_HEADER)
"""Phases in which the client's octets are somebody else's to read, or nobody's."""
