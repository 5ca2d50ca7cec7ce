"""What proxies tell each other of guessers: two of them, each with its own memory, and the wire between them."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.pdm.contract import Secret
from popular.proxy.leases import CAME_IN, FAILED, KICKED, NEWS_MARK, member, row_of
from popular.proxy.session.limits.limit_usage import limit_usages
from popular.proxy.session.limits.limits import Limits
from popular.proxy.session.shared.news import News, begun, claimed, kick_of, number_of
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import AUTHDELAY, GUESSRATE, limit_rules
from supervisor.control.language.outcome import SessionSweep
from supervisor.table.remembered import Entry
from tests.proxy.console import Console
from tests.proxy.test_limits import AT_HOME, JOE, OFFICE, Worker

ANN = Who(OFFICE, "default", "ann")


class Site(Worker):
    """A proxy of two; `told` is what the other one will hear."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, dict[str, str]]] = []
        self.ordered: list[object] = []
        console = Console()
        for words in ("set authdelay 1s", "set guessrate 10", f"set exemptnetworks {AT_HOME}"):
            console.say(words)
        me: Any = self
        self.rules = limit_rules(console.config.variables)
        self.limited = Limits(self.rules, "v1", me, cluster=me)

    def tell(self, what: str, **fields: str) -> None:
        self.told.append((what, fields))

    def came_in(self, row: int) -> None:
        del row

    def request(self, order: object) -> None:
        self.ordered.append(order)

    def hears(self, other: "Site", age: float = 0.0) -> None:
        """All that the other one has told, once."""
        for what, fields in other.told:
            who = Who(fields["address"], fields["namespace"], fields["user"])
            self.limited.hear(who, what, of_network=fields["of_network"] == "1", age=age)
        other.told.clear()

    def fails(self, who: Who, *passwords: bytes) -> None:
        for password in passwords:
            _seconds, hindrance = self.limited.charge_guess(who)
            if hindrance is None:
                self.limited.charge_failure(who, Secret(password))

    def usage(self, who: Who) -> dict[str, float]:
        """How many failures count for him, and how long the next guess from his network would wait."""
        found = {row.limit: row for row in limit_usages(self.limited.entries, who)}
        return {"failures": round(found[AUTHDELAY].now, 3), "wait": round(found[GUESSRATE].wait, 3)}


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    made = Site(), Site()
    yield made
    for site in made:
        os.close(site.locks)


def test_failures_count_at_the_other_proxy_too(sites: tuple[Site, Site]) -> None:
    """They count for the user there, his network, and its rate of guesses; nothing of the password is told."""
    one, other = sites
    one.fails(JOE, *(b"wrong%d" % number for number in range(7)))
    assert {what for what, _fields in one.told} == {FAILED}
    assert "wrong" not in str(one.told)
    other.hears(one)
    assert other.usage(JOE) == one.usage(JOE)
    assert other.usage(JOE)["failures"] == 6.0
    assert other.usage(ANN)["wait"] == one.usage(ANN)["wait"] > 0


def test_what_others_let_guess_makes_nobody_wait_without_end(sites: tuple[Site, Site]) -> None:
    """They may allow more guesses, or any number: two minutes later it waits for nothing."""
    _one, other = sites
    for _ in range(200):
        other.limited.hear(ANN, FAILED, of_network=True, age=0.0)
    assert other.usage(ANN)["wait"] > 0
    other.clock.now += 120.0
    assert other.usage(ANN)["wait"] == 0


def test_who_is_at_home_notices_nothing(sites: tuple[Site, Site]) -> None:
    """A stranger's wrong passwords lengthen nothing of the user's from where he is."""
    one, other = sites
    at_home = Who("203.0.113.9", "default", "joe")
    one.fails(JOE, *(b"wrong%d" % number for number in range(20)))
    other.hears(one)
    assert other.usage(at_home) == {"failures": 0.0, "wait": 0.0}


def test_who_has_logged_in_is_spared_at_the_other_one(sites: tuple[Site, Site]) -> None:
    """His failures are forgotten there, and what others try from his network is none of his."""
    one, other = sites
    one.fails(JOE, b"mistyped")
    one.fails(ANN, *(b"wrong%d" % number for number in range(20)))
    assert one.limited.comes_in(0, JOE, None) is None
    other.hears(one)
    assert other.usage(JOE) == {"failures": 0.0, "wait": 0.0}
    assert other.usage(ANN)["wait"] > 0


