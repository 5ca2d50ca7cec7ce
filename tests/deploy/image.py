"""The image without a container engine: its root file system, and bubblewrap to run commands in it.

The root file system is made by deploy/container/rootfs.py, as the Containerfile makes it, but of the interpreter and
the packages that run the tests. A command runs with it as its read-only root, as another user without any capability,
as pid 1 in namespaces of its own; only the network is the host's.
"""

import importlib.metadata
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.bench import processes
from tests.deploy.commands import FILES, FUNCTIONS
from tests.patience import patient
from tests.system.site import need

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "deploy/container"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = "opt/popular"
"""Where the Containerfile puts the virtual environment."""


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions with their arguments, HEALTHCHECK's CMD among the latter."""
    text = re.sub(r"^#.*\n", "", (CONTAINER / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def instruction(name: str) -> str:
    """The arguments of an instruction that is there once."""
    (rest,) = [rest for word, rest in instructions() if word == name]
    return rest


def words(name: str) -> list[str]:
    """The words of an instruction in exec form."""
    found = json.loads(instruction(name).partition("CMD ")[2] or instruction(name))
    assert all(isinstance(word, str) for word in found)
    return list(found)


def environment() -> dict[str, str]:
    """ENV."""
    return dict(pair.split("=", 1) for pair in instruction("ENV").split())


def pinned() -> dict[str, str]:
    """What requirements.txt installs: name and version."""
    return dict(re.findall(r"^([\w-]+)==(\S+)$", (CONTAINER / "requirements.txt").read_text(), re.MULTILINE))


class Image:
    """A root file system in a directory."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self._make(directory / "popular")

    def _make(self, made: Path) -> None:
        venv.create(made, symlinks=True)
        (packages,) = made.glob("lib/python*/site-packages")
        for name in pinned():
            _install(name, packages)
        for name in ("popular", "supervisor", "metrics"):
            shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
        _install(PROJECT["name"], packages, only=".dist-info/")
        for command, file in FILES.items():
            script = made / "bin" / command
            script.write_text(file.read_text().replace("#!python", f"#!/{HOME}/bin/python", 1))
            script.chmod(0o755)
        for command, place in FUNCTIONS.items():
            module, _, function = place.partition(":")
            script = made / "bin" / command
            script.write_text(
                f"#!/{HOME}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            )
            script.chmod(0o755)
        rootfs = runpy.run_path(str(CONTAINER / "rootfs.py"))
        rootfs["gather"](made, self.root, os.getuid())
        (self.root / HOME).parent.mkdir()
        (self.root / str(made).lstrip("/")).rename(self.root / HOME)
        for name in ("proc", "dev"):
            (self.root / name).mkdir()

    def run(
        self, command: Sequence[str], mounts: Mapping[str, Path], given: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end. `mounts`: what stands where; writable are the run directory and the spool."""
        wrapped = self._wrapped(command, mounts)
        return subprocess.run(wrapped, capture_output=True, text=True, timeout=patient(60), input=given)

    @contextmanager
    def running(self, command: Sequence[str], mounts: Mapping[str, Path], output: Path) -> Iterator["Container"]:
        """A command that goes on meanwhile; its output goes to a file."""
        with output.open("ab") as file:
            process = subprocess.Popen(self._wrapped(command, mounts), stdout=file, stderr=file)
        try:
            yield Container(process, output)
        finally:
            _end(process)

    def _wrapped(self, command: Sequence[str], mounts: Mapping[str, Path]) -> list[str]:
        wrap = [need("bwrap"), "--unshare-user", "--uid", "65532", "--gid", "65532", "--cap-drop", "ALL"]
        wrap += ["--unshare-pid", "--as-pid-1", "--die-with-parent", "--unshare-ipc", "--new-session"]
        wrap += ["--ro-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev", "--clearenv"]
        for name, value in environment().items():
            wrap += ["--setenv", name, value]
        for place, path in mounts.items():
            (self.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)  # so does an engine
            writable = place.startswith("/var/")
            wrap += ["--bind" if writable else "--ro-bind", str(path), place]
        return [*wrap, "--", *command]


class Container:
    """A running command."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def pid(self) -> int:
        """The process that is pid 1 inside."""
        return processes.tree(self.process.pid)[1]

    def said(self) -> str:
        return self._output.read_text()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a command: pid 1 of the sandbox, which takes all in there along; bwrap ends after them."""
    inside = processes.tree(process.pid)[1:2] if process.poll() is None else []
    for pid in inside:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not inside:
        process.kill()
    process.wait(patient(10))


def _install(name: str, packages: Path, only: str = "") -> None:
    """Copies a distribution that the tests run with, as it is installed (a build leaves notes in the project, too)."""
    places = sysconfig.get_path("purelib"), sysconfig.get_path("platlib")
    (installed, *_) = importlib.metadata.distributions(name=name, path=list(places))
    for file in installed.files or []:
        if ".." not in file.parts and "__pycache__" not in file.parts and only in str(file):
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), target)


def may_wrap() -> None:
    """Skips where bubblewrap may not make namespaces; fails if it should be able to."""
    command = [need("bwrap"), "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(10))
    if done.returncode != 0:
        (pytest.fail if os.environ.get("CI") and os.getuid() == 0 else pytest.skip)(f"no namespaces: {done.stderr}")


def serves(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


PYTHON = f"/{HOME}/bin/python"
assert sys.prefix != sys.base_prefix, "the tests run in a virtual environment"
