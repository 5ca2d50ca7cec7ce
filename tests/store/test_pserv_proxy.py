"""`pserv` behind a real `pproxy`, by XPOP and by CXPOP with a real pcheckd: an ordinary mail client reads mail."""

import hashlib
import poplib
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from popular.store.maildir.maildir import Maildir
from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, program, wait_until

MASTER_RULE = f"{LOOPBACK}:main:{{PLAIN}}master\n"


class Site:
    """pserv, pcheckd and pproxy, and the mail root that they share."""

    def __init__(self, directory: Path, store: Proxy, proxy: Proxy, port: int) -> None:
        self.root = directory / "pop"
        self.store = store
        self.proxy = proxy
        self.port = port

    def put(self, mailbox: str, *mails: bytes) -> None:
        for mail in mails:
            Maildir(self.root, mailbox).deliver([mail])

    def folders(self, mailbox: str) -> list[str]:
        """In which folder each message is, oldest first."""
        paths = (path for folder in ("new", "cur") for path in (self.root / mailbox / folder).iterdir())
        return [path.parent.name for path in sorted(paths, key=lambda path: path.name)]

    @contextmanager
    def client(self, user: str, password: str = "secret") -> Iterator[poplib.POP3]:
        """Logged in; closed without QUIT if the block has not said it."""
        client = poplib.POP3(LOOPBACK, self.port, timeout=patient(20))
        try:
            client.user(user)
            client.pass_(password)
            yield client
        finally:
            client.close()


