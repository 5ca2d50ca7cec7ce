"""Orders that hold at all proxies of a cluster: what makes those here and those of the server the same. Pure."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from popular.proxy import leases
from popular.proxy.cluster_order_store import (
    Reconciled,
    StoredOrder,
    arguments_of,
    field_of,
    reconciled,
    stored_order,
    tell,
)
from popular.proxy.namesakes import IDENTITY, Named, is_had_by, is_ours_alone
from popular.proxy.session.shared.cluster_order_sync import ClusterOrderSync, actions_of, due
from popular.proxy.session.shared.news import News
from popular.proxy.settings.blocking import LONGEST_BLOCK, seconds_left
from popular.proxy.settings.cluster import TellGone, TellOrdered
from popular.proxy.storeseen import EPOCH, SERIAL, StoreState
from supervisor.control.language.outcome import Block, Move, Ordered, SessionSweep
from supervisor.operatorstate import PENDING, SHARED, OperatorState, OrderEntry, pending
from supervisor.table.remembered import Entry
from tests.patience import patient
from tests.proxy.console import Console, refused

JOE, ANN = "default:joe", "default:ann"
Here = dict[tuple[str, str], dict[str, Any]]
GONE = TellGone("redis://h", "", move="m", us="ours")


def stored(sort: str, ident: str, by: str = "theirs", **value: Any) -> StoredOrder:
    return StoredOrder(OrderEntry(sort, ident, value), by, "text")


def made(
    here: Here,
    *there: StoredOrder,
    now: Here | None = None,
    follows: bool = True,
    alone: bool = True,
    ended: dict[str, float] | None = None,
    at: float | None = None,
) -> Reconciled:
    now = here if now is None else now
    at = time.time() if at is None else at
    return reconciled(here, now, there, at=at, us="ours", follows=follows, alone=alone, ended=ended or {})


def taken(found: Reconciled) -> list[tuple[str, str, object]]:
    return [one.entry for one in found.taken]


def test_what_was_said_elsewhere_holds_here() -> None:
    """And what was said again is as it was said last; what holds here already is not ordered again."""
    lock = stored("user lock", JOE, until=None)
    assert taken(made({}, lock)) == [("user lock", JOE, {"until": None, SHARED: True})]
    same: Here = {("user lock", JOE): {"until": None, SHARED: True}}
    assert made(same, lock) == Reconciled([], [], [])
    later = stored("user lock", JOE, until=time.time() + 60)
    assert taken(made(same, later))[0][2] == {**(later.entry.value or {}), SHARED: True}


def test_an_order_ends_for_all_by_the_clock_of_the_server() -> None:
    """A proxy whose clock is ahead takes away nobody's: the order has ended there, and nowhere else."""
    until = time.time() - 120
    lock = stored("user lock", JOE, until=until)
    assert made({}, lock, at=until - 300) == Reconciled([], [], [])
    assert made({}, lock, at=until + 61).stale == [lock]


def test_an_end_is_missed_by_nobody_who_was_away() -> None:
    """An order that the others know, and that is there no more, has ended; one that was said here alone has not."""
    here: Here = {("block", "192.0.2.0/24"): {SHARED: True}, ("user lock", JOE): {"until": None}}
    assert taken(made(here)) == [("block", "192.0.2.0/24", None)]


def test_a_server_that_has_lost_all_ends_nothing() -> None:
    """Began it anew, or could it not be told before, then it is told what holds here: a lock must not end by that."""
    here: Here = {("user lock", JOE): {SHARED: True}, ("user lock", ANN): {SHARED: PENDING}}
    found = made(here, follows=False)
    assert [one.id for one in found.told] == [JOE, ANN]
    assert all(value == {SHARED: True} for _sort, _ident, value in taken(found))
    assert [one.id for one in made(here).told] == [ANN]
    assert taken(made(here))[0] == ("user lock", JOE, None)
    assert pending([OrderEntry("user lock", JOE, {SHARED: True}), OrderEntry("user lock", ANN)]) == (
        OrderEntry("user lock", JOE, {SHARED: PENDING}),
        OrderEntry("user lock", ANN),
    )


