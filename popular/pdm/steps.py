"""One step of a login's way through the modules: what is put to which of them, and what may be answered.

`chain.py` says which step is next, by plain calls or, on an event loop, for `guarded.py`; `call` does a step, `heard`
lets through only what the contract allows. Exceptions of any other kind than ModuleFailed count as failure, by their
type alone (`failure`): their text could hold a password.
"""

from collections.abc import Callable, Collection
from math import inf
from typing import NamedTuple

from popular.pdm.contract import (
    LOOKUP,
    PASSWORD,
    SCRAM,
    AnyModule,
    Authenticated,
    CannotTell,
    ClientResponse,
    HandedOn,
    KnownUser,
    ModuleFailed,
    Provable,
    Question,
    Refused,
    Route,
    Secret,
    Unknown,
    UserLimits,
)
from popular.protocol.scram import ScramKeys

_PASSWORDS = (PASSWORD,)
"""What a module takes that does not say it."""

CHECK, AUTHENTICATE, SPEND = "check", "authenticate", "spend"
KEYS = "keys"
"""To check where keys are wanted: what may be answered is something else."""
RESPOND = "respond"
"""To hear what the client has said in an exchange that the module hands on."""
FAILING = "failing"
"""No question: whether a module has failed to answer lately, as far as is known. Where keys are wanted it is all that
there is of the second round.
"""
LOOK_UP = "look up"
"""No step of the two rounds: `explain` puts it."""

_ANSWERS: dict[str, tuple[type, ...]] = {
    CHECK: (Authenticated, Refused, Unknown, CannotTell),
    KEYS: (Provable, HandedOn, Refused, Unknown, CannotTell),
    RESPOND: (Authenticated, HandedOn, Refused, CannotTell),
    AUTHENTICATE: (CannotTell,),
    FAILING: (CannotTell,),
}
"""To each step, where it is no plain yes or no."""


class Step(NamedTuple):
    """What is to be put to a module: CHECK, KEYS, FAILING, AUTHENTICATE with this route, RESPOND: what has been said is
    in the question, SPEND: it calls this decoy.
    """

    module: AnyModule
    what: str
    route: Route | None = None
    decoy: Callable[[], object] | None = None


class Record:
    """Which modules were asked, each with the seconds that it took and what it answered, and which could not: for the
    counters and the log.
    """

    __slots__ = ("asked", "failed")

    def __init__(self) -> None:
        self.asked: list[tuple[str, float, object]] = []
        """The answer of a first round is one of the contract's, of a second one a bool."""
        self.failed: list[str] = []

    def forget(self) -> None:
        """To be filled anew."""
        if self.asked:
            self.asked.clear()
        if self.failed:
            self.failed.clear()

    def add(self, step: Step, seconds: float, heard: object) -> None:
        """What came of a step. What a decoy came to is thrown away, but for its failure."""
        module, what, _route, _decoy = step
        ident = module.ident
        if what != SPEND and what != FAILING:
            self.asked.append((ident, seconds, heard))
            if isinstance(heard, CannotTell):
                self.failed.append(ident)


def kinds_of(module: AnyModule) -> Collection[str]:
    """The kinds of credential that it looks at."""
    kinds: Collection[str] = getattr(module, "takes", _PASSWORDS)
    return kinds


def takes(module: AnyModule, kind: str) -> bool:
    """Whether it looks at this kind of credential. Else it need not be asked."""
    return kind in getattr(module, "takes", _PASSWORDS)


def first_step(module: AnyModule, question: Question) -> Step:
    """What is put to a module first."""
    return Step(module, KEYS if question.kind == SCRAM else CHECK)


def call(step: Step, question: Question) -> object:
    """Does a step; a module of the kind that answers on a loop gives a coroutine. Raises whatever it raises."""
    module, what, route, decoy = step
    if what is CHECK or what is KEYS:
        return module.check(question)
    if what is AUTHENTICATE:
        assert route is not None
        return module.authenticate(question, route)
    if what is FAILING:
        return False  # nothing guards it, and nothing is remembered of it
    if what is LOOK_UP:
        return getattr(module, LOOKUP)(question.namespace, question.user)
    if what is RESPOND:
        assert isinstance(question.proof, ClientResponse)
        return question.proof.respond(question.proof.said)
    assert decoy is not None
    return decoy()


def heard(step: Step, reply: object) -> object:
    """What a module has replied, if it may; raises ModuleFailed if it breaks the contract."""
    what = step.what
    if what is SPEND or _may_be_answered(what, reply):
        return reply
    raise ModuleFailed(f"answered with something else than the contract allows ({type(reply).__name__})")


def _may_be_answered(what: str, reply: object) -> bool:
    if what is LOOK_UP:
        if isinstance(reply, KnownUser):
            return _is_sound_route(reply.route) and _are_sound_limits(reply.limits)
        return reply is None
    if isinstance(reply, bool):
        return what is AUTHENTICATE or what is FAILING
    return isinstance(reply, _ANSWERS[what]) and is_sound(reply)


def is_sound(reply: object) -> bool:
    """Whether the fields of an answer are of the types that the contract has: what is not would fail where nobody
    thinks of modules any more.
    """
    if isinstance(reply, Authenticated):
        return _is_sound_route(reply.route) and _are_sound_limits(reply.limits) and _is_time(reply.cache)
    if isinstance(reply, Unknown):
        return isinstance(reply.rank, (float, int))
    if isinstance(reply, Refused):
        return (
            (reply.route is None or _is_sound_route(reply.route))
            and _is_plain(reply.code)
            and _is_plain(reply.text)
            and isinstance(reply.reason, str)
            and isinstance(reply.wait, (float, int))
            and 0 <= reply.wait < inf
            and _is_time(reply.cache)
        )
    if isinstance(reply, Provable):
        return _is_sound_route(reply.route) and _are_sound_limits(reply.limits) and _are_sound_keys(reply.keys)
    if isinstance(reply, HandedOn):
        return isinstance(reply.challenge, bytes) and isinstance(reply.account, str)
    return isinstance(reply, CannotTell) and isinstance(reply.reason, str)


def _is_sound_route(route: object) -> bool:
    """`server` is for the proxy to say, where the operator allows it."""
    if not isinstance(route, Route):
        return False
    backend, target, secret, flags, server = route
    return (
        isinstance(backend, str)
        and (target is None or isinstance(target, str))
        and (secret is None or isinstance(secret, Secret))
        and isinstance(flags, str)
        and server is None
    )


def _are_sound_limits(limits: object) -> bool:
    if limits is None:
        return True
    if not isinstance(limits, UserLimits):
        return False
    sessions, login_delay, account = limits
    return isinstance(account, str) and _is_count(sessions) and _is_count(login_delay)


def _are_sound_keys(keys: object) -> bool:
    return isinstance(keys, ScramKeys) and keys.are_sound


def _is_plain(text: object) -> bool:
    """That it can stand in a reply to the client, and is one line."""
    return isinstance(text, str) and text.isascii() and text.isprintable()


def _is_count(number: object) -> bool:
    return number is None or (isinstance(number, int) and number >= 0)


def _is_time(seconds: object) -> bool:
    """None, or some seconds, which NaN is not."""
    return seconds is None or (isinstance(seconds, (float, int)) and seconds >= 0)


def failure(error: BaseException) -> CannotTell:
    """What an exception of a module comes to: its text only if it is one for people."""
    return CannotTell(str(error) if isinstance(error, ModuleFailed) else type(error).__name__)