@pytest.fixture(params=["XPOP", "CXPOP"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    root, store_port, check_port, port = tmp_path / "pop", free_port(), free_port(), free_port()
    root.mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "master").write_text(MASTER_RULE)
    (tmp_path / "master").chmod(0o600)
    (tmp_path / "users").write_text("".join(f"main:{user}:{{PLAIN}}secret:store:x/{user}\n" for user in ("joe", "ann")))
    (tmp_path / "users").chmod(0o600)
    command = [program("pcheckd"), "--nodaemon", "-h", LOOPBACK, "-p", str(check_port), "-m", str(root)]
    checker = subprocess.Popen([*command, "-l", str(tmp_path / "pcheckd.log"), "-r", str(tmp_path / "check")])
    store_rc = [f"set mailboxdir {root}", f"server conf iface {LOOPBACK} port {store_port} state online"]
    proxy_rc = [
        "set sidprefix px",
        f"set checkport {check_port}",
        f"backend conf store host {LOOPBACK} port {store_port} prot {request.param} state online",
        f"pdm add users passwd {tmp_path}/users",
        f"pdm add support master {tmp_path}/master",
        f"vserv conf v1 iface {LOOPBACK} port {port} namespace main state online",
    ]
    try:
        with Proxy(tmp_path / "store", store_rc, name="pserv") as store, Proxy(tmp_path, proxy_rc) as proxy:
            made = Site(tmp_path, store, proxy, port)
            yield made
            proxy.wait_until_quiet()
            store.wait_until_quiet()
    finally:
        checker.terminate()
        checker.wait(patient(10))


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def retrieve(client: poplib.POP3, number: int) -> bytes:
    """A whole mail with CRLF line ends, as poplib has it."""
    return b"".join(line + b"\r\n" for line in client.retr(number)[1])


def test_mail_is_read_and_deleted(site: Site) -> None:
    """Mails with dots and all octets but NUL come out byte for byte; what is deleted is gone, the rest is in cur."""
    dice = random.Random(1939)
    octets = bytes(octet for octet in range(1, 256) if octet not in b"\r\n")
    mails = [
        b"Subject: %d\r\n\r\n" % number
        + b"".join(
            b"." * dice.randrange(3) + bytes(dice.choices(octets, k=dice.randrange(120))) + b"\r\n"
            for _ in range(dice.randrange(200))
        )
        for number in range(100)
    ]
    site.put("x/joe", *mails)
    with site.client("joe") as client:
        assert client.stat() == (100, sum(map(len, mails)))
        assert client.list()[1] == [f"{number} {len(mail)}".encode() for number, mail in enumerate(mails, 1)]
        assert [sha256(retrieve(client, number)) for number in range(1, 101)] == list(map(sha256, mails))
        for number in range(1, 101, 2):
            client.dele(number)
        client.rset()
        for number in range(1, 100):
            client.dele(number)
        assert client.quit() == b"+OK bye"
    assert site.folders("x/joe") == ["cur"]
    with site.client("joe") as client:
        assert sha256(retrieve(client, 1)) == sha256(mails[99])
        client.quit()


def test_capa_says_the_same_before_and_after_the_login(site: Site) -> None:
    """SASL too (RFC 2449 section 6.3), as long as proxy and store have the lists that are built in."""
    site.put("x/joe", b"hello\r\n")
    stranger = poplib.POP3(LOOPBACK, site.port, timeout=patient(20))
    with site.client("joe") as client:
        assert client.capa() == stranger.capa()
    stranger.close()


def test_a_session_has_one_id_in_both_logs(site: Site) -> None:
    """The proxy's session id stands in its own log line and in that of pserv."""
    site.put("x/joe", b"Subject: x\r\n\r\n")
    with site.client("joe") as client:
        (row,) = site.store.sessions()
        assert row["sid"] == site.proxy.sessions()[0]["sid"]
        assert row["mailbox"] == "x/joe"
        client.quit()
    site.proxy.wait_for_endings(1)
    site.store.wait_for_endings(1)
    (front,), (back,) = site.proxy.log("session_end"), site.store.log("session_end")
    assert front.sid == back.sid
    assert back.sid.startswith("px.")
    assert (front.fields["ending"], back.fields["ending"]) == ("quit", "quit")


def test_an_empty_mailbox(site: Site) -> None:
    """It is empty for the client; with CXPOP the storage server is not even connected to."""
    prot = site.proxy.said("backend show store").lines[0].partition(" prot ")[2].split()[0]
    with site.client("ann") as client:
        assert client.stat() == (0, 0)
        assert client.quit().startswith(b"+OK")
    site.proxy.wait_for_endings(1)
    assert len(site.store.wait_for_endings(1 if prot == "XPOP" else 0)) == (1 if prot == "XPOP" else 0)
    assert site.store.state().counters()["sessions_started"] == (1 if prot == "XPOP" else 0)


def test_a_client_that_breaks_off_changes_nothing(site: Site) -> None:
    """Closed without QUIT: nothing is deleted, nothing has become read."""
    site.put("x/joe", b"Subject: x\r\n\r\n1\r\n", b"Subject: x\r\n\r\n2\r\n")
    with site.client("joe") as client:
        retrieve(client, 1)
        client.dele(2)
    site.store.wait_for_endings(1)
    assert site.folders("x/joe") == ["new", "new"]


def test_a_master_leaves_no_trace(site: Site) -> None:
    """The support's password opens the mailbox; what is read stays new, what is deleted is really deleted."""
    site.put("x/joe", b"Subject: x\r\n\r\n1\r\n", b"Subject: x\r\n\r\n2\r\n")
    with site.client("joe", "master") as client:
        assert retrieve(client, 1).endswith(b"\r\n1\r\n")
        client.dele(2)
        client.quit()
    assert site.folders("x/joe") == ["new"]
    site.store.wait_for_endings(1)
    (back,) = site.store.log("session_end")
    assert (back.fields["flags"], back.fields["deleted"]) == ("M", "1")


def test_trouble_in_the_store_is_told_kindly(site: Site) -> None:
    """A mailbox that cannot be opened is [SYS/TEMP] at the login, and pserv's log has the reason."""
    (site.root / "x").mkdir()
    (site.root / "x/joe").symlink_to("/etc")
    with pytest.raises(poplib.error_proto, match=r"-ERR \[SYS/TEMP\]"), site.client("joe"):
        pass
    wait_until(lambda: site.store.log("dir_access_failed"), "the reason is in the log")


def test_pserv_ends_under_the_client(site: Site) -> None:
    """`kill` in the storage server cuts the client's session too; the proxy says what happened."""
    site.put("x/joe", b"Subject: x\r\n\r\n1\r\n")
    with site.client("joe") as client:
        site.store.said(f"kill {site.store.sessions()[0]['sid']}")
        with pytest.raises((poplib.error_proto, OSError)):
            wait_until(lambda: client.noop() == b"", "the order has reached the worker")
    assert site.proxy.wait_for_endings(1) == ["backend_closed"]


def test_a_mail_of_50_megabytes(site: Site) -> None:
    """It comes through byte for byte."""
    block = random.Random(50).randbytes(7200).hex().encode()
    lines = [block[start : start + 72] + b"\r\n" for start in range(0, len(block), 72)]
    mail = b"Subject: large\r\n\r\n" + b"".join(lines) * (50_000_000 // (len(lines) * 74))
    site.put("x/joe", mail)
    with site.client("joe") as client:
        assert client.list()[1] == [f"1 {len(mail)}".encode()]
        assert sha256(retrieve(client, 1)) == sha256(mail)
        client.dele(1)
        assert client.quit() == b"+OK bye"
    assert site.folders("x/joe") == []
