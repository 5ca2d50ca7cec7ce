"""At a fixed rate the clients ask as often as they should, and nobody's stall is left out of the latencies."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import processes
from tests.bench.contestants import BENCH, BIN
from tests.bench.workloads import compile_programs
from tests.patience import patient
from tests.system.site import need

RATE, SESSIONS = 200, 300
STALL = 0.6
LONG = STALL / 2 * 1e6
"""Microseconds that a login takes at least, if it begins in the first half of the stall."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    need("cc")
    compile_programs(BENCH)
    process = processes.start([BIN / "pop3sink", "-t", "60"], tmp_path / "log", stdout=subprocess.PIPE)
    yield process
    processes.stop(process)
    assert process.stdout is not None
    process.stdout.close()


def start(store: "subprocess.Popen[str]", *options: object) -> "subprocess.Popen[str]":
    assert store.stdout is not None
    command = [BIN / "pop3load", "-p", int(store.stdout.readline()), "-s", SESSIONS, "-t", 30, *options]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)


def told(clients: "subprocess.Popen[str]") -> dict[str, Any]:
    said, _ = clients.communicate(timeout=patient(40))
    answer: dict[str, Any] = json.loads(said)
    assert answer["errors"] == 0
    return answer


def stall(pid: int) -> None:
    """In the middle of the run."""
    time.sleep(0.3)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STALL)
    os.kill(pid, signal.SIGCONT)


def test_the_rate_is_kept(store: "subprocess.Popen[str]") -> None:
    """All sessions take as long as their number says, however fast the server is."""
    answer = told(start(store, "-R", RATE))
    assert answer["sessions"] == SESSIONS
    assert (SESSIONS - 1) / RATE <= answer["seconds"] <= patient(2 * SESSIONS / RATE)


def test_a_server_that_stalls_is_asked_all_the_same(store: "subprocess.Popen[str]") -> None:
    """A fifth of the sessions or more begin in the stall and wait; of two at once in a closed loop two would."""
    clients = start(store, "-R", RATE)
    stall(store.pid)
    answer = told(clients)
    assert answer["login_p99"] >= LONG
    assert answer["seconds"] <= patient(2 * SESSIONS / RATE)
    assert answer["late_p99"] < LONG


def test_a_client_that_stalls_counts_from_the_intended_time(store: "subprocess.Popen[str]") -> None:
    """It says how late it was, and its latencies have it."""
    clients = start(store, "-R", RATE)
    stall(clients.pid)
    answer = told(clients)
    assert answer["late_p99"] >= LONG
    assert answer["login_p99"] >= LONG


def test_processor_time_of_every_thread(tmp_path: Path) -> None:
    """One that has ended, and the one that is left: all of it, as the process itself says."""
    burn = "import time, threading\ndef f():\n while time.thread_time() < 0.3: pass\n"
    program = (
        burn + "t = threading.Thread(target=f); t.start(); f(); t.join(); print(time.process_time(), flush=True)\n"
    )
    process = processes.start(["python3", "-c", program + "time.sleep(60)"], tmp_path / "log", stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        before = processes.spent([process.pid])
        own = float(process.stdout.readline())
        spent = processes.spent([process.pid])
    finally:
        processes.stop(process)
        process.stdout.close()
    assert own >= 0.6
    assert own <= spent.total <= own + 0.1
    assert abs(spent.user + spent.system - own) <= 0.1
    assert spent.since(before).total == spent.total - before.total
