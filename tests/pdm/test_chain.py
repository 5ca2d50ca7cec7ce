"""The chain: who is asked, in which order, and what comes of it."""

import itertools
from functools import partial

import pytest

from popular.pdm.contract import (
    Authenticated,
    CannotTell,
    Module,
    ModuleFailed,
    Question,
    Refused,
    Route,
    Secret,
    Unknown,
)
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from tests.pdm.asking import ask

CANARY = "canary-4711"
QUESTION = Question("127.0.0.1", "POP3", "default", user="joe", password=Secret(CANARY.encode()), vserv="v1")
HERE, THERE = Route("b1", "joe"), Route("b2", "j")


class Scripted(Module):
    """Says what its script says. An exception in the script is raised."""

    def __init__(self, ident, check=Unknown(), authenticate=False, flags="", blocking=False, asked=None):  # noqa: B008
        self.ident, self.flags, self.blocking, self.arguments = ident, flags, blocking, ()
        self._check, self._authenticate = check, authenticate
        self.asked = [] if asked is None else asked
        self.said = []

    def check(self, question):
        assert question is QUESTION
        self.asked.append(f"{self.ident}?")
        return self._say("check", self._check)

    def authenticate(self, question, route):
        assert question is QUESTION
        self.asked.append(f"{self.ident}!{route.backend}")
        return self._say("authenticate", self._authenticate)

    def _say(self, word, reply):
        self.said.append((word, reply))
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def reload(self):
        return self


YES, NO, NOT_ME, DOWN = Authenticated(HERE), Refused(HERE), Unknown(), ModuleFailed("the database is down")

CASES = [
    # what each module (a, b, c) says to check, and to authenticate → decision, and who was asked in which order
    ([], NobodyKnows(), ""),
    ([(NOT_ME, False)], NobodyKnows(), "a?"),
    ([(YES, False)], Admitted(HERE, "a", "a"), "a?"),
    ([(NOT_ME, False), (YES, False)], Admitted(HERE, "b", "b"), "a? b?"),
    ([(YES, False), (Authenticated(THERE), False)], Admitted(HERE, "a", "a"), "a?"),
    ([(NO, False)], RefusedLogin("a"), "a? a!b1"),
    # one that takes everyone, after one with a list: a wrong password stays wrong
    ([(NO, False), (Authenticated(THERE), False)], RefusedLogin("a"), "a? a!b1 b!b1"),
    # the second round asks all, from the front, and the route is that of the module that knows the user; who comes in
    # by it was vouched for, also by the module that knows him
    ([(NO, False), (NOT_ME, True)], Admitted(HERE, "a", "b", vouched=True), "a? a!b1 b!b1"),
    ([(NOT_ME, True), (NO, False)], Admitted(HERE, "b", "a", vouched=True), "a? b? a!b1"),
    ([(NO, True), (NOT_ME, True)], Admitted(HERE, "a", "a", vouched=True), "a? a!b1"),
    ([(NOT_ME, False), (NO, False), (NOT_ME, True)], Admitted(HERE, "b", "c", vouched=True), "a? b? a!b1 b!b1 c!b1"),
    # failures: a later module may still let him in, but nobody may be turned away
    ([(DOWN, False)], CannotTell("a: the database is down"), "a?"),
    ([(DOWN, False), (NOT_ME, False)], CannotTell("a: the database is down"), "a? b?"),
    ([(NOT_ME, False), (DOWN, False)], CannotTell("b: the database is down"), "a? b?"),
    ([(DOWN, False), (YES, False)], Admitted(HERE, "b", "b"), "a? b?"),
    ([(DOWN, False), (NO, False)], CannotTell("a: the database is down"), "a? b? a!b1 b!b1"),
    ([(DOWN, False), (NO, False), (NOT_ME, True)], Admitted(HERE, "b", "c", vouched=True), "a? b? a!b1 b!b1 c!b1"),
    ([(NO, False), (NOT_ME, DOWN)], CannotTell("b: the database is down"), "a? a!b1 b!b1"),
    ([(NO, DOWN), (NOT_ME, True)], Admitted(HERE, "a", "b", vouched=True), "a? a!b1 b!b1"),
    ([(DOWN, False), (DOWN, False)], CannotTell("a: the database is down; b: the database is down"), "a? b?"),
    # what no module should do
    ([(KeyError(CANARY), False)], CannotTell("a: KeyError"), "a?"),
    ([(NO, ZeroDivisionError(CANARY))], CannotTell("a: ZeroDivisionError"), "a? a!b1"),
    ([(RecursionError(), False), (YES, False)], Admitted(HERE, "b", "b"), "a? b?"),
]


