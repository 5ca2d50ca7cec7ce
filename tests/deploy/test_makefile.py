"""`make test` runs to its end in any case; `make run` and `make programs` set up only what running needs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import need

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The Makefile in a directory of its own, whose environment is made already."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".sources").write_text("\n")  # nothing is to be compiled
    for stamp in (".ready", ".tools", ".core"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def make(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = [need("make"), *words]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=patient(30))


@pytest.mark.parametrize("fails", ["", "beside", "few", "alone"])
def test_all_parts_run_and_each_can_fail(clone: Path, fails: str) -> None:
    """A failure in one part of the tests does not keep the others from running, and is not forgotten."""
    script = clone / "pytest"
    script.write_text(
        f"""#!/bin/sh
        case "$*" in *"-m not few and not alone"*) part=beside;; *"-m few"*) part=few;; *"-m alone"*) part=alone;; esac
        echo $part >> {clone}/parts
        [ $part != "{fails}" ]
        """
    )
    script.chmod(0o755)
    done = make(clone, "test", f"PYTEST={script}")
    assert (clone / "parts").read_text().split() == ["beside", "few", "alone"]
    assert (done.returncode != 0) == bool(fails), done


def test_a_folder_with_a_blank_is_refused(tmp_path: Path) -> None:
    """Before anything is built in it: what pip installs could not be started there."""
    blank = tmp_path / "my mail"
    blank.mkdir()
    shutil.copy(ROOT / "Makefile", blank)
    done = make(blank, "programs")
    assert done.returncode != 0
    assert f'"{blank}", has a blank in it' in done.stderr


def test_a_source_that_is_gone_is_a_change(clone: Path) -> None:
    """A `.pxd` that was deleted has the core compiled anew; a second time there is nothing to do."""
    for name in ("a.py", "a.pxd", "b.py", "b.pxd"):
        (clone / "popular").mkdir(exist_ok=True)
        (clone / "popular" / name).touch()
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\necho compiled >> {clone}/done\n")
    python.chmod(0o755)
    for stamp in (".ready", ".tools"):
        (clone / ".venv" / stamp).touch()
    counts = []
    for gone in (None, None, "b.pxd", None):
        if gone:
            (clone / "popular" / gone).unlink()
        done = make(clone, "core")
        assert done.returncode == 0, done
        counts.append(len((clone / "done").read_text().split()))
    assert counts == [1, 1, 2, 2]


def test_running_needs_no_tools(clone: Path) -> None:
    """`make run` and `make programs` in a fresh clone install the package alone; other goals the tools as well."""
    shutil.rmtree(clone / ".venv")
    said = {
        goal: make(clone, "--dry-run", goal).stdout
        for goal in ("run", "programs", "quick", "test", "check", "bench", "bench-quick", "coverage")
    }
    for goal in ("run", "programs"):
        assert "pip install --quiet --editable ." in said[goal]
        assert "--group" not in said.pop(goal)
    assert [goal for goal, steps in said.items() if "--group dev" not in steps] == []
