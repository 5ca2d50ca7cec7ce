"""The phases of a proxy session."""

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


GREETED, NAMED, STARTING_TLS, ASKING, CHECKING, CONNECTING, LOGGING_IN, SIMULATING, RELAYING, ENDED, *_ = Phase
AWAITING_HEADER = Phase.AWAITING_HEADER
# Names of the module, because a member of an enum is ten times as far away, and a session asks for two dozen.

STATES = ("free", *(phase.phrase for phase in Phase))
"""For the table: index 0 is a row without a session."""

LISTENING = (GREETED, NAMED, SIMULATING)
"""Phases in which a line of the client is answered at once; in all others it waits.

A tuple: to look into a set costs a call, because enums compute their hash in Python.
"""
