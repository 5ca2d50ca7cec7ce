"""pdeliver and pcheck as they are installed, where Python's own exit code, 1, would say something else."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import program

AS_ALWAYS = {"pdeliver": 64, "pcheck": 3}
SOMETHING_ELSE = {"pdeliver": 75, "pcheck": 2}
BROKEN = {
    "not there": (),
    "half there": ("pcheck.py", "pdeliver.py"),
}
"""What stands in the package in the moment of an upgrade, by how far it has come."""


def run(command: str, *words: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [program(command), *words],
        env=environment,
        input="Subject: x\n\nhello\n",
        capture_output=True,
        text=True,
        timeout=patient(30),
    )


@pytest.mark.parametrize("there", BROKEN)
@pytest.mark.parametrize("command", SOMETHING_ELSE)
def test_a_program_that_is_not_installed_whole(tmp_path: Path, command: str, there: str) -> None:
    """It ends neither as if the mailbox were full nor as if there were mail, and says in one line what is missing."""
    package = tmp_path / "popular/store/tools"
    package.mkdir(parents=True)
    (tmp_path / "popular/__init__.py").touch()
    for name in BROKEN[there]:
        (package / name).write_text("import popular.net.gone\n")
    ran = run(command, "joe", path=tmp_path)
    assert ran.returncode == SOMETHING_ELSE[command]
    assert ran.stderr.startswith(f"{command}: ModuleNotFoundError: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("command", SOMETHING_ELSE)
def test_what_was_not_thought_of(tmp_path: Path, command: str) -> None:
    """An error in the program itself ends so, too; what it ends with by itself stays."""
    package = tmp_path / "popular/store/tools"
    package.mkdir(parents=True)
    (package / f"{command}.py").write_text("def main():\n    raise OverflowError('too large')\n")
    ran = run(command, path=tmp_path)
    assert (ran.returncode, ran.stderr) == (SOMETHING_ELSE[command], f"{command}: OverflowError: too large\n")
    assert run(command, "--no-such-option", path=tmp_path / "none").returncode == AS_ALWAYS[command]
