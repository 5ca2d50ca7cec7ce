"""The commands `trace start|list|show|stop`, as an operator says them."""

import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from popular.proxy.session.tracing.trace_registry import OrderedTrace
from popular.proxy.session.tracing.trace_writer import append
from popular.proxy.settings.tracing import MOST_TRACES, TRACE, ListTraces
from supervisor.control.files.historyfile import HistoryEntry, KeptConfigurations
from supervisor.control.language.outcome import Ordered
from supervisor.control.words import CommandRefused
from supervisor.operatorstate import OrderEntry
from tests.proxy.console import Console


@pytest.fixture
def console(tmp_path: Any) -> Console:
    made = Console()
    made.status.statedir = str(tmp_path)
    return made


def ordered(console: Console, command: str) -> OrderEntry:
    """What a command orders, which then counts."""
    outcome = console.say(command)
    assert isinstance(outcome, Ordered)
    console.status.operator.change(outcome.entries)
    return outcome.entries[0]


@pytest.mark.parametrize(
    ("octets", "sessions"),
    [
        (b"", 0),
        (b"a.1 +0.0 -- session of ::1 port 9 at v1\n", 0),
        (b"a.1 +0.0 -- the end: quit\na.2 +1.0 -- the end: quit\n", 2),
        (b"a.1 +0.0 C>P USER x y -- the end: quit\na.1 +0.0 C>P USER z -- the end: q\na.1 +1.0 -- the end: quit", 1),
        (b"a.1 +0.0 -- the end: a b -- the end: quit\n", 1),
    ],
)
def test_sessions_are_counted_by_their_ends(tmp_path: Path, octets: bytes, sessions: int) -> None:
    """Whatever a client calls itself."""
    (tmp_path / "pproxy-1.trace").write_bytes(octets)
    (found,) = ListTraces(str(tmp_path), "pproxy", counts=True).perform()
    assert found.sessions == sessions


def test_a_trace_has_an_end_and_room_for_so_much(console: Console) -> None:
    """Ten minutes and 1M if nothing is said, in a file of its own; the next one has another id."""
    console.say("backend conf b1 host 127.0.0.1")
    now = time.time()
    first = ordered(console, "trace start user joe@example.org")
    assert console.lines("trace start backend b1") == [console.say("trace start backend b1").text], "its number is data"
    assert first.value is not None
    assert (first.sort, first.id, first.value["name"], first.value["most"]) == (TRACE, "1", "joe@example.org", 1 << 20)
    assert 590 < first.value["until"] - now < 610
    assert pickle.loads(pickle.dumps(first)) == first, "it travels to the workers"
    second = ordered(console, "trace start backend b1 max 64K for 1h")
    assert second.value is not None
    assert (second.id, second.value["most"]) == ("2", 64 << 10)
    assert 3590 < second.value["until"] - now < 3610
    assert second.value["file"] == f"{console.status.statedir}/traces/pproxy-2.trace"
    network = ordered(console, "trace start network 192.0.2.0/24")
    assert network.value is not None
    assert network.value["name"] == "192.0.2.0/24"
    assert [row["id"] for row in console.say("trace list").data] == [1, 2, 3]
    assert ordered(console, "trace stop 2") == OrderEntry(TRACE, "2", None)
    assert [row["id"] for row in console.say("trace list").data] == [1, 3]


def test_an_order_of_another_release_is_seen_and_ended(console: Console) -> None:
    """Without a namespace a user is of any; what cannot be carried out is listed with that, keeps its number, and can
    be ended.
    """
    value = ordered(console, "trace start user joe").value
    assert value is not None
    old = {word: said for word, said in value.items() if word != "namespace"}
    strange = {"of": "moon", "until": None}
    console.status.operator.change([OrderEntry(TRACE, "1", old), OrderEntry(TRACE, "2", strange)])
    console.status.operator.change([OrderEntry(TRACE, "odd", strange)])
    first, second = console.say("trace list").data
    assert (first["name"], first["error"]) == ("*:joe", "")
    assert "the order is none that this release can carry out" in second["error"]
    assert ordered(console, "trace start user ann").id == "3"
    for ident in ("1", "2", "odd"):
        ordered(console, f"trace stop {ident}")
    assert [row["id"] for row in console.say("trace list").data] == [3]


