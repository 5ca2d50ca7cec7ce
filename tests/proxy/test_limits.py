"""Limits on logins, on a clock that can be turned: rates, delays, who is spared, what counts for whom."""

import fcntl
import ipaddress
import mmap
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.net.networks import NetworkList
from popular.pdm.contract import Secret, UserLimits
from popular.protocol.replies import Code
from popular.proxy.session.limits import guesses
from popular.proxy.session.limits.contracts import Hindrance
from popular.proxy.session.limits.guesses import MINUTE, SPARED_SECONDS, Pace
from popular.proxy.session.limits.limit_usage import LimitUsage, limit_usages
from popular.proxy.session.limits.limits import Limits
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import LIMITS, limit_rules, network_of
from supervisor.control.language.lookups import Lookups
from supervisor.system import Clock
from supervisor.table.blocked import BLOCKED_OCTETS, Blocked
from supervisor.table.notes import NOTES_OCTETS, Notes
from supervisor.table.remembered import Entry, Geometry, Remembered
from tests.proxy.console import Console

AT_HOME, OFFICE = "198.51.100.7", "192.0.2.1"
JOE, ANN = Who(OFFICE, "default", "joe"), Who(OFFICE, "default", "ann")
WRONG = Secret(b"wrong")


class Worker:
    """What limits need of a worker: memory that others have too, a clock, counters."""

    def __init__(self) -> None:
        self.locks = os.memfd_create("locks")
        self.geometry = Geometry.of(30)
        self.memory = memoryview(mmap.mmap(-1, self.geometry.size + BLOCKED_OCTETS + NOTES_OCTETS))
        self.clock = Clock()
        self.clock.now = 1000.0
        self.counted: Counter[tuple[str, str]] = Counter()
        self.loop = self
        self.later: list[Callable[[], None]] = []
        self.others: set[int] = set()
        """Rows that somebody else has by now."""

    def call_later(self, _seconds: float, then: Callable[[int], None], row: int) -> None:
        self.later.append(partial(then, row))

    def is_over(self, row: int) -> bool:
        return row not in self.others

    def open_remembered(self) -> Remembered:
        return Remembered(self.memory[: self.geometry.size], self.geometry, locks=self.locks, key=b"k")

    def open_blocked(self) -> Blocked:
        return Blocked(self.memory[self.geometry.size :][:BLOCKED_OCTETS])

    def open_notes(self) -> Notes:
        return Notes(self.memory[-NOTES_OCTETS:], locks=self.locks)

    def count(self, counter: str, label: str) -> None:
        self.counted[counter, label] += 1

    def limits(self, vserv: str = "v1", **words: str) -> Limits:
        """With these variables set."""
        console = Console()
        for name, word in words.items():
            console.say(f"set {name} {word}")
        context: Any = self
        return Limits(limit_rules(console.config.variables), vserv, context)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    os.close(made.locks)


# Rates


@given(st.integers(2, 50), st.lists(st.floats(0.0, 20.0), max_size=150))
def test_never_more_than_the_rate(most: int, pauses: list[float]) -> None:
    """However guesses come, those that are waited for included: no minute has more of them."""
    rate, entry, now, made = Pace.of(most, MINUTE), Entry(), 1000.0, []
    for pause in pauses:
        now += pause
        entry, wait = guesses.charged(entry, rate, now, most_wait=15.0)
        if wait <= 15.0:
            made.append(now + wait)
    made.sort()
    for first, moment in enumerate(made):
        assert sum(moment <= other < moment + MINUTE - 1e-6 for other in made[first:]) <= most


def test_what_was_none_is_given_back() -> None:
    """Any number of logins that turn out right leave no trace."""
    rate, entry = Pace.of(10, MINUTE), Entry()
    for number in range(1000):
        entry, wait = guesses.charged(entry, rate, 1000.0 + number / 1000, most_wait=0.0)
        assert wait == 0.0
        entry, _ = guesses.given_back(entry, rate)


