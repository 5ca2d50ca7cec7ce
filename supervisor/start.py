"""The start configuration, and going to the background.

Sentences of the rc file are carried out one after the other, exactly as if they came over the control socket. In the
background the process that was started waits until they are in force, so that its exit code tells whether the start
succeeded.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.rundir import CannotStart

if TYPE_CHECKING:
    from supervisor.master import Master

EXIT_FAULTY = 1


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise CannotStart(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CannotStart(f"{path}: octet {error.start + 1} is not UTF-8") from None


class Daemon:
    """The background half's thread to the process that was started."""

    def __init__(self, write_end: int) -> None:
        self._write_end = write_end

    @classmethod
    def part(cls) -> "Daemon":
        """Forks.

        The started process waits here and exits with what the background half reports; the other half returns.
        """
        read_end, write_end = os.pipe()
        if os.fork() > 0:
            os.close(write_end)
            report = os.read(read_end, 1)
            os._exit(report[0] if report else EXIT_FAULTY)
        os.close(read_end)
        os.setsid()
        # The workers, too, must let go of the terminal, and they are born before the report. So only this process keeps
        # a way to it, for messages, until then.
        sys.stderr = os.fdopen(os.dup(2), "w")
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        return cls(write_end)

    def report(self, code: int) -> None:
        """Lets the started process exit, and lets go of its terminal."""
        os.write(self._write_end, bytes([code]))
        os.close(self._write_end)
        sys.stderr.close()
        sys.stderr = sys.__stderr__


class StartConfiguration:
    """An rc file, applied line by line."""

    def __init__(self, path: Path | None, daemon: Daemon | None, in_force: Callable[[], object] = lambda: None) -> None:
        """`in_force` is called when all lines are. Raises CannotStart if the file cannot be read or is not text."""
        self._path = path
        self._daemon = daemon
        self._in_force = in_force
        self._waiting = False  # for the answer to a line
        self._saying = False
        text = _read(path) if path is not None else ""
        self._lines = [
            (number, line)
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip() and not line.lstrip().startswith("#")
        ]

    def apply(self, master: "Master") -> None:
        """Says one line after the other, each when the one before is answered."""
        self._saying = True
        while self._lines and not self._waiting:
            number, line = self._lines.pop(0)
            self._waiting = True
            master.clerk.conduct(line, os.getuid(), partial(self._answered, master, number))
        self._saying = False
        if not self._waiting and master.exit_code == 0:
            master.take_up_logfile()
            master.clerk.started()
            self._in_force()
            if self._daemon is not None:
                self._daemon.report(0)

    def _answered(self, master: "Master", number: int, done: bool, text: str, _lines: Sequence[str]) -> None:
        self._waiting = False
        if not done:
            self._lines.clear()
            self._give_up(master, number, text)
        elif not self._saying:
            self.apply(master)

    def _give_up(self, master: "Master", number: int, text: str) -> None:
        print(f"{self._path}:{number}: {text}", file=sys.stderr, flush=True)
        # In the background nothing is reported: the process that was started sees the end, when all is cleared away.
        master.exit_code = EXIT_FAULTY
        master.shut_down("all")
