"""What is measured: one row per workload, with the run that its figure is taken from, and what we want of it.

A run is made once a round for each contestant, however many rows take a figure from it. A new workload is a row, with
a run of its own if none of the others does what it asks.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.contestants import BIN, Setup
from tests.bench.measures import (
    BIG_MAIL,
    CROWDED,
    MAILS,
    SPARSE,
    Clients,
    Measure,
    beside,
    cpu,
    latency,
    memory,
)
from tests.patience import patient

IDLE = 10_000
DESCRIPTORS_FOR_IDLE = 15_000
"""What a process needs that holds two for each of its share of the idle sessions."""
RATE = 100
FEW = 8
"""Sessions at once in TLS."""


@dataclass(frozen=True)
class Run:
    """One way to load a contestant. `ours`: only pproxy can do it. `descriptors`: what one process needs."""

    name: str
    measure: Measure
    setup: Setup = field(default_factory=Setup)
    in_tls: bool = False
    ours: bool = False
    descriptors: int = 0


@dataclass(frozen=True)
class Goal:
    """The ratio to each of these is to be at most (or, where more is better, at least) the limit; with none of them,
    the figure itself.
    """

    limit: float
    against: tuple[str, ...] = ("haproxy",)


@dataclass(frozen=True)
class Workload:
    """One row: a figure of a run. `reference`: the row whose figure of HAProxy it is compared with, if not its own."""

    name: str
    title: str
    unit: str
    run: Run
    figure: str
    goal: Goal | None = None
    more_is_better: bool = False
    reference: str = ""


_BIG = (*("-m", "-o"), str(BIG_MAIL))
_LOGIN = Run("login", cpu(Clients(SPARSE)))
_MAILS = Run("mails", cpu(Clients(SPARSE, ("-m",), 0.8)))
_BUSY = Run("busy", cpu(Clients(CROWDED)), Setup(pipelining="off"))
_PIPED = Run("busy-piped", cpu(Clients(CROWDED)), Setup(pipelining="on"), ours=True)
_EMPTY = Setup("xpop", prot="prot CXPOP", lines="set checkport {backend}")
_CXPOP = Run("cxpop", cpu(Clients(CROWDED, ("-e",))), _EMPTY, ours=True)
_RSA = Run("tls-rsa", cpu(Clients(FEW, (), 0.4, in_tls=True)), in_tls=True)
_EC = Run("tls-ec", cpu(Clients(FEW, (), 0.4, in_tls=True)), Setup(key="ec"), in_tls=True)
_RESUMED = Run("tls-resumed", cpu(Clients(FEW, (), 0.4, in_tls=True, resume=True)), in_tls=True)
_RESUMED_12 = Run("tls12-resumed", cpu(Clients(FEW, ("-2",), 0.4, in_tls=True, resume=True)), in_tls=True)
_IDLE = Run("idle", memory("-l"))
_GREETED = Run("greeted", memory())
_IDLE_TLS = Run("idle-tls", memory("-l", in_tls=True), in_tls=True)
_CROWD = Run("crowd", beside(IDLE, Clients(CROWDED)), ours=True, descriptors=DESCRIPTORS_FOR_IDLE)
_BIG_MAILS = Run("big", cpu(Clients(SPARSE, _BIG, 0.004, octets=MAILS * BIG_MAIL)), Setup("big"))
_LATENCY = Run("latency", latency(RATE, 0.16))

_PEERS = ("nginx", "dovecot")
WORKLOADS = (
    Workload("busy", f"login, {CROWDED} at once", "µs", _BUSY, "cpu", Goal(1.05)),
    Workload("busy-piped", f"login, {CROWDED} at once, pipelined", "µs", _PIPED, "cpu", Goal(1.0), reference="busy"),
    Workload(
        "busy-rate", f"sessions a second, {CROWDED} at once", "1/s", _BUSY, "rate", Goal(1.0), more_is_better=True
    ),
    Workload("cxpop", f"empty mailbox (CXPOP), {CROWDED} at once", "µs", _CXPOP, "cpu", Goal(0.6), reference="busy"),
    Workload("login", f"login, {SPARSE} at once", "µs", _LOGIN, "cpu", Goal(0.88)),
    Workload("mails", f"three mails of 20 kB, {SPARSE} at once", "µs", _MAILS, "cpu", Goal(0.92)),
    Workload(
        "big",
        f"three mails of 20 MB, {SPARSE} at once",
        "MB/s",
        _BIG_MAILS,
        "megabytes",
        Goal(1.0),
        more_is_better=True,
    ),
    Workload("tls-rsa", "POP3S, full handshake, RSA-2048", "µs", _RSA, "cpu", Goal(1.08)),
    Workload("tls-ec", "POP3S, full handshake, P-256", "µs", _EC, "cpu", Goal(1.08)),
    Workload("tls-resumed", "POP3S, resumed, TLS 1.3", "µs", _RESUMED, "cpu", Goal(1.0)),
    Workload("tls12-resumed", "POP3S, resumed, TLS 1.2", "µs", _RESUMED_12, "cpu", Goal(1.0)),
    Workload("idle", "idle session", "KiB", _IDLE, "pss", Goal(0.75)),
    Workload("greeted", "idle before login", "KiB", _GREETED, "pss"),
    Workload("idle-tls", "idle session in TLS", "KiB", _IDLE_TLS, "pss", Goal(0.95)),
    Workload("crowd", f"login beside {IDLE:,} idle sessions ÷ login alone", "×", _CROWD, "times", Goal(1.15, ())),
    Workload("latency-p50", f"login latency at {RATE} a second, median", "ms", _LATENCY, "p50_ms", Goal(1.0, _PEERS)),
    Workload("latency-p99", f"login latency at {RATE} a second, 99 %", "ms", _LATENCY, "p99_ms", Goal(1.0, _PEERS)),
)

QUICK = ("busy", "login", "mails", "tls-rsa", "tls-resumed", "idle")
"""For a look of half a minute."""

_WARNINGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def compile_programs(source: Path) -> None:
    """Compiles the C programs that are missing or older than a source; pop3load once more with TLS, if OpenSSL's
    headers are there. Raises CalledProcessError.
    """
    BIN.mkdir(exist_ok=True)
    wanted: list[tuple[str, str, tuple[str, ...]]] = [(file.stem, file.name, ()) for file in sorted(source.glob("*.c"))]
    if has_tls():
        wanted.append(("pop3load-tls", "pop3load.c", ("-DWITH_TLS", "-lssl", "-lcrypto")))
    headers = max(file.stat().st_mtime for file in source.glob("*.h"))
    for name, file, more in wanted:
        program = BIN / name
        newest = max((source / file).stat().st_mtime, headers)
        if not program.exists() or program.stat().st_mtime < newest:
            new = program.with_name(f"{name}.{os.getpid()}")  # somebody may be running the old one
            subprocess.run(
                ["cc", *_WARNINGS, "-o", str(new), str(source / file), *more], timeout=patient(60), check=True
            )
            new.rename(program)


def has_tls() -> bool:
    """Whether the clients can be compiled to speak TLS: the compiler is asked for OpenSSL's headers."""
    asked = ["cc", "-E", "-include", "openssl/ssl.h", "-x", "c", "/dev/null"]
    return subprocess.run(asked, capture_output=True, timeout=patient(60), check=False).returncode == 0
