"""Asks the modules in the operator's order, and says what came of it. Pure: it calls modules, and nothing else.

First round, `check`: the first module that authenticates the user ends it. The first that knows him but refuses ends it
too, and begins the second round, `authenticate`: all modules are asked in order whether they vouch for this user (a
master password does). So a module that takes everyone, behind one with a list, never lets a listed user in with a wrong
password. In the second round, success means the route of the module that identified him.

A module that fails is passed over; if after that nobody lets the user in, nothing is known of him: `CannotTell`, and
never "refused" or "unknown". Exceptions of any other kind count as failure, by their type alone: their text could hold
a password. Invariant: `ask` never raises an Exception.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple, TypeAlias

from popular.pdm.contract import Authenticated, Module, ModuleFailed, Question, Refused, Route, Unknown


class Admitted(NamedTuple):
    """The user may come in. Both ids are of modules; who identified him may also be the one who vouches for him.

    `vouched`: only the second round let him in. The password is right, but it is not his own: a master password, say.
    """

    route: Route
    identified_by: str
    authenticated_by: str
    vouched: bool = False


@dataclass(frozen=True, slots=True)
class RefusedLogin:
    """This module knows the user, and no module lets him in with this password."""

    identified_by: str


@dataclass(frozen=True, slots=True)
class NobodyKnows:
    """Every module has answered, and none knows the user."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """A module failed, and none lets the user in. `reason` is for the log: "id: text; id: text", without secrets."""

    reason: str


Decision: TypeAlias = Admitted | RefusedLogin | NobodyKnows | CannotTell


class Record:
    """Which modules were asked, each with the seconds that it took and what it answered, and which could not: for the
    counters and the log.
    """

    __slots__ = ("asked", "failed")

    def __init__(self) -> None:
        self.asked: list[tuple[str, float, object]] = []
        """The answer of a first round is one of the contract's, of a second one a bool, and a failure its words."""
        self.failed: list[str] = []


def blocks(modules: Sequence[Module]) -> bool:
    """Whether `ask` may take long with these modules, so that it belongs into a thread."""
    return any(module.blocking for module in modules)


def ask(
    modules: Sequence[Module], question: Question, *, hide_unknown: bool = True, record: Record | None = None
) -> Decision:
    """Both rounds. `hide_unknown` spends on an unknown user what a known one would have cost.

    A proxy with a fallback backend has no use for that: there the unknown user's way is a longer one anyway. `record`
    is filled in, also by what is passed over.
    """
    record = record if record is not None else Record()
    failures: list[str] = []
    unknown: list[tuple[Module, Unknown]] = []
    for module in modules:
        began = monotonic()
        heard: object = None
        try:
            heard = answer = module.check(question)
            if isinstance(answer, Unknown):
                unknown.append((module, answer))
                continue
            route = _route_of(answer)
        except Exception as error:
            heard = _failure(module, error)
            failures.append(heard)
            record.failed.append(module.ident)
            continue
        finally:
            record.asked.append((module.ident, monotonic() - began, heard))
        if isinstance(answer, Authenticated):
            return Admitted(route, module.ident, module.ident)
        return _second_round(modules, question, module.ident, route=route, failures=failures, record=record)
    if hide_unknown:
        failures += _spend(unknown)
    return CannotTell("; ".join(failures)) if failures else NobodyKnows()


def _spend(unknown: Sequence[tuple[Module, Unknown]]) -> list[str]:
    """What a known user would have cost: one module's first round, and the second round of all. Gives the failures."""
    offers = [(answer.rank, at, module, answer.decoy) for at, (module, answer) in enumerate(unknown) if answer.decoy]
    work = [(module, decoy) for *_, module, decoy in sorted(offers, key=lambda offer: offer[:2])[:1]]
    work += [(module, answer.second_round) for module, answer in unknown if answer.second_round]
    failures = []
    for module, spend in work:
        try:
            spend()
        except Exception as error:
            failures.append(_failure(module, error))
    return failures


def _second_round(
    modules: Sequence[Module],
    question: Question,
    identified_by: str,
    *,
    route: Route,
    failures: list[str],
    record: Record,
) -> Decision:
    for module in modules:
        began = monotonic()
        heard: object = None
        try:
            heard = vouches = module.authenticate(question, route)
            if not isinstance(vouches, bool):
                raise _NoAnswer(vouches)
        except Exception as error:
            heard = _failure(module, error)
            failures.append(heard)
            record.failed.append(module.ident)
            continue
        finally:
            record.asked.append((module.ident, monotonic() - began, heard))
        if vouches:
            return Admitted(_flagged(route, module.flags), identified_by, module.ident, vouched=True)
    return CannotTell("; ".join(failures)) if failures else RefusedLogin(identified_by)


def _route_of(answer: Authenticated | Refused) -> Route:
    if isinstance(answer, (Authenticated, Refused)) and isinstance(answer.route, Route):
        return answer.route
    raise _NoAnswer(answer)


def _flagged(route: Route, flags: str) -> Route:
    new = "".join(flag for flag in flags if flag not in route.flags)
    return route._replace(flags=route.flags + new) if new else route


class _NoAnswer(ModuleFailed):
    """A module broke the contract."""

    def __init__(self, reply: object) -> None:
        super().__init__(f"answered with something else than the contract allows ({type(reply).__name__})")


def _failure(module: Module, error: Exception) -> str:
    return f"{module.ident}: {error if isinstance(error, ModuleFailed) else type(error).__name__}"
