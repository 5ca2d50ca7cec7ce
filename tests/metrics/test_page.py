"""The status page without a browser: who may see names, what a query may ask for, and what it costs."""

import base64
import hashlib
import http.client
import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from metrics import page
from metrics.http import HttpRequest
from metrics.page import BadQuery, query_of
from metrics.programseen import ProgramSeen
from metrics.snapshot import MOST_ROWS, PageQuery, document
from metrics.watch import Moment
from popular.proxy.program import PROGRAM
from popular.proxy.session.machine.phases import Phase
from popular.proxy.settings.health import DOWN, Condition
from popular.proxy.settings.healthuser import HEALTHUSER, HealthuserRefusal, record_of
from supervisor.exporterline import Pulse, Queue
from supervisor.master.accounting import table_layout
from supervisor.master.health import HealthWatch
from supervisor.table import segment
from supervisor.table.indexes import CounterIndexes
from supervisor.table.records import Records
from supervisor.table.segment import Segment, View, path_of
from tests.patience import patient
from tests.system.site import Proxy, free_port, wait_until

SESSIONS = 10_000
NOW = 1_800_000_000.0
TOKEN = "t" * 16
FACTS: dict[str, Any] = {
    "variables": {"maxlocalload": 32, "maxpressure": 0},
    "vservs": [{"id": "v", "state": "online", "iface": "::", "port": 110, "protocol": "POP3+STLS"}],
    "backends": [{"id": "store", "state": "online", "host": "192.0.2.1", "port": 110, "protocol": "XPOP"}],
    "certificates": [{"name": "c", "names": ["x"], "key_type": "EC", "not_after": NOW + 3.5 * 86400}],
}


@pytest.fixture
def table() -> Iterator[Segment]:
    made = Segment.create(f"/popular-test-page-{os.getpid()}", table_layout(PROGRAM, 9, {"sessionlimit": SESSIONS}))
    try:
        made.set_gauge("maxsession", SESSIONS + 1)
        made.set_gauge("workers", 1)
        yield made
    finally:
        segment.remove(made.name)


@pytest.fixture
def program(table: Segment) -> ProgramSeen:
    made = ProgramSeen(
        "pproxy",
        "2.0",
        os.getpid(),
        table=path_of(table.name),
        view=View(table.map),
        watched=PROGRAM.watched,
        facts=FACTS,
    )
    made.hear(Pulse(False, 1, (Queue("v", 0, 2, limit=128), Queue("v", 1, 3, limit=128))))
    return made


def write(table: Segment, row: int, user: str = "joe", **other: Any) -> None:
    """A session in a row."""
    table.rows.write(
        row,
        state=Phase.RELAYING,
        pid=4000,
        started=other.get("started", NOW - row),
        since=NOW,
        sid=f"sid-{row}".encode(),
        client=other.get("client", "192.0.2.7").encode(),
        port=1234,
        vserv=other.get("vserv", "v").encode(),
        user=user.encode(),
        backend=b"store",
        target=user.encode(),
        received=10,
        sent=20 * row,
        deletes=0,
    )


def at(seconds: float) -> Moment:
    return Moment(NOW + seconds, int(1e9 * (1000 + seconds)))


def ask(program: ProgramSeen, query: dict[str, str] | None = None, peer: str = "127.0.0.1", **fields: str) -> Any:
    """The body of /status.json, which must be there."""
    answer = page.status(
        program, HttpRequest("GET", "/status.json", query or {}, fields={"host": "127.0.0.1:9110"} | fields, peer=peer)
    )
    assert answer.status == HTTPStatus.OK, answer.body
    return json.loads(answer.body)


def users(told: Any) -> list[str]:
    names = [column["name"] for column in told["sessions"]["columns"]]
    return [row[names.index("user")] for row in told["sessions"]["rows"]]


