"""A backend with `maxsessions`: who comes when it is full, and that every place is given back."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.wire import PopClient, ScriptedBackend, pop3_server, wait_until

LATER = b"-ERR [SYS/TEMP]"


def test_who_is_one_too_many_and_how_places_come_back(tmp_path: Path) -> None:
    """He is told to come again, or sees an empty mailbox, or goes to the backup. A place is free again when its session
    has ended, and when a worker was killed.
    """
    port = free_port()
    users = tmp_path / "users"
    users.write_text("default:ann:{PLAIN}secret:store:\n")
    with (
        ScriptedBackend(pop3_server([b"one"])) as store,
        ScriptedBackend(pop3_server([])) as twin,
        Proxy(
            tmp_path,
            [
                f"backend conf twin host {LOOPBACK} port {twin.port} state online",
                f"backend conf store host {LOOPBACK} port {store.port} state online maxsessions 2",
                f"pdm add users passwd {users}",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ],
        ) as proxy,
        ExitStack() as open_ones,
    ):

        def places() -> object:
            return proxy.state().counters()["backend_places"]

        def log_in() -> tuple[PopClient, bytes]:
            client = open_ones.enter_context(PopClient(port))
            return client, client.log_in("ann", "secret")

        first, said = log_in()
        assert said.startswith(b"+OK")
        assert log_in()[1].startswith(b"+OK")
        assert places() == 2
        assert log_in()[1].startswith(LATER)
        assert places() == 2, "who was refused took none"
        failed = proxy.log("backend_failed")[-1]
        assert (failed.fields["backend"], "maxsessions" in failed.fields["reason"]) == ("store", True)
        counted = proxy.state().counters()["backend_failures"]
        assert isinstance(counted, dict)
        assert counted["maxsessions"] == 1

        proxy.said("backend conf store backup twin")
        client, said = log_in()
        assert said.startswith(b"+OK")
        assert client.ask("STAT") == b"+OK 0 0", "it is the backup's mailbox"
        client.ask("QUIT")

        first.ask("QUIT")
        wait_until(lambda: places() == 1, "one has left")
        client, said = log_in()
        assert client.ask("STAT").startswith(b"+OK 1 ")

        for victim in {row["pid"] for row in proxy.sessions()}:
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not places(), "the parts of the dead are taken off")
        assert log_in()[1].startswith(b"+OK")
