"""Modules that break the contract in what nobody looks at first: fields of other types, and what is no Exception."""

import asyncio
import math
from typing import Any

import pytest

from popular.pdm.contract import (
    AsyncModule,
    Authenticated,
    CannotTell,
    KnownUser,
    Module,
    ModuleFailed,
    Provable,
    Question,
    Refused,
    Route,
    Secret,
    Unknown,
    UserAt,
    UserLimits,
)
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard
from popular.pdm.steps import CHECK, KEYS, LOOK_UP, Step, heard
from popular.protocol.scram import keys_of
from tests.patience import patient
from tests.pdm.asking import ask

QUESTION = Question("192.0.2.1", "POP3", "default", user="joe", password=Secret(b"secret"), vserv="v")
HERE = Route("store1")
UNFIT: Any = 7
UNSOUND = [
    Authenticated(Route(None)),  # type: ignore[arg-type]
    Authenticated(Route("store1", UNFIT)),
    Authenticated(Route("store1", secret="pw")),  # type: ignore[arg-type]
    Authenticated(Route("store1", flags=UNFIT)),
    Authenticated(Route("store1", server=("192.0.2.9", 110))),
    Authenticated(HERE, UserLimits("x", UNFIT, "")),  # type: ignore[arg-type]
    Authenticated(HERE, UserLimits(-1)),
    Authenticated(HERE, UserLimits(account=UNFIT)),
    Authenticated(HERE, UNFIT),
    Authenticated(HERE, cache="x"),  # type: ignore[arg-type]
    Refused(Route(UNFIT)),
    Refused(code=UNFIT),
    Refused(text=UNFIT),
    Refused(reason=UNFIT),
    Refused(code="AUTH\r\n"),
    Refused(text="no\r\n+OK"),
    Refused(wait="x"),  # type: ignore[arg-type]
    Refused(wait=math.nan),
    Refused(wait=math.inf),
    Refused(cache=-1.0),
    Unknown(rank="x"),  # type: ignore[arg-type]
    CannotTell(UNFIT),
]
PANIC = type("PanicException", (BaseException,), {})
"""What a module in Rust raises (PyO3)."""


class Odd(Module):
    """Asked by a call; it may block."""

    ident, arguments = "m", ()

    def __init__(self, said: object, *, blocking: bool = True) -> None:
        self.blocking = blocking
        self._said = said

    def check(self, question: Question) -> Any:
        del question
        if isinstance(self._said, BaseException):
            raise self._said
        return self._said

    def lead(self, namespace: str, user: str, backend: str) -> Any:
        return self.check(QUESTION._replace(namespace=namespace, user=user, vserv=backend))


class OddOnLoop(AsyncModule):
    """Asked on the loop."""

    ident, arguments = "m", ()

    def __init__(self, said: BaseException, *, at_once: bool = False) -> None:
        """`at_once`: when it is made ready."""
        self._said = said
        self._at_once = at_once

    async def ready(self) -> None:
        if self._at_once:
            raise self._said

    async def check(self, question: Question) -> Any:
        del question
        raise self._said

    async def lead(self, namespace: str, user: str, backend: str) -> Any:
        del namespace, user, backend
        raise self._said


@pytest.mark.parametrize("answer", UNSOUND)
def test_fields_of_other_types_are_no_answer(answer: object) -> None:
    """As the first module's, which is spared the rules, and as a later one's."""
    for modules in ([Odd(answer)], [Odd(Unknown()), Odd(answer)]):
        decision = ask(modules, QUESTION)
        assert isinstance(decision, CannotTell)
        assert "answered with something else than the contract allows" in decision.reason


def test_keys_and_known_users_are_looked_at_too() -> None:
    """What is sound goes through."""
    keys = keys_of(b"secret", b"salt" * 4)
    assert keys is not None
    module = Odd(None)
    for step, good, bad in (
        (KEYS, Provable(keys, HERE), Provable(keys, Route("store1", UNFIT))),
        (LOOK_UP, KnownUser(HERE), KnownUser(HERE, UNFIT)),
        (CHECK, Authenticated(HERE, UserLimits(0, 0, "joe"), 0), Authenticated(UNFIT)),
    ):
        assert heard(Step(module, step), good) is good
        with pytest.raises(ModuleFailed):
            heard(Step(module, step), bad)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, StopIteration, PANIC])
@pytest.mark.parametrize(
    "made",
    [
        Odd,
        lambda error: Odd(error, blocking=False),
        OddOnLoop,
        lambda error: OddOnLoop(error, at_once=True),
    ],
    ids=["thread", "at once", "loop", "ready"],
)
def test_what_is_no_exception_is_a_fault_of_the_module(made: Any, kind: type[BaseException]) -> None:
    """It ends neither the loop nor the question, and says its kind alone; a move is told so as well."""
    told = []

    class Told(Unheard):
        """Hears of faults."""

        def erred(self, ident: str, where: str) -> None:
            told.append((ident, where))

    async def asked() -> tuple[object, str]:
        guard = Guarded(made(kind("secret")))
        how = Asking(Terms(timeout=patient(5)), Told())
        answer = await guard.put(Step(guard.module, CHECK), QUESTION, how)
        return answer, await guard.lead(UserAt("default", "joe", "store1"), patient(5))

    answer, led = asyncio.run(asked())
    assert isinstance(answer, CannotTell)
    names = ("RuntimeError", kind.__name__)  # a coroutine cannot raise StopIteration
    assert answer.reason in names
    assert led.partition(" at ")[0] in names
    assert [ident for ident, _where in told] == ["m"]