@pytest.mark.parametrize(
    ("socket", "fields", "private"),
    [
        (True, {"host": "127.0.0.1:9110"}, True),
        (True, {"host": "LocalHost"}, True),
        (True, {"host": "[::1]:9110"}, True),
        (True, {"host": "evil.example:9110"}, False),
        (True, {"host": "127.0.0.1.evil.example"}, False),
        (True, {}, False),
        (True, {"host": "localhost", "x-forwarded-for": "192.0.2.7"}, False),
        (True, {"host": "localhost", "forwarded": "for=192.0.2.7"}, False),
        (True, {"host": "localhost", "via": "1.1 proxy"}, False),
        (False, {"host": "127.0.0.1:9110"}, False),
        (False, {"host": "localhost"}, False),
        (False, {"host": "localhost", "authorization": f"Bearer {TOKEN}"}, True),
        (False, {"host": "mail.example.org", "authorization": f"bearer  {TOKEN}", "via": "1.1 proxy"}, True),
    ],
)
def test_names_in_full_are_for_the_socket_and_the_token(
    program: ProgramSeen, table: Segment, socket: bool, fields: dict[str, str], private: bool
) -> None:
    """Over the socket by a local name and by no proxy, or with the token; to sit on the machine is no right."""
    program.token = hashlib.sha256(TOKEN.encode()).digest()
    write(table, 1, "joe.bloggs")
    peer = "" if socket else "127.0.0.1"
    answer = page.status(
        program, HttpRequest("GET", "/status.json", {"users": "1"}, fields=fields, peer=peer, by_unix_socket=socket)
    )
    told = json.loads(answer.body)
    assert users(told) == (["joe.bloggs"] if private else ["j*"])
    assert (told["sessions"]["may_unmask"], told["sessions"]["masked"]) == (private, not private)
    assert (b"bloggs" in answer.body) is private


@pytest.mark.parametrize("field", ["Bearer wrong", f"Bearer {'t' * 15}", f"Basic {'t' * 16}", "Bearer", "Bearer \xff"])
@pytest.mark.parametrize("socket", [False, True])
def test_a_wrong_token_is_refused(program: ProgramSeen, table: Segment, field: str, socket: bool) -> None:
    """Whoever means to show one is told that it is not the right one, also where none is wanted."""
    program.token = hashlib.sha256(TOKEN.encode()).digest()
    write(table, 1, "joe.bloggs")
    fields = {"host": "localhost", "authorization": field}
    answer = page.status(
        program,
        HttpRequest("GET", "/status.json", {"users": "1"}, fields=fields, peer="127.0.0.1", by_unix_socket=socket),
    )
    assert (answer.status, b"bloggs" in answer.body) == (HTTPStatus.UNAUTHORIZED, False)


def test_without_a_token_there_is_none_to_guess(program: ProgramSeen, table: Segment) -> None:
    """Where no token was configured, the empty one is none either."""
    write(table, 1, "joe.bloggs")
    for field in ("Bearer ", "Bearer x", f"Bearer {TOKEN}"):
        assert users(ask(program, {"users": "1"}, authorization=field)) == ["j*"]


def test_a_masked_name_cannot_be_guessed(program: ProgramSeen, table: Segment) -> None:
    """Neither the filter nor the order tells more than what is shown."""
    for row, user in enumerate(["joe", "jack", "jim"]):
        write(table, row, user, client=f"192.0.2.{9 - row}")
    assert ask(program, {"filter": "joe"})["sessions"]["found"] == 0
    assert ask(program, {"filter": "192.0.2.9"})["sessions"]["found"] == 0
    for column in ("user", "client"):
        told = ask(program, {"sort": column, "desc": "0"})
        assert [row[0] for row in told["sessions"]["rows"]] == ["sid-0", "sid-1", "sid-2"], "as if all were equal"


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ({}, PageQuery()),
        ({"filter": "x", "sort": "user", "desc": "0", "rows": "7"}, PageQuery("x", "user", False, rows=7)),
        ({"span": "1h", "unknown": "1"}, PageQuery(span="1h")),
        ({"filter": "x" * 1000}, PageQuery("x" * 100)),
        ({"rows": str(MOST_ROWS)}, PageQuery(rows=MOST_ROWS)),
    ],
)
def test_queries(query: dict[str, str], asked: PageQuery) -> None:
    """Every parameter has a default, and a limit."""
    assert page.query_of(query, private=False) == asked


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"rows": "0"}, "rows: allowed are 1 to 1000"),
        ({"rows": "1001"}, "rows:"),
        ({"rows": "-1"}, "rows:"),
        ({"rows": "१"}, "rows:"),
        ({"desc": "yes"}, "desc: allowed are 0, 1"),
        ({"users": "2"}, "users:"),
        ({"span": "1d"}, "span: allowed are 2m, 1h"),
    ],
)
def test_bad_queries(program: ProgramSeen, query: dict[str, str], words: str) -> None:
    """Which word is wrong, and what is allowed; the status says that it was the client's fault."""
    with pytest.raises(BadQuery, match=re.escape(words)):
        page.query_of(query, private=True)
    answer = page.status(program, HttpRequest("GET", "/status.json", query, fields={}, peer="127.0.0.1"))
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert words in answer.body.decode()


