"""What differs between two configurations: lines that go and come, and what they mean."""

import time
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from supervisor.control.commands.difference import compare, difference
from supervisor.control.files.rcfile import COMES, GOES
from tests.patience import patient
from tests.proxy.console import Console

LINES = st.lists(st.sampled_from("abcdef"), max_size=9)


def applied(old: Sequence[str], changes: Sequence[str]) -> bool:
    """Whether going through both at once works: each line of `old` stays or goes, in order."""
    gone = [line.removeprefix(GOES) for line in changes if line.startswith(GOES)]
    here = iter(old)
    return all(line in here for line in gone)


@given(LINES, LINES)
def test_what_goes_is_there_and_what_comes_is_wanted(old: list[str], new: list[str]) -> None:
    """Taking the lines that go out of the old ones leaves what the new ones are without those that come."""
    changes = list(compare(old, new))
    goes = sorted(line.removeprefix(GOES) for line in changes if line.startswith(GOES))
    comes = sorted(line.removeprefix(COMES) for line in changes if line.startswith(COMES))
    assert applied(old, changes)
    assert sorted([*old, *comes]) == sorted([*new, *goes])
    assert bool(changes) == (old != new)


def test_a_changed_line_goes_before_it_comes() -> None:
    """At its place; what stays is not printed; a line that has moved goes and comes."""
    assert list(compare(["a", "b", "c"], ["a", "x", "c"])) == ["- b", "+ x"]
    assert list(compare(["a", "b", "c"], ["b", "c", "a"])) == ["- a", "+ a"]
    assert list(compare(["a", "a"], ["a"])) == ["- a"]
    assert list(compare([], ["a"])) == ["+ a"]


def test_long_files_are_compared_quickly() -> None:
    """20,000 lines of which every second one is another one, and 20,000 in reverse: hundredths of a second,
    where one that compared each with each would need minutes.
    """
    old = [f"line {number}" for number in range(20_000)]
    new = [line if number % 2 else f"other {number}" for number, line in enumerate(old)]
    began = time.process_time()
    assert len(list(compare(old, new))) == 20_000
    assert len(list(compare(old, old[::-1]))) == 2 * 19_999
    assert time.process_time() - began < patient(10.0)


def test_names_tell_what_it_means() -> None:
    """New, gone, changed; variables, things, debug options, and an order that matters."""
    console = Console()
    for line in ("set grace 5s", "backend conf a", "backend conf b", "pdm add m any a", "pdm add n any b"):
        console.say(line)
    before = console.config
    for line in ("set grace 6s", "backend del a", "backend conf b port 111", "backend conf c", "debug +NET"):
        console.say(line)
    console.say("pdm del m")
    console.say("pdm add m any a")
    after, console.config = console.config, before

    found = difference(console, after)
    assert found.lines == (
        "- set grace 5s",
        "- backend conf a",
        "- backend conf b",
        "+ set grace 6s",
        "+ backend conf b port 111",
        "+ backend conf c",
        "+ pdm add n any b",
        "- pdm add n any b",
        "+ debug =NET",
    )
    assert found.new == ("backend c",)
    assert found.gone == ("backend a",)
    assert found.changed == ("variable grace", "backend b", "order of pdm", "debug options")
    assert found.summary() == "1 new, 1 gone, 4 changed"
    assert found.text_lines()[-3:] == [
        "# new: backend c",
        "# gone: backend a",
        "# changed: variable grace, backend b, order of pdm, debug options",
    ]


def test_a_config_does_not_differ_from_itself() -> None:
    """Nothing is printed, and it counts as no difference."""
    console = Console()
    console.say("backend conf a")
    found = difference(console, console.config)
    assert not found
    assert (found.summary(), found.text_lines()) == ("nothing differs", [])


def test_what_was_set_is_shown_although_it_is_the_default() -> None:
    """So that a start elsewhere, where the default is another one, makes the same; what was never set is not."""
    console = Console({"sessionlimit": 500})
    prefix = console.config.variables["sidprefix"]
    console.say("set maxsession 500")
    console.say(f"set sidprefix {prefix}")
    shown = console.lines("show config")
    assert shown == ["set maxsession 500", f"set sidprefix {prefix}"]
    roomier = Console()
    roomier.starting = True
    for line in ("draft begin", *(f"draft say {line}" for line in shown), "draft apply"):
        roomier.say(line)
    assert roomier.config.variables["maxsession"] == 500


def test_a_default_that_is_said_is_no_difference_in_effect() -> None:
    """It is told, and can be applied; but who asks whether something differs hears that nothing does."""
    console = Console()
    for line in ("set workers 4", "set grace 5s", "set grace 0", "backend conf b", "pdm add m any b"):
        console.say(line)
    console.say("draft begin")
    for line in ("set workers 4", "backend conf b port 110", "pdm add m any b", "pdm conf m threads 8"):
        console.say(f"draft say {line}")
    reply = console.say("draft show")
    assert reply.text == "nothing differs in effect, 3 said otherwise"
    assert reply.data_lines() == [
        "- set grace 0s",
        "- backend conf b",
        "+ backend conf b port 110",
        "+ pdm conf m threads 8",
        "# said otherwise: variable grace, backend b, pdm m",
    ]
    console.say("draft apply")
    assert console.lines("show config") == [
        "set workers 4",
        "backend conf b port 110",
        "pdm add m any b",
        "pdm conf m threads 8",
    ]
    console.say("rollback")
    assert console.lines("show config") == ["set grace 0s", "set workers 4", "backend conf b", "pdm add m any b"]
