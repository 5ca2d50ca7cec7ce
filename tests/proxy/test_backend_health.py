"""The breaker of a backend, which two workers share: what closes it, what does not, and how it comes back."""

import mmap
from dataclasses import replace

import pytest

from popular.proxy.session.backend.backend_health import BackendHealth
from popular.proxy.session.backend.breaker import (
    LEAST_SHARE,
    LOGINS,
    LONGEST_PAUSE_SECONDS,
    PAUSE_SECONDS,
    PROBE_SECONDS,
    BreakerTerms,
    fallen,
)
from popular.proxy.session.backend.contracts import AS_PROBE, NOT_NOW
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.health import DOWN, HEALTH, PROBING, RECOVERING, UP, Condition
from supervisor.runtime.messages import Message
from supervisor.system import Clock
from supervisor.table.records import Records
from tests.proxy.session_rules import backend
from tests.table.sample import layout

TERMS = BreakerTerms(networks=3, window=10.0, slowstart=10.0)


class Store:
    """A backend that lives or not, two workers, and clients who log in by turns at the one and the other."""

    def __init__(self, terms: BreakerTerms = TERMS, index: int | None = 0) -> None:
        self.clock = Clock()
        shape = replace(layout(), records=(HEALTH._replace(by="shop"),))
        self.records = Records(shape, memoryview(mmap.mmap(-1, shape.size)), HEALTH.name)
        self.wall = 1.8e9
        self.lives = True
        self.logins = 0
        self.draw = 0.5
        self.news: list[tuple[str, dict[str, object]]] = []
        self.asked = 0
        self.workers = [self.worker(backend("pop"), terms, index) for _ in range(2)]

    def worker(self, of: Backend, terms: BreakerTerms = TERMS, index: int | None = 0) -> BackendHealth:
        return BackendHealth(
            of,
            index,
            self.records,
            terms=terms,
            clock=self.clock,
            logins=lambda: self.logins,
            tell=self.tell,
            wall=lambda: self.wall,
            draw=lambda: self.draw,
        )

    def tell(self, message: Message, fields: dict[str, object]) -> None:
        self.news.append((message.name, fields))

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.wall += seconds

    def log_in(self, address: str, *, hated: bool = False, wrong: bool = False, user: str = "") -> str:
        """What becomes of a login: "in", "failed" or "wrong", or, at once, "refused". `user`: whom it names first."""
        self.passes(0.01)
        worker = self.workers[self.asked % 2]
        self.asked += 1
        if not worker.takes(address):
            return "refused"
        if self.lives and wrong:
            worker.answered(address)
            return "wrong"
        if self.lives and not hated:
            self.logins += 1
            return "in"
        worker.failed(address, "connection refused", user=user)
        return "failed"

    def fall(self) -> None:
        """It is gone, and found to be."""
        self.lives = False
        while self.condition.state != DOWN:
            self.log_in(f"192.0.2.{self.asked}")

    @property
    def condition(self) -> Condition:
        return self.workers[0].condition()


def crowd(store: Store, logins: int) -> dict[str, int]:
    """What becomes of so many clients of different networks."""
    came: dict[str, int] = {}
    for one in range(logins):
        word = store.log_in(f"198.51.{one // 250}.{one % 250}")
        came[word] = came.get(word, 0) + 1
    return came


def probes(store: Store, logins: int) -> int:
    """How many of so many clients of different networks are let through as a probe, of which nobody hears then."""
    return [store.workers[0].takes(f"192.0.2.{one}") for one in range(logins)].count(AS_PROBE)


def test_one_client_whom_it_hates_closes_it_for_nobody() -> None:
    """A banned one fails a thousand times, and everybody else logs in; also if nobody else comes meanwhile."""
    store = Store()
    for one in range(1000):
        assert store.log_in("192.0.2.1", hated=True) == "failed"
        if one % 4 == 0:
            assert store.log_in(f"198.51.{one % 100}.7") == "in"
    assert {store.log_in("192.0.2.1", hated=True) for _ in range(1000)} == {"failed"}
    assert crowd(store, 100) == {"in": 100}
    assert store.news == []


