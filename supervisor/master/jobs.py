"""Jobs: short-lived children that do for the master what might block (resolve a host, read a device).

One process for each job, forked, with a pipe for its answer; the master's loop goes on meanwhile.
"""

import multiprocessing
import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from supervisor.control.language.lookups import Job, Result, run
from supervisor.master.policy import cause_of_death
from supervisor.runtime import birth, rights, signals
from supervisor.runtime.loop import READ, Loop

LONGEST_SECONDS = 15.0

_fork = multiprocessing.get_context("fork")


class Jobs:
    """Sends children out and calls back with what they bring."""

    def __init__(self, loop: Loop, in_child: Callable[[set[int]], None]) -> None:
        """`in_child(keep)` closes what the child must not hold of the master's, but for the descriptors in `keep`."""
        self._loop = loop
        self._in_child = in_child
        self._running: set[Any] = set()

    def send(self, job: Job, done: Callable[[Result], None], *, seconds: float = LONGEST_SECONDS) -> Callable[[], None]:
        """Runs a job; `done(result)` is called once, at once if no child can be sent out, and after so many seconds.
        Gives what asks the job to end, by SIGTERM.
        """
        try:
            child, receiver = self._fork(job)
        except OSError as error:
            done(Result(failure=f"cannot be found out now: {error.strerror}"))
            return lambda: None
        self._running.add(child)
        failure = ""

        def too_late() -> None:
            nonlocal failure
            failure = f"no answer within {round(seconds, 1):g} s"
            child.kill()

        limit = self._loop.after(seconds, too_late)

        def back(_events: int) -> None:
            self._loop.unwatch(receiver)
            limit.cancel()
            result = _receive(receiver)
            receiver.close()
            child.join()
            self._running.discard(child)
            death = cause_of_death(child.exitcode)
            child.close()
            done(result or Result(failure=failure or f"the process that was to do it has died ({death})"))

        self._loop.watch(receiver, READ, back)

        def stop() -> None:
            if child in self._running:
                child.terminate()

        return stop

    def _fork(self, job: Job) -> tuple[Any, "Connection[Any, Any]"]:
        """The child, and where its answer comes. Raises OSError."""
        receiver, sender = _fork.Pipe(duplex=False)
        with sender:
            child = _fork.Process(target=self._go, args=(job, sender), daemon=True)
            try:
                birth.start(child)
            except OSError:
                receiver.close()
                raise
        return child, receiver

    def _go(self, job: Job, sender: "Connection[Any, Any]") -> None:
        self._in_child({sender.fileno()})
        signals.let_come()
        rights.die_with_parent()  # what a master that is killed had begun must not go on beside the next one
        with suppress(BrokenPipeError):
            sender.send_bytes(pickle.dumps(run(job)))

    def stop(self) -> None:
        """Ends the jobs that are still out."""
        for child in self._running:
            child.kill()
            child.join()


def _receive(receiver: "Connection[Any, Any]") -> Result | None:
    """What a child has brought; None: it died before."""
    try:
        result: Result = pickle.loads(receiver.recv_bytes())
    except (EOFError, OSError):
        return None
    return result
