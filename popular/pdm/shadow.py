"""A module on trial: asked beside the others, what it says is compared with what they came to, and never used. Pure."""

from popular.pdm.contract import Authenticated, CannotTell, HandedOn, Provable, Refused, Unknown
from popular.pdm.decision import Admitted, Decision, NobodyKnows, ToHandOn, ToProve

SAME, DIFFERENT, CANNOT_TELL, NOT_ASKED = SHADOWED = ("same", "different", "cannot_tell", "not_asked")
"""What the comparison may come to, for the counter."""


def compared(decision: Decision, answer: object) -> str:
    """One of SHADOWED. A master password proves nothing about the user database, nor does a user who is nobody's, nor
    the challenge of a server to which an exchange is handed on.
    """
    if isinstance(decision, (CannotTell, ToHandOn)) or isinstance(answer, (CannotTell, HandedOn)):
        return CANNOT_TELL
    if isinstance(decision, Admitted) and not decision.vouched:
        return SAME if isinstance(answer, Authenticated) and answer.route == decision.route else DIFFERENT
    if isinstance(decision, ToProve):
        same = Provable(decision.keys, decision.route, decision.limits, locked=decision.locked)
        return SAME if answer == same else DIFFERENT
    if isinstance(decision, NobodyKnows):
        return SAME if isinstance(answer, Unknown) else DIFFERENT
    return SAME if isinstance(answer, Refused) else DIFFERENT


def in_words(decision: Decision | object) -> str:
    """For the log: what it comes to, and where to; no secret."""
    route = getattr(decision, "route", None)
    where = f" {route.backend} {route.target or 'own name'}" if route is not None else ""
    return f"{type(decision).__name__}{where}"
