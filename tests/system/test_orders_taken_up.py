"""An upgrade that is taken back: by what was ordered at the newer instance the sessions of the older one end, too."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.system.site import LOOPBACK, PATIENCE, PopClient, Proxy, free_port, program, wait_until

BACKEND = "backend conf b1 host 127.0.0.1 port 1 state fake"


@contextlib.contextmanager
def newer(old: Proxy, directory: Path) -> Iterator[None]:
    """A newer instance in the same run directory: what is said is said to it meanwhile."""
    options = ["-r", str(old.rundir), "--statedir", str(directory / "state"), "-l", "-", "--metrics", "off"]
    with (directory / "second.log").open("w") as log:
        new = subprocess.Popen([program("pproxy"), *options], stdin=subprocess.DEVNULL, stderr=log)
    wait_until(lambda: old.control("show pid").lines == [f"pid {new.pid}"], "the newer one answers")
    for command in (BACKEND, f"vserv conf v1 iface {LOOPBACK} port 1 state offline"):
        old.said(command)
    yield
    old.said("shutdown all")
    assert new.wait(PATIENCE) == 0


def test_the_older_instance_sweeps_as_the_newer_one_was_told(tmp_path: Path) -> None:
    """A drain that was said anew has its new deadline; one that is new, and a lock, find those who are at the older
    one; who is meant by none stays.
    """
    ports = {name: free_port() for name in ("v1", "v2")}
    online = "namespace default state online"
    rc = [BACKEND, "pdm add all any b1"]
    rc += [f"vserv conf {name} iface {LOOPBACK} port {port} {online}" for name, port in ports.items()]
    with Proxy(tmp_path, rc) as old, contextlib.ExitStack() as stack:
        clients = {}
        for name, user in (("v1", "joe"), ("v2", "ann"), ("v2", "eve")):
            clients[user] = stack.enter_context(PopClient(ports[name]))
            assert clients[user].log_in(user).startswith(b"+OK")
        old.said("vserv drain v1 deadline 30m")
        with newer(old, tmp_path):
            old.said("vserv drain v1 deadline 2s")
            old.said("user lock ann namespace default")
            old.said("backend drain b1 deadline 20m")
            assert all(client.ask("NOOP").startswith(b"+OK") for client in clients.values()), "nobody has gone yet"
        wait_until(lambda: {row["user"] for row in old.sessions()} == {"eve"}, "who was meant has gone")
        assert [clients[user].connection.recv(1) for user in ("joe", "ann")] == [b"", b""]
        assert clients["eve"].ask("NOOP").startswith(b"+OK")
        (rest,) = old.json("kick list")
        assert (rest["sort"], rest["id"], rest["left"]) == ("backend", "b1", 1)
        assert 1000 < rest["seconds_left"] <= 1200
