"""A worker of the proxy that gets no thread: who asked is told at once, and all goes on behind it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from popular.pdm.contract import CannotTell
from popular.proxy.last_login_store import FILE, recall
from popular.proxy.session.shared.last_login_writer import LastLogins
from popular.proxy.session.shared.question_queue import PendingQuestion, QuestionQueue
from popular.proxy.session.tracing.trace_writer import TraceWriter
from popular.proxy.session.who import Who
from popular.proxy.settings.resolving import LookHostsUp
from supervisor.serving.threadpool import NoThread, ThreadPool
from tests.patience import patient
from tests.threadless import NO_THREAD, without_threads


def worker_on(loop: asyncio.AbstractEventLoop, statedir: Path | None = None) -> Any:
    """What is needed of one; `told` is what it logs, `cells` holds how many wait."""
    worker: Any = SimpleNamespace(
        loop=loop, pool=ThreadPool(2, "no-thread"), cells=[0], told=[], statedir=str(statedir)
    )
    observer = SimpleNamespace(observe=lambda _seconds: None)
    worker.counters = SimpleNamespace(cell=lambda _name: 0, observer=lambda _name: observer)
    worker.clock = SimpleNamespace(now=0.0)
    worker.count = lambda *_what, **_more: None
    worker.log = lambda _message, _sid, **fields: worker.told.append(fields["reason"])
    return worker


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(patient(10.0)):
        while not is_so():
            await asyncio.sleep(0.001)


def question(queue: QuestionQueue, heard: list[object], answer: str) -> PendingQuestion[str]:
    return PendingQuestion(queue, "192.0.2.0/24", lambda: (answer, lambda: None), answered=heard.append)


def test_a_login_is_told_at_once_and_takes_nobody_s_place() -> None:
    """However many there are meanwhile; the next one has its answer as soon as there is a thread."""
    heard: list[object] = []

    async def asked() -> None:
        queue = QuestionQueue(worker_on(asyncio.get_running_loop()))
        with without_threads():
            for _ in range(5):
                assert queue.submit(question(queue, heard, "lost"), 1) == CannotTell(NO_THREAD)
        assert isinstance(queue.submit(question(queue, heard, "first"), 1), PendingQuestion)
        assert isinstance(queue.submit(question(queue, heard, "second"), 1), PendingQuestion)
        await until(lambda: len(heard) == 2)

    asyncio.run(asked())
    assert heard == ["first", "second"]


def test_those_that_wait_are_told_too() -> None:
    """Nothing would wake them: no question is in a thread that could end."""
    heard: list[object] = []

    async def asked() -> None:
        worker = worker_on(asyncio.get_running_loop())
        queue = QuestionQueue(worker)
        for answer in ("first", "second", "third"):
            queue.submit(question(queue, heard, answer), 1)
        queue.submit(dropped := question(queue, heard, "gone"), 1)
        dropped.drop()

        def refuse(*_work: object) -> None:
            raise NoThread

        worker.pool = SimpleNamespace(submit=refuse)
        await until(lambda: len(heard) == 3)
        assert worker.cells == [0]
        worker.pool = ThreadPool(1, "no-thread")
        queue.submit(question(queue, heard, "fourth"), 1)
        await until(lambda: len(heard) == 4)

    asyncio.run(asked())
    assert heard == ["first", CannotTell(NO_THREAD), CannotTell(NO_THREAD), "fourth"]


def test_a_trace_goes_on(tmp_path: Path) -> None:
    """What could not be written is told like what a disk does not take: in the log, and by a line of the file."""

    async def traced() -> list[object]:
        worker = worker_on(asyncio.get_running_loop())
        whose = {"trace": "1", "of": "user", "name": "joe"}
        writer = TraceWriter(worker, whose, str(tmp_path / "traces" / "1.trace"), 4096)
        with without_threads():
            writer.write(b"lost 1\n")
            writer.write(b"lost 2\n")
        writer.write(b"kept\n")
        await until(lambda: not writer.is_writing)
        assert writer.owed == 0
        told: list[object] = worker.told
        return told

    assert asyncio.run(traced()) == [NO_THREAD]
    lines = (tmp_path / "traces" / "1.trace").read_text().splitlines()
    assert lines[1:] == [f"- +0.000000 -- 14 octets are missing here: {NO_THREAD}", "kept"]


def test_last_logins_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one second has gathered is lost, and told."""
    monkeypatch.setattr("popular.proxy.session.shared.last_login_writer._PAUSE_SECONDS", 0.0)

    async def seen() -> list[object]:
        worker = worker_on(asyncio.get_running_loop(), tmp_path / "state")
        logins = LastLogins(worker)
        logins.most = 10
        with without_threads():
            logins.saw(Who("192.0.2.1", "n", "joe"), "USER")
            await until(lambda: worker.told)
        logins.saw(Who("192.0.2.1", "n", "ann"), "USER")
        await until(lambda: not logins._is_waiting)
        told: list[object] = worker.told
        return told

    assert asyncio.run(seen()) == [NO_THREAD]
    assert [one.user for one in recall(tmp_path / "state" / FILE, most=10)[1]] == ["ann"]


def test_names_are_looked_up_by_the_threads_that_there_are() -> None:
    """Where there are none nothing is found, which means that none has moved."""
    with without_threads():
        assert LookHostsUp(("localhost",)).perform() == {}
    assert LookHostsUp(("localhost",)).perform()["localhost"]
