"""Standard descriptors that are closed at the start: nothing else takes their place."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import patient

OPENS = """
import os, sys
from supervisor.runtime.standard import hold_standard_descriptors
hold_standard_descriptors()
print("for people", file=sys.stderr, flush=True)
fd = os.open("/dev/zero", os.O_RDONLY)
sys.exit(0 if fd > 2 and None not in (sys.stdin, sys.stdout, sys.stderr) else 1)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ""])
def test_what_is_closed_leads_nowhere(closed: str) -> None:
    """So no lock or socket becomes standard error."""
    shell = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, OPENS]
    assert subprocess.run(shell, timeout=patient(30)).returncode == 0


def test_a_program_in_the_background_tells_how_it_began(tmp_path: Path) -> None:
    """And `pcontrol` ends as ever, with nobody to tell."""
    run, programs = str(tmp_path / "run"), Path(sys.executable).parent
    words = ["--daemon", "--rundir", run, "--logfile", f"{tmp_path}/log", "--metrics", "off", "--ringd", "off"]
    shell: list[str | Path] = ["sh", "-c", 'exec "$@" <&- >&-', "sh", programs / "pproxy", *words]
    assert subprocess.run(shell, timeout=patient(60)).returncode == 0
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", programs / "pcontrol", "-r", run, "--wait", "shutdown", "all"]
    assert subprocess.run(shell, timeout=patient(60)).returncode == 0
