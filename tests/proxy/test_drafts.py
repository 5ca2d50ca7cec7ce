"""Whole configurations: draft, check, apply, confirm, rollback, as handlers; the commands that a draft takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.control.language.outcome import Confirm, Past, Replacement, Rollback, Trial
from supervisor.control.words import CommandRefused
from tests.proxy.console import Console

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
    ("shutdown all", "it is done once"),
    ("shutdown delayed", "it is done once"),
    ("kill p.1.1", "it is done once"),
    ("workers recycle", "it is done once"),
    ("pdm reload m", "it is done once"),
    ("draft apply", "it is done once"),
    ("draft begin", "it is done once"),
    ("draft say set grace 1", "it is done once"),
    ("confirm", "it is done once"),
    ("rollback", "it is done once"),
]


@pytest.fixture
def console() -> Console:
    return Console()


def refused(console: Console, line: str) -> str:
    """The text with which a command is refused; neither the config nor the draft has changed."""
    before = console.config, console.draft, console.past
    with pytest.raises(CommandRefused) as refusal:
        console.say(line)
    assert (console.config, console.draft, console.past) == before
    return str(refusal.value)


def drafted(console: Console, *lines: str) -> None:
    console.say("draft begin")
    for line in lines:
        console.say(f"draft say {line}")


def test_a_seed_that_has_done_its_work_may_be_gone(console: Console, tmp_path: Path) -> None:
    """What `show config` tells must be taken as long as it is in force; nobody else's file is passed over."""
    seed = tmp_path / "seed"
    seed.write_bytes(bytes(2000))
    console.say(f"prng {seed}")
    seed.unlink()
    assert "No such file" in refused(console, f"prng {seed}")
    drafted(console, f"prng {seed} 1024")
    assert "No such file" in refused(console, f"draft say prng {seed}2")
    assert console.lines("draft show") == []


def test_a_draft_begins_where_the_program_began(console: Console) -> None:
    """What is running is no part of it: what it does not say goes."""
    console.say("backend conf old")
    console.say("set grace 5s")
    drafted(console, "backend conf new")
    assert console.lines("draft show")[:3] == ["- set grace 5s", "- backend conf old", "+ backend conf new"]
    outcome = console.say("draft apply")
    assert isinstance(outcome, Replacement)
    assert console.lines("show config") == ["backend conf new"]
    assert console.config.variables["grace"] == 0


def test_without_a_draft(console: Console) -> None:
    """Every command about a draft says that it has to be begun; and there is one at a time."""
    for line in ("draft say set grace 1", "draft show", "draft check", "draft apply", "draft drop"):
        assert "say `draft begin` first" in refused(console, line)
    console.say("draft begin")
    assert "begun already" in refused(console, "draft begin")
    console.say("draft drop")
    assert console.draft is None
    console.say("draft begin")


@pytest.mark.parametrize(("line", "why"), _TAKES_NOTHING)
def test_what_is_no_configuration_is_refused(console: Console, line: str, why: str) -> None:
    """Commands that only show, and orders, are refused in a draft; the column is that of the request."""
    drafted(console, "pdm add m any b")
    text = refused(console, f"draft say {line}")
    assert text.startswith("column 11: ")
    assert "cannot stand in a configuration" in text
    assert why in text


def test_errors_have_the_column_of_the_request(console: Console) -> None:
    """Also in a line that begins with blanks, as it stands in a file."""
    drafted(console)
    assert refused(console, "draft say set grcae 1").startswith('column 15: no variable "grcae"')
    assert refused(console, "draft say   set grcae 1").startswith("column 17: ")
    assert refused(console, 'draft say set grace "1').startswith("column 21: a quote is not closed")


def test_rules_about_steps_look_at_the_draft(console: Console) -> None:
    """A virtual server may move to another port at once; within one file, the same step is still refused."""
    console.say("vserv conf v port 1110 state online")
    assert "only be changed while it is offline" in refused(console, "vserv conf v port 1111")
    drafted(console, "vserv conf v port 1111 state online")
    assert "only be changed while it is offline" in refused(console, "draft say vserv conf v port 1112")
    console.say("draft apply")
    assert console.config.things["vserv"]["v"].port == 1111


def test_maxsession_is_never_lowered(console: Console) -> None:
    """A file that leaves it lower than it is now is refused, with the reason; one that says as much is not."""
    console.say("set maxsession 5000")
    drafted(console, "set grace 1s")
    for line in ("draft apply", "draft check"):
        assert refused(console, line).startswith("maxsession: it is 5000 and can only be increased")
    console.say("draft say set maxsession 5000")
    console.say("draft apply")
    assert console.config.variables["maxsession"] == 5000


