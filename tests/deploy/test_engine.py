"""The Containerfile, built by a real engine (`engine.py`), and what its containers do, hardened as the README says."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest

from supervisor.version import VERSION
from tests.deploy.commands import COMMANDS
from tests.deploy.engine import HARDENED, NAME, Engine
from tests.deploy.image import PYTHON, instruction, serves, words
from tests.patience import patient
from tests.system.site import STARTED, PopClient, free_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(patient(600))]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine, with the image."""
    if os.getuid() != 0:
        pytest.skip("a base image is made by root")
    engine = Engine()
    try:
        engine.make_base()
        engine.build()
        yield engine
    finally:
        engine.close()


class Place:
    """The directories of a site, as they are mounted, and its containers' command line."""

    def __init__(self, directory: Path, uid: int) -> None:
        self.run, self._etc = directory / "run", directory / "etc"
        self._etc.mkdir()
        self.run.mkdir(mode=0o700)
        os.chown(self.run, uid, uid)
        STARTED.add(self.run)
        hashed = argon2.PasswordHasher(time_cost=1).hash("joe")
        (self._etc / "users").write_text(f"n:joe:{hashed}:b:x\n")

    def options(self, port: int) -> list[str]:
        """How a container is run that serves this port."""
        (self._etc / f"{port}.rc").write_text(
            "backend conf b host 127.0.0.1 state fake\npdm add users passwd /etc/popular/users\n"
            f"vserv conf v iface 127.0.0.1 port {port} namespace n state online\n"
        )
        command = [word.replace("0.0.0.0:9110", f"127.0.0.1:{free_port()}") for word in words("CMD")]
        command[command.index("/etc/popular/pproxy.rc")] = f"/etc/popular/{port}.rc"
        mounts = ["-v", f"{self.run}:/var/run/popular", "-v", f"{self._etc}:/etc/popular:ro"]
        return [*HARDENED, *mounts, NAME, *command]


def logged_in(port: int) -> PopClient:
    client = PopClient(port)
    assert client.log_in("joe", "joe").startswith(b"+OK")
    return client


def test_the_image_is_what_was_asked_for(engine: Engine) -> None:
    """User, stop signal and health check arrive in it; every command finds what it needs, with no right at all."""
    form = "{{.User}} {{.Config.StopSignal}} {{.Config.Healthcheck.Test}} {{.Config.Volumes}}"
    user, number, *rest = engine.said("image", "inspect", "--format", form, NAME).split(" ", 2)
    assert user == instruction("USER")
    assert number in {str(int(signal.SIGPWR)), "SIGPWR"}
    assert " ".join(words("HEALTHCHECK")) in rest[0]
    assert "/var/run/popular" in rest[0]
    code = f"import subprocess\nfor name in {list(COMMANDS)}: subprocess.run([name, '--version'], check=True)"
    said = engine.said("run", "--rm", *HARDENED, "--entrypoint", PYTHON, NAME, "-c", code)
    assert [line.partition(" (")[0] for line in said.splitlines()] == [f"{name} {VERSION}" for name in COMMANDS]
    code = "print(open('/proc/self/status').read()); open('/x', 'w')"
    done = engine.run("run", "--rm", *HARDENED, "--entrypoint", PYTHON, NAME, "-c", code)
    assert "CapBnd:\t0000000000000000" in done.stdout
    assert "Uid:\t65532\t65532" in done.stdout
    assert "Read-only file system" in done.stderr


def test_it_serves_and_is_stopped(engine: Engine, tmp_path: Path) -> None:
    """It becomes healthy and takes a login; `stop` waits for the session, and nothing is left in the run directory."""
    port, place = free_port(), Place(tmp_path, 65532)
    engine.said("run", "--detach", "--name", "proxy", *place.options(port))
    wait_until(lambda: engine.run("healthcheck", "run", "proxy").returncode == 0, "it is healthy", patient(30))
    assert "pid 1" in engine.said("exec", "proxy", "pcontrol", "-c", "show pid")
    with logged_in(port) as client:
        stopping = engine.begin("stop", "--time", "60", "proxy")
        wait_until(lambda: "shutdown_server" in engine.run("logs", "proxy").stderr, "it has heard")
        assert client.ask("STAT") == b"+OK 0 0"
        assert stopping.poll() is None
        assert client.ask("QUIT").startswith(b"+OK")
    assert stopping.wait(patient(30)) == 0
    assert engine.said("inspect", "--format", "{{.State.ExitCode}}", "proxy") == "0"
    assert list(place.run.iterdir()) == []


def test_two_share_a_run_directory(engine: Engine, tmp_path: Path) -> None:
    """Both are pid 1, of a uid that the image does not know: each keeps its place, also when one is killed and comes
    back, and the name leads to the newest that lives.
    """
    ports, place = (free_port(), free_port()), Place(tmp_path, 12345)

    def named() -> str:
        """The configuration of whoever the name leads to, asked from a third container."""
        options = ("--user", "12345:12345", "-v", f"{place.run}:/var/run/popular", "--entrypoint", "pcontrol")
        return engine.run("run", "--rm", *HARDENED, *options, NAME, "-c", "show config").stdout

    for name, port in zip(("one", "two"), ports, strict=True):
        engine.said("run", "--detach", "--name", name, "--user", "12345:12345", *place.options(port))
        wait_until(lambda port=port: serves(port), f"{name} serves", patient(30))
        assert f"port {port} " in named()
    for port in ports:
        logged_in(port).close()
    engine.said("kill", "--signal", "KILL", "two")
    wait_until(lambda: not serves(ports[1]), "two is dead")
    logged_in(ports[0]).close()
    engine.said("start", "two")
    wait_until(lambda: serves(ports[1]), "two is back", patient(30))
    assert f"port {ports[1]} " in named()
    engine.said("stop", "--time", "30", "two")
    assert f"port {ports[0]} " in named()
    logged_in(ports[0]).close()
    engine.said("stop", "--time", "30", "one")
    assert list(place.run.iterdir()) == []
