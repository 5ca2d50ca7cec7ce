"""The newest of two instances is killed, and one of its workers lives on: the older one has what it had."""

import socket
import subprocess
from pathlib import Path

import pytest

from supervisor.pcontrol.connection import NoConnection, connect
from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, program, wait_until
from tests.system.wire import PopClient


def test_the_older_one_takes_over(tmp_path: Path) -> None:
    """Within a second `pcontrol` reaches it; what it is told then is kept, what the dead one was told is in force."""
    port, log = free_port(), tmp_path / "second.log"
    rc = tmp_path / "second.rc"
    rc.write_text(f"vserv conf v iface {LOOPBACK} port {port} state fake\n")
    with Proxy(tmp_path) as first:
        state, link = str(tmp_path / "state"), first.rundir / "pproxy.ctrl"
        options = ["-r", str(first.rundir), "--statedir", state, "-l", str(log), "-w", "1", "--metrics", "off"]
        with subprocess.Popen([program("pproxy"), *options, "-c", str(rc)], stdin=subprocess.DEVNULL) as second:
            try:
                wait_until(lambda: log.exists() and "other_instance" in log.read_text(), "it serves")
                client = PopClient(port)
                client.greeted()
                first.said("block 192.0.2.1")
            finally:
                second.kill()
            second.wait(patient(10))
            with client:
                wait_until(lambda: str(link.readlink()) == f"pproxy.{first.pid}.ctrl", "the older one takes the links")
                assert first.said("show pid").lines == [f"pid {first.pid}"]
                wait_until(lambda: "192.0.2.1" in str(first.json("block list")), "it is taken up")
                assert "not kept" not in first.said("block 192.0.2.2").text
            wait_until(lambda: not first.rundir.joinpath("pproxy.2.lock").exists(), "its orphan has left")
            assert first.said("show pid").lines == [f"pid {first.pid}"]


def test_an_older_release_is_named(tmp_path: Path) -> None:
    """It does not take the links: `pcontrol` says how it is reached."""
    (tmp_path / "pproxy.ctrl").symlink_to("pproxy.2.ctrl")
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "pproxy.1.ctrl"))
        control.listen()
        with pytest.raises(NoConnection, match=r"another one is there: `pcontrol -s .*/pproxy\.1\.ctrl`$"):
            connect(None, str(tmp_path), ["pproxy"], timeout_seconds=patient(10))
