"""Where modules are asked, one by one and together."""

import pytest

from popular.pdm.contract import Answer, AsyncModule, Module, Question, Unknown
from popular.pdm.where import Where, where_asked, where_asked_together


class _OnLoop(AsyncModule):
    blocking = False

    async def check(self, question: Question) -> Answer:
        del question
        return Unknown()


def called(**said: bool) -> Module:
    """A module that is called, and says this of itself."""
    return type("Called", (Module,), said)()


@pytest.mark.parametrize(
    ("module", "where"),
    [
        (called(), Where.IN_THREADS),
        (called(local=True), Where.IN_TURN),
        (called(blocking=False), Where.AT_ONCE),
        (called(blocking=False, local=True), Where.AT_ONCE),
        (_OnLoop(), Where.ON_LOOP),
    ],
)
def test_what_a_module_says_of_itself_tells_where_it_is_asked(module: Module, where: Where) -> None:
    """A coroutine is waited for on the loop, whatever else it says."""
    assert where_asked(module) is where


def test_together_they_are_asked_where_the_one_is_that_needs_most() -> None:
    """One that may wait, or terms that want more than a call, have the whole chain asked on the loop."""
    assert where_asked_together([]) is Where.AT_ONCE
    assert where_asked_together([Where.AT_ONCE, Where.IN_TURN]) is Where.IN_TURN
    assert where_asked_together([Where.IN_THREADS]) is Where.ON_LOOP
    assert where_asked_together([Where.AT_ONCE], wants_loop=True) is Where.ON_LOOP
