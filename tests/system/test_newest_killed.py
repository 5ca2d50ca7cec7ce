"""The newest of two instances is killed, and one of its workers lives on: the older one serves, and can be found."""

import subprocess
from pathlib import Path

from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, program, wait_until
from tests.system.wire import PopClient


def _said(command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program(command), *arguments], capture_output=True, text=True, timeout=patient(20), check=False
    )


def test_the_older_one_is_named(tmp_path: Path) -> None:
    """By `pcontrol`, with the words that reach it, as long as nothing else leads there."""
    port, log = free_port(), tmp_path / "second.log"
    rc = tmp_path / "second.rc"
    rc.write_text(f"vserv conf v iface {LOOPBACK} port {port} state fake\n")
    with Proxy(tmp_path) as first:
        options = ["-r", str(first.rundir), "-l", str(log), "-w", "1", "--metrics", "off", "-c", str(rc)]
        with subprocess.Popen([program("pproxy"), *options], stdin=subprocess.DEVNULL) as second:
            try:
                wait_until(lambda: log.exists() and "other_instance" in log.read_text(), "it serves")
                client = PopClient(port)
                client.greeted()
            finally:
                second.kill()
            second.wait(patient(10))
            with client:
                done = _said("pcontrol", "-r", str(first.rundir), "-p", "pproxy", "show", "pid")
                own = f"pproxy.{first.pid}.ctrl"
                assert done.returncode == 3
                assert done.stderr.endswith(f"another one is there: `pcontrol -s {first.rundir / own}`\n")
                assert _said("pcontrol", "-s", str(first.rundir / own), "show", "pid").stdout == f"pid {first.pid}\n"
            link = first.rundir / "pproxy.ctrl"
            wait_until(lambda: str(link.readlink()) == own, "its orphan has left")
