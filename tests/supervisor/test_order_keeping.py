"""Orders by which sessions are to end: who hears that nobody is left. Fakes of what carries them out."""

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from supervisor.control.language.lookups import Job, Result
from supervisor.control.language.outcome import Ordered, SessionSweep
from supervisor.master.jobs import Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.order_keeping import OrderKeeping
from supervisor.master.sweeping import MOST_SWEEPS, Sweeps
from supervisor.operatorstate import OrderEntry
from supervisor.workerline import SweepFound

NOBODY = SweepFound()


class TellThem(Job):
    def perform(self) -> None: ...


class Around:
    """A sweep that finds nobody, or whom a test wants, and the jobs that are sent."""

    def __init__(self, under_way: int = 0, found: SweepFound = NOBODY) -> None:
        self.found = found
        self.sent: list[Job] = []
        self.dones: list[Callable[[Result], None]] = []
        self.wanted_by: list[list[tuple[str, str]]] = []
        self.ended: list[tuple[str, str]] = []
        self.kept: list[OrderEntry] = []
        self._under_way = under_way

    def is_full(self) -> bool:
        return self._under_way + len(self.wanted_by) >= MOST_SWEEPS

    def end_of(self, orders: Iterable[tuple[str, str]]) -> None:
        self.ended += orders

    def change(self, entries: Iterable[OrderEntry], kept: Callable[[bool, str], None]) -> None:
        self.kept += entries
        kept(True, "")

    def begin(
        self,
        _sort: str,
        _ident: str,
        *,
        first: Callable[[SweepFound], None],
        over: Callable[[], None] = lambda: None,
        **more: Any,
    ) -> None:
        self.wanted_by.append(list(more["orders"]))
        first(self.found)
        over()

    def send(self, job: Job, done: Callable[[Result], None]) -> None:
        self.sent.append(job)
        self.dones.append(done)


def sweep_for(order: OrderEntry) -> SessionSweep:
    return SessionSweep("", entries=(order,), sort="user", id=order.id, gentle=True, deadline=None)


def order_keeping_of(around: Around, company: bool = False) -> OrderKeeping:
    made = cast(Any, around)
    return OrderKeeping(
        cast(StateKeeper, made),
        cast(Sweeps, made),
        has_company=lambda: company,
        company=lambda: "process 7",
        jobs=cast(Jobs, made),
        sweeps_of=lambda entries, _now: [sweep_for(one) for one in entries],
    )


@pytest.mark.parametrize(
    ("left", "deadline", "told"),
    [
        (0, 10, "1 idle, 2 with uncommitted deletes"),
        (2, None, "1 idle, 2 with uncommitted deletes"),
        (2, 10, "1 idle, 2 with uncommitted deletes; 2 left, ended in 10 s at the latest"),
        (2, 0, "1 idle, 2 with uncommitted deletes; 2 left, until QUIT is answered, 60 s at most"),
    ],
)
def test_the_answer_tells_when_they_will_be_gone(left: int, deadline: int | None, told: str) -> None:
    """Who locks a user wants to know that he is out, or when."""
    sweep = SessionSweep("joe", sort="user", id="default:joe", gentle=True, deadline=deadline)
    answers: list[tuple[str, list[str]]] = []
    around = Around(found=SweepFound((0, 1, 0, 0, 2), left))
    for order in (sweep, sweep.as_json()):
        order_keeping_of(around).sweep(order, lambda _done, text, lines: answers.append((text, list(lines))))
    text = f"joe: {told}"
    found = {"found": "1 idle, 2 with uncommitted deletes", "left": left, "seconds_left": deadline}
    assert answers[0] == (text, [text]), "it is data, which is shown to who has not asked for more words"
    assert answers[1][0] == text
    assert json.loads(answers[1][1][0]) == {"sort": "user", "id": "default:joe", **found}


LOCK = OrderEntry("user lock", "default:joe", {"until": None})
TOLD = OrderEntry("cluster", "epoch", {"epoch": "e"})


