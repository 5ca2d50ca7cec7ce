"""A database behind a file of users, in a real pproxy: while the database hangs, whom the first module knows
logs in as ever, and whom it does not is told to come again.
"""

import statistics
import time
from pathlib import Path

from tests.databases.servers import PASSWORD, Postgresql
from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port
from tests.system.wire import wait_until

LIMIT_SECONDS = patient(0.05)
ROUNDS = 30


def _quoted(words: list[str]) -> str:
    return " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)


def test_a_database_that_hangs_costs_only_those_who_need_it(tmp_path: Path) -> None:
    port = free_port()
    users = tmp_path / "users"
    users.write_text("default:ann:{PLAIN}secret:store1:\n")
    users.chmod(0o600)
    with Postgresql() as server:
        proxy = Proxy(
            tmp_path,
            [
                "backend conf store1 state fake",
                f"pdm add files passwd {users}",
                f"pdm add users sql {_quoted(server.arguments())}",
                "pdm conf users timeout 1s breaker 3",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ],
            workers=1,
        )

        def login(user: str, password: str) -> tuple[bytes, float]:
            with PopClient(port) as client:
                client.ask(f"USER {user}")
                began = time.monotonic()
                return client.ask(f"PASS {password}"), time.monotonic() - began

        with proxy:
            assert login("joe", PASSWORD)[0].startswith(b"+OK")
            assert login("joe", "wrong")[0].startswith(b"-ERR [AUTH]")
            with server.stalled():
                for _ in range(3):
                    assert login("joe", PASSWORD)[0].startswith(b"-ERR [SYS/TEMP]")
                reply, seconds = login("joe", PASSWORD)
                assert reply.startswith(b"-ERR [SYS/TEMP]")
                assert seconds < patient(0.5), "the breaker is not open"
                times = []
                for _ in range(ROUNDS):
                    reply, seconds = login("ann", "secret")
                    assert reply.startswith(b"+OK")
                    times.append(seconds)
                assert statistics.median(times) < LIMIT_SECONDS
            wait_until(lambda: login("joe", PASSWORD)[0].startswith(b"+OK"), "the database is asked again", patient(30))
