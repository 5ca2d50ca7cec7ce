"""Threads for what may block: as many as there is work for, and what happens where the kernel gives none."""

import gc
import threading
import weakref

import pytest

from supervisor.serving.threadpool import NoThread, ThreadPool
from tests.patience import patient
from tests.threadless import NO_THREAD, without_threads


def threads_of(name: str) -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith(name)]


def test_what_is_refused_is_never_done() -> None:
    """Neither at once nor by the first thread that can be started again; and nothing of it is kept."""
    pool, done = ThreadPool(2, "refused"), []

    def work() -> None:
        done.append("a delete")

    refused = weakref.ref(work)
    with without_threads(), pytest.raises(NoThread, match=NO_THREAD):
        pool.submit(work)
    del work
    gc.collect()
    assert refused() is None
    assert pool.submit(done.append, "later").result(patient(10.0)) is None
    assert done == ["later"]


def test_those_that_are_there_do_the_work_of_the_missing() -> None:
    """One thread does all in turn; the missing ones are started as soon as they can be."""
    pool, go_on = ThreadPool(3, "scarce"), threading.Event()
    first = pool.submit(go_on.wait, patient(10.0))
    with without_threads():
        second = pool.submit(str, 2)
    assert not second.done()
    third = pool.submit(str, 3)
    assert {second.result(patient(10.0)), third.result(patient(10.0))} == {"2", "3"}
    assert not first.done()
    go_on.set()
    assert first.result(patient(10.0)) is True


def test_no_more_threads_than_work() -> None:
    """Whoever has been told that one is done finds its thread free; at most so many run at a time."""
    pool = ThreadPool(2, "frugal")
    assert [pool.submit(str, number).result(patient(10.0)) for number in range(50)] == [str(n) for n in range(50)]
    assert len(threads_of("frugal")) == 1
    go_on = threading.Event()
    waiting = [pool.submit(go_on.wait, patient(10.0)) for _ in range(5)]
    assert len(threads_of("frugal")) == 2
    go_on.set()
    assert all(one.result(patient(10.0)) for one in waiting)


def test_an_error_is_handed_on_and_the_thread_goes_on() -> None:
    """Also one that would end a process."""
    pool = ThreadPool(1, "erring")
    for error in (ValueError, SystemExit):
        with pytest.raises(error):
            pool.submit(error_of, error).result(patient(10.0))
    assert pool.submit(str, 1).result(patient(10.0)) == "1"


def error_of(kind: type[BaseException]) -> None:
    raise kind


def test_it_ends_with_who_has_it() -> None:
    """Shut, or forgotten; what waits is done before, or given up if that is said."""
    for is_given_up in (False, True):
        pool, go_on = ThreadPool(1, "ending"), threading.Event()
        begun = threading.Barrier(2)
        running = pool.submit(lambda begun, go_on: begun.wait() >= 0 and go_on.wait(patient(10.0)), begun, go_on)
        waiting = pool.submit(str, 1)
        begun.wait(patient(10.0))
        pool.shutdown(cancel_futures=is_given_up)
        with pytest.raises(RuntimeError, match="shut"):
            pool.submit(str, 2)
        go_on.set()
        assert running.result(patient(10.0)) is True
        assert is_given_up is waiting.cancelled()
        assert is_given_up or waiting.result(patient(10.0)) == "1"
    forgotten = ThreadPool(1, "ending")
    forgotten.submit(str, 1).result(patient(10.0))
    del forgotten
    gc.collect()
    for thread in threads_of("ending"):
        thread.join(patient(10.0))
    assert threads_of("ending") == []


def test_what_nobody_wants_any_more_is_not_done() -> None:
    """As of any executor, a job that has not begun can be cancelled."""
    pool, go_on = ThreadPool(1, "unwanted"), threading.Event()
    done: list[int] = []
    pool.submit(go_on.wait, patient(10.0))
    assert pool.submit(done.append, 1).cancel()
    go_on.set()
    pool.submit(done.append, 2).result(patient(10.0))
    assert done == [2]
