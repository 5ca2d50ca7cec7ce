"""Errands: short-lived children that do for the master what might block (resolve a host, read a device).

One process for each errand, forked, with a pipe for its answer; the master's loop goes on meanwhile.
"""

import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from supervisor import birth, signals
from supervisor.control.facts import Errand, Finding, run
from supervisor.loop import READ, Loop

LONGEST_SECONDS = 15.0

_fork = multiprocessing.get_context("fork")


class Errands:
    """Sends children out and calls back with what they bring."""

    def __init__(self, loop: Loop, in_child: Callable[[set[int]], None]) -> None:
        """`in_child(keep)` closes what the child must not hold of the master's, but for the descriptors in `keep`."""
        self._loop = loop
        self._in_child = in_child
        self._running: set[Any] = set()

    def send(self, errand: Errand, done: Callable[[Finding], None]) -> None:
        """Runs an errand; `done(finding)` is called once, at once if no child can be sent out."""
        try:
            child, receiver = self._fork(errand)
        except OSError as error:
            done(Finding(failure=f"cannot be found out now: {error.strerror}"))
            return
        self._running.add(child)
        limit = self._loop.after(LONGEST_SECONDS, child.kill)

        def back(_events: int) -> None:
            self._loop.unwatch(receiver)
            limit.cancel()
            finding = _receive(receiver)
            receiver.close()
            child.join()
            self._running.discard(child)
            child.close()
            done(finding)

        self._loop.watch(receiver, READ, back)

    def _fork(self, errand: Errand) -> tuple[Any, "Connection[Any, Any]"]:
        """The child, and where its answer comes. Raises OSError."""
        receiver, sender = _fork.Pipe(duplex=False)
        with sender:
            child = _fork.Process(target=self._go, args=(errand, sender), daemon=True)
            try:
                birth.start(child)
            except OSError:
                receiver.close()
                raise
        return child, receiver

    def _go(self, errand: Errand, sender: "Connection[Any, Any]") -> None:
        self._in_child({sender.fileno()})
        signals.let_come()
        sender.send_bytes(pickle.dumps(run(errand)))

    def stop(self) -> None:
        """Ends the errands that are still out."""
        for child in self._running:
            child.kill()
            child.join()


def _receive(receiver: "Connection[Any, Any]") -> Finding:
    try:
        finding: Finding = pickle.loads(receiver.recv_bytes())
    except (EOFError, OSError):
        return Finding(failure=f"no answer within {LONGEST_SECONDS:.0f} s")
    return finding
