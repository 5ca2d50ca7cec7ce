"""Connections to backends: one that lasts is watched by the kernel, as the manual asks of every TCP socket."""

import os
from pathlib import Path

from supervisor.sockets.sources import KEEPALIVE_IDLE_SECONDS
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, pop3_server, wait_until

KEEPALIVE = "02"
"""proc_net_tcp: the timer that is pending; after it, how many ticks are left, in hexadecimal."""


def _timers(port: int) -> list[tuple[str, float]]:
    """Kind and seconds left of the timer of each connection to this port, at the end that began it."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    timers = [words[5].split(":") for words in lines if words[2] == f"0100007F:{port:04X}" and words[3] == "01"]
    return [(kind, int(left, 16) / os.sysconf("SC_CLK_TCK")) for kind, left in timers]


def test_a_connection_to_a_backend_that_lasts_is_kept_alive(tmp_path: Path) -> None:
    """Within a moment, and with our time, not the kernel's two hours."""
    port = free_port()
    with ScriptedBackend(pop3_server([])) as server:
        lines = [
            f"backend conf b host {LOOPBACK} port {server.port} prot POP3 state online",
            "pdm add a any b",
            f"vserv conf v iface {LOOPBACK} port {port} namespace n state online",
        ]
        with Proxy(tmp_path, lines), PopClient(port) as client:
            client.greeted()
            assert client.log_in("joe").startswith(b"+OK")
            wait_until(lambda: [kind for kind, _left in _timers(server.port)] == [KEEPALIVE], "the kernel watches it")
            ((_kind, left),) = _timers(server.port)
            assert KEEPALIVE_IDLE_SECONDS / 2 < left <= KEEPALIVE_IDLE_SECONDS