def test_a_server_that_has_lost_its_last_writes_changes_nothing() -> None:
    """What was ordered here, said anew or ended is told again where that is newer than what lies there."""
    key, new = ("user route", JOE), {"to": "two", "since": 2.0, SHARED: True}
    old: dict[str, Any] = {"to": "one", "since": 1.0}
    assert made({key: new}, stored(*key, **old)).told == []
    assert [one.value for one in made({key: new}, stored(*key, **old), follows=False).told] == [new]
    newer = stored(*key, to="three", since=3.0)
    assert taken(made({key: new}, newer, follows=False))[0][2] == {"to": "three", "since": 3.0, SHARED: True}
    gone = {field_of(*key): 2.0}
    assert made({}, stored(*key, **old), follows=False, ended=gone).stale == [stored(*key, **old)]
    for kept in (made({}, newer, follows=False, ended=gone), made({}, stored(*key, **old), ended=gone)):
        assert (len(kept.taken), kept.stale) == (1, [])
    without = stored("block", "192.0.2.0/24")
    assert made({}, without, follows=False, ended={field_of("block", "192.0.2.0/24"): 2.0}).stale == []


def test_what_changes_while_it_is_looked_is_left_alone() -> None:
    """The hash was read before: a lock of this moment, which it does not have, is not ended by that."""
    assert made({}, now={("user lock", JOE): {SHARED: True}}) == Reconciled([], [], [])
    old: Here = {("user lock", JOE): {"until": 1e10, SHARED: True}}
    new: Here = {("user lock", JOE): {"until": 2e9, SHARED: True}}
    assert made(old, stored("user lock", JOE, until=1e10), now=new) == Reconciled([], [], [])
    assert made(old, now=new) == Reconciled([], [], [])


def test_a_hold_of_a_move_of_ours_is_taken_back_when_we_were_killed() -> None:
    """It is known here as long as the move lasts; of another one's it is not our affair, nor one with our name's."""
    hold = stored("user hold", JOE, by="ours", move="m")
    assert made({}, hold).stale == [hold]
    assert made({}, hold, alone=False) == Reconciled([], [], [])
    assert made({("user hold", JOE): {"seconds": 30.0}}, hold) == Reconciled([], [], [])
    assert made({}, stored("user hold", JOE, move="m")).stale == []


def test_what_has_ended_by_itself_is_cleared_away() -> None:
    """After a while, and only if it is still the same; it is never in force again."""
    assert made({}, stored("user lock", JOE, until=time.time() - 1)) == Reconciled([], [], [])
    old = stored("user lock", JOE, until=time.time() - 3600)
    assert made({}, old) == Reconciled([], [], [old])


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("", ""),
        ("[", "{}"),
        ("7", "7"),
        (field_of("user lock", JOE), "[" * 100_000),
        (field_of("user lock", JOE), '{"by": "x"}'),
        (field_of("user lock", JOE), '{"by": "x", "value": 7}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"until": NaN}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"until": Infinity}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"until": 1e300}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"since": 1%s}}' % ("0" * 400)),
        (field_of("user lock", JOE), '{"by": "x", "value": {"since": NaN}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"since": -1}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"more": [NaN]}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"more": "\\ud800"}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"\\ud800": 1}}'),
        (field_of("user lock", JOE), '{"by": "x", "value": {"undo": [["block", "192.0.2.0/24"]]}}'),
        (field_of("user lock", JOE), '{"by": "\\u001b", "value": {}}'),
        (field_of("user lock", "default:\x1b[2J"), '{"by": "x", "value": {}}'),
        (field_of("backend drain", "store1"), '{"by": "x", "value": {}}'),
        (field_of("user move", JOE), '{"by": "x", "value": {"undo": []}}'),
        (field_of("user route", JOE), '{"by": "x", "value": {}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"move": 7}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"undo": [["user lock", "default:ann"]]}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"since": NaN}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"since": 1e999}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"since": "\\ud800"}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"\\ud800": 1}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"cluster": true}}'),
        (field_of("user hold", JOE), '{"by": "x", "value": {"since": ' + "[" * 900 + "]" * 900 + "}}"),
        (field_of("user route", JOE), '{"by": "x", "value": {"to": "one\\n+OK"}}'),
        (field_of("block", "everywhere"), '{"by": "x", "value": {}}'),
        (field_of("block", "192.0.2.1/24"), '{"by": "x", "value": {}}'),
    ],
)
def test_what_could_not_have_been_said_here_is_no_order(field: str, text: str) -> None:
    """Whoever reaches the server may write anything there."""
    assert stored_order(field, text) is None


def test_what_could_have_been_is_one() -> None:
    """As it was told."""
    found = stored_order(field_of("user route", JOE), '{"by": "p1", "value": {"to": "two"}}')
    assert found is not None
    assert found[:2] == (OrderEntry("user route", JOE, {"to": "two"}), "p1")