def test_a_network_of_ipv6_is_one_client() -> None:
    """Whoever has a /64 has as many addresses as he likes, and a customer who has a /48 as many networks."""
    store = Store()
    for one in range(100):
        assert store.log_in(f"2001:db8::{one:x}", hated=True) == "failed"
        assert store.log_in(f"2001:db8:0:{one:x}::1", hated=True) == "failed"
        assert store.log_in("::ffff:192.0.2.1", hated=True) == "failed"
    assert store.condition.state == UP
    assert store.log_in("2001:db8:1::1", hated=True) == "failed"
    assert store.condition.state == DOWN


def test_mailboxes_that_are_broken_close_it_for_nobody() -> None:
    """One of twenty logins fails, from as many networks as one likes: for it is well with the others."""
    store = Store()
    for one in range(2000):
        assert store.log_in(f"198.51.{one // 250}.{one % 250}", hated=one % 20 == 0) != "refused"
    assert store.news == []


def test_one_user_closes_it_for_nobody_from_wherever_he_comes() -> None:
    """His phone, his home and his office are three networks; three users from three networks close it. Nor does he keep
    it from coming back.
    """
    store = Store()
    assert {store.log_in(f"203.0.113.{one}", hated=True, user="ann") for one in range(20)} == {"failed"}
    assert store.condition.state == UP
    assert store.log_in("192.0.2.1", hated=True, user="joe") == "failed"
    assert store.condition.state == UP
    assert store.log_in("192.0.2.2", hated=True, user="sue") == "failed"
    assert store.condition.state == DOWN
    store.passes(PAUSE_SECONDS + 1)
    assert [store.log_in(f"203.0.113.{one}", hated=True, user="ann") for one in range(3)] == ["failed"] * 3
    assert store.condition.state == PROBING
    store.passes(PROBE_SECONDS)
    assert store.log_in("192.0.2.1", user="joe") == "in"


def test_many_users_of_one_network_close_it_for_nobody() -> None:
    """And failures in front of any name are of as many users as of networks."""
    store = Store()
    assert {store.log_in("192.0.2.1", hated=True, user=f"u{one}") for one in range(20)} == {"failed"}
    assert {store.log_in("192.0.2.2", hated=True), store.log_in("192.0.2.3", hated=True)} == {"failed"}
    assert store.condition.state == DOWN
    other = Store()
    assert {other.log_in(f"192.0.2.{one}", hated=True) for one in range(3)} == {"failed"}
    assert other.condition.state == DOWN


def test_one_that_is_gone_costs_three_logins_and_then_nobody_any_time() -> None:
    """Whatever went well before. The other worker knows it in a quarter of a second, here after one more login. It is
    told once, with the reason.
    """
    store = Store()
    assert crowd(store, 500) == {"in": 500}
    store.lives = False
    assert crowd(store, 300) == {"failed": 4, "refused": 296}
    fields = {"backend": "pop", "address": "127.0.0.1", "by": "logins", "reason": "connection refused"}
    assert store.news == [("backend_down", fields)]
    assert store.workers[1].says().endswith("(connection refused)")
    assert store.workers[1].says().startswith("down since 2027-01-15T")


def test_failures_that_are_far_apart_do_not_count_together() -> None:
    """Three within the window do."""
    store = Store()
    store.lives = False
    for one in range(20):
        assert store.log_in(f"192.0.2.{one}") == "failed"
        store.passes(TERMS.window * 0.6)
    assert store.news == []