def test_what_must_be_seen_of_an_order_is_a_note() -> None:
    """One that ends sessions has it after what was found, one that does not after its own words."""
    texts: list[str] = []
    orders = order_keeping_of(Around())
    orders.put_in_force(
        Ordered("held", entries=(LOCK,), notes=("nobody",)), lambda _done, text, _lines: texts.append(text)
    )
    sweep = SessionSweep("locked", sort="user", id="x:joe", gentle=True, deadline=None, notes=("nobody",))
    orders.sweep(sweep, lambda _done, text, _lines: texts.append(text))
    assert texts == ["held; note: nobody", "locked: no session; note: nobody"]


def test_an_order_says_where_it_does_not_hold() -> None:
    """Half of the clients are served there. A kick orders nothing; what a cluster was told holds there too."""
    texts: list[str] = []
    around = Around()
    orders = order_keeping_of(around, company=True)
    for told in (None, TellThem()):
        held = Ordered("held", entries=(LOCK,), told=told)
        orders.put_in_force(held, lambda _done, text, _lines: texts.append(text))
    around.dones[0](Result((TOLD,)))
    for entries in ((LOCK,), ()):
        sweep = SessionSweep("joe", entries=entries, sort="user", id="x:joe", gentle=True, deadline=None)
        orders.sweep(sweep, lambda _done, text, _lines: texts.append(text))
    note = "; note: not in force at another instance, which serves here too: process 7"
    unseen = "; note: another instance serves here too, and its sessions are not among them"
    assert texts == [f"held{note}", "held", f"joe: no session{note}{unseen}", f"joe: no session{unseen}"]


@pytest.mark.parametrize("company", [False, True])
def test_nobody_is_left_only_where_all_sessions_are_seen(company: bool) -> None:
    """Another instance may have one of his: who moves his mail must not hear that he is gone."""
    around = Around()
    sweep = SessionSweep("", sort="user", id="default:joe", gentle=True, deadline=None, gone=TellThem())
    answers: list[str] = []
    order_keeping_of(around, company).sweep(sweep, lambda _done, text, _lines: answers.append(text))
    assert len(around.sent) == (0 if company else 1)
    assert len(answers) == 1


def test_what_is_kept_with_an_order_that_was_told_ends_no_sweep() -> None:
    """It is the same for all of them: the next lock would end the sweep of the last one."""
    around = Around()
    sweep = SessionSweep(
        "", entries=(LOCK,), sort="user", id="default:joe", gentle=True, deadline=None, told=TellThem()
    )
    order_keeping_of(around).sweep(sweep, lambda *_answer: None)
    around.dones[0](Result((TOLD,)))
    assert around.kept == [LOCK, TOLD]
    assert around.ended == [LOCK[:2]]
    assert around.wanted_by == [[LOCK[:2]]]


def test_a_kick_that_is_refused_here_is_told_to_nobody() -> None:
    """Nor is it done here if the others cannot be told."""
    kick = SessionSweep(
        "", sort="user", id="default:joe", gentle=True, deadline=None, told=TellThem(), surely_told=True
    )
    answers: list[tuple[bool, str]] = []
    full, alone = Around(MOST_SWEEPS), Around()
    for around in (full, alone):
        order_keeping_of(around).sweep(kick, lambda done, text, _lines: answers.append((done, text)))
    assert full.sent == []
    alone.dones[0](Result(failure="the server of the cluster: TimeoutError"))
    assert alone.wanted_by == []
    assert [(done, "nothing was changed" in text) for done, text in answers] == [(False, True)] * 2


@pytest.mark.parametrize(("under_way", "begun"), [(0, 2), (MOST_SWEEPS - 1, 1), (MOST_SWEEPS, 0)])
def test_what_was_said_at_a_newer_instance_has_its_sweep_here(under_way: int, begun: int) -> None:
    """An end has none; whatever was wanted before ends, and no more begin than there may be."""
    around = Around(under_way)
    ended, other = OrderEntry("user lock", "default:ann"), OrderEntry("user lock", "default:eve", {"until": None})
    order_keeping_of(around).take_up([LOCK, ended, other])
    assert around.ended == [LOCK[:2], ended[:2], other[:2]]
    assert around.wanted_by == [[LOCK[:2]], [other[:2]]][:begun]
