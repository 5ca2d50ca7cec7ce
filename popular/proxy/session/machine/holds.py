"""Why a client is held back (phase HELD), each as what goes on after it. Pure.

The operator's hold ends when he orders something else (`released`), or when its time is over; all others when their
time is over.
"""

from typing import NamedTuple, TypeAlias

from popular.pdm.contract import Question
from popular.pdm.decision import Decision
from popular.protocol.replies import Code
from popular.proxy.session.who import Routing


class ThenAsk(NamedTuple):
    """The network guesses too fast: the modules are asked when its turn has come."""

    question: Question


class ThenRefuse(NamedTuple):
    """The login was refused, with this code, which is told after a pause."""

    code: Code


class ThenChallenge(NamedTuple):
    """The modules have said by which keys the client can prove who it is: the challenge takes as long for everybody."""

    decision: Decision


class ThenObey(NamedTuple):
    """The operator holds the user: what he has ordered is looked at again."""

    routing: Routing


Hold: TypeAlias = ThenAsk | ThenRefuse | ThenChallenge | ThenObey
