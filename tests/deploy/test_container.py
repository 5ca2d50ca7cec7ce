"""The image: its Containerfile is clean, and what it holds runs read-only, without rights and without a shell.

No container engine takes part (it does in `test_engine.py`); `image.py` tells what stands in for one.
"""

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import argon2
from packaging.requirements import Requirement

from supervisor.runtime.signals import SHUTDOWNS
from supervisor.version import VERSION
from tests.deploy.commands import COMMANDS
from tests.deploy.image import (
    CONTAINER,
    HOME,
    PROJECT,
    PYTHON,
    ROOT,
    Image,
    instruction,
    instructions,
    pinned,
    serves,
    words,
)
from tests.patience import patient
from tests.system.site import STARTED, PopClient, free_port, wait_until

YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$"


def test_lint() -> None:
    """hadolint finds nothing."""
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), CONTAINER / "Containerfile"],
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_it_promises() -> None:
    """Not root; the stop signal is the one that lets sessions finish; the version is the project's; a pinned base."""
    assert instruction("USER") == "65532:65532"
    assert SHUTDOWNS[signal.Signals[instruction("STOPSIGNAL")]] == "delayed"
    assert ("ARG", f"VERSION={VERSION}") in instructions()
    assert [rest for word, rest in instructions() if word == "FROM"][-1] == "scratch"
    (tag,) = [rest.partition("=")[2] for word, rest in instructions() if rest.startswith("PYTHON=")]
    assert re.fullmatch(r"3\.\d+-slim-[a-z]+", tag)


def test_it_is_built_with_all_that_the_core_is_compiled_of() -> None:
    """As the Debian package is; but Python and its headers are those of the base, which has no other ones."""
    control = (ROOT / "deploy/debian/control").read_text()
    (needed,) = re.findall(r"^Build-Depends: (.*)$", control, flags=re.MULTILINE)
    packages = [need.strip() for need in needed.split(",") if not need.strip().startswith(("debhelper", "python3"))]
    (built,) = [rest for word, rest in instructions() if word == "RUN" and "apt-get install" in rest]
    assert [package for package in packages if package not in built.split()] == []


def test_requirements_are_whole() -> None:
    """requirements.txt pins the project's dependencies and all of theirs, in versions that the project allows."""
    wanted, known = list(map(Requirement, PROJECT["dependencies"])), {}
    while wanted:
        one = wanted.pop()
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            version = pinned()[one.name.replace("_", "-") if one.name.replace("_", "-") in pinned() else one.name]
            assert version in one.specifier
            if one.name not in known:
                known[one.name] = version
                wanted += map(Requirement, importlib.metadata.requires(one.name) or [])
    assert {name.replace("_", "-") for name in known} == {name.replace("_", "-") for name in pinned()}


def test_the_context_is_small() -> None:
    """Only what the Containerfile copies and installs goes to the builder."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert kept == {
        "pyproject.toml",
        "setup.py",
        PROJECT["readme"],
        "LICENSE",
        "popular",
        "supervisor",
        "metrics",
        "deploy/container",
        "deploy/training",
    }
    assert all((ROOT / name).exists() for name in kept)


def test_there_is_nothing_to_play_with(image: Image) -> None:
    """The only program is Python: no shell, no package manager, no compiler."""
    programs = set()
    for path in image.root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o111:
            with path.open("rb") as file:
                start = file.read(64)
            is_program = start.startswith(b"\x7fELF") and ".so" not in path.name
            if is_program or (start.startswith(b"#!") and f"#!/{HOME}/bin/python" not in start.decode()):
                programs.add(path.name)
    assert {name for name in programs if not re.fullmatch(r"python3\.\d+|.*\.py", name)} == set()
    assert not list(image.root.rglob("pip"))


def test_every_command_starts(image: Image) -> None:
    """Each program of the project finds all it needs; the root file system cannot be written to."""
    for command in COMMANDS:
        done = image.run([f"/{HOME}/bin/{command}", "--version"], {})
        said = done.stdout.partition(" (")[0].strip()  # after it, in some: compiled, or pure Python
        assert (done.returncode, said, done.stderr) == (0, f"{command} {VERSION}", "")
    done = image.run([PYTHON, "-c", "import os; print(os.getuid()); open('/x', 'w')"], {})
    assert done.stdout == "65532\n"
    assert "Read-only file system" in done.stderr
    trust = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'] > 50)"
    assert image.run([PYTHON, "-c", trust], {}).stdout == "True\n"


def test_the_image_serves(image: Image, tmp_path: Path) -> None:
    """With its own command line: it becomes healthy, checks passwords of both libraries, drains when it is stopped, and
    leaves nothing in the run directory.
    """
    port, etc, run = free_port(), tmp_path / "etc", tmp_path / "run"
    etc.mkdir()
    run.mkdir(mode=0o700)
    STARTED.add(run)
    hashes = {"joe": argon2.PasswordHasher(time_cost=1).hash("joe"), "ann": _crypted(image, "ann")}
    (etc / "users").write_text("".join(f"n:{user}:{text}:b:x\n" for user, text in hashes.items()))
    (etc / "pproxy.rc").write_text(
        "backend conf b host 127.0.0.1 state fake\npdm add users passwd /etc/popular/users\n"
        f"vserv conf v iface 127.0.0.1 port {port} namespace n state online\n"
    )
    mounts = {"/var/run/popular": run, "/etc/popular": etc}
    command = [word.replace("0.0.0.0:9110", f"127.0.0.1:{free_port()}") for word in words("ENTRYPOINT") + words("CMD")]
    assert image.run(words("HEALTHCHECK"), mounts).returncode != 0
    with image.running(command, mounts, tmp_path / "out") as container:
        wait_until(lambda: image.run(words("HEALTHCHECK"), mounts).returncode == 0, "it is healthy", patient(30))
        wait_until(lambda: serves(port), "the start configuration is in force")
        with PopClient(port) as client:
            assert client.log_in("ann", "ann").startswith(b"+OK")
            assert client.ask("QUIT").startswith(b"+OK")
        with PopClient(port) as client:
            assert client.log_in("joe", "joe").startswith(b"+OK")
            os.kill(container.pid, signal.Signals[instruction("STOPSIGNAL")])
            wait_until(lambda: "shutdown_server" in container.said(), "it has heard")
            assert client.ask("STAT") == b"+OK 0 0"
            assert client.ask("QUIT").startswith(b"+OK")
        assert container.process.wait(patient(20)) == 0
        assert '"ending": "quit"' in container.said() or '"ending":"quit"' in container.said()
    assert list(run.iterdir()) == []


def _crypted(image: Image, password: str) -> str:
    """A yescrypt hash, by the image's own library."""
    code = (
        "import ctypes; crypt = ctypes.CDLL('libcrypt.so.1').crypt; crypt.restype = ctypes.c_char_p\n"
        f"print(crypt(b'{password}', b'{YESCRYPT}').decode())"
    )
    done = image.run([PYTHON, "-c", code], {})
    assert done.stdout.startswith(YESCRYPT), done.stderr
    return done.stdout.strip()
