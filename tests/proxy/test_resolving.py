"""`backend resolve` and `backend lookup`: host names that have moved, looked up for real."""

import itertools
import threading
from dataclasses import replace

import pytest

from popular.messages import BACKEND_MOVED
from popular.proxy.settings.description import describe
from popular.proxy.settings.kinds import ResolvedHost
from popular.proxy.settings.resolving import MOST_AT_ONCE, LookHostsUp, names_moved
from supervisor.control.language.outcome import Change
from supervisor.control.words import CommandRefused
from tests.proxy.console import Console


def was_elsewhere(console: Console, ident: str, address: str = "127.0.0.77") -> None:
    """What the name of a backend stands for now was another address when it was said."""
    backend = console.config.things["backend"][ident]
    moved = replace(backend, host=ResolvedHost(backend.host.name, address))
    console.config = console.config.with_thing("backend", ident, moved)


@pytest.fixture
def console() -> Console:
    console = Console()
    for ident, host in (("one", "localhost"), ("two", "localhost"), ("fixed", "127.0.0.1")):
        console.say(f"backend conf {ident} host {host} state online")
    return console


def addresses(console: Console) -> dict[str, str]:
    return {ident: backend.address for ident, backend in console.config.things["backend"].items()}


def test_one_is_looked_up_and_the_others_are_not(console: Console) -> None:
    """The reply says from where to where it has moved; everything else stays as it was typed."""
    before = console.config
    was_elsewhere(console, "one")
    was_elsewhere(console, "two")
    text = console.say("backend resolve one").text
    now = before.things["backend"]["one"].address
    assert f"backend one: host localhost is {now} now, it was 127.0.0.77" in text
    assert addresses(console) == {"one": now, "two": "127.0.0.77", "fixed": "127.0.0.1"}
    assert console.config.things["backend"]["one"] == before.things["backend"]["one"]


def test_without_an_id_all_are(console: Console) -> None:
    """An address needs none; who has not moved is not named."""
    before = addresses(console)
    was_elsewhere(console, "two")
    text = console.say("backend resolve").text
    assert "2 of 3" in text
    assert "backend two: host localhost is" in text
    assert "backend one" not in text
    assert addresses(console) == before


def test_a_name_that_is_gone_changes_nothing(console: Console) -> None:
    """Not even the others: the reply names it."""
    was_elsewhere(console, "one")
    backend = console.config.things["backend"]["two"]
    lost = replace(backend, host=ResolvedHost("no-such-host.invalid", "127.0.0.5"))
    console.config = console.config.with_thing("backend", "two", lost)
    before = addresses(console)
    with pytest.raises(CommandRefused, match=r"backend two: .*no-such-host\.invalid"):
        console.say("backend resolve")
    assert addresses(console) == before


def test_where_it_has_moved_must_be_as_good_as_where_it_is_said(console: Console) -> None:
    """Checked as by `backend conf`: here a source that does not reach it."""
    now = addresses(console)["one"]
    was, source = ("127.0.0.9", "127.0.0.9") if ":" in now else ("::2", "::1")
    was_elsewhere(console, "one", was)
    console.say(f"backend conf one source {source}")
    with pytest.raises(CommandRefused, match="cannot reach"):
        console.say("backend resolve one")
    assert addresses(console)["one"] == was


def test_an_unknown_one(console: Console) -> None:
    """It is named."""
    with pytest.raises(CommandRefused, match="nobody"):
        console.say("backend resolve nobody")


def test_a_lookup_tells_what_has_moved_and_follows_nothing(console: Console) -> None:
    """Once, in the log, as long as it stays so; `show` and watchers see it until `resolve` takes the new address."""
    assert console.say("backend lookup").text == "nothing has changed"
    now = addresses(console)["one"]
    was_elsewhere(console, "one")
    change = console.say("backend lookup")
    assert isinstance(change, Change)
    assert "moved, as `backend resolve` would take up: one" in change.text
    ((message, fields),) = change.entries
    assert message is BACKEND_MOVED
    assert (fields["backend"], fields["host"], fields["was"]) == ("one", "localhost", "127.0.0.77")
    assert now in str(fields["address"])
    assert addresses(console)["one"] == "127.0.0.77"
    assert console.say("backend lookup").text == "nothing has changed"
    console.say("backend conf one state offline")
    assert any("# localhost has moved, to" in line for line in console.say("backend show one").lines)
    moved = {one["id"]: one["moved"] for one in describe(console.config)["backends"]}
    assert moved == {"one": 1, "two": 0, "fixed": 0}
    console.say("backend resolve one")
    assert describe(console.config)["backends"][0]["moved"] == 0
    assert not any("has moved" in line for line in console.say("backend show one").lines)


