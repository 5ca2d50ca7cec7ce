"""The status page of a running `pproxy` in a real browser."""

import contextlib
import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench import processes
from tests.metrics.browser import Browser, chromium
from tests.patience import patient, within
from tests.system import crowd
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

pytestmark = pytest.mark.clients

TOKEN = "0123456789abcdef"
HOSTILE = "<img src=x onerror=document.title='hacked'>"
PHONE = 360


class Site:
    """A proxy with an exporter, in front of a server with everybody's mail; anybody may log in."""

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        self.port = port
        wait_until(lambda: self._address(), "the exporter has its address")
        self.url = f"http://{self._address()}/"

    def _address(self) -> str:
        return self.proxy.said("show metrics").lines[0].split()[-1].strip('"')

    def told(self, query: str = "") -> Any:
        """The document, as it is now."""
        with urllib.request.urlopen(f"{self.url}status.json?{query}", timeout=patient(10)) as answer:
            return json.load(answer)

    def exporter(self) -> int:
        """The pid of the exporter: the child that is no worker."""
        (pid,) = set(processes.tree(self.proxy.pid)[1:]) - set(self.proxy.workers())
        return pid


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    port = free_port()
    with crowd.backend(directory) as backend:
        rc = [
            "set maxsession 1500",
            *crowd.site(backend, port),
            f"vserv conf asleep iface {LOOPBACK} port {free_port()} state disabled",
            "backend conf other host 127.0.0.2 port 110 prot XPOP state fake",
        ]
        (directory / "token").touch(0o600)
        (directory / "token").write_text(f"{TOKEN}\n")
        options = ["--sessionlimit", "2000", "--metrics-token", str(directory / "token")]
        with Proxy(directory, rc, options=options, metrics=f"{LOOPBACK}:0") as proxy:
            yield Site(proxy, port)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def page(site: Site, window: Browser) -> Iterator[Browser]:
    """The page on a console, in light colours; at the end nothing may have gone wrong in its console."""
    window.errors()
    window.dress()
    window.open(site.url)
    yield window
    assert window.errors() == []


