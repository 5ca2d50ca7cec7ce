"""The chain keeps nothing of one login for the next one."""

import asyncio
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from popular.pdm.contract import Answer, Authenticated, CannotTell, Module, Question, Refused, Route, Secret
from popular.pdm.decision import Admitted, RefusedLogin
from popular.pdm.guarded import Guarded, Terms
from popular.proxy.program import PROGRAM
from popular.proxy.session.shared.module_chain import ModuleChain, word_of
from supervisor.master.accounting import table_layout
from supervisor.runtime.logline import Lines
from supervisor.runtime.oftenlog import OftenLog
from supervisor.serving.counters import Counters
from supervisor.table.indexes import CounterIndexes
from supervisor.table.segment import Segment, remove
from tests.patience import patient

NAME = f"/popular-test-chain-{os.getpid()}"


class Heard(OftenLog):
    """A log whose lines nobody reads. About one user it fails, as only an error of ours can."""

    def __call__(self, *_line: object, **_fields: object) -> None: ...

    def debug(self, *_line: object, **fields: object) -> None:
        if fields.get("user") == "odd":
            raise ZeroDivisionError


class Locked(Refused):
    """A module's own kind of refusal."""


class Guest(Authenticated):
    """A module's own kind of user."""


class Users(Module):
    """Knows everybody, and refuses some."""

    ident = "users"
    blocking = False

    def check(self, question: Question) -> Answer:
        if question.user == "locked":
            return Locked()
        return (Guest if question.user == "guest" else Authenticated)(Route("b1", question.user))


@pytest.fixture
def chain(request: pytest.FixtureRequest) -> Iterator[ModuleChain]:
    """On whatever loop runs, if its terms want one."""
    segment = Segment.create(NAME, table_layout(PROGRAM, 3, {"sessionlimit": 10, "vserv": 2, "backend": 2}))
    counters = Counters(segment.layout, segment.block(1), CounterIndexes(segment).settle({"pdm": {"users": None}}))
    observers = {"users": counters.observer("module_duration", "users")}
    loop: Any = SimpleNamespace(create_task=lambda work: asyncio.get_running_loop().create_task(work))
    log = Heard(Lines("pproxy"), True)
    log.options = frozenset({"AUTH"})
    context: Any = SimpleNamespace(log=log, loop=loop)
    queue: Any = None
    guards = [(Guarded(Users()), getattr(request, "param", Terms()))]
    yield ModuleChain(guards, queue, context, threads=1, counters=counters, observers=observers)
    remove(NAME)


def asked_by(user: str) -> Question:
    return Question("127.0.0.1", "POP3", "default", user, Secret(b"secret"), "v1")


def ask(chain: ModuleChain, user: str) -> object:
    return chain.ask(asked_by(user), True, "p01.1.2")


def test_a_login_that_went_wrong_spoils_no_other(chain: ModuleChain) -> None:
    """Nothing is known of that user, as where the modules are asked later; and what they have answered in it is not
    counted, or told, with the next one.
    """
    assert ask(chain, "odd") == CannotTell("an error of ours")
    assert ask(chain, "ann") == Admitted(Route("b1", "ann"), "users", "users")


@pytest.mark.parametrize("chain", [Terms(), Terms(cache=60.0)], indirect=True)
@pytest.mark.parametrize("way", ["by calls", "on the loop"])
def test_a_modules_own_kinds_of_answers_count_as_those_of_the_contract(chain: ModuleChain, way: str) -> None:
    """They are no fault of anybody."""

    def asked(user: str) -> object:
        if way == "by calls":
            return ask(chain, user)
        return asyncio.run(chain.ask_on_loop(asked_by(user), True, "p01.1.2"))[0]

    assert asked("locked") == RefusedLogin("users", False, "")
    assert asked("guest") == Admitted(Route("b1", "guest"), "users", "users")
    assert [word_of(answer) for answer in (Locked(), Guest(Route("b1")))] == ["refused", "authenticated"]


@pytest.mark.parametrize("chain", [Terms(cache=60.0)], indirect=True)
def test_an_error_of_ours_leaves_no_login_waiting(chain: ModuleChain) -> None:
    """On the loop, where nobody hears what a task raises."""

    async def decided() -> object:
        heard: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        chain.ask_later(asked_by("odd"), True, "p01.1.2", decided=heard.set_result)
        return await asyncio.wait_for(heard, patient(5))

    assert asyncio.run(decided()) == CannotTell("an error of ours")
