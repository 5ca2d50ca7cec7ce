"""Asks the modules one after the other, as they are configured, and says what came of it. Pure: it calls modules, and
nothing else.

First round, `check`: the first module that authenticates the user ends it. The first that knows him but refuses ends it
too, and begins the second round, `authenticate`: all modules are asked in order whether they vouch for this user (a
master password does). So a module that takes everyone, after one with a list, never lets a listed user in with a wrong
password. In the second round, success means the route of the module that identified him. There is none for a user who
is locked, or whose route the module does not tell.

A module that fails is passed over; if after that nobody lets the user in, nothing is known of him: `CannotTell`, and
never "refused" or "unknown". Invariant: `ask` raises nothing.

Where keys are wanted (SCRAM) the first module that knows the user ends it, and there is no second round: nobody can
vouch before anything is proven. Keys are no login: what comes of them is `ToProve`, never `Admitted`. A module that
fails makes `Undecided` of who is unknown, and a `doubt` of who is known, so that they are told the same in the end.
Where it hands the exchange on to a server (`HandedOn`), what comes of that is `ToHandOn`; and what the client says in
it (`ClientResponse`) is for this one module, whose word is the last.

The rules stand once, in `rounds`, which calls nothing: it yields what is to be put to whom (steps.py), is sent what
came of it, and returns what it all comes to (decision.py). `Asker` puts it by plain calls, `popular.pdm.guarded` on an
event loop.
"""

from collections.abc import Generator, Sequence

from popular.pdm.contract import (
    PASSWORD,
    RESPONSE,
    SCRAM,
    AnyModule,
    Authenticated,
    CannotTell,
    ClientResponse,
    HandedOn,
    Module,
    Provable,
    Question,
    Refused,
    Route,
    Unknown,
)
from popular.pdm.decision import Admitted, Decision, NobodyKnows, RefusedLogin, ToHandOn, ToProve, Undecided
from popular.pdm.steps import (
    AUTHENTICATE,
    CHECK,
    FAILING,
    KEYS,
    RESPOND,
    SPEND,
    Record,
    Step,
    call,
    failure,
    heard,
    is_sound,
    takes,
)
from popular.protocol.scram import ScramKeys
from supervisor.octets import namedtuple_of
from supervisor.system import monotonic


def rounds(
    modules: Sequence[AnyModule], question: Question, *, hide_unknown: bool = True
) -> Generator[Step, object, Decision]:
    """Both rounds. Each step is answered by what `heard` makes of it.

    `hide_unknown` spends on an unknown user what a known one would have cost. A proxy with a fallback backend has no
    use for that: there the unknown user's way is a longer one anyway.
    """
    failures: list[str] = []
    unknown: list[tuple[AnyModule, Unknown]] = []
    kind = question.kind
    if kind == RESPONSE:
        return (yield from _handed_on(modules, question))
    modules = [module for module in modules if takes(module, kind)]
    what = KEYS if kind == SCRAM else CHECK
    for module in modules:
        answer = yield namedtuple_of(Step, (module, what, None, None))
        if isinstance(answer, Authenticated) and not question.actor:
            ident = module.ident
            return namedtuple_of(Admitted, (answer.route, ident, ident, False, answer.limits))
        if isinstance(answer, Unknown):
            unknown.append((module, answer))
        elif isinstance(answer, CannotTell):
            failures.append(f"{module.ident}: {answer.reason}")
        elif isinstance(answer, Provable):
            doubt = yield from _doubt(modules, module, failures)
            known = ToProve(answer.keys, answer.route, module.ident, limits=answer.limits, locked=answer.locked)
            return known._replace(doubt=doubt)
        elif isinstance(answer, HandedOn):
            doubt = yield from _doubt(modules, module, failures)
            return ToHandOn(answer, module.ident, doubt)
        else:
            if isinstance(answer, Authenticated):
                answer = Refused(answer.route)  # by whose password? It is the actor who has to be let in.
            assert isinstance(answer, Refused), "heard"
            if what is KEYS:
                doubt = yield from _doubt(modules, module, failures)
                return Undecided(doubt) if doubt else _refused(module, answer)
            return (yield from _second_round(modules, module, answer, failures=failures))
    keys = None
    if hide_unknown:
        for step in _spending(unknown):
            spent = yield step
            if isinstance(spent, CannotTell):
                failures.append(f"{step.module.ident}: {spent.reason}")
            elif isinstance(spent, ScramKeys) and spent.are_sound:
                keys = spent
    if failures:
        reason = "; ".join(failures)
        return Undecided(reason, keys) if what is KEYS else CannotTell(reason)
    return NobodyKnows(keys)