def test_while_it_is_gone_it_is_probed_by_a_few_and_left_alone_for_longer_and_longer() -> None:
    """Since when it is down stays, and each round costs as many logins as the first one."""
    store = Store()
    store.fall()
    since = store.condition.since
    pause = PAUSE_SECONDS
    for _ in range(6):
        store.passes(pause - 2)
        assert crowd(store, 20) == {"refused": 20}
        store.passes(3)
        assert crowd(store, 100) == {"failed": 3, "refused": 97}
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    assert pause == LONGEST_PAUSE_SECONDS
    assert store.condition.since == since
    assert {name for name, _ in store.news[1:]} == {"backend_recovering", "backend_down"}


def test_when_it_is_back_a_share_is_let_through_that_grows() -> None:
    """From a tenth to all within slowstart; then it is up, and that is told."""
    store = Store()
    store.fall()
    store.lives = True
    store.passes(PAUSE_SECONDS + 1)
    assert crowd(store, 2)["in"]
    store.passes(0.3)
    assert store.log_in("192.0.2.1") == "refused"
    assert store.condition.state == RECOVERING
    shares = []
    for _ in range(9):
        let = 0
        for one in range(100):
            store.draw = one / 100
            let += all([worker.takes("192.0.2.1") for worker in store.workers])
        shares.append(let)
        store.passes(1)
    assert shares == sorted(shares)
    assert LEAST_SHARE * 100 <= shares[0] < 20
    assert shares[-1] > 75
    store.passes(2)
    store.draw = 1.0
    assert crowd(store, 200) == {"in": 200}
    assert store.condition.state == UP
    assert [name for name, _ in store.news] == ["backend_down", "backend_recovering", "backend_up"]


@pytest.mark.parametrize("for_certain", [True, False])
def test_the_check_ends_a_recovery_in_which_nobody_logs_in(for_certain: bool) -> None:
    """What it has found down is up when it was well for slowstart, not before, and that is told."""
    store = Store()
    check = store.worker(backend("pop"))
    check.found_down("it says nothing", least=0.0)
    states = []
    for _ in range(4):
        check.found_well(for_certain=for_certain)
        states.append(store.condition.state)
        store.passes(TERMS.slowstart * 0.4)
    assert states == [RECOVERING, RECOVERING, RECOVERING, UP]
    assert [name for name, _ in store.news] == ["backend_down", "backend_recovering", "backend_up"]
    assert check.says().endswith("(it was down: it says nothing)"), "that is no reason to be up"


def test_who_is_hated_cannot_keep_it_from_coming_back() -> None:
    """He has one probe like everybody else, however often he comes."""
    store = Store()
    store.fall()
    store.lives = True
    store.passes(PAUSE_SECONDS + 1)
    assert [store.log_in("203.0.113.1", hated=True) for _ in range(50)].count("failed") == 1
    assert store.condition.state == PROBING
    assert store.log_in("192.0.2.1") == "in"
    store.passes(0.3)
    store.log_in("203.0.113.1", hated=True)
    assert store.condition.state == RECOVERING
    store.passes(TERMS.slowstart)
    for _ in range(100):
        store.log_in("203.0.113.1", hated=True)
    assert crowd(store, 100) == {"in": 100}


def test_who_guesses_passwords_cannot_keep_it_from_coming_back() -> None:
    """From as many networks as may probe it, and always ahead of everybody else: that it refuses them shows that it is
    there. While it is well, or gone, it changes nothing; nor does a login of before.
    """
    store = Store()
    assert {store.log_in(f"203.0.113.{one}", wrong=True) for one in range(9)} == {"wrong"}
    store.fall()
    store.workers[0].answered("192.0.2.0")
    assert store.condition.state == DOWN
    store.lives = True
    store.passes(PAUSE_SECONDS + 1)
    assert store.workers[0].takes("203.0.113.1")
    store.workers[0].answered("192.0.2.0")
    assert store.condition.state == PROBING
    came = [store.log_in(f"203.0.113.{one}", wrong=True) for one in range(2, 50)]
    assert "wrong" in came
    assert store.condition.state == RECOVERING
    store.passes(TERMS.slowstart)
    assert crowd(store, 100) == {"in": 100}


