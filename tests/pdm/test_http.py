"""The module `http`, as it asks: a server that has clients wait."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from popular.pdm import libpdm_http
from popular.pdm.contract import Authenticated, CannotTell, Question, Route, Secret
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard
from popular.pdm.steps import CHECK, Step
from tests.patience import patient

QUESTION = Question("192.0.2.1", "POP3", "default", user="joe", password=Secret(b"secret"), vserv="v")
OK = {"Auth-Status": "OK"}


class Scripted(libpdm_http.Http):
    """Its server gives these answers, one after the other."""

    def __init__(self, answers: list[Mapping[str, str]]) -> None:
        super().__init__("web", ("http://127.0.0.1:9/auth", "backend", "store1"))
        self.answers = answers

    async def _asked(self, question: Question) -> Mapping[str, str]:
        del question
        return self.answers.pop(0)


@pytest.mark.parametrize("seconds", ["", "0", "9"])
def test_who_is_told_to_wait_is_asked_about_once_more(monkeypatch: Any, seconds: str) -> None:
    """Then nobody can tell of him; of others it can, however many he is."""
    monkeypatch.setattr(libpdm_http, "_SHORTEST_PAUSE", 0.0)
    wait = {"Auth-Status": "WAIT", "Auth-Wait": seconds}
    module = Scripted([wait] * 20)

    async def asked() -> list[object]:
        guard = Guarded(module)
        how = Asking(Terms(timeout=patient(5), breaker=2), Unheard())
        heard = [await guard.put(Step(module, CHECK), QUESTION, how) for _ in range(5)]
        module.answers = [OK]
        heard.append(await guard.put(Step(module, CHECK), QUESTION, how))
        if seconds != "9":
            module.answers = [wait, OK]
            heard.append(await guard.put(Step(module, CHECK), QUESTION, how))
        await guard.close()
        return heard

    heard = asyncio.run(asked())
    assert heard[:5] == [CannotTell("the server has us wait")] * 5
    assert all(answer == Authenticated(Route("store1")) for answer in heard[5:])
