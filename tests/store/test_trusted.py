"""Who may connect to pserv: the addresses in `trusted`, and nobody else. The loopback has all of 127.0.0.0/8."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.patience import patient
from tests.store.test_pserv import PLAIN, Store
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, Proxy, free_port, wait_until

PROXY, STRANGER = "127.0.0.2", "127.0.0.3"
REQUEST = b"joe\r\np.1.1\r\n\r\n"


def asked(port: int, source: str, host: str = LOOPBACK) -> bytes:
    """What pserv says to a request from this address, to its end."""
    with socket.create_connection((host, port), patient(10), (source, 0)) as connection:
        said = b""
        try:
            connection.sendall(REQUEST + b"QUIT\r\n")
            while data := connection.recv(4096):
                said += data
        except ConnectionError:
            pass  # closed with our octets unread
        return said


def refuses_strangers(port: int, check_port: int, stranger: str) -> None:
    """What pserv and pcheckd must do where only other addresses are trusted: this one gets nothing of them."""
    assert asked(port, stranger) == b""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind((stranger, 0))
        asking.settimeout(0.3)
        asking.connect((LOOPBACK, check_port))
        for question in (b"*Mjoe\r\n", b"*L\r\n"):
            asking.send(question)
            with pytest.raises(TimeoutError):
                asking.recv(512)


@pytest.fixture
def port() -> int:
    return free_port()


def test_strangers_are_refused_and_counted(tmp_path: Path) -> None:
    """Not a word to them, no session, one line a minute for all workers, and no session slot is lost."""
    with Store(tmp_path, workers=2) as store:
        store.put("joe", PLAIN)
        store.said(f"server conf trusted {PROXY}/32,2001:db8::/32")
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(lambda _: asked(store.port, STRANGER), range(200)))
        assert set(told) == {b""}
        assert asked(store.port, LOOPBACK) == b"", "loopback is not trusted unless it is said"
        assert asked(store.port, PROXY).startswith(b"+OK 1 message ")
        store.wait_until_quiet()
        counters = store.state().counters()
        assert counters["untrusted_peers"] == 201
        assert sum(counters["sessions_ended"].values()) == 1
        lines = re.findall(r"ADM 0408 untrusted_peer .*", store.logfile.read_text())
        assert lines == [f"ADM 0408 untrusted_peer peer='{STRANGER}' trusted='{PROXY}/32,2001:db8::/32'"]


def test_a_change_of_trusted_is_in_force_at_once(tmp_path: Path) -> None:
    """For who comes after it; a session that is there goes on."""
    with Store(tmp_path) as store, store.open("joe") as client:
        store.said(f"server conf trusted {PROXY}")
        assert client.ask("NOOP").startswith(b"+OK")
        assert asked(store.port, LOOPBACK) == b""
        assert asked(store.port, PROXY).startswith(b"+OK")
        assert f"trusted {PROXY}" in store.said("server show").lines[0]
        assert not store.control("server conf trusted 10.0.0.1/8").ok
        assert asked(store.port, PROXY).startswith(b"+OK")


def test_without_a_word_this_host_is_trusted(tmp_path: Path, port: int) -> None:
    """And whoever makes it reachable from afar is told that nobody else may come in yet."""
    root = tmp_path / "pop"
    root.mkdir()
    with Proxy(tmp_path, [f"set mailboxdir {root}"], name="pserv") as pserv:
        local = pserv.said(f"server conf iface {LOOPBACK} port {port}")
        assert "trusted" not in local.text
        reply = pserv.said("server conf iface ANY state online")
        assert "only 127.0.0.0/8,::1 may connect" in reply.text
        assert asked(port, STRANGER).startswith(b"+OK")
        assert asked(port, "::1", "::1").startswith(b"+OK")
        assert "trusted" not in pserv.said(f"server conf trusted {PROXY},::1").text
        assert asked(port, STRANGER) == b""
        assert asked(port, PROXY).startswith(b"+OK")
        assert asked(port, "::1", "::1").startswith(b"+OK")


def test_strangers_are_a_metric(tmp_path: Path, port: int) -> None:
    """There at 0 from the start."""
    with Proxy(tmp_path, [f"set mailboxdir {tmp_path}"], name="pserv", metrics="127.0.0.1:0") as pserv:
        assert scrape(pserv).value("popular_untrusted_peers_total") == 0
        pserv.said(f"server conf iface {LOOPBACK} port {port} trusted {PROXY} state online")
        assert asked(port, STRANGER) == b""
        wait_until(lambda: scrape(pserv).value("popular_untrusted_peers_total") == 1, "he is counted")
