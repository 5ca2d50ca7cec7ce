"""What the modules say of a user, for `explain`: asked as a login asks them, or, without a password, looked up.

Whoever can be looked up says what he would answer to the right password. Who needs one to say anything is left out, and
then the decision may not be certain.
"""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, NamedTuple

from popular.pdm import chain
from popular.pdm.answercache import CachedAnswer, tells_nothing
from popular.pdm.contract import (
    CHALLENGE,
    SCRAM,
    UNKNOWN,
    Answer,
    Authenticated,
    CannotTell,
    HandedOn,
    KeysWanted,
    KnownUser,
    Provable,
    Question,
    Refused,
    Route,
    Secret,
)
from popular.pdm.decision import Decision
from popular.pdm.guarded import NEEDS_PASSWORD, Asking, Guarded
from popular.pdm.servers import placed
from popular.pdm.steps import CHECK, KEYS, first_step, takes
from popular.protocol.scram import USUAL_SALT, keys_of
from popular.proxy.session.shared.module_chain import ModuleChain, word_of

NOT_ASKED = "not_asked"
ANY_PASSWORD = b"x"
"""What is said where none is known; no module sees it."""


class ModulesSaid(NamedTuple):
    """What the modules said: the decision, whether those that were not asked cannot change it, a row for each."""

    decision: Decision
    certain: bool
    rows: list[dict[str, Any]]

    def followed_by(self, later: "ModulesSaid") -> "ModulesSaid":
        """With what a module said later, in place of what it had said."""
        again = {row["module"] for row in later.rows}
        return later._replace(rows=[*(row for row in self.rows if row["module"] not in again), *later.rows])


async def asked(modules: ModuleChain, question: Question, hide_unknown: bool, *, sid: str) -> ModulesSaid:
    """Asks the modules with a password: it counts as a login."""
    used = modules.in_use()
    cached = {guard.ident: _found(guard, how, question) for guard, how in used}
    decision, record = await modules.ask_on_loop(question, hide_unknown, sid)
    terms = dict(zip((guard.ident for guard, _how in used), used, strict=True))
    rows = [
        _row(*terms[ident], answer, seconds=seconds, cache=cached[ident]) for ident, seconds, answer in record.asked
    ]
    return ModulesSaid(decision, True, rows)


async def looked_up(modules: ModuleChain, question: Question) -> ModulesSaid:
    """Asks the modules without a password: all at once, those on trial too."""
    used, on_trial = modules.in_use(), modules.on_trial()
    taking = [(guard, how) for guard, how in (*used, *on_trial) if takes(guard.module, question.kind)]
    said = await asyncio.gather(*(_looked_up(guard, how, question) for guard, how in taking))
    rows = [
        _row(guard, how, answer, seconds=seconds, cache=_remembered(guard, how, question, answer=answer))
        for (guard, how), (answer, seconds) in zip(taking, said, strict=True)
    ]
    answers = {guard.ident: answer for (guard, _how), (answer, _seconds) in zip(taking, said, strict=True)}
    rows += [
        {
            **_row(guard, how, UNKNOWN, seconds=0.0, cache=""),
            "answer": NOT_ASKED,
            "reason": f"takes no {question.kind}",
        }
        for guard, how in (*used, *on_trial)
        if guard.ident not in answers
    ]
    deciding = [guard for guard, _how in used if guard.ident in answers]
    decision, certain = _followed(deciding, question, answers)
    certain = certain and not any(
        _may_differ(guard, how, question, answer=answers[guard.ident]) for guard, how in taking
    )
    return ModulesSaid(decision, certain, rows)


async def _looked_up(guard: Guarded, how: Asking, question: Question) -> tuple[Answer, float]:
    """What a module would answer to the right password, and how long it took."""
    began = monotonic()
    if question.kind == SCRAM:
        return _by_our_keys(await guard.put(first_step(guard.module, question), question, how), question), (
            monotonic() - began
        )
    found = await guard.look_up(question, how)
    if isinstance(found, KnownUser):
        if question.kind == CHALLENGE and found.route.secret is None:
            # Who can prove the answer to a challenge has the password itself, and tells it to the backend.
            found = found._replace(route=found.route._replace(secret=Secret(ANY_PASSWORD)))
        right = Refused(found.route, locked=True) if found.locked else Authenticated(found.route, found.limits)
        answer = placed(right, how.terms.allow, how.terms.like)
    else:
        answer = UNKNOWN if found is None else found
    assert isinstance(answer, Answer)
    return answer, monotonic() - began