@pytest.mark.parametrize(("replies", "decision", "asked"), CASES)
def test_two_rounds(replies, decision, asked):
    """Each case of the table ends as it says, with exactly these questions in this order."""
    record: list[str] = []
    modules = [
        Scripted(ident, check, vouches, asked=record) for ident, (check, vouches) in zip("abc", replies, strict=False)
    ]
    assert ask(modules, QUESTION) == decision
    assert " ".join(record) == asked
    assert CANARY not in repr(decision)


REPLIES = [YES, NO, NOT_ME, DOWN, KeyError(CANARY), None, True, "yes", Authenticated(None), Refused("b1")]  # type: ignore[arg-type]
VOUCHES = [True, False, DOWN, ValueError(CANARY), None, 1, "yes"]


@pytest.mark.parametrize("replies", list(itertools.product(REPLIES, repeat=2)))
def test_every_pair_of_modules_keeps_the_rules(replies):
    """Nobody comes in without a clear yes; nobody is turned away, and nobody unknown, after an answer that was none."""
    for vouches in itertools.product(VOUCHES, repeat=2):
        modules = [Scripted(ident, *reply) for ident, *reply in zip("ab", replies, vouches, strict=True)]
        decision = ask(modules, QUESTION)
        checks = [reply for module in modules for word, reply in module.said if word == "check"]
        vouched = [reply for module in modules for word, reply in module.said if word == "authenticate"]
        all_answered = all(reply in (YES, NO, NOT_ME) for reply in checks) and all(type(v) is bool for v in vouched)
        if YES in checks or True in [vouch for vouch in vouched if type(vouch) is bool]:
            assert isinstance(decision, Admitted)
        elif not all_answered:
            assert isinstance(decision, CannotTell)
        else:
            assert decision == (RefusedLogin("a" if checks[0] == NO else "b") if NO in checks else NobodyKnows())
        assert CANARY not in repr(decision)


def test_flags_of_the_module_that_vouches_come_along():
    """A master's M is added to the route of the user, once, and nothing else of the route changes."""
    master = Scripted("m", authenticate=True, flags="M")
    decision = ask([Scripted("a", Refused(Route("b1", "joe", Secret(b"x"), flags="Q"))), master], QUESTION)
    assert decision == Admitted(Route("b1", "joe", Secret(b"x"), flags="QM"), "a", "m", vouched=True)
    decision = ask([Scripted("a", Refused(Route("b1", flags="M"))), master], QUESTION)
    assert decision == Admitted(Route("b1", flags="M"), "a", "m", vouched=True)


def test_flags_do_not_come_along_in_the_first_round():
    """A module's flags are for those whom another module found."""
    assert ask([Scripted("a", YES, flags="M")], QUESTION) == Admitted(HERE, "a", "a")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, type("PanicException", (BaseException,), {})])
def test_whatever_a_module_raises_is_its_failure(kind):
    """What is no Exception too: it is the module's own, and would end the worker."""
    assert ask([Scripted("a", kind(CANARY))], QUESTION) == CannotTell(f"a: {kind.__name__}")


@pytest.mark.parametrize(
    ("others", "spent"),
    [
        ([], 1),
        ([NOT_ME], 1),
        ([YES], 0),
        ([NO], 0),
        ([DOWN], 1),
    ],
)
def test_a_decoy_is_spent_once_and_only_on_a_user_whom_nobody_knows(others, spent):
    """Two modules offer one, the first is called, and only if no module knows the user."""
    calls: list[str] = []
    offers = [Scripted(ident, Unknown(partial(calls.append, ident))) for ident in "ab"]
    ask([*offers, *(Scripted("c", reply) for reply in others)], QUESTION)
    assert calls == ["a"] * spent


def test_the_decoy_of_the_smallest_rank_is_spent():
    """And what the second round would have cost, of all modules."""
    calls = []

    def spends(word):
        return lambda: calls.append(word)

    modules = [
        Scripted("a", Unknown(spends("a"), 0.5)),
        Scripted("b", Unknown(spends("b"), 0.2, spends("b again"))),
        Scripted("c", Unknown(None, 0.0, spends("c again"))),
        Scripted("d", Unknown(spends("d"), 0.2)),
    ]
    assert ask(modules, QUESTION) == NobodyKnows()
    assert calls == ["b", "b again", "c again"]
    calls.clear()
    ask([*modules, Scripted("e", NO)], QUESTION)
    assert calls == []


def test_a_decoy_is_not_spent_when_there_is_nothing_to_hide():
    """With a fallback backend, the proxy asks without."""
    calls = []
    assert ask([Scripted("a", Unknown(lambda: calls.append(1)))], QUESTION, hide_unknown=False) == NobodyKnows()
    assert calls == []


def test_a_decoy_that_fails_is_a_failure_of_its_module():
    """A hash library that gives up gives up for known and unknown users alike."""

    def fail():
        raise KeyError(CANARY)

    assert ask([Scripted("a", Unknown(fail))], QUESTION) == CannotTell("a: KeyError")
