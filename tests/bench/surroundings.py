"""Where and with what a bench was run: machine, kernel, versions, commit, date. Nothing names a person or a path."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bench.contestants import PROJECT, version_of
from tests.bench.rounds import AskedLogin
from tests.patience import patient

BUSY = 0.5
"""The load, for each processor, from which on somebody else must be at work."""


def about(entrants: Iterable[AskedLogin]) -> dict[str, Any]:
    """Taken before the first round."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit(PROJECT),
        "machine": f"{_processor()}, {os.cpu_count()} processors, {_memory()} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": _first_line("openssl", "version"),
        "load before": round(os.getloadavg()[0], 2),
        "versions": {one.contestant.name: version_of(*one) for one in entrants},
    }


def is_busy(told: dict[str, Any]) -> bool:
    """Whether others were at work on the machine: the figures are then none."""
    return bool(told["load before"] > BUSY * (os.cpu_count() or 1))


def commit(checkout: Path) -> str:
    """What is measured; "" outside of git."""
    found = _first_line("git", "-C", str(checkout), "describe", "--always", "--dirty=, with changes", "--exclude=*")
    return found.strip()


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0] if done.returncode == 0 else ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
