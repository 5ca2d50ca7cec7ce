"""A control server on a real socket and a real loop, in a thread, with a handful of commands to say to it."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from supervisor.control.language.outcome import CommandDone
from supervisor.control.wire.server import ControlServer
from supervisor.runtime.loop import Loop


class Console:
    """`echo X` answers X at once, `slow X` later, `never` and `secret` not at all, `lines N` with N lines; others are
    refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = Loop()
        self.heard: list[tuple[str, int]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self.server = ControlServer(self.loop, self._listener, lambda peer: partial(self._conduct, peer.uid))
        self._over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._tick()
        while not self._over:
            self.loop.run_once()

    def _tick(self) -> None:
        self.loop.after(0.02, self._tick)

    def _conduct(self, uid: int, line: str, done: CommandDone) -> None:
        self.heard.append((line, uid))
        verb, _, rest = line.partition(" ")
        if verb == "json":
            verb, _, rest = rest.partition(" ")
            rest = f'"{rest}"'
        match verb:
            case "echo":
                done(True, "said", [rest])
            case "slow":
                self.loop.after(0.1, lambda: done(True, "said", [rest]))
            case "never" | "secret":
                pass
            case "lines":
                done(True, "", [f"line {number} {'x' * 100}" for number in range(int(rest))])
            case "complete":
                done(True, "", _completions(rest))
            case _:
                done(False, f"column 1: {verb} is unknown", [])

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self.server.close()
        self._listener.close()
        self.loop.close()


def _completions(rest: str) -> Sequence[str]:
    return {"ec": ["echo"], "config": ["config"]}.get(rest, [])


@contextlib.contextmanager
def console(path: Path) -> Iterator[Console]:
    """A Console that is closed at the end."""
    here = Console(path)
    try:
        yield here
    finally:
        here.close()
