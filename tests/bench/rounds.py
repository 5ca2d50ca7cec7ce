"""The rounds: every run, with every contestant that can do it, in an order that turns round each time.

Whatever drifts while a run goes on then weighs on all alike, and nobody comes always after the same neighbour.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import processes
from tests.bench.contestants import BIN, DESCRIPTORS, Contestant, Place, Running, knows_pipelining
from tests.bench.measures import BIG_MAIL, Figures, Size
from tests.bench.results import Results
from tests.bench.workloads import Run, has_tls
from tests.patience import patient

STORES: Mapping[str, tuple[str, ...]] = {"mails": (), "big": ("-o", str(BIG_MAIL)), "xpop": ("-x",)}
KEYS = {"rsa": "rsa:2048", "ec": "ec -pkeyopt ec_paramgen_curve:prime256v1"}


class AskedLogin(NamedTuple):
    """A contestant that is installed, and its program."""

    contestant: Contestant
    program: str


@dataclass(frozen=True)
class Grounds:
    """What stands ready for all: a directory, certificates by key, and by store its port and that of nginx's guide."""

    directory: Path
    pems: Mapping[str, Path]
    ports: Mapping[str, tuple[int, int]]


@contextlib.contextmanager
def grounds(directory: Path, segment: int, seconds: int) -> Iterator[Grounds]:
    """Makes the certificates and runs the storage servers as long as the block lasts, at most so many seconds."""
    pems = {key: directory / f"{key}.pem" for key in KEYS}
    for key, pem in pems.items():
        make_certificate(pem, KEYS[key])
    life, log = ("-t", str(seconds)), directory / "servers"
    with contextlib.ExitStack() as stack:
        ports = {}
        for name, options in STORES.items():
            sink: list[str | Path] = [BIN / "pop3sink", *options, "-g", str(segment), *life]
            store = stack.enter_context(processes.helper(sink, log))
            guide: list[str | Path] = [BIN / "auth_http", "-b", str(store), *life]
            ports[name] = store, stack.enter_context(processes.helper(guide, log))
        yield Grounds(directory, pems, ports)


def make_certificate(pem: Path, key: str, name: str = "localhost") -> None:
    """A key and its self-signed certificate, for all contestants, valid for two days."""
    words = f"req -x509 -newkey {key} -noenc -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name}"
    made = ["openssl", *words.split(), "-keyout", "-"]
    pem.write_bytes(subprocess.run(made, capture_output=True, timeout=patient(60), check=True).stdout)
    pem.chmod(0o600)


def hindrance_of(run: Run) -> str:
    """Why nobody can do it here; "" if nothing is in the way."""
    if run.in_tls and not has_tls():
        return "needs openssl/ssl.h (Debian: libssl-dev)"
    if run.descriptors > DESCRIPTORS:
        return f"needs {run.descriptors:,} descriptors a process, and the hard limit is {DESCRIPTORS:,}"
    return ""


def hindrance(entrant: AskedLogin, run: Run) -> str:
    """Why this one cannot do it; "" if nothing is in the way."""
    contestant = entrant.contestant
    if run.in_tls and not contestant.speaks_tls:
        return "speaks no TLS"
    if run.setup.pipelining == "on" and not knows_pipelining(entrant.program):
        return "does not know the word pipelining"
    return contestant.cannot.get(run.name, "")


def turns(entrants: Sequence[AskedLogin], run: Run, number: int) -> list[AskedLogin]:
    """Those that do it, in the order of this round."""
    able = [one for one in entrants if (one.contestant.ours or not run.ours) and not hindrance(one, run)]
    return able if number % 2 else able[::-1]


class Rounds:
    """All of a bench. What a contestant fails is not asked of it again, and told."""

    def __init__(self, results: Results, entrants: Sequence[AskedLogin], size: Size, *, place: Grounds) -> None:
        self.results = results
        self.single: list[dict[str, Any]] = []
        self._entrants = entrants
        self._size = size
        self._grounds = place
        self._runs = list({row.run.name: row.run for row in results.rows()}.values())
        for run in self._runs:
            self._leave_out(run)
        self._runs = [run for run in self._runs if "" not in results.left_out.get(run.name, {})]

    def _leave_out(self, run: Run) -> None:
        told = {"": hindrance_of(run)}
        for entrant in self._entrants:
            if entrant.contestant.ours or not run.ours:
                told[entrant.contestant.name] = hindrance(entrant, run)
        why = {name: reason for name, reason in told.items() if reason}
        if why:
            self.results.left_out[run.name] = {"": why[""]} if "" in why else why

    def go(self, count: int, ends: float) -> None:
        """So many rounds, but none that would not be over by then, as far as the longest one tells."""
        longest = 0.0
        for number in range(1, count + 1):
            began = time.monotonic()
            if began + longest > ends:
                print(f"no time for round {number}", file=sys.stderr)
                break
            for run in self._runs:
                self._round(run, number)
            took = time.monotonic() - began
            longest = max(longest, took)
            _progress("")
            print(f"round {number} of {count}: {took:.0f} seconds", file=sys.stderr)

    def _round(self, run: Run, number: int) -> None:
        began = time.monotonic()
        for entrant in turns(self._entrants, run, number):
            name = entrant.contestant.name
            if name in self.results.failed.get(run.name, {}):
                continue
            _progress(f"round {number}: {run.name} {name}")
            try:
                told = self._measure(entrant, run, number)
            except (processes.NotReady, OSError, ValueError, subprocess.SubprocessError) as error:
                self.results.failed.setdefault(run.name, {})[name] = str(error)
                continue
            self.single.append({"round": number, "run": run.name, "contestant": name, **told})
            for row in self.results.rows():
                if row.run is run:
                    self.results.add(row.name, name, number, told[row.figure])
        seconds = self.results.seconds
        seconds[run.name] = round(seconds.get(run.name, 0) + time.monotonic() - began, 1)

    def _measure(self, entrant: AskedLogin, run: Run, number: int) -> Figures:
        """One contestant, from start to stop."""
        store, guide = self._grounds.ports[run.setup.store]
        place = Place(
            directory=self._grounds.directory / f"{entrant.contestant.name}-{run.name}-{number}",
            port=processes.free_port(),
            tls=processes.free_port(),
            pem=self._grounds.pems[run.setup.key],
            backend=store,
            auth=guide,
            setup=run.setup,
        )
        with Running(entrant.contestant, entrant.program, place) as running:
            return run.measure(running, self._size)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