def test_the_delay_doubles_up_to_its_end() -> None:
    """By failures of the user there, and more slowly by those of his network."""
    assert [guesses.delay(score, 0, 1.0, most=15.0) for score in (1, 2, 3, 4, 5, 99)] == [1, 2, 4, 8, 15, 15]
    assert [guesses.delay(1, network, 1.0, most=15.0) for network in (1, 4, 8, 12, 99)] == [1, 1, 2, 4, 15]


@pytest.mark.parametrize(
    ("address", "bits4", "bits6", "network"),
    [
        ("192.0.2.77", 32, 64, "192.0.2.77/32"),
        ("192.0.2.77", 24, 64, "192.0.2.0/24"),
        ("::ffff:192.0.2.77", 24, 64, "192.0.2.0/24"),
        ("2001:db8::1:2:3:4", 32, 64, "2001:db8:0:0::/64"),
        ("fe80::1%eth0", 32, 48, "fe80::/48"),
    ],
)
def test_which_network_an_address_is_of(address: str, bits4: int, bits6: int, network: str) -> None:
    """By as many bits as the operator says."""
    assert network_of(address, bits4, bits6) == network.replace("2001:db8:0:0::", "2001:db8::")


@pytest.mark.parametrize("word", ["192.0.2.0/24", "::ffff:192.0.2.0/120", "::/0,192.0.2.0/24"])
def test_a_network_is_known_in_either_form(word: str) -> None:
    """As the addresses of clients are, which are shown as IPv4; what holds more than IPv4 addresses stays as it is."""
    networks = NetworkList().parse(word, Lookups())
    assert ipaddress.ip_network("192.0.2.0/24") in networks.networks
    assert "192.0.2.7" in networks
    assert "::ffff:192.0.2.7" in networks
    assert "192.0.3.7" not in networks


# Guesses


def test_failures_hold_the_reply_back(worker: Worker) -> None:
    """More with each other password, not with the same one again; elsewhere the same user is a stranger."""
    limits = worker.limits(authdelay="1s", authdelaymax="8s")
    assert [limits.charge_failure(JOE, Secret(word)) for word in (b"a", b"a", b"b", b"a", b"c", b"d", b"e")] == [
        pytest.approx(seconds) for seconds in (1, 1, 2, 2, 4, 8, 8)
    ]
    assert limits.charge_failure(JOE._replace(address=AT_HOME), WRONG) == 1.0
    assert limits.charge_failure(ANN, WRONG) == pytest.approx(2 ** (6 / 4 - 1)), "the network has failed too"


def test_failures_are_forgotten(worker: Worker) -> None:
    """By half in ten minutes."""
    limits = worker.limits(authdelay="1s")
    for word in (b"a", b"b", b"c"):
        limits.charge_failure(JOE, Secret(word))
    worker.clock.now += 6000
    assert limits.charge_failure(JOE, WRONG) == pytest.approx(1.0, rel=0.01)


def test_no_password_is_kept(worker: Worker) -> None:
    """Nor a name; and what is kept of a password another run could not make anything of."""
    limits = worker.limits(authdelay="1s", guessrate="9", usersessions="1")
    limits.charge_failure(Who(OFFICE, "default", "canary-user"), Secret(b"canary-password"))
    limits.comes_in(0, Who(OFFICE, "default", "canary-user"), None)
    assert b"canary" not in bytes(worker.memory)


def test_a_network_guesses_at_its_rate(worker: Worker) -> None:
    """Half of it at once, the next ones in their turn, and who would wait too long is asked to come again."""
    limits = worker.limits(guessrate="10", authdelaymax="30s")
    waits = [limits.charge_guess(Who(OFFICE, "default", f"u{number}")) for number in range(8)]
    assert waits == [(0.0, None)] * 5 + [(12.0, None), (24.0, None), (30.0, Hindrance("guessrate", Code.SYS_TEMP))]
    assert limits.charge_guess(JOE._replace(address=AT_HOME)) == (0.0, None)
    worker.clock.now += 60
    assert limits.charge_guess(JOE) == (0.0, None)


