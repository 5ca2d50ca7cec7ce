"""Going to the background: the process that was started waits until the program runs, or could not be started."""

import os
import sys
from contextlib import suppress

EXIT_FAULTY = 1
BACKGROUND_WITHOUT_LOG = "--logfile - is standard error, which leads nowhere with --daemon; name a file"


class Daemon:
    """The pipe from the process in the background to the one that was started, which waits in the foreground."""

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
        """Lets the started process exit, and lets go of its terminal.

        Whoever waited may be gone (Ctrl-C, a time-out). All is in force by then, and serves clients: it goes on.
        """
        with suppress(BrokenPipeError):
            os.write(self._write_end, bytes([code]))
        os.close(self._write_end)
        sys.stderr.close()
        sys.stderr = sys.__stderr__