def test_the_new_way_and_the_end_of_the_hold_are_one_order() -> None:
    """In two he could come in at the old place in between. Others are orders of their own, with their sessions."""
    told = [
        stored("user route", JOE, to="two"),
        StoredOrder(OrderEntry("user hold", JOE), "theirs"),
        stored("user lock", ANN),
        stored("block", "192.0.2.0/24", until=None),
        StoredOrder(OrderEntry("block", "203.0.113.0/24"), "theirs"),
        stored("block", "198.51.100.0/24", until=1.0),
    ]
    sweep, block, unblock, way = sorted(
        actions_of(told, lambda _entry: None), key=lambda one: type(one).__name__ == "Ordered"
    )
    assert isinstance(way, Ordered)
    assert [entry[:2] for entry in way.entries] == [("user route", JOE), ("user hold", JOE)]
    assert (way.text, way.told_by) == ("user route default:joe, end of user hold default:joe", "theirs")
    assert isinstance(sweep, SessionSweep)
    assert (sweep.id, sweep.told_by, sweep.gone) == (ANN, "theirs", None)
    assert isinstance(block, Block)
    assert isinstance(unblock, Block)
    assert (block.seconds, unblock.seconds) == (None, 0)


def test_a_hold_of_a_move_has_his_sessions_leave() -> None:
    """And says so when nobody is left; what is only retold here of ours ends nobody's session again."""
    (sweep,) = actions_of([stored("user hold", JOE, move="m")], lambda _entry: GONE)
    assert isinstance(sweep, SessionSweep)
    assert sweep.gone == GONE
    (retold,) = actions_of([StoredOrder(OrderEntry("user lock", JOE, {}), "")], lambda _entry: None)
    assert isinstance(retold, Ordered)


def test_sessions_elsewhere_end_at_the_same_deadline() -> None:
    """Whoever is locked is out everywhere; a lock of an older release says none, and a clock may be wrong."""
    now = time.time()
    told = [
        stored("user lock", JOE, deadline=now + 60),
        stored("user lock", JOE, deadline=now - 60),
        stored("user lock", JOE),
        stored("user lock", JOE, deadline=now + 1e8),
        stored("user hold", JOE, move="m", deadline=now + 60),
        stored("user hold", JOE, move="m"),
    ]
    deadlines = [cast(SessionSweep, one).deadline for one in actions_of(told, lambda _entry: GONE)]
    assert deadlines == [pytest.approx(60, abs=patient(5)), 0, 10, 86400, pytest.approx(60, abs=patient(5)), None]


def test_who_shares_a_name_does_not_say_that_nobody_is_left() -> None:
    """The proxy that moves him would take it for the word of both, and one of them may have a session of his."""
    operator = OperatorState([is_had_by(Named("ours", "2", "h2"), time.time())])
    context, memory = SimpleNamespace(operator=operator), SimpleNamespace(digest=lambda _name: 0)
    lacking: list[str] = []
    cluster = SimpleNamespace(settings=("redis://h", ""), proxy="ours", tell_lacking=lacking.append)
    shared = ClusterOrderSync(cast(Any, context), cast(Any, cluster), cast(Any, memory), backends={"one"})
    hold = stored("user hold", JOE, move="m")
    (held,) = actions_of([hold], shared._gone)
    assert isinstance(held, Ordered), "he is held here too, until that move has failed"
    operator.change([is_ours_alone()])
    (sweep,) = actions_of([hold], shared._gone)
    assert isinstance(sweep, SessionSweep)
    assert sweep.gone == GONE
    (there, missing) = actions_of([stored("user hold", who, move=who, to=to) for who, to in PLACES], shared._gone)
    assert isinstance(there, SessionSweep)
    assert isinstance(missing, Ordered), "nobody's session is ended for a move that fails"
    assert lacking == [ANN]


PLACES = ((JOE, "one"), (ANN, "two"))


@pytest.mark.parametrize(("identity", "others"), [("", []), ("1", [Named("ours", "2", "h2")]), ("1", None)])
def test_who_may_share_a_name_takes_back_no_hold(identity: str, others: list[Named] | None) -> None:
    """At its first look, while another one of that name moves somebody: he would come in while his mail is copied."""
    requested: list[object] = []
    changes: list[object] = []

    class Server:
        """With a hold of a move of that name."""

        settings, proxy, tell = ("redis://h", ""), "ours", staticmethod(lambda *_words, **_fields: None)

        async def orders(self) -> tuple[StoreState, list[StoredOrder], float]:
            held = stored("user hold", JOE, by="ours", move="m")
            return StoreState.of({EPOCH: "e", SERIAL: "1"}), [held], time.time()

        async def namesakes(self, _identity: str) -> list[Named] | None:
            return others

        async def change_orders(self, _told: object, stale: list[StoredOrder]) -> None:
            changes.extend(stale)

    operator = OperatorState([OrderEntry(SHARED, IDENTITY, {IDENTITY: identity})] if identity else [])
    told = SimpleNamespace(operator=operator, request=requested.append, log=lambda *_words, **_fields: None)
    told.counters = SimpleNamespace(count=lambda *_words, **_fields: None)
    memory = SimpleNamespace(digest=lambda _name: 0, change=lambda _digest, _change: True)
    shared = ClusterOrderSync(cast(Any, told), cast(Any, Server()), cast(Any, memory), backends=())
    asyncio.run(shared.look())
    assert changes == []
    operator.change([OrderEntry(SHARED, IDENTITY, {IDENTITY: "1"})])
    others = []
    asyncio.run(shared.look())
    assert len(changes) == 1, "it is a move of ours, in which we were killed"


