"""The start configuration, and going to the background.

Sentences of the rc file are carried out one after the other, exactly as if they came over the control socket. In the
background the process that was started waits until they are in force, so that its exit code tells whether the start
succeeded.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.master import Master

EXIT_FAULTY = 1


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
        return cls(write_end)

    def report(self, code: int) -> None:
        """Lets the started process exit, and lets go of its terminal."""
        os.write(self._write_end, bytes([code]))
        os.close(self._write_end)
        if code == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            os.close(null)


class StartConfiguration:
    """An rc file, applied line by line."""

    def __init__(self, path: Path | None, daemon: Daemon | None) -> None:
        """Raises OSError if the file cannot be read, UnicodeDecodeError if it is not text."""
        self._path = path
        self._daemon = daemon
        text = path.read_text() if path is not None else ""
        self._lines = [
            (number, line)
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip() and not line.lstrip().startswith("#")
        ]

    def apply(self, master: "Master") -> None:
        """Begins with the first line; each answer leads to the next one."""
        if not self._lines:
            if self._daemon is not None:
                self._daemon.report(0)
            return
        number, line = self._lines.pop(0)

        def answered(done: bool, text: str, _lines: Sequence[str]) -> None:
            if done:
                self.apply(master)
            else:
                self._give_up(master, number, text)

        master.clerk.conduct(line, os.getuid(), answered)

    def _give_up(self, master: "Master", number: int, text: str) -> None:
        print(f"{self._path}:{number}: {text}", file=sys.stderr, flush=True)
        if self._daemon is not None:
            self._daemon.report(EXIT_FAULTY)
        master.exit_code = EXIT_FAULTY
        master.shut_down("all", lambda _done, _text, _lines: None)
