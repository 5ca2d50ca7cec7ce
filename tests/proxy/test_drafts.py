"""Whole configurations: draft, check, apply, confirm, rollback, as deeds; the sentences that a draft takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.control.language import Refused
from supervisor.control.outcome import Confirm, Past, Replacement, Rollback, Trial
from tests.proxy.desk import Desk

_TAKES_NOTHING = [
    ("sessions", "sets nothing"),
    ("show config", "sets nothing"),
    ("show", "sets nothing"),
    ("workers", "sets nothing"),
    ("debug", "sets nothing"),
    ("vserv list", "sets nothing"),
    ("help", "sets nothing"),
    ("json show", "sets nothing"),
    ("complete v", "sets nothing"),
    ("shutdown all", "an order"),
    ("shutdown delayed", "an order"),
    ("kill p.1.1", "an order"),
    ("workers recycle", "an order"),
    ("pdm reload m", "an order"),
    ("draft apply", "an order"),
    ("draft begin", "an order"),
    ("draft say set grace 1", "an order"),
    ("confirm", "an order"),
    ("rollback", "an order"),
]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refused(desk: Desk, line: str) -> str:
    """The text with which a sentence is refused; neither the config nor the draft has changed."""
    before = desk.config, desk.draft, desk.past
    with pytest.raises(Refused) as refusal:
        desk.say(line)
    assert (desk.config, desk.draft, desk.past) == before
    return str(refusal.value)


def drafted(desk: Desk, *lines: str) -> None:
    desk.say("draft begin")
    for line in lines:
        desk.say(f"draft say {line}")


def test_a_draft_begins_where_the_program_began(desk: Desk) -> None:
    """What is running is no part of it: what it does not say goes."""
    desk.say("backend conf old")
    desk.say("set grace 5s")
    drafted(desk, "backend conf new")
    assert desk.lines("draft show")[:3] == ["- set grace 5s", "- backend conf old", "+ backend conf new"]
    outcome = desk.say("draft apply")
    assert isinstance(outcome, Replacement)
    assert desk.lines("show config") == ["backend conf new"]
    assert desk.config.variables["grace"] == 0


def test_without_a_draft(desk: Desk) -> None:
    """Every sentence about a draft says that it has to be begun; and there is one at a time."""
    for line in ("draft say set grace 1", "draft show", "draft check", "draft apply", "draft drop"):
        assert "say `draft begin` first" in refused(desk, line)
    desk.say("draft begin")
    assert "begun already" in refused(desk, "draft begin")
    desk.say("draft drop")
    assert desk.draft is None
    desk.say("draft begin")


@pytest.mark.parametrize(("line", "why"), _TAKES_NOTHING)
def test_what_is_no_configuration_is_refused(desk: Desk, line: str, why: str) -> None:
    """Sentences that only show, and orders, are refused in a draft; the column is that of the request."""
    drafted(desk, "pdm add m any b")
    text = refused(desk, f"draft say {line}")
    assert text.startswith("column 11: ")
    assert "cannot stand in a configuration" in text
    assert why in text


def test_errors_have_the_column_of_the_request(desk: Desk) -> None:
    """Also in a line that begins with blanks, as it stands in a file."""
    drafted(desk)
    assert refused(desk, "draft say set grcae 1").startswith('column 15: no variable "grcae"')
    assert refused(desk, "draft say   set grcae 1").startswith("column 17: ")
    assert refused(desk, 'draft say set grace "1').startswith("column 21: a quote is not closed")


def test_rules_about_steps_look_at_the_draft(desk: Desk) -> None:
    """A virtual server may move to another port at once; within one file, the same step is still refused."""
    desk.say("vserv conf v port 1110 state online")
    assert "only be changed while it is offline" in refused(desk, "vserv conf v port 1111")
    drafted(desk, "vserv conf v port 1111 state online")
    assert "only be changed while it is offline" in refused(desk, "draft say vserv conf v port 1112")
    desk.say("draft apply")
    assert desk.config.things["vserv"]["v"].port == 1111


def test_maxsession_is_never_lowered(desk: Desk) -> None:
    """A file that leaves it lower than it is now is refused, with the reason; one that says as much is not."""
    desk.say("set maxsession 5000")
    drafted(desk, "set grace 1s")
    for line in ("draft apply", "draft check"):
        assert refused(desk, line).startswith("maxsession: it is 5000 and can only be increased")
    desk.say("draft say set maxsession 5000")
    desk.say("draft apply")
    assert desk.config.variables["maxsession"] == 5000


def test_what_is_equal_is_the_same(desk: Desk) -> None:
    """A module that was reloaded meanwhile is not reloaded by a file that says it as it is."""
    desk.say("pdm add m any b")
    desk.say("pdm reload m")
    running = desk.config.things["pdm"]["m"]
    drafted(desk, "pdm add m any b", "set grace 1s")
    desk.say("draft apply")
    assert desk.config.things["pdm"]["m"] is running
    assert running.reloads == 1


def test_nothing_differs(desk: Desk) -> None:
    """The same configuration again is no change: the generation stays, and there is nothing to confirm."""
    desk.say("backend conf b")
    drafted(desk, "backend conf b")
    before = desk.config
    outcome = desk.say("draft apply confirm 60")
    assert "nothing differs" in outcome.text
    assert desk.config is before
    assert desk.draft is None
    assert desk.past is None


def test_a_set_whose_file_has_changed_differs(desk: Desk, tmp_path: Path) -> None:
    """`capa load` reads the file anew: the line is the same, and yet the set is named as changed."""
    (tmp_path / "set").write_text("TOP\n")
    lines = [f"set capadir {tmp_path}", "capa load set"]
    for line in lines:
        desk.say(line)
    (tmp_path / "set").write_text("TOP\nUIDL\n")
    drafted(desk, *lines)
    assert desk.lines("draft show") == ["# changed: capa set"]
    desk.say("draft apply")
    assert desk.lines("capa show set") == ["TOP", "UIDL"]


def test_seeds_are_mixed(desk: Desk, tmp_path: Path) -> None:
    """Every prng line of a file feeds the generator, however many there are, in a bounded length."""
    (tmp_path / "a").write_bytes(b"a" * 2000)
    (tmp_path / "b").write_bytes(b"b" * 2000)
    drafted(desk, f"prng {tmp_path}/a", f"prng {tmp_path}/b 2000")
    outcome = desk.say("draft apply")
    assert isinstance(outcome, Replacement)
    assert len(outcome.seed) == 64
    assert "aaaa" not in repr(outcome)


def test_check_changes_nothing(desk: Desk) -> None:
    """It gives the config to try, and the draft is still there."""
    drafted(desk, "backend conf b")
    outcome = desk.say("draft check")
    assert isinstance(outcome, Trial)
    assert "b" in outcome.config.things["backend"]
    assert "b" not in desk.config.things["backend"]
    desk.say("draft apply")


def test_confirm(desk: Desk) -> None:
    """`apply confirm TIME` asks for a confirmation; without one awaited `confirm` is refused."""
    assert refused(desk, "confirm") == "no confirmation is awaited"
    drafted(desk, "backend conf b")
    outcome = desk.say("draft apply confirm 5m")
    assert isinstance(outcome, Replacement)
    assert outcome.confirm_seconds == 300
    assert desk.past is not None
    desk.past = replace(desk.past, seconds_left=299)
    assert isinstance(desk.say("confirm"), Confirm)
    assert desk.lines("show config")[0] == ("# awaits `confirm`: 299 s left, then the configuration before comes back")
    assert desk.say("show config").data == ["backend conf b"]
    for text in ("draft apply confirm 0", "draft apply confirm x", "draft apply confirm", "draft apply conform 5m"):
        refused(desk, text)


def test_rollback(desk: Desk) -> None:
    """It goes back to what was before the apply, whatever was said since, once."""
    assert "nothing to go back to" in refused(desk, "rollback")
    desk.say("backend conf old")
    drafted(desk, "backend conf new", "set maxsession 4000")
    desk.say("draft apply")
    desk.say("set grace 7s")
    outcome = desk.say("rollback")
    assert isinstance(outcome, Rollback)
    assert "note: as it was it cannot be again, so it stays: maxsession" in outcome.text
    assert desk.lines("show config") == ["set maxsession 4000", "backend conf old"]
    assert "nothing to go back to" in refused(desk, "rollback")


def test_a_past_module_is_the_running_one(desk: Desk) -> None:
    """Going back does not reload a module that is as it was."""
    desk.say("pdm add m any b")
    past = desk.config
    desk.say("pdm reload m")
    desk.past = Past(past)
    desk.say("rollback")
    assert desk.config.things["pdm"]["m"].reloads == 1


def test_completion_in_a_draft(desk: Desk) -> None:
    """Words behind `draft say` are completed with what the draft has."""
    drafted(desk, "backend conf bravo")
    assert desk.language.complete("draft say backend conf b", desk) == ["bravo"]
    assert desk.language.complete("draft ap", desk) == ["apply"]
    assert "vserv" in desk.language.complete("draft say ", desk)
