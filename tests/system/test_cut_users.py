"""A file of users that a full disk has cut in its last line, which is a good line all the same: of another mailbox."""

import os
import signal
from pathlib import Path

from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

CUT = "not written to its end"
WHOLE = "default:ann:{PLAIN}joe:store:box1999\n"
COME_AGAIN = b"-ERR [SYS/TEMP]"


def test_a_file_that_is_cut_is_not_used(tmp_path: Path) -> None:
    """What was read before stays, in what sort of reload ever; a worker that is born then leads nobody anywhere."""
    users, port = tmp_path / "users", free_port()
    users.write_text(WHOLE)
    lines = [
        "set pdmwatch 0",
        "backend conf store state fake",
        f"pdm add file passwd {users}",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]
    with Proxy(tmp_path, lines, workers=1) as proxy:

        def mailbox() -> str:
            return next(line for line in proxy.said("explain ann").lines if "box1" in line)

        def said() -> bytes:
            with PopClient(port) as client:
                client.ask("USER ann")
                return client.ask("PASS joe")

        assert "box1999" in mailbox()
        users.write_text(WHOLE[:-4])
        assert CUT in proxy.control("pdm reload file").text
        wait_until(lambda: proxy.said("pdm check") and CUT in str(proxy.said("pdm show file").lines), "it is told")
        assert "box1999" in mailbox()
        (worker,) = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: proxy.workers() not in ([], [worker]), "another worker is born")
        assert said().startswith(COME_AGAIN)
        assert not proxy.control("pdm reload file").ok
        users.write_text(WHOLE)
        wait_until(lambda: proxy.said("pdm check") and said().startswith(b"+OK"), "it is open again")
