"""When `--daemon` has returned the program is ready, and says so to whoever asks."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.patience import patient
from tests.system import scrape
from tests.system.site import LOOPBACK, free_port, program, wait_until


@contextlib.contextmanager
def in_the_background(directory: Path, metrics: int) -> Iterator[None]:
    """A proxy with a virtual server and its exporter at this port, from the end of `--daemon` on."""
    rundir, rc = directory / "run", directory / "pproxy.rc"
    rc.write_text(f"vserv conf v iface {LOOPBACK} port {free_port()} state online\n")
    command = [program("pproxy"), "--daemon", "-w", "2", "-r", str(rundir), "-l", str(directory / "log"), "-c", str(rc)]
    command += ["--metrics", f"{LOOPBACK}:{metrics}"]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=patient(20), check=True)
    try:
        yield
    finally:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(patient(10))
            control.connect(str(rundir / "pproxy.ctrl"))
            control.sendall(b"shutdown all\n")
            control.recv(4096)
        wait_until(lambda: not list(rundir.iterdir()), "it is gone")


def test_it_is_ready_when_it_has_gone_to_the_background(tmp_path: Path) -> None:
    """Who asks /readyz the moment after hears 200."""
    port = free_port()
    with in_the_background(tmp_path, port):
        answer = scrape.get((LOOPBACK, port), "/readyz")
        assert (answer.status, answer.body) == (200, b"ok\n")


def test_an_exporter_that_cannot_listen_holds_nobody_up(tmp_path: Path) -> None:
    """It goes to the background all the same, and the exporter waits for its address."""
    with socket.create_server((LOOPBACK, 0)) as taken, in_the_background(tmp_path, taken.getsockname()[1]):
        assert " exporter_waits " in (tmp_path / "log").read_text()