def test_sorting_by_nothing(program: ProgramSeen) -> None:
    """A column that is none is named, with those that there are."""
    answer = page.status(program, HttpRequest("GET", "/status.json", {"sort": "colour"}, fields={}, peer="127.0.0.1"))
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert b'no column "colour"; there are: row pid' in answer.body


def test_the_policy_allows_this_script_and_no_other() -> None:
    """The hashes are those of what the page really holds; nothing is loaded, framed or sent elsewhere."""
    answer = page.page()
    html = answer.body.decode()
    policy = dict(answer.fields)["Content-Security-Policy"]
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(inside) > 1000
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""\son\w+=|style=|src=["']http|innerHTML|insertAdjacentHTML|document\.write|eval\(""", html)


def test_colours_can_be_read() -> None:
    """Texts have a contrast of 4.5 to 1 or more to what they stand on, in light and in dark (WCAG 2.2, 1.4.3)."""
    css = (Path(page.__file__).parent / "web" / "page.css").read_text()
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", css)
    colours = {name: (light, dark) for name, light, dark in found}
    inks, grounds = ("text", "quiet", "accent", "closed"), ("ground", "sheet")
    for ink, ground, scheme in itertools.product(inks, grounds, (0, 1)):
        assert contrast(colours[ink][scheme], colours[ground][scheme]) >= 4.5, (ink, ground, scheme)
    for scheme in (0, 1):
        assert contrast(colours["closed"][scheme], colours["alarm"][scheme]) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours."""
    lights = sorted(_light(colour) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _light(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_document(program: ProgramSeen, table: Segment) -> None:
    """Servers with their queues, backends, workers and certificates, each with what belongs to it."""
    cells = table.block(1)
    cells[0], cells[1], cells[2], cells[3] = 4000, 0, 1, int(1e9 * 998.5)
    cells[table.counter_cells["sessions_started"]] = 3
    for row in range(3):
        write(table, row, vserv="v" if row else "gone")
    told = document(program, PageQuery(), at(0))
    assert told["headline"]["text"] == "Serving 3 sessions"
    (vserv,), (backend,), (worker,) = told["vservs"], told["backends"], told["workers"]
    assert (vserv["address"], vserv["protocol"]) == ("[::]:110", "POP3+STLS")
    assert (vserv["sessions"], vserv["waiting"], vserv["logins"]) == (2, 5, 0)
    assert (backend["address"], backend["sessions"]) == ("192.0.2.1:110", 3)
    assert (worker["pid"], worker["sessions"], worker["silent_seconds"]) == (4000, 3, 1.5)
    assert told["certificates"][0]["days_left"] == 3
    assert [row[0] for row in told["sessions"]["rows"]] == ["sid-0", "sid-1", "sid-2"], "the newest first"
    assert [graph["title"] for graph in told["history"]["graphs"]] == ["Sessions", "Logins", "Failed logins", "Load"]


def test_only_who_has_the_token_reads_what_a_backend_has_said(program: ProgramSeen, table: Segment) -> None:
    """It may name users, hosts and software; the others are told the kind of failure, wherever it stands."""
    places = CounterIndexes(table).settle({"backend": {"store": None}})
    HealthWatch(table).look(places, NOW)
    said = "unknown user ann@host7"
    found = Condition(DOWN, NOW - 9, NOW + 9, by="check", why=said)
    record = {"ident": "store", "of": 7, "word": found.word, **found._asdict(), "networks": "", "users": ""}
    Records(table.layout, table.map, "health").write(places["backend"]["store"], record)
    for thing in ("", "backends/store"):
        given = {"thing": thing}
        told = [json.dumps(document(program, query_of(given, private), at(0))) for private in (False, True)]
        assert [said in one for one in told] == [False, True]
        assert "found by the check" in told[0]


@pytest.mark.parametrize(("left", "private", "shown"), [(9, True, 2), (9, False, 1), (-1, True, 0)])
def test_the_page_of_a_backend_tells_that_its_check_is_refused(
    program: ProgramSeen, table: Segment, left: float, private: bool, *, shown: int
) -> None:
    """Since when, to everybody; in the backend's words, to who has the token; nothing once that counts no more."""
    places = CounterIndexes(table).settle({"backend": {"store": None}})
    HealthWatch(table).look(places, NOW)
    record = record_of("store", HealthuserRefusal(NOW - 9, "-ERR [AUTH] no ann@host7"), NOW + left)
    Records(table.layout, table.map, HEALTHUSER.name).write(places["backend"]["store"], record)
    told = document(program, query_of({"thing": "backends/store"}, private), at(0))["thing"]
    facts = {one["title"]: one["value"] for one in told["facts"] if "refused" in one["title"]}
    assert list(facts.values()) == [NOW - 9, "-ERR [AUTH] no ann@host7"][:shown]


