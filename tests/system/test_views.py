"""What an operator sees who looks for five seconds: what is broken, since when, for how many; and a key that kicks."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.browser import chromium
from tests.metrics.test_pstatus_live import Tty
from tests.patience import patient
from tests.system.scrape import address, scrape
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, pop3_server, program, wait_until


class Site:
    """A backend that is well, one that is gone, one that is drained; and a user of each."""

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        self.port = port

    def told(self, **query: str) -> Any:
        host, port = address(self.proxy)
        url = f"http://{host}:{port}/status.json?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=patient(10)) as answer:
            return json.load(answer)

    def failures(self, backend: str) -> list[dict[str, Any]]:
        """The last of them, as its page lists them."""
        found: list[dict[str, Any]] = self.told(thing=f"backends/{backend}")["thing"]["failures"]
        return found

    def log_in(self, user: str) -> bytes:
        with PopClient(self.port) as client:
            client.greeted()
            return client.log_in(user)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory, port = tmp_path_factory.mktemp("views"), free_port()
    users = directory / "users"
    users.write_text("".join(f"n:{user}:{{PLAIN}}secret:{store}:x\n" for user, store in USERS.items()))
    users.chmod(0o600)
    with ScriptedBackend(pop3_server([b"x"])) as server:
        lines = [
            f"backend conf good host {LOOPBACK} port {server.port} state online absorb 60",
            f"backend conf dead host {LOOPBACK} port {free_port()} state online",
            f"backend conf away host {LOOPBACK} port {server.port} state online",
            f"pdm add users passwd {users}",
            f"vserv conf v iface {LOOPBACK} port {port} namespace n state online",
        ]
        with Proxy(directory, lines, metrics=f"{LOOPBACK}:0") as proxy:
            made = Site(proxy, port)
            wait_until(lambda: made.told()["backends"], "the facts have come")
            proxy.said("backend drain away")
            proxy.said("trace start backend good for 1m")
            proxy.said("user hold eve")
            proxy.said("user move max good")
            yield made


USERS = {"joe": "good", "bob": "good", "ann": "dead", "kim": "away", "max": "dead", "eve": "good"}


def test_the_page_says_what_since_when_and_for_how_many(site: Site) -> None:
    """In front of everything, and on the page of the one that fails, with its last errors and how it is watched."""
    began = time.time()
    wait_until(lambda: site.told()["history"]["graphs"][0]["values"], "somebody looks")
    with PopClient(site.port) as client:
        client.greeted()
        assert client.log_in("joe").startswith(b"+OK")
        for _ in range(4):
            assert site.log_in("ann").startswith(b"-ERR [SYS/TEMP]")
        wait_until(lambda: [row["refused"] for row in site.told()["broken"]["rows"]] == [4], "all of it is seen")
        wait_until(lambda: sum(one["times"] for one in site.failures("dead")) == 4, "its failures are listed")
        told = site.told()
        (row,) = told["broken"]["rows"]
        assert (row["what"], row["how"], row["thing"]) == ("backend dead", "fails", "backends/dead")
        assert began - 1 <= row["since"] <= told["taken"]
        assert (row["refused"], row["tried"], row["why"]) == (4, 4, "connect")
        assert {one["what"]: one["count"] for one in told["orders"]} == {
            "backend drained": 1,
            "trace at work": 1,
            "user held": 1,
            "user moved": 1,
        }
        dead = site.told(thing="backends/dead")["thing"]
        assert (dead["title"], dead["failing"], dead["good"], dead["bad"]) == ("Backend dead", True, 0, 4)
        assert (dead["users"], row["users"]) == (1, 1)
        assert [(one["reason"], one["times"]) for one in dead["failures"]] == [("connect", 4)]
        assert {one["title"]: one["value"] for one in dead["facts"]}["users who are moved away from it"] == 1
        whole = site.told(thing="backends/good")
        good = whole["thing"]
        facts = {one["title"]: one["value"] for one in good["facts"]}
        assert (facts["check"], facts["absorb"]) == ("not checked", "60")
        assert facts["traces of its sessions that are at work"] == facts["users who are moved to it"] == 1
        assert [one["title"] for one in good["counted"]] == ["sessions", "logins", "failed", "waiting", "absorbed"]
        wait_until(lambda: site.told(thing="backends/good")["thing"]["took"][1]["times"], "logins are timed")
        assert 0 < site.told(thing="backends/good")["thing"]["took"][1]["late"] < patient(1)
        assert whole["sessions"]["found"] == whole["sessions"]["all"] == 1
        assert site.told(thing="backends/dead")["sessions"]["all"] == 0
        away = site.told(thing="backends/away")["thing"]
        (drained,) = (one for one in away["facts"] if one["kind"] == "moment")
        assert began - 60 < drained["value"] <= time.time()


@pytest.mark.clients
def test_a_browser_shows_it_without_a_click(site: Site, tmp_path: Path) -> None:
    """What, since when and for how many on the first screen; one click leads to its page, with its last failures."""
    with chromium(tmp_path) as browser:
        browser.dress(height=720)
        assert site.log_in("ann").startswith(b"-ERR [SYS/TEMP]")
        wait_until(lambda: site.told()["broken"]["rows"], "it is seen")
        host, port = address(site.proxy)
        browser.open(f"http://{host}:{port}/")
        assert "1 of 3 backends fails" in browser.text("h1")
        what, how, since, users, refused, there, why = browser.texts("#broken tbody tr > *")
        assert (what, how, users, there, why) == ("backend dead", "fails", "about 1", "0", "connect")
        assert re.fullmatch(r"\d+(s|m\d\ds)", since)
        assert re.fullmatch(r"(\d+) of \1", refused)
        bottom = "return document.querySelector('#broken table').getBoundingClientRect().bottom"
        assert browser.run(bottom) < 720
        browser.find("#broken a").click()
        browser.until(lambda: browser.text("#thing-title") == "Backend dead", "its page")
        assert browser.text("#thing-said").startswith("Configured as online, fails since ")
        assert browser.text("#thing-said").endswith("; for about 1 user.")
        assert browser.texts("#thing-failures tbody th") == ["connect"]
        assert not browser.find("#broken").is_displayed()
        browser.find(".back a").click()
        browser.until(lambda: browser.find("#broken").is_displayed(), "everything again")
        browser.run("location.hash = 'backends/none'")
        browser.until(lambda: browser.run("return location.hash") == "", "one that is not there leads back")
        assert [one for one in browser.errors() if "400" not in one] == []


def test_one_that_is_not_there_is_refused(site: Site) -> None:
    """In words."""
    for thing in ("backends/none", "nothing", "backends/", "vservs/v"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            site.told(thing=thing)
        assert refused.value.code == 400
        assert b"there is no " in refused.value.read()


def test_orders_are_counted(site: Site) -> None:
    """By what they do, and of a backend for how long it has been drained."""
    wait_until(lambda: scrape(site.proxy).value("popular_orders_by_sort", order="trace") == 1, "the trace is counted")
    seen = scrape(site.proxy)
    assert seen.value("popular_orders_by_sort", order="user hold") == 1
    assert seen.value("popular_orders_by_sort", order="user lock") == 0
    assert seen.value("popular_backend_drained_seconds", backend="away") > 0
    assert seen.value("popular_backend_drained_seconds", backend="good") == 0


def test_pstatus_shows_the_backends_and_kicks(site: Site) -> None:
    """Those that fail in front; the user of a session that is marked, or a backend, and only if that was said twice."""
    proxy = site.proxy
    with ExitStack() as stack:
        clients = {}
        for user in ("joe", "bob"):
            clients[user] = stack.enter_context(PopClient(site.port))
            clients[user].greeted()
            assert clients[user].log_in(user).startswith(b"+OK")
        assert site.log_in("ann").startswith(b"-ERR")
        tty = stack.enter_context(Tty("--rundir", proxy.rundir, "--sort", "user", size=(200, 20)))
        tty.shows("2 sessions")
        tty.type("\t")
        screen = tty.shows("last error")
        table = [line for line in screen[4:-1] if line.strip()]
        assert [line.split()[:2] for line in table] == [["dead", "online"], ["good", "online"], ["away", "online"]]
        assert "connect" in table[0]
        assert " drained " in table[2]
        tty.type("\t")
        tty.shows("a second")
        tty.type("k")
        tty.shows("a counter cannot be kicked")
        tty.type("\tk")
        tty.shows("kick whom?")
        tty.type("\x1b[B\r")
        tty.shows("kick user joe vserv v: 1 session at least.")
        tty.type("yy")
        tty.shows("2 sessions")
        assert {row["user"] for row in proxy.sessions()} == {"joe", "bob"}, "it was said once"
        tty.type("k\x1b[B\ryY")
        tty.shows("user joe: 1 ")
        assert clients["joe"].rest() == b""
        tty.type("x")
        tty.shows("Serving 1 session;")
        tty.type("\tk")
        tty.shows("kick whom?")
        tty.type("\x1b[B\ry")
        tty.shows("Really, kick backend good, 1 session?")
        tty.type("Y")
        tty.shows("backend good: 1 ")
        assert clients["bob"].rest() == b""


def test_pstatus_tells_scripts_the_same(site: Site) -> None:
    """By --json."""
    command = [program("pstatus"), "--rundir", str(site.proxy.rundir), "--json"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=True).stdout
    away = next(one for one in json.loads(said)["things"]["backend"] if one["id"] == "away")
    assert (away["state"], away["condition"], away["traces"]) == ("online", "up", 0)
    assert away["drained"] > 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("kick user joe vserv w", 'no vserv "w"; there are: v'),
        ("kick user joe vserv v namespace n", "say the namespace or the virtual server, not both"),
        ("kick backend good vserv v", "vserv does not fit here"),
    ],
)
def test_a_kick_by_the_virtual_server(site: Site, words: str, reason: str) -> None:
    """The namespace of its users; anything else is refused in words."""
    assert site.proxy.said("kick user nobody vserv v").text == "user nobody: no session"
    assert reason in site.proxy.control(words).text
