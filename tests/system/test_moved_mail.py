"""Users are moved between two real storage servers while they read and delete: no mail is lost, none comes back.

Their Maildirs are copied by a program of the operator's, as --move-command wants it: it may be run twice, removes
nothing at the old place, and keeps the names of the files, which are the UIDLs.
"""

import itertools
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from popular.store.maildir.maildir import Maildir
from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until
from tests.system.test_operating_storm import beside

COPY = """\
#!/bin/sh -e
# NAMESPACE USER FROM TO
echo "$2" >> {place}/copied
[ "$2" != u0 ] || sleep {pause}
rm -rf {place}/mail/$4/u/$2 {place}/mail/$4/u/$2.new
cp -a {place}/mail/$3/u/$2 {place}/mail/$4/u/$2.new
mv {place}/mail/$4/u/$2.new {place}/mail/$4/u/$2
"""
"""u0 is the one in whose move the master is killed."""
STORES = ("one", "two")


class Reader:
    """All that the mail program of one user has seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.read: dict[str, bytes] = {}
        """By UIDL."""
        self.gone: set[str] = set()
        """Deleted, and the QUIT was answered."""
        self.came_back: set[str] = set()

    def poll(self, port: int, most: int) -> None:
        """Reads and deletes so many. A session may be cut, or refused, and then it is tried again."""
        # A session that is cut is an AssertionError of the client's: the other side has closed in the middle.
        with self.lock, suppress(OSError, AssertionError), PopClient(port) as client:
            if not client.log_in(self.name).startswith(b"+OK"):
                return
            listed = [line.decode().split() for line in _lines(client, "UIDL")]
            self.came_back |= {uidl for _number, uidl in listed} & self.gone
            deleted = set[str]()
            for number, uidl in listed[:most]:
                self.read[uidl] = b"\n".join(_lines(client, f"RETR {number}"))
                assert client.ask(f"DELE {number}").startswith(b"+OK")
                deleted.add(uidl)
            if client.ask("QUIT").startswith(b"+OK"):
                self.gone |= deleted


def _lines(client: PopClient, command: str) -> list[bytes]:
    """The lines of a reply of several."""
    assert client.ask(command).startswith(b"+OK")
    return list(iter(client.line, b"."))


class MailSite:
    """Two storage servers, a proxy in front of them, and users whose mail is at the first one."""

    def __init__(self, directory: Path, users: int, mails: int) -> None:
        self.directory = directory
        self.readers = [Reader(f"u{number}") for number in range(users)]
        self.sent: dict[str, set[bytes]] = defaultdict(set)
        self.port = free_port()
        self.stores = []
        rc = ["set workers 2"]
        for store in STORES:
            (directory / store).mkdir()
            root, port = directory / "mail" / store, free_port()
            (root / "u").mkdir(parents=True)
            store_rc = [f"set mailboxdir {root}", f"server conf iface {LOOPBACK} port {port} state online"]
            self.stores.append(Proxy(directory / store, store_rc, name="pserv"))
            rc.append(f"backend conf {store} host {LOOPBACK} port {port} prot XPOP state online")
        lines = (f"default:{reader.name}:{{PLAIN}}secret:one:u/{reader.name}\n" for reader in self.readers)
        (directory / "users").write_text("".join(lines))
        self.rc = [
            *rc,
            f"pdm add users passwd {directory}/users",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default state online",
        ]
        self.copy = directory / "copy"
        self.copied = directory / "copied"
        self.copied.touch()
        for reader in self.readers:
            for number in range(mails):
                mail = f"Subject: {number} of {reader.name}".encode()
                Maildir(directory / "mail/one", f"u/{reader.name}").deliver([mail + b"\r\n\r\n"])
                self.sent[reader.name].add(mail)

    def proxy(self, pause: float) -> Proxy:
        """One more, at the same place."""
        self.copy.write_text(COPY.format(place=self.directory, pause=pause))
        self.copy.chmod(0o755)
        return Proxy(self.directory, self.rc, options=["--move-command", str(self.copy)])

    def assert_nothing_is_lost(self) -> None:
        for reader in self.readers:
            assert {mail.rstrip() for mail in reader.read.values()} == self.sent[reader.name], "each was read"
            assert len(reader.read) == len(self.sent[reader.name]), "and has one UIDL"
            assert reader.came_back == set(), "what was deleted is gone"


REFUSED = ("another instance serves here too", "there is still")


def moved(proxy: Proxy, user: str, to: str = "two") -> bool:
    """While workers of a master that was killed are still there it is refused, and tried again."""
    deadline = time.monotonic() + patient(30)
    while time.monotonic() < deadline:
        said = proxy.control(f"user move {user} {to} timeout 20s")
        if said.ok:
            return True
        assert any(words in said.text for words in REFUSED), said.text
        time.sleep(0.1)
    return False


def longest_hold(proxy: Proxy) -> int:
    """Milliseconds for which a user was held by his move."""
    found: int = proxy.state().gauges()["longest_move_hold_ms"]
    assert found > 0
    return found


@contextmanager
def interrupted(proxy: Proxy, copied: Path) -> Iterator[None]:
    """Somebody waits for the move of u0 when the block begins, and is cut off in it."""

    def wait() -> None:
        with pytest.raises(OSError):
            proxy.control("user move u0 two", patient(60))

    waits = threading.Thread(target=wait, daemon=True)
    waits.start()
    wait_until(lambda: "u0\n" in copied.read_text(), "his mail is being copied")
    yield
    waits.join(patient(20))


def run(directory: Path, users: int, *, mails: int, clients: int, pause: float) -> None:
    """All are moved; a worker is killed in the middle, and the master in the middle of a move."""
    site = MailSite(directory, users, mails)
    turns, lock = itertools.cycle(site.readers), threading.Lock()

    def poll() -> None:
        with lock:
            reader = next(turns)
        reader.poll(site.port, 1)
        time.sleep(pause)

    with ExitStack() as stack:
        for store in site.stores:
            stack.enter_context(store)
        first = stack.enter_context(site.proxy(60.0))
        with beside(*[poll] * clients):
            half = site.readers[1 : users // 2]
            for place, reader in enumerate(half):
                assert moved(first, reader.name)
                if place == len(half) // 2:
                    os.kill(first.workers()[0], signal.SIGKILL)
            holds = [longest_hold(first)]
            with interrupted(first, site.copied):
                first.kill_master()
            with site.proxy(0.0) as second:
                assert second.log("order_undone")
                for reader in [site.readers[0], *site.readers[users // 2 :]]:
                    assert moved(second, reader.name)
                assert all("to two" in row["what"] for row in second.json("user list"))
                left = site.readers
                deadline = time.monotonic() + patient(20 + users * mails * 0.05)
                while left and time.monotonic() < deadline:
                    left = [reader for reader in left if len(reader.gone) < mails]
                    for reader in left[:8]:
                        reader.poll(site.port, mails)
                holds.append(longest_hold(second))
                print(f"{users} users moved, one after the other; longest hold {max(holds)} ms")
    site.assert_nothing_is_lost()


@pytest.mark.timeout(patient(60))
def test_users_are_moved_while_they_read(tmp_path: Path) -> None:
    """A few."""
    run(tmp_path, 5, mails=4, clients=3, pause=0.05)


@pytest.mark.nightly
@pytest.mark.timeout(patient(1200))
def test_a_thousand_users_are_moved_while_they_read(tmp_path: Path) -> None:
    """While eight clients poll in turn."""
    run(tmp_path, 1000, mails=4, clients=8, pause=0.0)