def test_rates_come_from_the_samples(program: ProgramSeen, table: Segment) -> None:
    """A sample a second; sessions from the counters, which cost less than the rows."""
    for second in range(4):
        cells = table.block(1)
        cells[2] = 1
        cells[table.counter_cells["sessions_started"]] = 10 + second
        cells[table.counter_cells["logins"]] = 100 * second
        program.watch.sample(at(second))
    told = document(program, PageQuery(), at(4))
    assert told["totals"]["logins_a_second"] == 100.0
    assert told["history"]["graphs"][0]["values"] == [11, 12, 13]


def test_ten_thousand_sessions(program: ProgramSeen, table: Segment) -> None:
    """They are read once a second, whoever asks; an answer has at most a thousand of them."""
    for row in range(SESSIONS):
        write(table, row, f"user{row}")
    document(program, PageQuery(), at(0))
    seconds = []
    for number in range(5):
        began = time.process_time()
        told = document(program, PageQuery(filter="sid-99", sort="sent", rows=MOST_ROWS), at(2 * number))
        seconds.append(time.process_time() - began)
    assert (told["sessions"]["all"], told["sessions"]["found"]) == (SESSIONS, 111)
    assert min(seconds) < patient(1.0), "ten times the goal, in processor time"
    table.free_row(0, 4000)
    assert document(program, PageQuery(), at(8.9))["sessions"]["all"] == SESSIONS, "not read again within a second"
    assert document(program, PageQuery(), at(9.1))["sessions"]["all"] == SESSIONS - 1
    answer = page.status(
        program, HttpRequest("GET", "/status.json", {"rows": str(MOST_ROWS)}, fields={}, peer="192.0.2.7")
    )
    assert len(json.loads(answer.body)["sessions"]["rows"]) == MOST_ROWS
    assert len(answer.body) < 300_000
    print(f"{SESSIONS} sessions: {min(seconds) * 1000:.0f} ms, {len(answer.body) >> 10} KiB")


@pytest.mark.processes
def test_pserv_has_one_too(tmp_path: Path) -> None:
    """The storage server's page: its server, mailboxes opened instead of logins, no backends."""
    rc = [f"server conf iface 127.0.0.1 port {free_port()} state online"]
    with Proxy(tmp_path, rc, name="pserv", metrics="127.0.0.1:0") as server:
        address = wait_until(lambda: server.said("show metrics").lines[0].split()[-1].strip('"'), "it has its address")
        host, port = address.split(":")
        told = wait_until(lambda: _served(host, int(port)), "the facts have come")
    assert told["program"] == "pserv"
    assert told["headline"]["text"] == "Ready, nobody is connected"
    assert [graph["title"] for graph in told["history"]["graphs"]] == ["Sessions", "Mailboxes opened", "Load"]
    assert told["backends"] == []


def _served(host: str, port: int) -> Any:
    connection = http.client.HTTPConnection(host, port, timeout=patient(10))
    try:
        connection.request("GET", "/status.json")
        told = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return told if told["vservs"] else None