def _by_our_keys(answer: object, question: Question) -> Answer:
    """The answer with keys of the password that is said where none is known; who has none gets none."""
    assert isinstance(answer, Answer)
    assert isinstance(question.proof, KeysWanted)
    if isinstance(answer, HandedOn):
        return NEEDS_PASSWORD
    if not isinstance(answer, Provable) or answer.keys.fit_nobody:
        return answer
    keys = keys_of(ANY_PASSWORD, question.proof.salt[:USUAL_SALT])
    assert keys is not None
    return replace(answer, keys=keys)


def _followed(guards: Sequence[Guarded], question: Question, answers: Mapping[str, Answer]) -> tuple[Decision, bool]:
    """What the answers come to, by the rules of the chain; and whether a module that was not asked could change it."""
    unasked = [guard.ident for guard in guards if answers[guard.ident] is NEEDS_PASSWORD]
    steps = chain.rounds([guard.module for guard in guards], question, hide_unknown=False)
    try:
        step = next(steps)
        while True:
            said = answers[step.module.ident] if step.what in (CHECK, KEYS) else False
            step = steps.send(UNKNOWN if said is NEEDS_PASSWORD else said)
    except StopIteration as end:
        decision: Decision = end.value
    order = [guard.ident for guard in guards]
    decides = getattr(decision, "identified_by", order[-1] if order else "")
    return decision, not any(order.index(ident) < order.index(decides) or ident == decides for ident in unasked)


def _found(guard: Guarded, how: Asking, question: Question) -> str:
    """Whether the answer to this login stands in the module's cache."""
    if not how.terms.cache and not how.terms.negative:
        return ""
    found = guard.cached(question)
    return "hit" if found is not None and found.is_fresh(monotonic()) else "miss"


def _remembered(guard: Guarded, how: Asking, question: Question, *, answer: object) -> str:
    """What the cache has of this user, whatever his password was, that a login would hear."""
    if not how.terms.cache and not how.terms.negative:
        return ""
    now, stale = monotonic(), _stale(how, answer)
    counted: list[CachedAnswer] = [
        one
        for one in guard.cache.about(question.namespace, question.user)
        if one.is_fresh(now) or one.is_useful(now, stale)
    ]
    admits = sum(isinstance(one.answer, Authenticated) for one in counted)
    return f"{admits} of {len(counted)} answers that are remembered of him let him in" if counted else "nothing of him"


def _stale(how: Asking, answer: object) -> float:
    """For how long over its time an answer that lets in counts, where the module gives this one now."""
    return how.terms.stale if tells_nothing(answer) else 0.0


def _may_differ(guard: Guarded, how: Asking, question: Question, *, answer: object) -> bool:
    """Whether a login may be let in by what is remembered of this user, though this is the answer: with the password
    that was right then.
    """
    if how.terms.shadow or not how.terms.cache or isinstance(answer, Authenticated):
        return False
    now, stale = monotonic(), _stale(how, answer)
    return any(one.is_useful(now, stale) for one in guard.cache.about(question.namespace, question.user))


def _row(guard: Guarded, how: Asking, answer: object, *, seconds: float, cache: str) -> dict[str, Any]:
    route = getattr(answer, "route", None)
    return {
        "module": guard.ident,
        "on_trial": how.terms.shadow,
        "answer": "needs_password" if answer is NEEDS_PASSWORD else word_of(answer),
        "reason": answer.reason if isinstance(answer, (CannotTell, Refused)) else "",
        "locked": isinstance(answer, (Refused, Provable)) and answer.locked,
        "seconds": None if answer is NEEDS_PASSWORD else round(seconds, 6),
        "cache": cache,
        "route": None if route is None else _route(route),
    }


def _route(route: Route) -> dict[str, Any]:
    """A route as JSON has it: of its secret only whose it is."""
    return {
        "backend": route.backend,
        "server": None if route.server is None else f"{_bracketed(route.server[0])}:{route.server[1]}",
        "target": route.target,
        "password": "of the client" if route.secret is None else "of the module",
        "flags": route.flags,
    }


def _bracketed(address: str) -> str:
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
