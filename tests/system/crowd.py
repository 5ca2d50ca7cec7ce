"""Many clients at once, played by the compiled programs of the bench, in front of a backend that costs nothing."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from popular.proxy.metrics import METRICS
from supervisor.metric import UpDownCounter
from tests.bench import processes, workloads
from tests.bench.contestants import BIN
from tests.patience import patient
from tests.system.site import LOOPBACK, need

LOAD_SECONDS = int(patient(60))

PRESENT = {metric.source.cell_name for metric in METRICS if isinstance(metric.source, UpDownCounter)}
"""Counters of what there is now: they fall again."""


def compiled() -> None:
    """The programs are there, compiled from the sources as they are."""
    need("cc")
    workloads.compile_programs(Path(workloads.__file__).parent)


@contextlib.contextmanager
def backend(directory: Path) -> Iterator[int]:
    """A POP3 server on loopback in which everybody has the same three mails; gives its port."""
    compiled()
    with processes.helper([BIN / "pop3sink", "-t", str(LOAD_SECONDS)], directory / "pop3sink.log") as port:
        yield port


def site(backend_port: int, port: int) -> list[str]:
    """Commands for a proxy that lets everybody in and passes them on."""
    return [
        f"backend conf sink host {LOOPBACK} port {backend_port} state online",
        "pdm add all any sink",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]


def start_sessions(port: int, count: int, at_once: int) -> "subprocess.Popen[str]":
    """Whole sessions, each of which checks every octet; `finish` tells how they went."""
    command = [BIN / "pop3load", "-p", port, "-s", count, "-c", at_once, "-t", LOAD_SECONDS]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)


def finish(load: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the clients saw: sessions, errors, seconds."""
    told, _ = load.communicate(timeout=patient(LOAD_SECONDS + 10))
    answer: dict[str, Any] = json.loads(told)
    return answer


def run_sessions(port: int, count: int, at_once: int = 32) -> None:
    """So many whole sessions, none of which may go wrong."""
    assert finish(start_sessions(port, count, at_once))["errors"] == 0


class Held:
    """Connections that are open and silent."""

    def __init__(self, load: "subprocess.Popen[str]") -> None:
        self._load = load
        self.lost: int | None = None

    def let_go(self) -> None:
        """Closes them; `lost` then says how many had been closed from the other side before."""
        assert self._load.stdin is not None
        assert self._load.stdout is not None
        self._load.stdin.close()
        self.lost = json.loads(self._load.stdout.readline())["lost"]
        self._load.wait(patient(10))
        self._load.stdout.close()


@contextlib.contextmanager
def hold(port: int, count: int, *, logged_in: bool) -> Iterator[Held]:
    """So many connections that were greeted, or are logged in; all must come. Lets them go at the end of the block."""
    command = [BIN / "pop3load", "-p", port, "-h", count, "-c", 64, "-t", LOAD_SECONDS]
    words = [str(word) for word in command] + (["-l"] if logged_in else [])
    load = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    held = Held(load)
    try:
        assert load.stdout is not None
        told = json.loads(load.stdout.readline())
        assert told == {"held": count, "errors": 0}
        yield held
        if held.lost is None:
            held.let_go()
    finally:
        if load.poll() is None:
            load.kill()
            load.wait(patient(10))
