"""The operator's command in a move: a job, which ends when that command does, and tells why it failed."""

import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from supervisor.control.language.lookups import Job, Unfit
from supervisor.runtime import rights

_LONGEST_WORDS = 200
_MOST_KEPT = 4096
"""Octets of what it says on standard error: the last ones."""
_PIPE_OCTETS = 65_536
"""What a pipe holds: one read of so many has all that was said before it."""


@dataclass(frozen=True)
class RunCommand(Job):
    """The command, for so long. A SIGTERM to the job ends both. What it leaves behind when it succeeds goes on."""

    words: tuple[str, ...]
    seconds: float

    def perform(self) -> None:
        # If the master is killed the move is taken back, so nothing of it goes on.
        rights.die_with_parent()
        rights.renounce()
        # One that comes while the command begins is told when there is something to end.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        run = subprocess.Popen(
            self.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            preexec_fn=_begin,
        )
        try:
            signal.signal(signal.SIGTERM, self._end)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            self._wait(run)
        except BaseException:
            with suppress(OSError):
                os.killpg(run.pid, signal.SIGKILL)
            raise

    def _end(self, _number: int, _frame: object) -> NoReturn:
        raise Unfit(f"the command {self.words[0]} is killed, for the program is ending")

    def _wait(self, run: "subprocess.Popen[bytes]") -> None:
        said = _said_until_its_end(run, self.seconds)
        if said is None:
            raise Unfit(f"the command {self.words[0]} was not done in time, and is killed")
        if run.wait():
            words = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:_LONGEST_WORDS]
            code = f"exit code {run.returncode}" if run.returncode > 0 else f"signal {-run.returncode}"
            raise Unfit(
                f"the command {self.words[0]} ended with {code}{': ' + words if words and words.isprintable() else ''}"
            )


def _begin() -> None:
    """In the child, before it becomes the command."""
    rights.die_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _said_until_its_end(run: "subprocess.Popen[bytes]", seconds: float) -> bytes | None:
    """The last that it said until its own end: a child of it may have its standard error open for much longer. None: it
    has not ended in time.
    """
    assert run.stderr is not None
    words, said = run.stderr.fileno(), b""
    os.set_blocking(words, False)
    until = time.monotonic() + seconds
    end = os.pidfd_open(run.pid)
    with selectors.DefaultSelector() as waits:
        waits.register(end, selectors.EVENT_READ)
        waits.register(words, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            ready = [key.fd for key, _events in waits.select(left)]
            with suppress(BlockingIOError):
                piece = os.read(words, _PIPE_OCTETS)
                said = (said + piece)[-_MOST_KEPT:]
                if not piece and words in ready:
                    waits.unregister(words)
            if end in ready:
                return said
    return None
