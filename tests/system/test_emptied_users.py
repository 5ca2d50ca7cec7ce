"""A list of users that is empty all at once: whatever makes it has failed, and nobody is unknown for that, so that no
fallback backend is shown the passwords of all.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

MODULES = ("file", "database")
GONE = "all users are gone"
IN, COME_AGAIN = b"+OK 0 messages ", b"-ERR [SYS/TEMP]"
LINE = "default:{}:{{PLAIN}}joe:store:\n"


class ListsOfUsers:
    """A file with ann, and a database with bob; and a port at which they log in."""

    def __init__(self, directory: Path) -> None:
        self.file, self.database, self.port = directory / "users", directory / "users.cdb", free_port()
        self.fill()

    def fill(self) -> None:
        self._make(LINE.format("ann"), LINE.format("bob"))

    def empty(self) -> None:
        self._make("", "")

    def _make(self, file: str, database: str) -> None:
        self.file.write_text(file)
        command = [sys.executable, "-m", "popular.pdm.pcdb", "-q", "--empty", str(self.database)]
        subprocess.run(command, input=database.encode(), check=True, timeout=patient(60))

    def said(self) -> list[bytes]:
        """The replies to logins of both, the first words of each."""
        return [self._said(user) for user in ("ann", "bob")]

    def _said(self, user: str) -> bytes:
        with PopClient(self.port) as client:
            client.ask(f"USER {user}")
            return client.ask("PASS joe")[:15]


def is_kept(proxy: Proxy, module: str) -> bool:
    """Whether it is told that the users of before stay in use."""
    return any(GONE in line and "stays in use" in line for line in proxy.said(f"pdm show {module}").lines)


def test_users_who_are_all_gone_stay(tmp_path: Path) -> None:
    """Reloads keep what was read before; a worker that is born then has nothing of before, and calls nobody unknown.
    Who means it takes the module out.
    """
    lists = ListsOfUsers(tmp_path)
    lines = [
        "set pdmwatch 0",
        "backend conf store state fake",
        "backend conf last state fake",
        "set fallback last",
        f"pdm add file passwd {lists.file}",
        f"pdm add database cdb {lists.database}",
        f"vserv conf v iface {LOOPBACK} port {lists.port} state online",
    ]
    with Proxy(tmp_path, lines, workers=1) as proxy:
        lists.empty()
        for module in MODULES:
            assert GONE in proxy.control(f"pdm reload {module}").text
        wait_until(lambda: proxy.said("pdm check") and all(is_kept(proxy, one) for one in MODULES), "both are kept")
        assert lists.said() == [IN, IN]
        (worker,) = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: proxy.workers() not in ([], [worker]), "another worker is born")
        for _ in range(2):
            assert lists.said() == [COME_AGAIN, COME_AGAIN]
            assert not proxy.control("pdm reload file").ok
        lists.fill()
        wait_until(lambda: proxy.said("pdm check") and lists.said() == [IN, IN], "they are open again")
        lists.empty()
        for module in (f"file passwd {lists.file}", f"database cdb {lists.database}"):
            proxy.said(f"pdm del {module.split()[0]}")
            proxy.said(f"pdm add {module}")
