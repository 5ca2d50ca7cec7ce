"""Sockets in the run directory that somebody deletes while the program runs."""

import http.client
import shutil
import socket
from pathlib import Path

from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, wait_until


def _delete_sockets(proxy: Proxy) -> int:
    """Deletes the sockets and the links to them; how many."""
    found = [*proxy.rundir.glob("*.ctrl"), *proxy.rundir.glob("*.http")]
    for one in found:
        one.unlink()
    return len(found)


def _is_ready(proxy: Proxy) -> bool:
    """What the exporter answers at its socket."""
    connection = http.client.HTTPConnection("localhost", timeout=patient(5))
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(proxy.rundir / "pproxy.http"))
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _answers(proxy: Proxy) -> bool:
    try:
        return proxy.control("show pid").ok
    except OSError:
        return False


def test_sockets_that_were_deleted_are_there_again(tmp_path: Path) -> None:
    """Soon, with a line in the log for each; who was connected stays so; and again the next time."""
    with Proxy(tmp_path, metrics=f"{LOOPBACK}:0") as proxy, socket.socket(socket.AF_UNIX) as connected:
        wait_until(lambda: _is_ready(proxy), "the exporter answers")
        connected.settimeout(patient(5))
        connected.connect(str(proxy.rundir / "pproxy.ctrl"))
        for times in (1, 2):
            assert _delete_sockets(proxy) == 4
            wait_until(lambda: _answers(proxy), "the control socket is there")
            wait_until(lambda: _is_ready(proxy), "the exporter's, too")
            files = [Path(entry.fields["file"]).name for entry in proxy.log("socket_again")]
            assert files == ["pproxy.ctrl", "pproxy.http"] * times
            assert (proxy.rundir / "pproxy.ctrl").stat().st_mode & 0o777 == 0o600
        connected.sendall(b"show pid\n")
        assert connected.recv(4096).startswith(b"+OK")


def test_a_run_directory_that_was_deleted_is_told(tmp_path: Path) -> None:
    """Once for each socket; the program serves on, and a signal ends it."""
    with Proxy(tmp_path, metrics=f"{LOOPBACK}:0") as proxy:
        shutil.rmtree(proxy.rundir)
        wait_until(lambda: len(proxy.log("socket_gone")) == 2, "both are told")
        assert {entry.fields["reason"] for entry in proxy.log("socket_gone")} == {"No such file or directory"}
        proxy.process.terminate()
        proxy.process.wait(patient(10))
        proxy.rundir.mkdir()  # it is looked at whether it is empty
        assert len(proxy.log("socket_gone")) == 2
