"""A storm of clients, played by a compiled program (storm.c), to run while something is done to the proxy.

    with storm.backend(tmp_path) as server, Proxy(tmp_path, storm.site(server, port), workers=4) as proxy:
        with storm.Storm(port) as clients:
            ... do something to the proxy ...
        assert clients.fared.spotless()

The clients come at a steady rate, of several kinds: short logins, silent ones, slow readers of 5 MB, some between DELE
and QUIT. Leaving the `with` block lets nobody new come and waits until the last has left; `fared` then says what they
saw. Each storm ends by itself after LONGEST_SECONDS.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench import processes
from tests.bench.contestants import BIN
from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, need, wait_until

LONGEST_SECONDS = int(patient(60))
RATE = 350
"""Connections a second."""


class Fared(NamedTuple):
    """What the clients saw; storm.c explains the words."""

    connects: int
    served: int
    denied: int
    refused: int
    reset: int
    cut: int
    wrong: int
    late: int
    longest: int
    seconds: float

    def line(self, during: str) -> str:
        """For people."""
        words = " · ".join(f"{value:,} {name}" for name, value in self._asdict().items() if name != "seconds")
        return f"{during}: {words} ms · {self.connects / self.seconds:.0f} a second"

    def spotless(self) -> bool:
        """Whether everybody was served, and every octet was right."""
        return self.connects == self.served > 0

    def lost(self) -> int:
        """How many were let in, or waited, and then did not have all of their replies."""
        return self.reset + self.cut


def _compiled() -> Path:
    need("cc")
    source, program = Path(__file__).with_suffix(".c"), BIN / "storm"
    newest = max(source.stat().st_mtime, (BIN.parent / "bench.h").stat().st_mtime)
    if not program.exists() or program.stat().st_mtime < newest:
        BIN.mkdir(exist_ok=True)
        flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra"]
        new = program.with_name(f"{program.name}.{os.getpid()}")  # somebody may be running the old one
        subprocess.run(["cc", *flags, "-o", str(new), str(source)], timeout=patient(60), check=True)
        new.rename(program)
    return program


@contextlib.contextmanager
def backend(directory: Path) -> Iterator[int]:
    """A POP3 server on loopback in which everybody has the same mail of 5 MB; gives its port."""
    with processes.helper([_compiled(), "-b", "-t", str(LONGEST_SECONDS)], directory / "storm.log") as port:
        yield port


def site(backend_port: int, port: int) -> list[str]:
    """Commands for a proxy that lets everybody in and passes them on."""
    return [
        f"backend conf far host {LOOPBACK} port {backend_port} state online",
        "pdm add all any far",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]


class Storm:
    """The clients. Use it in a `with` block."""

    fared: Fared

    def __init__(self, port: int, rate: int = RATE) -> None:
        self._command = [_compiled(), "-p", port, "-r", rate, "-t", LONGEST_SECONDS]

    def __enter__(self) -> "Storm":
        words = [str(word) for word in self._command]
        self._clients = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: object, *_exception: object) -> None:
        if kind is not None:
            self._clients.kill()
            self._clients.communicate()
        elif self._clients.returncode is None:
            self.end()

    def end(self) -> None:
        """Nobody new comes; waits until the last has left."""
        seconds = time.monotonic() - self._began
        told, _ = self._clients.communicate(timeout=patient(LONGEST_SECONDS + 10))
        self.fared = Fared(**json.loads(told), seconds=seconds)


def started(proxy: Proxy) -> int:
    """How many sessions there have been."""
    number = proxy.state().counters()["sessions_started"]
    assert isinstance(number, int)
    return number


def ended(proxy: Proxy, ending: str) -> int:
    """How many sessions ended so."""
    numbers = proxy.state().counters()["sessions_ended"]
    assert isinstance(numbers, dict)
    return numbers[ending]


def blow(proxy: Proxy, seconds: float = 1.0) -> None:
    """Lets the storm blow for a while, and makes sure that it does."""
    before = started(proxy)
    time.sleep(seconds)
    wait_until(lambda: started(proxy) > before + 0.5 * RATE * seconds, "clients come")
