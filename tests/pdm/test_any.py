"""The module `any`."""

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.pdm.contract import Authenticated, ModuleFailed, Question, Route, Secret
from popular.pdm.loader import OWN_DIRECTORY, load


def opened(*arguments):
    return load(OWN_DIRECTORY, "any", "a", arguments=arguments)


def question(user, password=b"whatever"):
    return Question("127.0.0.1", "POP3", "default", user=user, password=Secret(password), vserv="v1")


@pytest.mark.parametrize(
    ("target", "user", "expected"),
    [
        ("%u", "joe", "joe"),
        ("%u", "joe@example.org", "joe@example.org"),
        ("%n", "joe@example.org", "joe"),
        ("%n", "joe", "joe"),
        ("%n", "joe@home@example.org", "joe@home"),
        ("%n", "@example.org", ""),
        ("%d", "joe@example.org", "example.org"),
        ("%d", "joe@home@example.org", "example.org"),
        ("%d", "joe", ""),
        ("%d", "joe@", ""),
        ("%d/%n", "joe@example.org", "example.org/joe"),
        ("all", "joe", "all"),
        ("100%%/%u%%u", "joe", "100%/joe%u"),
        ("{0}{{%u}}{x}", "joe", "{0}{{joe}}{x}"),
        ("%u", "%n{0}%s", "%n{0}%s"),
        ("%%%u", "u", "%u"),
    ],
)
def test_a_target_is_filled_in(target, user, expected):
    """Placeholders of the target are replaced once; what a name holds is never read as one."""
    assert opened("b1", target).check(question(user)) == Authenticated(Route("b1", expected))


def test_without_a_target_the_clients_own_name_and_password_are_passed_on():
    """The route says nothing of either."""
    assert opened("b1").check(question("joe")) == Authenticated(Route("b1", None, None, flags=""))


@given(st.text())
def test_any_name_is_known(user):
    """No name, however odd, makes it fail."""
    assert opened("b1", "%u").check(question(user)) == Authenticated(Route("b1", user))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "BACKEND"),
        (("b1", "x", "y"), "not 3"),
        (("b 1",), "'b 1'"),
        (("",), "no backend's id"),
        (("b1", ""), "empty"),
        (("b1", "%x"), "'%x'"),
        (("b1", "mail%"), "'%'"),
        (("b1", "%%%"), "'%'"),
        (("b1", "%U"), "%u, %n, %d and %% are allowed"),
    ],
)
def test_wrong_arguments_are_refused_when_it_is_added(arguments, text):
    """The message names the word and says what is allowed."""
    with pytest.raises(ModuleFailed, match=text):
        opened(*arguments)


def test_it_vouches_for_nobody():
    """After a module with a list, it must not open the door that the list has shut."""
    assert opened("b1").authenticate(question("joe"), Route("b2")) is False


def test_it_is_cheap_and_never_waits():
    """It may be asked on the event loop: far below ten microseconds (measured: one)."""
    module, asked = opened("b1", "%d/%n"), question("joe@example.org")
    assert module.blocking is False
    assert min(timeit.repeat(lambda: module.check(asked), number=2000, repeat=5)) / 2000 < 10e-6


def test_a_reload_gives_its_equal():
    """The successor has the same id and arguments, and gives the same answers."""
    first = opened("b1", "%n")
    second = first.reload()
    assert second is not first
    assert (second.ident, tuple(second.arguments)) == ("a", ("b1", "%n"))
    assert second.check(question("joe@x")) == first.check(question("joe@x"))
