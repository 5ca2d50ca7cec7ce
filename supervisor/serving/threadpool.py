"""Threads for work that may block, started when there is something to do, a few at most.

The thread is started before the work waits for it. `concurrent.futures.ThreadPoolExecutor` does it the other way round:
where the kernel gives no thread (`pids.max`, `ulimit -u`) it raises, and what it was given is done all the same, by
whichever thread comes next, when nobody wants it any more.
"""

import errno
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_Job: TypeAlias = tuple[Future[Any], Callable[[], Any]]


class NoThread(OSError):
    """No thread can be started, and none is there: what was to be done is not done, and will not be."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "no thread can be started")

    def __str__(self) -> str:
        return str(self.strerror)


class _Crew:
    """What the threads of a pool know. They do not know the pool, so that they end when nobody else knows it either."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.lock = threading.Lock()
        self.unfinished = 0
        self.alive = 0

    def work(self) -> None:
        """The life of a thread."""
        while (job := self.jobs.get()) is not None:
            self._do(*job)
            del job  # while it waits for the next one it holds nothing of this one

    def _do(self, future: Future[Any], work: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            self._finished()
            return
        try:
            outcome = work()
        except BaseException as error:
            self._finished()
            future.set_exception(error)
        else:
            self._finished()
            future.set_result(outcome)
        finally:
            del future  # its error's traceback holds this frame

    def _finished(self) -> None:
        """Before anybody hears what came of it: who does may have the next piece of work at once."""
        with self.lock:
            self.unfinished -= 1

    def dismiss(self) -> None:
        """Each thread ends when there is nothing more to do. Without the lock, for the collector may call it."""
        alive, self.alive = self.alive, 0
        for _thread in range(alive):
            self.jobs.put(None)


class ThreadPool(Executor):
    """At most so many threads. They do not outlive the process."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._crew = _Crew()
        self._is_shut = False
        weakref.finalize(self, self._crew.dismiss)

    def submit(self, work: Callable[P, R], /, *args: P.args, **named: P.kwargs) -> Future[R]:
        """Has a thread do it. Where no more can be started, those that are there do it in turn; raises NoThread if
        there are none, RuntimeError after `shutdown`.
        """
        future: Future[R] = Future()
        crew = self._crew
        with crew.lock:
            if self._is_shut:
                raise RuntimeError("the pool is shut")
            if crew.alive < self._most and crew.unfinished >= crew.alive:
                self._start_one()
            crew.unfinished += 1
        crew.jobs.put((future, lambda: work(*args, **named)))
        return future

    def _start_one(self) -> None:
        crew = self._crew
        try:
            threading.Thread(target=crew.work, name=f"{self._name}_{crew.alive}", daemon=True).start()
        except RuntimeError:
            if not crew.alive:
                raise NoThread from None
        else:
            crew.alive += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Takes nothing more. Waits for nobody, whatever `wait` is: what hangs would hold whoever waits."""
        with self._crew.lock:
            if self._is_shut:
                return
            self._is_shut = True
        if cancel_futures:
            with suppress(Empty):
                while (job := self._crew.jobs.get_nowait()) is not None:
                    job[0].cancel()
        self._crew.dismiss()
