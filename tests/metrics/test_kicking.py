"""The key that kicks: whom it may be about, and that it is asked twice."""

from dataclasses import replace

import pytest

from metrics import kicking
from metrics.kicking import Kick, KickTarget, targets_of_sessions
from popular.proxy.program import PROGRAM
from supervisor.control.language.language import Language
from supervisor.control.words import split
from supervisor.master.accounting import table_layout

LAYOUT = table_layout(PROGRAM, 3, {"sessionlimit": 10, **PROGRAM.ceilings})
TARGETS = [KickTarget(("kick", "user", "joe"), 3), KickTarget((), 0), KickTarget(("kick", "user", 'a "b"'), 1)]


def played(*keys: str, place: int = 0) -> Kick | None:
    kick: Kick | None = Kick(place)
    for key in keys:
        assert kick is not None, keys
        kick = kicking.press(kick, key, TARGETS)
    return kick


def test_it_is_asked_twice_and_by_two_keys() -> None:
    """A line is chosen, y, Y; a key that is held down is no second yes. What is asked says whom, and how many."""
    once = played("return")
    assert once is not None
    assert once.question() == "kick user joe: 3 sessions. y goes on, any other key leaves it"
    twice = played("return", "y")
    assert twice is not None
    assert not twice.is_sure
    assert twice.question() == "Really, kick user joe, 3 sessions? Y (a capital) does it, any other key leaves it"
    sure = played("return", "y", "Y")
    assert sure is not None
    assert (sure.is_sure, sure.line) == (True, "kick user joe")


@pytest.mark.parametrize(
    "keys",
    [("escape",), ("x",), ("return", "Y"), ("return", "return"), ("return", "y", "y"), ("return", "y", "escape"),
     ("down", "return"), ("q",)],
)  # fmt: skip
def test_anything_else_leaves_it(keys: tuple[str, ...]) -> None:
    """Also a line of somebody whose name is not known."""
    assert played(*keys) is None


def test_the_mark_stays_on_the_lines() -> None:
    """And a name is said as one word, whatever it is."""
    chosen = played("up", "end", "down", "return", "y", "Y")
    assert chosen is not None
    assert split(chosen.line) == ["kick", "user", 'a "b"']
    beyond = played("return", "y", "Y", place=99)
    assert beyond is not None
    assert beyond.place == 2


def test_the_commands_are_those_of_the_program() -> None:
    """A session's user at its virtual server, of whom all sessions are counted, those not shown among them."""
    joe = {"user": "joe", "vserv": "v", "sid": "1"}
    living = [joe, joe | {"sid": "2"}, joe | {"vserv": "w"}, joe | {"user": ""}]
    found = targets_of_sessions(LAYOUT, [living[0], living[3]], living)
    assert [(one.words, one.sessions) for one in found] == [(("kick", "user", "joe", "vserv", "v"), 2), ((), 0)]
    language = Language(PROGRAM.commands)
    for words in (found[0].words, *(look.kick for look in LAYOUT.looks)):
        assert language.match(list(split(" ".join(words))))[0].pattern.startswith("kick <what> <whom>")


def test_as_many_as_the_table_tells_are_only_some() -> None:
    """`kick user` ends those at all virtual servers of his namespace, and under the other names of his account."""
    joe = {"user": "joe", "vserv": "v"}
    (target,) = targets_of_sessions(LAYOUT, [joe], [joe])
    assert Kick(0, target).question() == "kick user joe vserv v: 1 session at least. y goes on, any other key leaves it"
    assert Kick(0, TARGETS[0]).question() == "kick user joe: 3 sessions. y goes on, any other key leaves it"


@pytest.mark.parametrize(("name", "is_named"), [("x" * 95, True), ("x" * 96, False), ("x" * 93 + "\ufffd", False)])
def test_a_name_that_may_be_cut_is_nobodys(name: str, is_named: bool) -> None:
    """The column has 96 octets, and a name may have more: with the rest of it, it is another user's."""
    joe = {"user": name, "vserv": "v" * 64}
    (target,) = targets_of_sessions(LAYOUT, [joe], [joe])
    assert bool(target.words) is is_named


def test_a_table_without_commands_has_nobody_to_kick() -> None:
    """As that of a program that has none, or of an older release."""
    (target,) = targets_of_sessions(replace(LAYOUT, kick=()), [{"user": "joe"}], [{"user": "joe"}])
    assert target.words == ()