def test_it_is_not_told_again_and_again(sites: tuple[Site, Site]) -> None:
    """A wrong password tried again, and logins of who is spared for long still: a mail program asks every minute."""
    one, _other = sites
    one.fails(JOE, b"old", b"old", b"old")
    for _ in range(5):
        one.limited.comes_in(0, JOE, None)
        one.clock.now += 60.0
    assert [what for what, _fields in one.told] == [FAILED, CAME_IN]
    one.clock.now += 1800.0
    one.limited.comes_in(0, JOE, None)
    assert [what for what, _fields in one.told] == [FAILED, CAME_IN, CAME_IN]


def test_old_news_weigh_less_and_exempt_networks_nothing(sites: tuple[Site, Site]) -> None:
    """What happened before this proxy was there counts as it would now; each has its own list of who is exempt."""
    one, other = sites
    one.fails(JOE, b"a", b"b")
    other.hears(one, age=600.0)
    assert other.usage(JOE)["failures"] == 1.0
    other.limited.hear(Who(AT_HOME, "default", "joe"), FAILED, of_network=True, age=0.0)
    assert other.usage(Who(AT_HOME, "default", "joe"))["failures"] == 0.0


@given(st.lists(st.tuples(st.integers(1, 2_000_000_000_000), st.integers(0, 500)), min_size=1, unique=True))
def test_each_worker_takes_what_no_other_has_taken(idents: list[tuple[int, int]]) -> None:
    """However pieces overlap: every piece of news is taken once."""
    numbers = sorted(number_of(f"{milliseconds}-{place}") for milliseconds, place in idents)
    assert len(set(numbers)) == len(idents)
    entry, taken = begun(Entry())[0], []
    for start in range(len(numbers)):
        seen = numbers[max(0, start - 2) : start + 1]
        entry, before = claimed(entry, seen[-1])
        taken += [number for number in seen if number > before]
    assert taken == numbers


def test_what_cannot_be_found_out_changes_nothing() -> None:
    """An entry that a dead worker has spoiled, or whose lock is somebody else's: the news wait for the next look."""
    assert claimed(Entry(), 5) == (Entry(), 0)
    assert claimed(begun(Entry())[0], 5)[1] > 0


class Server:
    """A cluster's server that has these news for whoever asks."""

    run = "ours"

    def __init__(self, *told: dict[str, str]) -> None:
        self.told = [[f"{1_700_000_000_000 + place}-0", sum(one.items(), ())] for place, one in enumerate(told)]

    async def news(self, since: str, most: int) -> tuple[int, list[Any]]:
        found = [one for one in self.told if not since or number_of(str(one[0])) > number_of(since)]
        return 1_700_000_001_000, found[:most]


@pytest.mark.processes
def test_news_are_taken_once_also_when_the_lock_is_somebody_elses(sites: tuple[Site, Site]) -> None:
    """Two workers of one proxy look; while a third one holds the lock, neither takes anything, and nothing is lost."""
    site, _other = sites
    told = {"what": FAILED, "address": OFFICE, "namespace": "default", "user": "joe", "of_network": "1"}
    server: Any = Server({"by": "theirs", **told}, {"by": "ours", **told}, {"what": "unheard of"}, {"what": FAILED})

    async def looked() -> list[float]:
        site.loop = asyncio.get_running_loop()  # type: ignore[assignment]
        me: Any = site
        workers = [News(me, server, site.rules) for _ in range(2)]
        await workers[0]._look()
        with locked(site.locks):
            for worker in workers:
                await worker._look()
        counts = [site.usage(JOE)["failures"]]
        for worker in workers * 2:
            await worker._look()
        for worker in workers:
            worker.close()
        return [*counts, site.usage(JOE)["failures"]]

    assert asyncio.run(looked()) == [0.0, 0.999]


def test_news_that_were_written_twice_are_taken_once(sites: tuple[Site, Site]) -> None:
    """Also by two workers of a proxy, of which one takes the first writing, and the other one the second."""
    site, _other = sites
    told = {"by": "theirs", "what": FAILED, "address": OFFICE, "namespace": "default", "user": "joe"}
    told = {**told, "of_network": "1", NEWS_MARK: "m1"}
    server: Any = Server(told)

    async def looked() -> list[float]:
        site.loop = asyncio.get_running_loop()  # type: ignore[assignment]
        me: Any = site
        one, two = (News(me, server, site.rules) for _ in range(2))
        counts: list[float] = []
        for more in ([], [told], [{**told, NEWS_MARK: "m2"}]):
            server.told += Server(*server_fields(server), *more).told[len(server.told) :]
            for worker in (one, two, one):
                await worker._look()
            counts.append(round(site.usage(JOE)["failures"]))
            one, two = two, one
        for worker in (one, two):
            worker.close()
        return counts

    assert asyncio.run(looked()) == [1, 1, 2]


