"""`user move` to backends that may be no place for anybody: what is refused, and what is told. Pure."""

from dataclasses import replace

import pytest

from supervisor.control.language.outcome import Move, Past, Rollback, ThingName
from supervisor.operatorstate import OrderEntry
from tests.proxy.console import Console, refused


@pytest.fixture
def console() -> Console:
    made = Console()
    for line in ("backend conf one", "backend conf two host 127.0.0.1 state online", "vserv conf v1 port 1110"):
        made.say(line)
    return made


def test_nobody_is_moved_to_what_awaits_its_confirmation(console: Console) -> None:
    """It may go by itself, and he could not log in any more. What the configuration before has too is a place; and so
    is what goes only if the operator says so.
    """
    past = console.config
    console.say("backend conf three")
    console.past = Past(past, 2)
    assert "three awaits `confirm`, and goes in 2 s without it; nothing was changed" in refused(
        console, "user move joe three"
    )
    move = console.say("user move joe two")
    assert isinstance(move, Move)
    assert move.leads_to == ThingName("backend", "two")
    console.past = replace(console.past, seconds_left=None)
    assert isinstance(console.say("user move joe three"), Move)


def test_a_rollback_shuts_out_nobody_who_is_still_being_moved(console: Console) -> None:
    """His move fails by it, and its reply says so."""
    for line in ("draft begin", "draft say backend conf three", "draft apply"):
        console.say(line)
    console.status.operator.change([OrderEntry("user move", "default:joe", {"from": "one", "to": "three"})])
    back = console.say("rollback")
    assert isinstance(back, Rollback)
    assert "cannot log in" not in back.text
    assert back.entries == ()


def test_a_place_where_nobody_can_have_his_mail_is_told(console: Console) -> None:
    """Now; perhaps it is opened later."""
    console.status.operator.change([OrderEntry("backend drain", "one", {"since": 1.0})])
    told = {}
    for ident in ("one", "two"):
        move = console.say(f"user move joe {ident}")
        assert isinstance(move, Move)
        told[ident] = [note for note in move.notes if note.startswith(f"backend {ident} is ")]
    offline, drained = told["one"]
    assert offline == "backend one is offline: nobody can have his mail there"
    assert drained.startswith("backend one is drained since 1970-01-01T00:00:01Z: nobody new comes in")
    assert told["two"] == []
