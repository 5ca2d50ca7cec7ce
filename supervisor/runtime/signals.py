"""Pending signals: a handler notes the number and nothing else, and the master's loop looks at the notes."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from supervisor.runtime.loop import READ, Loop

SHUTDOWNS = {
    signal.SIGTERM: "all",
    signal.SIGQUIT: "parent",
    signal.SIGINT: "children",
    signal.SIGPWR: "delayed",
}
"""What each signal to the master asks for, as in POPular 1.5."""

REOPENS = (signal.SIGHUP, signal.SIGUSR1)
"""Open the log file anew; SIGUSR1 because many recipes for logrotate send that."""
IGNORED = (
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGSTKFLT,
)
"""Mean nothing to us, and would end the process without a word: a daemon says so and goes on."""
_HANDLED = (*SHUTDOWNS, *REOPENS, *IGNORED)


class PendingSignals:
    """Signals that have come and were not yet seen to."""

    def __init__(self, loop: Loop, on_signal: Callable[[signal.Signals], None]) -> None:
        self._loop = loop
        self._on_signal = on_signal
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, lambda _number, _frame: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        loop.watch(self._read_end, READ, self._look)

    def _look(self, _events: int) -> None:
        try:
            numbers = os.read(self._read_end, 512)
        except BlockingIOError:
            return
        for number in numbers:
            if number in _HANDLED:
                self._on_signal(signal.Signals(number))


@contextmanager
def held_back() -> Iterator[None]:
    """Around a fork: signals wait, in the child until it has forgotten the master's handlers (`let_come`)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def forget_in_child() -> None:
    """A forked child starts with the default of every signal that ends it in order; of the others it hears nothing."""
    signal.set_wakeup_fd(-1)
    for number in (*SHUTDOWNS, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    ignore(signal.SIGUSR1, *IGNORED)


def ignore(*numbers: signal.Signals) -> None:
    """These do nothing from now on."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def let_come() -> None:
    """In the child: what was held back comes now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