def test_a_name_has_not_moved_that_has_one_more_address_or_none(console: Console) -> None:
    """The first of several may be another one each time; and what cannot be looked up now was right before."""
    found = LookHostsUp(("localhost", "no-such-host.invalid")).perform()
    assert set(found) == {"localhost"}
    backend = console.config.things["backend"]["one"]
    lost = replace(backend, host=ResolvedHost("no-such-host.invalid", "127.0.0.5"))
    console.config = console.config.with_thing("backend", "one", lost)
    for address in found["localhost"]:
        was_elsewhere(console, "two", address)
        assert console.say("backend lookup").text == "nothing has changed"


def test_which_of_several_addresses_is_the_first_means_nothing(console: Console) -> None:
    """Where a name is balanced it is another one each time. Only when the one in use is gone the name has moved."""
    backend = console.config.things["backend"]["one"]
    now = backend.address
    assert names_moved(backend, {"localhost": ("192.0.2.1", now)}) == ()
    moved = (("localhost", ("192.0.2.1", "192.0.2.2")),)
    assert names_moved(backend, dict(moved)) == moved
    assert names_moved(replace(backend, strayed=moved), {}) == moved
    assert names_moved(replace(backend, strayed=moved), {"localhost": (now,)}) == ()


def test_addresses_that_change_places_are_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server gives them in another order each time; a name that has moved is told once all the same."""
    answers = itertools.cycle((("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")))
    rows = lambda *_args, **_more: [(0, 0, 0, "", (address, 0)) for address in next(answers)]  # noqa: E731
    monkeypatch.setattr("socket.getaddrinfo", rows)
    first, second = (LookHostsUp(("mail.example.org",)).perform() for _ in range(2))
    assert first == second == {"mail.example.org": ("192.0.2.1", "192.0.2.2")}


def test_a_name_that_is_black_holed_has_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.0.0.0 and :: are no server: `resolve` would refuse them."""
    rows = [(0, 0, 0, "", (address, 0)) for address in ("0.0.0.0", "::")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_more: rows)
    assert LookHostsUp(("mail.example.org",)).perform() == {"mail.example.org": ()}


def test_an_address_of_ipv4_in_ipv6_has_not_moved() -> None:
    """The kernel takes it as the one of IPv4, and so it is kept."""
    console = Console()
    console.say("backend conf b host ::ffff:192.0.2.7 state online")
    assert console.say("backend lookup").text == "nothing has changed"


def test_many_names_are_not_all_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of a container are counted (deploy/compose: 64); each name is looked up all the same."""
    most, rows = 0, [(0, 0, 0, "", ("192.0.2.1", 0))]

    def look_up(*_args: object, **_more: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        nonlocal most
        most = max(most, threading.active_count())
        go_on.wait(0.02)
        return rows

    before, go_on = threading.active_count(), threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", look_up)
    names = tuple(f"h{number}.example.org" for number in range(200))
    assert LookHostsUp(names).perform() == dict.fromkeys(names, ("192.0.2.1",))
    assert most <= before + MOST_AT_ONCE


def test_one_that_came_back_has_not_moved_any_more(console: Console) -> None:
    """The gauge falls by itself."""
    was_elsewhere(console, "one")
    console.say("backend lookup")
    back = console.config.things["backend"]["two"].host
    gone = console.config.things["backend"]["one"]
    console.config = console.config.with_thing("backend", "one", replace(gone, host=back))
    assert console.say("backend lookup").text == "none has moved any more"


def test_who_has_only_addresses_is_never_looked_up() -> None:
    """No job is sent out for that."""
    console = Console()
    console.say("backend conf one host 127.0.0.1,127.0.0.2")
    assert console.say("backend lookup").text == "no backend has a host name"