@contextlib.contextmanager
def clients(site: Site, *names: str) -> Iterator[list[PopClient]]:
    """So many clients, logged in."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(PopClient(site.port)) for _ in names]
        for client, name in zip(made, names, strict=True):
            client.greeted()
            assert client.log_in(name).startswith(b"+OK")
        yield made
    wait_until(lambda: not site.proxy.sessions(), "all have left")


def unmask(page: Browser, token: str = TOKEN) -> None:
    """Asks for names in full, and says the token that is asked for."""
    page.find("#users").click()
    page.answer(token)


def luminance(page: Browser) -> float:
    """How bright the page's ground is, 0 to 1."""
    colour = page.run("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


def test_shows_what_is_so(site: Site, page: Browser) -> None:
    """The state in one line, servers, backends, workers and sessions, each once."""
    with clients(site, "ann", "bob"):
        page.until(lambda: page.text("h1") == "Serving 2 sessions", "the headline follows")
        assert page.text("#program") == "pproxy"
        assert [row[0] for row in rows(page, "vservs")] == ["v", "asleep"]
        assert rows(page, "vservs")[0][1:5] == ["online", f"{LOOPBACK}:{site.port}", "POP3", "2"]
        assert [row[:2] for row in rows(page, "backends")] == [["sink", "online"], ["other", "fake"]]
        assert [int(row[1]) for row in rows(page, "workers")] == site.proxy.workers()
        assert sum(int(row[2]) for row in rows(page, "workers")) == 2
        assert len(page.column("sid")) == 2
        assert page.texts("#graphs .title") == ["Sessions", "Logins", "Failed logins", "Load"]
        page.until(lambda: all(page.run(_CURVES)), "every graph has a curve")
        assert page.run(_CUT) == [], "on a console every table is seen whole"


_CUT = """return [...document.querySelectorAll('.sheet')].filter((one) => one.scrollWidth > one.clientWidth)
    .map((one) => one.parentElement.id)"""
_CURVES = "return [...document.querySelectorAll('#graphs path.stroke')].map((one) => one.getAttribute('d'))"


def rows(page: Browser, table: str) -> list[list[str]]:
    """The cells of a table, line by line."""
    script = """return [...document.querySelectorAll(arguments[0])].map(
        (row) => [...row.children].map((cell) => cell.textContent))"""
    found: list[list[str]] = page.run(script, f"#{table} tbody tr")
    return found


def test_asks_nobody_else(page: Browser) -> None:
    """One page, and status.json: nothing from elsewhere, and a policy that would not let it."""
    names = page.run("return performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)")
    assert set(names) == {"/status.json"}
    assert page.run("return document.querySelectorAll('[src], link[href^=http], [style], [onclick]').length") == 0
    page.run("const s = document.createElement('script'); s.textContent = 'window.evil = 1'; document.body.append(s)")
    assert page.run("return window.evil === undefined")
    (refused,) = page.errors()
    assert "Content Security Policy" in refused


def test_a_new_session_appears_by_itself(site: Site, page: Browser) -> None:
    """Without a reload, and it goes when it ends."""
    page.run("window.same = true")
    with clients(site, "ann"):
        page.until(lambda: page.column("user") == ["a*"], "the session is there")
    page.until(lambda: page.texts("#sessions .none") == ["Nobody is connected."], "the session is gone")
    assert page.run("return window.same")
    assert page.text("h1") == "Ready, nobody is connected"


def test_sorts_by_every_column(site: Site, page: Browser) -> None:
    """A head is a button; pressed again it turns the order round, and says so to those who cannot see it."""
    with clients(site, "ann", "cid", "bob"):
        page.until(lambda: len(page.column("user")) == 3, "all are there")
        names = page.run("return [...document.querySelectorAll('#sessions thead th')].map((one) => one.dataset.column)")
        for name in names:
            before = page.run("return document.querySelector('[aria-sort]').dataset.column")
            page.find(f"#sessions th[data-column={name}] button").click()
            page.until(lambda name=name: page.run(_SORTED) == [name], f"{name} is marked")  # type: ignore[misc]
            assert before in names
        page.find("th[data-column=user] button").click()
        page.until(lambda: page.column("user") == ["a*", "b*", "c*"], "by name")
        page.find("th[data-column=user] button").send_keys("\n")
        page.until(lambda: page.column("user") == ["c*", "b*", "a*"], "the other way round")
        assert page.find("th[data-column=user]").get_attribute("aria-sort") == "descending"


_SORTED = "return [...document.querySelectorAll('[aria-sort]')].map((one) => one.dataset.column)"


def test_filters(site: Site, page: Browser) -> None:
    """What is typed must occur in a column of texts, as it is shown; the count says how many there are besides."""
    with clients(site, "ann", "bob"):
        page.until(lambda: len(page.column("user")) == 2, "both are there")
        page.find("#filter").send_keys("B*")
        page.until(lambda: page.column("user") == ["b*"], "one is left")
        assert page.text("#count") == "1 of 2 match"
        page.find("#filter").send_keys("ob")
        page.until(lambda: page.texts("#sessions .none") == ["No session matches the filter."], "none is left")
        page.empty("#filter")
        page.until(lambda: len(page.column("user")) == 2, "both are back")


def test_names_are_masked_unless_asked_for(site: Site, page: Browser) -> None:
    """In full they come only on demand, and not at all before."""
    with clients(site, "ann.example"):
        page.until(lambda: page.column("user") == ["a*"], "a mask")
        assert "ann.example" not in page.driver.page_source
        unmask(page)
        page.until(lambda: page.column("user") == ["ann.example"], "the name")
        assert page.column("client") == [LOOPBACK]
        assert "in full" in page.text("#footer")


def test_a_wrong_token_shows_nothing(site: Site, page: Browser) -> None:
    """It is told that it is wrong, and names stay as they were."""
    with clients(site, "ann.example"):
        page.until(lambda: page.column("user") == ["a*"], "a mask")
        unmask(page, "0123456789abcdeF")
        page.until(lambda: "not the token" in page.text("#alarm"), "the reason")
        page.until(lambda: not page.find("#alarm").is_displayed(), "the next answer")
        assert page.column("user") == ["a*"]
        assert not page.find("#users").is_selected()
    assert [one for one in page.errors() if "401" not in one] == []


def test_hostile_names_stay_text(site: Site, page: Browser) -> None:
    """Whatever somebody calls himself is shown letter by letter, and does nothing."""
    names = [HOSTILE, "</script><script>document.title='hacked'</script>", "&lt;b&gt;" + "x" * 60]
    with clients(site, *names):
        unmask(page)
        page.until(lambda: sorted(page.column("user")) == sorted(names), "all names, as they are")
        assert page.run("return document.querySelectorAll('img, #sessions script, #sessions b').length") == 0
        assert "hacked" not in page.driver.title


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(site: Site, page: Browser, scheme: str) -> None:
    """As the user's system prefers, or as the switch says, which is remembered."""
    page.dress(scheme=scheme)
    assert (luminance(page) > 0.5) is (scheme == "light")
    other = "dark" if scheme == "light" else "light"
    page.find(f"button[data-theme={other}]").click()
    assert (luminance(page) > 0.5) is (other == "light")
    page.open(site.url)
    assert (luminance(page) > 0.5) is (other == "light")
    assert page.find(f"button[data-theme={other}]").get_attribute("aria-pressed") == "true"
    page.find("button[data-theme=auto]").click()
    assert (luminance(page) > 0.5) is (scheme == "light")


def test_on_a_phone(site: Site, page: Browser) -> None:
    """Nothing sticks out to the side, not even with long names; sorting has a control of its own."""
    with clients(site, "x" * 90, "ann"):
        page.dress(PHONE, 780)
        page.open(site.url)
        unmask(page)
        page.until(lambda: "x" * 90 in page.column("user"), "the long name")
        assert page.run("return document.documentElement.scrollWidth") == PHONE
        assert page.run(_WIDEST) <= PHONE
        page.run("const s = document.getElementById('sort'); s.value = 'user'; s.dispatchEvent(new Event('change'))")
        page.until(lambda: page.column("user") == ["ann", "x" * 90], "sorted")
        assert page.find("#turn").is_displayed()


_WIDEST = "return Math.max(...[...document.querySelectorAll('main *')].map((one) => one.getBoundingClientRect().right))"


def test_the_graphs_show_an_hour_as_well(page: Browser) -> None:
    """The switch asks for the other span, and is marked."""
    page.find("button[data-span='1h']").click()
    label = "return document.querySelector('#graphs svg').getAttribute('aria-label')"
    page.until(lambda: "the last hour" in page.run(label), "the hour")
    assert page.find("button[data-span='1h']").get_attribute("aria-pressed") == "true"
    assert page.find("button[data-span='2m']").get_attribute("aria-pressed") == "false"


def test_rests_while_nobody_looks(page: Browser) -> None:
    """In a window that is minimised it asks nothing; back in front it asks at once."""
    page.driver.minimize_window()
    try:
        page.until(lambda: page.run("return document.hidden"), "the page is not in front")
        time.sleep(0.3)
        asked = page.run(_ASKED)
        time.sleep(3)
        assert page.run(_ASKED) == asked
    finally:
        page.driver.set_window_rect(0, 0, 1280, 900)
    page.until(lambda: page.run(_ASKED) > asked, "it goes on")


_ASKED = "return performance.getEntriesByType('resource').length"


def test_says_when_nobody_answers(site: Site, page: Browser) -> None:
    """What is old is not shown as new; when the answer comes again, all is well by itself."""
    pid = site.exporter()
    os.kill(pid, signal.SIGSTOP)
    try:
        page.until(lambda: page.find("#alarm").is_displayed(), "the alarm")
        assert page.text("#alarm").startswith("No answer. What you see is of ")
        assert page.driver.title.startswith("No answer")
        assert page.run("return document.body.dataset.stale") == ""
    finally:
        os.kill(pid, signal.SIGCONT)
    page.until(lambda: not page.find("#alarm").is_displayed(), "the alarm is over")
    assert page.driver.title.startswith("Ready")


def test_a_thousand_sessions(site: Site, page: Browser) -> None:
    """A hundred are drawn, a thousand on demand; the answers stay quick and small, and the page goes on."""
    with crowd.hold(site.port, 1000, logged_in=True), clients_at(site, "zoe"):
        page.until(lambda: page.text("h1") == "Serving 1,001 sessions", "all are there")
        assert len(page.column("sid")) == 100
        assert page.text("#count") == "1,001 sessions; the first 100 are shown"
        page.find("#more button").click()
        page.until(lambda: len(page.column("sid")) == 1000, "a thousand lines")
        assert page.text("#count") == "1,001 sessions; the first 1,000 are shown, filter to see others"
        page.find("#filter").send_keys("z*")
        page.until(lambda: page.column("user") == ["z*"], "the one")
        with within(0.2, "an answer with a thousand"):
            told = site.told("rows=1000")
        assert len(told["sessions"]["rows"]) == 1000
        assert len(site.told()["sessions"]["rows"]) == 100
    page.empty("#filter")
    page.until(lambda: page.text("h1") == "Ready, nobody is connected", "all have left")


@contextlib.contextmanager
def clients_at(site: Site, name: str) -> Iterator[None]:
    """One more client, while others are there."""
    with PopClient(site.port) as client:
        client.greeted()
        assert client.log_in(name).startswith(b"+OK")
        yield