def test_right_logins_take_nothing_of_the_rate(worker: Worker) -> None:
    """An office behind one address with any number of users is as it was."""
    limits = worker.limits(guessrate="4", authdelay="1s")
    for number in range(200):
        who = Who(OFFICE, "default", f"u{number % 50}")
        assert limits.charge_guess(who) == (0.0, None)
        assert limits.comes_in(number % 20, who, None) is None


def test_the_same_wrong_password_again_is_no_guess(worker: Worker) -> None:
    """A mail program with an old password takes its network nothing but one."""
    limits = worker.limits(guessrate="4")
    for _ in range(50):
        assert limits.charge_guess(JOE) == (0.0, None)
        assert limits.charge_failure(JOE, WRONG) == 0.0
    assert limits.charge_guess(ANN) == (0.0, None)


def test_who_has_logged_in_from_there_is_spared(worker: Worker) -> None:
    """His network guesses: he is asked for at once, and the others are not. One bought account opens no gate: not for
    others, and not for him who fails too often himself.
    """
    limits = worker.limits(guessrate="4", authdelay="1s")
    limits.comes_in(0, JOE, None)
    for number in range(20):
        limits.charge_guess(ANN)
        limits.charge_failure(ANN, Secret(b"%d" % number))
    assert limits.charge_guess(ANN)[0] > 0
    assert limits.charge_guess(JOE) == (0.0, None)
    assert limits.charge_failure(JOE, WRONG) == 1.0, "what others have failed there is none of his"
    for number in range(5):
        limits.charge_failure(JOE, Secret(b"%d" % number))
    assert limits.charge_guess(JOE)[0] > 0

    limits.comes_in(0, ANN, None)
    assert limits.charge_guess(ANN) == (0.0, None)
    worker.clock.now += SPARED_SECONDS + 1
    assert limit_usages(limits.entries, ANN)[1].wait == 0.0


def test_guesses_that_were_not_charged_are_not_given_back(worker: Worker) -> None:
    """An account that somebody has bought is asked for often while it is spared: no answer that comes when it is spared
    no more makes room for guesses at others.
    """
    limits = worker.limits(guessrate="4", authdelaymax="60s")
    limits.comes_in(0, JOE, None)
    while not limits.charge_guess(ANN)[0]:
        pass
    before = limit_usages(limits.entries, ANN)[1].wait
    asked = [limits.charge_guess(JOE) for _ in range(10)]
    assert asked == [(0.0, None)] * 10
    for number in range(5):
        limits.charge_failure(JOE, Secret(b"%d" % number))
    for _ in range(4):
        limits.charge_failure(JOE, Secret(b"4"))
    limits.comes_in(1, JOE, None)
    assert limit_usages(limits.entries, ANN)[1].wait == before


def test_exempt_networks(worker: Worker) -> None:
    """Nobody there is counted."""
    limits = worker.limits(guessrate="2", authdelay="1s", networksessions="1", exemptnetworks="192.0.2.0/24")
    for row in range(9):
        assert limits.charge_guess(JOE) == (0.0, None)
        assert limits.charge_failure(JOE, Secret(b"%d" % row)) == 0.0
        assert limits.comes_in(row, JOE, None) is None


# Who comes in


def hindered(limits: Limits, row: int, who: Who = JOE, own: UserLimits | None = None) -> str:
    hindrance = limits.comes_in(row, who, own)
    return "" if hindrance is None else hindrance.limit


def test_sessions_are_counted_by_user_network_and_server(worker: Worker) -> None:
    """Each where it belongs; who is refused counts nowhere."""
    limits = worker.limits(usersessions="2", networksessions="3", vservsessions="4")
    assert [hindered(limits, row) for row in range(3)] == ["", "", "usersessions"]
    assert [hindered(limits, row, ANN) for row in (2, 3)] == ["", "networksessions"]
    assert [hindered(limits, row, Who(AT_HOME, "default", f"u{row}")) for row in (3, 4)] == ["", "vservsessions"]
    assert hindered(worker.limits("v2", vservsessions="4"), 5, Who(AT_HOME, "default", "x")) == ""
    limits.leave(0)
    assert [hindered(limits, row, Who(AT_HOME, "default", f"u{row}")) for row in (4, 6)] == ["", "vservsessions"]


