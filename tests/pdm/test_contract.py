"""A secret does not show itself, whatever is done with it."""

import copy
import dataclasses
import pickle
import traceback

import pytest

from popular.pdm.contract import Module, Question, Route, Secret, Unknown

CANARY = b"canary-4711"


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        "{}".format,
        "{:>40}".format,
        "%s".__mod__,
        "%r".__mod__,
        lambda secret: f"{secret!r}",
        lambda secret: repr([secret]),
    ],
)
def test_no_text_of_a_secret_holds_it(shown):
    """Every way to a text leads to the stars, and the same ones for every length."""
    assert "canary" not in shown(Secret(CANARY))
    assert shown(Secret(CANARY)) == shown(Secret(b""))


@pytest.mark.parametrize("handler", [pickle.dumps, copy.copy, copy.deepcopy, hash, bytes, len, vars, dict])
def test_a_secret_is_not_taken_along_by_accident(handler):
    """It cannot be pickled, copied, hashed, or taken for octets."""
    with pytest.raises(TypeError) as caught:
        handler(Secret(CANARY))
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_question_and_a_route_hide_the_secret_they_carry():
    """The values that travel through the proxy can be logged whole; asdict, which copies, refuses."""
    question = Question("127.0.0.1", "POP3", "default", user="joe", password=Secret(CANARY), vserv="v1")
    assert "joe" in repr(question)
    assert "canary" not in repr(question) + repr(Route("b1", "joe", Secret(CANARY)))
    with pytest.raises(TypeError):
        dataclasses.asdict(question)  # type: ignore[call-overload]


def test_a_secret_is_equal_to_its_own_octets_only():
    """Equality is by octets; a secret is equal to no plain bytes by ==, so that nobody compares by accident."""
    assert Secret(CANARY).equals(CANARY)
    assert not Secret(CANARY).equals(CANARY + b"x")
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret(b"")
    assert Secret(CANARY) != CANARY
    assert Secret(CANARY).reveal() == CANARY


def test_a_module_that_derives_gets_defaults():
    """Without its own answers, a module knows nobody, vouches for nobody, and is asked in a thread."""

    class Mute(Module):
        def reload(self):
            return Mute()

    question = Question("127.0.0.1", "POP3", "default", user="joe", password=Secret(CANARY), vserv="v1")
    mute = Mute()
    assert mute.check(question) == Unknown()
    assert mute.authenticate(question, Route("b1")) is False
    assert mute.blocking
    assert mute.flags == ""
    assert mute.close() is None