def test_probes_that_nobody_hears_of_are_put_again() -> None:
    """A worker died with them, or they hang: others may try after a while."""
    store = Store()
    store.fall()
    store.passes(PAUSE_SECONDS + 1)
    assert probes(store, 10) == 3
    store.passes(PROBE_SECONDS)
    assert probes(store, 10) == 3


def test_a_probe_that_came_to_nothing_is_free_for_others() -> None:
    """Its client has hung up: as often as he likes, and without keeping anybody out. One that was answered, or failed,
    stays what it is; and what was none is not missed.
    """
    store = Store()
    store.fall()
    store.passes(PAUSE_SECONDS + 1)
    worker, other = store.workers
    worker.came_to_nothing("192.0.2.1")
    for _ in range(3):
        assert probes(store, 10) == 3
        assert not other.takes("192.0.2.0")
        for one in range(3):
            other.came_to_nothing(f"192.0.2.{one}")
            worker.came_to_nothing(f"192.0.2.{one}")
    assert worker.takes("192.0.2.1") == AS_PROBE
    worker.failed("192.0.2.1", "connection refused", user="")
    worker.came_to_nothing("192.0.2.1")
    assert worker.takes("192.0.2.1") == NOT_NOW
    store.lives = True
    assert store.log_in("192.0.2.7") == "in"


def test_another_address_begins_anew_and_so_does_one_without_a_record() -> None:
    """The operator has repaired it: what was found out of the old one counts for nothing."""
    store = Store()
    store.fall()
    assert not store.worker(backend("pop")).takes("192.0.2.1")
    assert store.worker(backend("pop").with_parameters({"port": 1112})).takes("192.0.2.1")
    for terms, index in ((TERMS._replace(networks=0), 0), (TERMS, None)):
        other = Store(terms, index)
        other.lives = False
        assert crowd(other, 100) == {"failed": 100}


def test_one_that_nobody_watches_any_more_is_not_said_to_be_down_for_ever() -> None:
    """`set breakernetworks 0` while it is down: its users are served, and whoever looks at it sees so."""
    store = Store()
    store.fall()
    unwatched = store.worker(backend("pop"), TERMS._replace(networks=0))
    assert not unwatched.is_down()
    assert unwatched.takes("192.0.2.1")
    unwatched.failed("192.0.2.1", "connection refused", user="")
    assert unwatched.takes("192.0.2.1")
    assert store.condition.state == UP
    assert unwatched.says() == "up"


def test_a_clock_that_goes_back_keeps_nobody_out() -> None:
    """The moment of the fall is in the future then: it is tried."""
    store = Store()
    store.fall()
    store.passes(1)
    assert crowd(store, 2) == {"refused": 2}
    store.wall -= 10_000
    assert crowd(store, 100) == {"failed": 3, "refused": 97}


@pytest.mark.parametrize("fails", [True, False])
def test_a_clock_that_was_ahead_for_a_while_keeps_nobody_out(fails: bool) -> None:
    """It has gone down before, and was probed when the clock was wrong: the end of that is a year away."""
    store = Store()
    store.fall()
    store.passes(1)
    store.wall += 365 * 86_400
    assert crowd(store, 1) == {"failed": 1}
    if fails:
        assert crowd(store, 3)["failed"] == 2
        assert store.condition.state == DOWN
    else:
        assert probes(store, 9) == 2
    store.passes(1)
    store.wall -= 365 * 86_400
    store.lives = True
    assert "in" in crowd(store, 4)


def test_what_a_backend_says_of_itself_steers_no_terminal() -> None:
    """Its words are shown by `pstatus`, `backend show` and the status page."""
    told = fallen(Condition(), 100.0, by=LOGINS, why="-ERR \x1b[2J\u202e not now")
    assert told.why == r"-ERR \x1b[2J\x202e not now"