def test_a_user_is_of_one_namespace(console: Console) -> None:
    """The only one, if none is said; in front of the name or after it, and a name may have a colon too."""
    console.say("vserv conf v1 iface 127.0.0.1 namespace here")
    for number, said in enumerate(("joe", "here:joe", "joe namespace here", "here:here:joe", "there:joe"), 1):
        value = ordered(console, f"trace start user {said}").value
        assert value is not None
        rest = {"here:here:joe": "here:joe", "there:joe": "there:joe"}
        assert (value["namespace"], value["name"]) == ("here", rest.get(said, "joe")), number
    console.say("vserv conf v2 iface 127.0.0.1 port 111 namespace there")
    with pytest.raises(CommandRefused, match="say which namespace: `namespace NAME`; there are: here, there"):
        console.say("trace start user joe")
    with pytest.raises(CommandRefused, match="is of namespace here, and not of there"):
        console.say("trace start user here:joe namespace there")
    with pytest.raises(CommandRefused, match="option"):
        console.say("trace start backend b1 namespace there")
    ordered(console, "trace start user there:joe")
    assert [row["name"] for row in console.say("trace list").data][-2:] == ["here:there:joe", "there:joe"]
    assert "trace 6 of user there:joe ends" in console.say("trace stop 6").text


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("trace start backend none", 'column 21: no backend "none"'),
        ("trace start vserv none", 'column 19: no vserv "none"'),
        ("trace start user joe max 1K", 'column 26: max: "1K" does not fit; allowed: 4K to 1024M'),
        ("trace start user joe max ²M", 'column 26: max: "²M" does not fit; allowed: 4K to 1024M'),
        ("trace start user joe for 8d", "for: "),
        ("trace start user joe for 1h for 2h", 'column 29: "for" is given twice'),
        (
            "trace start user joe max 65M",
            "could come to 65 MiB with this one; tracespace is 64",
        ),
        ('trace start user ""', "is no user name"),
        ("trace start network 192.0.2.0/24,198.51.100.0/24", "is not one network"),
        ("trace stop 7", "is no trace that is at work"),
        ("trace show 7", "there is no trace 7"),
    ],
)
def test_what_cannot_be(console: Console, command: str, text: str) -> None:
    """It is said which word, and what is allowed; nothing is ordered."""
    with pytest.raises(CommandRefused) as refused:
        console.say(command)
    assert text in str(refused.value)
    assert console.status.operator.of(TRACE) == {}


def test_there_are_not_more_than_so_many(console: Console) -> None:
    """And what people have written into the file of orders does not count."""
    console.status.operator.change([OrderEntry(TRACE, "x", {"of": 7}), OrderEntry(TRACE, "9", {})])
    for number in range(MOST_TRACES):
        ordered(console, f"trace start user u{number} max 4K")
    with pytest.raises(CommandRefused, match="100 traces are there already"):
        console.say("trace start user joe max 4K")


def test_whose_a_trace_was_stays_known_when_it_is_over(console: Console) -> None:
    """By its file; of a name in which there is whatever somebody likes, too. One of a release before says nothing."""
    name = "j\N{LATIN SMALL LETTER O WITH DIAERESIS} e: x"
    order = ordered(console, f'trace start user "{name}" namespace there')
    assert order.value is not None
    no_worker: Any = None
    writer = OrderedTrace.ordered(no_worker, order.id, order.value).writer
    append(writer.path, b"a.1 +0.0 -- the end: quit\n", 4096, head=writer.head())
    before = console.say("trace list").data
    ordered(console, "trace stop 1")
    Path(writer.path).with_name("pproxy-2.trace").write_bytes(b"a.1 +0.0 -- trace 2: user joe\n")
    rows = console.say("trace list").data
    assert [(row["of"], row["name"]) for row in [*before, *rows]] == [("user", f"there:{name}")] * 2 + [(None, None)]
    assert rows[0]["sessions"] == 1


def test_a_state_directory_that_is_gone_is_said_to_be(console: Console, tmp_path: Path) -> None:
    """By `trace list`, of traces that are at work, and by `config history`: traces have not taken its room."""
    ordered(console, "trace start user joe")
    assert [row["error"] for row in console.say("trace list").data] == [""]
    told = HistoryEntry(1, 1e9, 0, 1, "", "", commands=("set grace 3s",), more=0, comes=1, goes=0)
    console.status.history = KeptConfigurations([told], str(tmp_path / "history"))
    (tmp_path / "history").mkdir()
    assert console.lines("config history") == ["none is kept: traces have needed the room (tracespace)"]
    console.known.clear()
    (tmp_path / "history").rmdir()
    tmp_path.rmdir()
    assert [row["error"] for row in console.say("trace list").data] == [f"{tmp_path} is gone"]
    assert console.lines("config history") == [f"none is kept: {tmp_path}/history is gone"]