@pytest.mark.parametrize(("until", "left"), [(None, None), (99.0, -1), (160.0, 60), (1e11, LONGEST_BLOCK)])
def test_how_long_a_network_is_still_blocked(until: float | None, left: int | None) -> None:
    """At most as long as can be said."""
    assert seconds_left(until, 100.0) == left


def test_one_worker_looks_for_all() -> None:
    """And not again before it is time."""
    looked, is_due = due(Entry(), 100.0)
    assert is_due
    assert due(looked, 105.0)[1] is False
    assert due(looked, 111.0)[1] is True


def test_what_is_told_of_an_order() -> None:
    """Nobody without a cluster; its end, of an order that the others know, only if they can be told."""
    console = Console()
    console.say("vserv conf v1 port 1110")
    for line in ("user lock joe", "user hold joe", "block 192.0.2.0/24"):
        outcome = console.say(line)
        assert isinstance(outcome, Ordered | SessionSweep | Block)
        assert (outcome.told, outcome.surely_told) == (None, False)
        assert SHARED not in (outcome.entries[0].value or {})
        console.status.operator.change(outcome.entries)
    console.say("set cluster redis://h")
    alone = console.say("user unlock joe")
    assert isinstance(alone, Ordered)
    assert alone.told is None
    lock = console.say("user lock ann")
    assert isinstance(lock, SessionSweep)
    assert isinstance(lock.told, TellOrdered)
    assert not lock.surely_told
    console.status.operator.change(lock.entries)
    end = console.say("user unlock ann")
    assert isinstance(end, Ordered)
    assert end.surely_told


def test_who_is_moved_by_another_proxy_is_left_to_it() -> None:
    """Let go, or moved once more, he would come in at the old place while his mail is copied."""
    console = Console()
    for line in ("backend conf one", "backend conf two", "vserv conf v1 port 1110", "set cluster redis://h"):
        console.say(line)
    hold = {"move": "m", "until": time.time() + 60, SHARED: True}
    console.status.operator.change([OrderEntry("user hold", JOE, hold)])
    for line in ("user move joe two", "user release joe", "user hold joe for 5m"):
        assert "is being moved" in refused(console, line)
    assert "Z at the latest" in refused(console, "user release joe")
    for end in (None, time.time() + 10_000):
        console.status.operator.change([OrderEntry("user hold", JOE, {**hold, "until": end})])
        assert isinstance(console.say("user release joe"), Ordered), "no move lasts so long"
    console.status.operator.change([OrderEntry("user hold", JOE, {**hold, "until": time.time() - 1})])
    move = console.say("user move joe two")
    assert isinstance(move, Move)
    (step,) = move.announced
    assert isinstance(step.do, TellOrdered)
    assert isinstance(step.undo, TellOrdered)
    assert (len(step.do.begins), step.do.entries) == (1, ())
    (ours,) = step.undo.stale
    host = OrderEntry(SHARED, "namesake", {"host": "h2", "until": time.time() + 30})
    console.status.operator.change([host])
    assert "another proxy of the cluster, at h2, has our name too" in refused(console, "user move joe two")
    assert ours.text == arguments_of((), "us", begins=step.do.begins)[2][1:].replace('"us"', f'"{step.do.us}"')


def test_what_is_told_is_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The news that go with it are understood where they are heard: nobody waits for the look of every ten seconds."""
    news: list[dict[str, str]] = []

    @contextmanager
    def blocking(*_where: str) -> Iterator[Any]:
        yield SimpleNamespace(eval=lambda *_words: "epoch")

    monkeypatch.setattr(leases, "blocking", blocking)
    monkeypatch.setattr(leases, "add_news", lambda _client, fields: news.append(fields))
    tell("redis://h", "", arguments_of([OrderEntry("user lock", JOE, {})], "p1"), by="p1")
    changed: list[str] = []
    hears = SimpleNamespace(
        _us="us",
        _counts_guesses=False,
        _cluster=SimpleNamespace(run="us"),
        _orders=SimpleNamespace(changed=changed.append),
    )
    News._take(cast(News, hears), news[0], 0.0)
    assert changed == ["p1"]