def test_a_row_that_is_used_anew_counts_once(worker: Worker) -> None:
    """Even if the session before could not give back what it had."""
    limits = worker.limits(usersessions="2")
    assert [hindered(limits, row) for row in (0, 0, 0, 1, 2)] == ["", "", "", "", "usersessions"]


@pytest.mark.processes
def test_what_cannot_be_given_back_at_once_is_later(worker: Worker) -> None:
    """While the memory is locked, as it is for a moment when a worker has died: no count stays behind, and nobody's is
    taken off who has come in meanwhile.
    """
    limits = worker.limits(usersessions="2")
    assert [hindered(limits, row) for row in range(2)] == ["", ""]
    ready, done = os.pipe()
    holder = os.fork()
    if not holder:
        fcntl.lockf(worker.locks, fcntl.LOCK_EX)
        os.write(done, b"locked")
        signal.pause()
    try:
        os.read(ready, 6)
        limits.leave(0)
        limits.leave(1)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(ready)
        os.close(done)
    assert limit_usages(limits.entries, JOE)[-2].now == 2
    assert hindered(limits, 1, JOE) == ""
    worker.others = {1}
    for again in worker.later:
        again()
    assert limit_usages(limits.entries, JOE)[-2].now == 1
    assert len(worker.later) == 2


def test_a_user_comes_again_behind_his_delay(worker: Worker) -> None:
    """It begins with the login that was let in; one that another limit has refused is none."""
    limits = worker.limits(logindelay="60s", vservsessions="1")
    assert hindered(limits, 0) == ""
    assert hindered(limits, 1, ANN) == "vservsessions"
    limits.leave(0)
    assert hindered(limits, 1, ANN) == ""
    limits.leave(1)
    assert hindered(limits, 1) == "logindelay"
    worker.clock.now += 59
    assert hindered(limits, 1) == "logindelay"
    worker.clock.now += 2
    assert hindered(limits, 1) == ""


def test_logins_a_second(worker: Worker) -> None:
    """As many as are said, evenly."""
    limits = worker.limits(vservlogins="4")
    found = [hindered(limits, row, Who(AT_HOME, "default", f"u{row}")) for row in range(4)]
    assert found == ["", "", "vservlogins", "vservlogins"]
    worker.clock.now += 1
    assert hindered(limits, 5) == ""


def test_a_virtual_server_has_numbers_of_its_own(worker: Worker) -> None:
    """Instead of the variables, also `off` and on trial; what it does not say is theirs. Each counts for itself."""
    console = Console()
    console.say("set vservsessions 2")
    for name, words in (("few", "sessions 1"), ("all", "sessions off"), ("tried", "sessions report:1"), ("usual", "")):
        console.say(f"vserv conf {name} port 1110 {words}")
    context: Any = worker
    found = {}
    for number, (name, vserv) in enumerate(console.config.things["vserv"].items()):
        limits = Limits(vserv.limits(console.config.variables), name, context)
        users = [Who(AT_HOME, "default", f"u{number}{one}") for one in range(3)]
        found[name] = [hindered(limits, 5 * number + one, who) for one, who in enumerate(users)]
    none, full = "", "vservsessions"
    assert found == {"few": [none, full, full], "all": [none] * 3, "tried": [none] * 3, "usual": [none, none, full]}
    assert worker.counted["limit_reports", full] == 2
    assert "sessions report:1" in "\n".join(console.lines("vserv show tried"))


def test_what_a_module_says_of_a_user_counts_for_him(worker: Worker) -> None:
    """Instead of what counts for all, and where nothing does; 0 is no limit."""
    limits = worker.limits(usersessions="1")
    assert [hindered(limits, row, own=UserLimits(sessions=2)) for row in range(3)] == ["", "", "usersessions"]
    assert [hindered(limits, row, ANN, UserLimits(sessions=0)) for row in (3, 4, 5)] == ["", "", ""]
    free = worker.limits()
    assert [hindered(free, row, JOE._replace(user="eve"), UserLimits(login_delay=9)) for row in (6, 7)] == [
        "",
        "logindelay",
    ]