def server_fields(server: Any) -> list[dict[str, str]]:
    """What was told, as it was given."""
    return [dict(zip(words[::2], words[1::2], strict=True)) for _ident, words in server.told]


@pytest.mark.parametrize(
    ("sort", "ident", "deadline"),
    [
        ("generation", "1", ""),
        ("backend", "pop", ""),
        ("network", "everybody", ""),
        ("network", "192.0.2.1/24", ""),
        ("user", "default:\x1b[2J", ""),
        ("user", "default:joe", "-1"),
        ("user", "default:joe", "9" * 400),
        ("user", "default:joe", "soon"),
    ],
)
def test_a_kick_that_nobody_could_have_said_is_none(sort: str, ident: str, deadline: str) -> None:
    """Whoever can write on the server must not end everybody's session, nor stop a worker or the master."""
    with pytest.raises(ValueError):
        kick_of({"sort": sort, "id": ident, "deadline": deadline, "by": "it"})


def test_a_kick_is_told_as_it_was_said() -> None:
    """Whether it is for a user or for a network."""
    user = kick_of({"sort": "user", "id": "default:joe", "deadline": "60", "by": "it"})
    network = kick_of({"sort": "network", "id": "192.0.2.0/24", "deadline": "", "by": "it"})
    assert (user.sort, user.id, user.deadline, user.gentle) == ("user", "default:joe", 60, True)
    assert (network.sort, network.id, network.deadline) == ("network", "192.0.2.0/24", None)


@contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Another process has all locks."""
    ready, over = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        os.write(ready[1], b"x")
        os.read(over[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    yield
    os.write(over[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *over):
        os.close(end)


def heard(site: Site, server: Any) -> list[object]:
    """The orders that a worker hands up for what lies at the server."""

    async def listened() -> None:
        site.loop = asyncio.get_running_loop()  # type: ignore[assignment]
        me: Any = site
        news = News(me, server, site.rules)
        await news._look()
        await news._look()
        news.close()

    asyncio.run(listened())
    return site.ordered


def test_what_no_proxy_tells_is_no_order(sites: tuple[Site, Site]) -> None:
    """Whoever reaches the server may write anything: the master would end by such a deadline, and the workers' sweeps
    by such a network. What stands after it is heard.
    """
    kick = {"by": "theirs", "what": KICKED, "sort": "user", "id": "default:joe", "deadline": ""}
    hostile: tuple[dict[str, str], ...] = (
        {"deadline": "1" + "0" * 400},
        {"deadline": "-1"},
        {"deadline": "soon"},
        {"sort": "generation"},
        {"sort": "backend", "id": "store1"},
        {"sort": "network", "id": "everywhere"},
        {"sort": "network", "id": ""},
    )
    good: tuple[dict[str, str], ...] = ({}, {"sort": "network", "id": OFFICE, "deadline": "60"})
    site, _other = sites
    orders = heard(site, Server(*(kick | words for words in (*hostile, *good))))
    assert orders == [
        SessionSweep(
            "kick user default:joe", sort="user", id="default:joe", gentle=True, deadline=None, told_by="theirs"
        ),
        SessionSweep(
            f"kick network {OFFICE}/32", sort="network", id=f"{OFFICE}/32", gentle=True, deadline=60, told_by="theirs"
        ),
    ]


def test_an_entry_of_the_future_stops_no_news(sites: tuple[Site, Site]) -> None:
    """Its id is the highest there can be: what comes after it, with the ids of its time, is taken all the same."""
    kick = {"by": "theirs", "what": KICKED, "sort": "user", "id": "default:joe", "deadline": ""}
    site, _other = sites
    server = Server(kick)
    highest = 2**64 - 1
    server.told.append([f"{highest}-{highest}", ("x", "y")])

    async def looked() -> None:
        site.loop = asyncio.get_running_loop()  # type: ignore[assignment]
        me: Any = site
        at: Any = server
        news = News(me, at, site.rules)
        for _ in range(2):
            await news._look()
        server.told.insert(1, ["1700000000500-0", sum(kick.items(), ())])
        await news._look()
        news.close()

    asyncio.run(looked())
    assert len(site.ordered) == 2


def test_what_lies_at_the_server_and_is_nothing_of_ours() -> None:
    """It is no session: else one such entry kept all others from being told."""
    ours = member("sid", "p", namespace="default", user="joe")
    assert row_of(ours) == {"sid": "sid", "proxy": "p", "namespace": "default", "user": "joe"}
    for text in ("", "{", "7", "{}", "[" * 100_000, ours.replace('"joe"', "[7]")):
        assert row_of(text) is None