def _doubt(
    modules: Sequence[AnyModule], identifier: AnyModule, failures: Sequence[str]
) -> Generator[Step, object, str]:
    """Which modules cannot tell: those that have failed here, and those after that fail without being asked."""
    found = list(failures)
    for module in modules[modules.index(identifier) + 1 :]:
        failing = yield Step(module, FAILING)
        if isinstance(failing, CannotTell):
            found.append(f"{module.ident}: {failing.reason}")
    return "; ".join(found)


def _handed_on(modules: Sequence[AnyModule], question: Question) -> Generator[Step, object, Decision]:
    """What one module makes of what the client has said in the exchange with the server behind it."""
    response = question.proof
    assert isinstance(response, ClientResponse), "its kind says so"
    for module in modules:
        if module.ident == response.module:
            break
    else:
        return CannotTell(f"{response.module}: it is no longer there")
    answer = yield Step(module, RESPOND)
    if isinstance(answer, Authenticated):
        return Admitted(answer.route, module.ident, module.ident, limits=answer.limits)
    if isinstance(answer, HandedOn):
        return ToHandOn(answer, module.ident, response.doubt)
    if isinstance(answer, CannotTell):
        return CannotTell(f"{module.ident}: {answer.reason}")
    assert isinstance(answer, Refused), "heard"
    return CannotTell(response.doubt) if response.doubt else _refused(module, answer)


def _spending(unknown: Sequence[tuple[AnyModule, Unknown]]) -> list[Step]:
    """What a known user would have cost: one module's first round, and the second round of all."""
    offers = [(answer.rank, at, module, answer.decoy) for at, (module, answer) in enumerate(unknown) if answer.decoy]
    work = [(module, decoy) for *_, module, decoy in sorted(offers, key=lambda offer: offer[:2])[:1]]
    work += [(module, answer.second_round) for module, answer in unknown if answer.second_round]
    return [Step(module, SPEND, decoy=decoy) for module, decoy in work]


def _second_round(
    modules: Sequence[AnyModule], identifier: AnyModule, refused: Refused, *, failures: list[str]
) -> Generator[Step, object, Decision]:
    route, ident = refused.route, identifier.ident
    if route is not None and not refused.locked:
        for module in modules:
            vouches = yield Step(module, AUTHENTICATE, route)
            if isinstance(vouches, CannotTell):
                failures.append(f"{module.ident}: {vouches.reason}")
            elif vouches:
                return Admitted(_flagged(route, module.flags), ident, module.ident, vouched=True)
    if failures:
        return CannotTell("; ".join(failures))
    return _refused(identifier, refused)


def _refused(identifier: AnyModule, refused: Refused) -> RefusedLogin:
    return RefusedLogin(
        identifier.ident, refused.locked, refused.code, wait=refused.wait, text=refused.text, reason=refused.reason
    )


def _flagged(route: Route, flags: str) -> Route:
    new = "".join(flag for flag in flags if flag not in route.flags)
    return route._replace(flags=route.flags + new) if new else route


class Asker:
    """Puts questions to these modules by plain calls."""

    __slots__ = ("_first", "_ident", "_modules")

    def __init__(self, modules: Sequence[Module]) -> None:
        self._modules = modules
        self._first: Module | None = None
        """The first one, if it takes passwords."""
        self._ident = ""
        if modules and takes(modules[0], PASSWORD):
            self._first = modules[0]
            self._ident = modules[0].ident

    def ask(self, question: Question, record: Record, hide_unknown: bool) -> Decision:
        """Both rounds. `record` is filled in, also by what is passed over."""
        began = monotonic()
        answer = None
        first = self._first
        # Most logins are the first module's to decide; they are spared what the rules cost.
        if first is not None and question.token is None and question.proof is None and not question.actor:
            try:
                answer = first.check(question)
            except (
                BaseException
            ) as error:  # Rust's panic is one: nothing that a module raises is to be more than its own
                answer = failure(error)
            if type(answer) is Authenticated and is_sound(answer):
                ident = self._ident
                record.asked.append((ident, monotonic() - began, answer))
                return namedtuple_of(Admitted, (answer.route, ident, ident, False, answer.limits))
        return _ask_on(self._modules, question, record, hide_unknown=hide_unknown, first=answer, began=began)


def _ask_on(
    modules: Sequence[Module],
    question: Question,
    record: Record,
    *,
    hide_unknown: bool,
    first: object,
    began: float,
) -> Decision:
    """From the answer of the first module on, if there is one."""
    steps = rounds(modules, question, hide_unknown=hide_unknown)
    try:
        step = next(steps)
        while True:
            try:
                answer = heard(step, call(step, question) if first is None else first)
            except BaseException as error:
                answer = failure(error)
            now = monotonic()
            record.add(step, now - began, answer)
            first, began = None, now
            step = steps.send(answer)
    except StopIteration as end:
        decision: Decision = end.value
        return decision
