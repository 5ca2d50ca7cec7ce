"""What is installed is what is in this folder."""

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from popular.proxy.program import PROGRAM
from supervisor.version import VERSION
from tests.deploy.commands import COMMANDS
from tests.patience import patient

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_stated_once() -> None:
    """The package is built with it, so that it is the installation's too."""
    assert PROJECT["dynamic"] == ["version"]
    assert importlib.metadata.version(PROJECT["name"]) == VERSION


@pytest.mark.parametrize("name", ["popular", "supervisor", "metrics"])
def test_no_other_package_shadows_ours(name: str) -> None:
    """The import names exist elsewhere too; ours must be the ones that are found."""
    assert Path(str(importlib.import_module(name).__file__)).parents[1] == ROOT


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_version(command: str, tmp_path: Path) -> None:
    """Each is installed beside the interpreter, starts from any directory, and writes nothing.

    Those with a core tell in which form it is.
    """
    done = subprocess.run(
        [Path(sys.executable).with_name(command), "--version"],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
        cwd=tmp_path,
        env={name: os.environ[name] for name in ("POPULAR_PURE",) if name in os.environ} | {"PATH": os.defpath},
    )
    form = f" ({PROGRAM.form})" if command in ("pproxy", "pserv") else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{command} {VERSION}{form}\n", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_what_it_does_not_know(command: str) -> None:
    """A command line that is wrong ends with a usage line and the exit code for that (3 is pcheck's, 64 pdeliver's)."""
    done = subprocess.run(
        [Path(sys.executable).with_name(command), "--nonsense"],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.returncode == {"pcheck": 3, "pdeliver": 64}.get(command, 2)
    assert f"usage: {command} " in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
