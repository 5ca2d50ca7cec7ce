"""What a program that lives for a tenth of a second costs, beside an interpreter that does nothing."""

import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.control.console import console
from tests.patience import patient

MOST_SECONDS = 0.060
FACTOR = 2.0
"""On a machine that is slow or busy the interpreter alone takes longer too; then more is allowed."""
ROUNDS = 9
_ORDINARY_SECONDS = 0.025


def cost(command: Sequence[str], stdin: bytes = b"") -> float:
    """Seconds of processor time, of the user and of the system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input=stdin, capture_output=True, timeout=patient(60), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", ["pcontrol", "pdeliver"])
def test_a_short_program_costs_little(tmp_path: Path, name: str) -> None:
    """At most 60 ms more than `python -c pass`, in the same run; structlog alone would take more than that."""
    (tmp_path / "pop").mkdir()
    with console(tmp_path / "pserv.ctrl") as here:
        commands = {
            "pcontrol": [sys.executable, "-m", "supervisor.pcontrol.main", "-s", str(here.path), "echo", "x"],
            "pdeliver": [
                sys.executable,
                "-m",
                "popular.store.tools.pdeliver",
                "-m",
                str(tmp_path / "pop"),
                "-l",
                "-",
                "joe",
            ],
        }
        nothing, ours = [], []
        for _ in range(ROUNDS):
            nothing.append(cost([sys.executable, "-c", "pass"]))
            ours.append(cost(commands[name], b"Subject: x\n\nx\n"))
    more, slower = statistics.median(ours) - statistics.median(nothing), statistics.median(nothing) / _ORDINARY_SECONDS
    print(f"{name}: {more * 1000:.0f} ms more than {statistics.median(nothing) * 1000:.0f} ms")
    assert more < MOST_SECONDS * FACTOR * max(1.0, slower)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("supervisor.pcontrol.main", {"structlog", "importlib.metadata", "readline", "difflib", "dataclasses", "json"}),
        ("supervisor.pcontrol.apply", {"structlog", "importlib.metadata", "readline", "difflib", "dataclasses"}),
        (
            "popular.store.tools.pdeliver",
            {"structlog", "importlib.metadata", "logging", "json", "dataclasses", "secrets"},
        ),
    ],
)
def test_what_they_do_without(module: str, unwanted: set[str]) -> None:
    """What takes long to import, and not every call needs, is not imported with them."""
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60), check=True)

    assert set(done.stdout.split()) & unwanted == set()