def test_who_is_written_in_several_ways_is_one(worker: Worker) -> None:
    """Where his module says so: his sessions, his pause and his lease are one's; elsewhere names are as they stand."""
    limits = worker.limits(usersessions="2")
    one = UserLimits(account="joe")
    ways = [JOE._replace(user=user) for user in ("joe", "JOE", "joe@example.org")]
    assert [hindered(limits, row, way, one) for row, way in enumerate(ways)] == ["", "", "usersessions"]
    assert {limits.lease("sid", way, one).user for way in ways} == {"joe"}
    assert limit_usages(limits.entries, ways[2], one)[-2].now == 2
    assert [hindered(limits, row, way) for row, way in enumerate(ways, 3)] == ["usersessions", "", ""]
    assert limits.lease("sid", ways[1], None).user == "JOE"
    assert hindered(limits, 6, JOE._replace(namespace="other"), one) == "", "joe of another namespace is another one"


def test_on_trial_all_come_in(worker: Worker) -> None:
    """And each limit counts and notes whom it would have concerned."""
    words = dict.fromkeys(("usersessions", "networksessions", "vservsessions", "vservlogins"), "report:1")
    limits = worker.limits(**words, logindelay="report:1s", guessrate="report:2", authdelay="report:1s")
    for row in range(4):
        assert limits.charge_guess(JOE) == (0.0, None)
        assert limits.charge_failure(JOE, Secret(b"%d" % row)) == 0.0
    for row in range(3):
        assert hindered(limits, row) == ""
    assert {label for _, label in worker.counted} == set(LIMITS)
    assert worker.counted["limit_reports", "usersessions"] == 2
    noted = worker.open_notes().listed()
    assert len(noted) == worker.counted.total()
    assert (noted[-1].user, noted[-1].network, noted[-1].where) == ("joe", "192.0.2.1/32", "v1")


# Usage


ALL = {
    "authdelay": "1s",
    "guessrate": "4",
    "usersessions": "2",
    "networksessions": "3",
    "vservsessions": "3",
    "vservlogins": "50",
    "logindelay": "5s",
}


def test_standings_say_what_would_happen(worker: Worker) -> None:
    """Each limit in its order, with its count; and nothing is changed by asking."""
    limits = worker.limits(**ALL)
    entries = limits.entries
    assert [row.limit for row in limit_usages(entries, JOE)] == list(LIMITS)
    assert all(
        (row.now, row.wait, row.code) == (0, row.limit == "authdelay", None) for row in limit_usages(entries, JOE)
    )
    limits.comes_in(0, JOE, None)
    before = bytes(worker.memory)
    usage = {row.limit: row for row in limit_usages(entries, JOE)}

    assert bytes(worker.memory) == before
    assert usage["usersessions"] == LimitUsage("usersessions", "enforce", most=2, now=1)
    assert usage["logindelay"] == LimitUsage("logindelay", "enforce", most=5, now=5.0, code=Code.LOGIN_DELAY)
    assert {row.code for row in limit_usages(entries, ANN)} == {None}


def test_standings_foretell_the_delay(worker: Worker) -> None:
    """They say what one more failure would cost."""
    limits = worker.limits(authdelay="1s")
    for word in (b"a", b"b", b"c"):
        foretold = limit_usages(limits.entries, JOE)[0].wait
        assert limits.charge_failure(JOE, Secret(word)) == foretold


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("jab"), st.floats(0, 4)), max_size=25))
def test_standings_foretell_what_then_happens(steps: list[tuple[int, str, float]]) -> None:
    """Whatever was before: the first limit with a code is the one that refuses, and if there is none he comes in."""
    worker = Worker()
    limits = worker.limits(**ALL)
    try:
        for row, user, pause in steps:
            worker.clock.now += pause
            who = Who(OFFICE, "default", user)
            foretold = [
                one.limit
                for one in limit_usages(limits.entries, who)
                if one.code is not None and one.limit != "guessrate"
            ]
            held = limits._memory.held(row)
            if any(held):
                limits.leave(row)
                continue
            assert hindered(limits, row, who) == (foretold[0] if foretold else "")
    finally:
        os.close(worker.locks)
