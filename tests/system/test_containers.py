"""Two containers that share a run directory: in each of them the master has pid 1."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.table.segment import View
from tests.patience import patient
from tests.system import site
from tests.system.site import LOOPBACK, PopClient, free_port, need, program, wait_until


def _may_unshare() -> None:
    """Skips where pid namespaces are not to be had; fails if they should be."""
    done = subprocess.run(
        [need("unshare"), "--pid", "--fork", "--mount-proc", "true"], capture_output=True, timeout=patient(10)
    )
    if done.returncode == 0:
        return
    reason = f"no pid namespaces here: {done.stderr.decode().strip()}"
    if os.environ.get("CI") and os.getuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def _container(rundir: Path, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A pproxy that is pid 1 of a pid namespace of its own."""
    site.STARTED.add(rundir)
    command = [need("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [
        program("pproxy"),
        "-r",
        str(rundir),
        "--statedir",
        str(rundir.with_name("state")),
        "-l",
        str(rundir.with_name(f"{name}.log")),
        "-w",
        "2",
        "--metrics",
        "off",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield process
            assert process.wait(patient(10)) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()


def _say(socket: Path, command: str) -> str:
    """What is answered, or what is wrong."""
    words = [program("pcontrol"), "-s", str(socket), "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=patient(20))
    return done.stdout + done.stderr


@pytest.fixture
def tables() -> Iterator[list[Path]]:
    """The tables that the test has found, which are removed if they should be left behind."""
    found: list[Path] = []
    yield found
    for path in found:
        path.unlink(missing_ok=True)


def test_two_masters_with_pid_1(tmp_path: Path, tables: list[Path]) -> None:
    """Both start in one run directory, each has its own control socket and table, both serve; the links lead to the
    newest. When both are gone nothing is left.
    """
    _may_unshare()
    rundir, ports = tmp_path / "run", [free_port(), free_port()]
    sockets = [rundir / "pproxy.1.ctrl", rundir / "pproxy.1-2.ctrl"]
    link = rundir / "pproxy.ctrl"

    def is_up(number: int) -> None:
        wait_until(lambda: _say(sockets[number], "show pid") == "pid 1\n", "it answers")
        assert link.readlink() == Path(sockets[number].name)
        assert _say(sockets[number], f"set checkport {4000 + number}") == ""
        server = f"vserv conf v iface {LOOPBACK} port {ports[number]} state fake bannerok number{number}"
        assert _say(sockets[number], server) == ""
        tables.append((rundir / "pproxy.state").readlink())

    with _container(rundir, "first"):
        is_up(0)
        with _container(rundir, "second"):
            is_up(1)
            assert [_say(socket, "show checkport") for socket in sockets] == ["checkport 4000\n", "checkport 4001\n"]
            assert _say(link, "show checkport") == "checkport 4001\n"
            assert tables[0] != tables[1]
            for number, port in enumerate(ports):
                with PopClient(port) as client:
                    assert client.log_in().startswith(b"+OK")
                    assert client.greeting == b"+OK number%d" % number
                    wait_until(lambda: [len(View.open(table).sessions()) for table in tables].count(1) == 1, "its row")
                    assert len(View.open(tables[number]).sessions()) == 1
            _say(sockets[1], "shutdown all")
        assert _say(sockets[0], "show checkport") == "checkport 4000\n"
        with PopClient(ports[0]) as client:
            assert client.greeted() == b"+OK number0"
        _say(sockets[0], "shutdown all")
    assert list(rundir.iterdir()) == []
    assert not any(path.exists() for path in tables)
