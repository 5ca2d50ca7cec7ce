"""The phases of a `pserv` session, from which to which it may go, and what it waits for."""

import enum

from popular.phrased import Phrased


class Phase(Phrased):
    """What a session is doing. The number stands in its row, the phrase completes "… while ___"."""

    ENDED = 0, "over"
    ASKED_NOTHING = 1, "waiting for a request"
    OPENING = 2, "opening the mailbox"
    SERVING = 3, "waiting for a command"
    SENDING = 4, "sending a message"
    LISTING = 5, "sending a listing"
    UPDATING = 6, "updating the mailbox"
    ENDING = 7, "ending"


ENDED, ASKED_NOTHING, OPENING, SERVING, SENDING, LISTING, UPDATING, ENDING = Phase

STATES = ("free", *(phase.phrase for phase in Phase if phase is not ENDED))
"""For the table: index 0 is a row without a session, as that of one that is over."""

LEGAL: dict[Phase, frozenset[Phase]] = {
    ASKED_NOTHING: frozenset({OPENING, ENDING, ENDED}),
    OPENING: frozenset({SERVING, ENDING, ENDED}),
    SERVING: frozenset({SENDING, LISTING, UPDATING, ENDING, ENDED}),
    SENDING: frozenset({SERVING, ENDING, ENDED}),
    LISTING: frozenset({SERVING, ENDED}),
    UPDATING: frozenset({ENDING, ENDED}),
    ENDING: frozenset({ENDED}),
    ENDED: frozenset(),
}
"""From each phase, where it may lead. ENDING: the last reply is on its way."""


class Want(enum.Enum):
    """What the machine waits for, in any phase."""

    FACT = enum.auto()
    """How it went with the disk; or nothing more, when it is over."""
    OCTETS = enum.auto()
    """What the client says."""
    ROOM = enum.auto()
    """To `proceed` as soon as the client has taken what was sent."""
    TURN = enum.auto()
    """To `proceed`, as with ROOM, but not before other sessions have had their turn."""