def test_what_is_equal_is_the_same(console: Console) -> None:
    """A module that was reloaded meanwhile is not reloaded by a file that says it as it is."""
    console.say("pdm add m any b")
    console.say("pdm reload m")
    running = console.config.things["pdm"]["m"]
    drafted(console, "pdm add m any b", "set grace 1s")
    console.say("draft apply")
    assert console.config.things["pdm"]["m"] is running
    assert running.reloads == 1


def test_nothing_differs(console: Console) -> None:
    """A configuration that is in force already is no change: the generation stays, and there is nothing to confirm."""
    console.say("backend conf b")
    drafted(console, "backend conf b")
    before = console.config
    outcome = console.say("draft apply confirm 60")
    assert "nothing differs" in outcome.text
    assert console.config is before
    assert console.draft is None
    assert console.past is None


def test_a_set_whose_file_has_changed_differs(console: Console, tmp_path: Path) -> None:
    """`capa load` reads the file anew: the line is the same, and yet the set is named as changed."""
    (tmp_path / "set").write_text("TOP\n")
    lines = [f"set capadir {tmp_path}", "capa load set"]
    for line in lines:
        console.say(line)
    (tmp_path / "set").write_text("TOP\nUIDL\n")
    drafted(console, *lines)
    assert console.lines("draft show") == ["# changed: capa set"]
    console.say("draft apply")
    assert console.lines("capa show set") == ["TOP", "UIDL"]


def test_seeds_are_mixed(console: Console, tmp_path: Path) -> None:
    """Every prng line of a file feeds the generator, however many there are, in a bounded length."""
    (tmp_path / "a").write_bytes(b"a" * 2000)
    (tmp_path / "b").write_bytes(b"b" * 2000)
    drafted(console, f"prng {tmp_path}/a", f"prng {tmp_path}/b 2000")
    outcome = console.say("draft apply")
    assert isinstance(outcome, Replacement)
    assert len(outcome.seed) == 64
    assert "aaaa" not in repr(outcome)


def test_check_changes_nothing(console: Console) -> None:
    """It gives the config to try, and the draft is still there."""
    drafted(console, "backend conf b")
    outcome = console.say("draft check")
    assert isinstance(outcome, Trial)
    assert "b" in outcome.config.things["backend"]
    assert "b" not in console.config.things["backend"]
    console.say("draft apply")


def test_confirm(console: Console) -> None:
    """`apply confirm TIME` asks for a confirmation; without one awaited `confirm` is refused."""
    assert refused(console, "confirm") == "no confirmation is awaited"
    drafted(console, "backend conf b")
    outcome = console.say("draft apply confirm 5m")
    assert isinstance(outcome, Replacement)
    assert outcome.confirm_seconds == 300
    assert console.past is not None
    console.past = replace(console.past, seconds_left=299)
    assert isinstance(console.say("confirm"), Confirm)
    assert console.lines("show config")[0] == (
        "# awaits `confirm`: 299 s left, then the configuration before comes back"
    )
    assert console.say("show config").data == ["backend conf b"]
    for text in ("draft apply confirm 0", "draft apply confirm x", "draft apply confirm", "draft apply conform 5m"):
        refused(console, text)


def test_rollback(console: Console) -> None:
    """It goes back to what was before the apply, whatever was said since, once."""
    assert "nothing to go back to" in refused(console, "rollback")
    console.say("backend conf old")
    drafted(console, "backend conf new", "set maxsession 4000")
    console.say("draft apply")
    console.say("set grace 7s")
    outcome = console.say("rollback")
    assert isinstance(outcome, Rollback)
    assert "note: as it was it cannot be again, so it stays: maxsession" in outcome.text
    assert console.lines("show config") == ["set maxsession 4000", "backend conf old"]
    assert "nothing to go back to" in refused(console, "rollback")


def test_a_past_module_is_the_running_one(console: Console) -> None:
    """Going back does not reload a module that is as it was."""
    console.say("pdm add m any b")
    past = console.config
    console.say("pdm reload m")
    console.past = Past(past)
    console.say("rollback")
    assert console.config.things["pdm"]["m"].reloads == 1


def test_completion_in_a_draft(console: Console) -> None:
    """Words after `draft say` are completed with what the draft has."""
    drafted(console, "backend conf bravo")
    assert console.language.complete("draft say backend conf b", console) == ["bravo"]
    assert console.language.complete("draft ap", console) == ["apply"]
    assert "vserv" in console.language.complete("draft say ", console)
