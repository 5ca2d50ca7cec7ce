"""UTF8 and LANG (RFC 6856) through a real proxy: learned of a backend, offered to clients, told to the backend."""

import json
import threading
import time
from pathlib import Path

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until
from tests.system.wire import Peer, ScriptedBackend, commands


class Store:
    """A POP3 backend in two languages, which remembers what it was told in each login."""

    def __init__(self) -> None:
        self.logins: list[list[bytes]] = []
        self._lock = threading.Lock()

    def play(self, peer: Peer) -> None:
        said: list[bytes] = []
        peer.say(b"+OK ready\r\n")
        for line in commands(peer):
            said.append(line)
            if line.startswith(b"PASS"):
                with self._lock:
                    self.logins.append(said)
            peer.say(_answer(line))
            if line == b"QUIT":
                return


def _answer(line: bytes) -> bytes:
    if line == b"CAPA":
        return b"+OK\r\nTOP\r\nUTF8 USER\r\nLANG\r\n.\r\n"
    if line == b"LANG":
        return "+OK\r\nen English\r\nfr Français\r\n\x1b[2J\r\n.\r\n".encode()
    return "+OK fr d'accord, déjà\r\n".encode() if line.startswith(b"LANG ") else b"+OK\r\n"


def test_a_backend_that_offers_utf8_and_lang(tmp_path: Path) -> None:
    """After the first login it is asked what it offers; then clients are offered it before the login, in every worker,
    and it is told what they have chosen. The moment a second backend is there that was not asked, nothing is offered.
    """
    store, port = Store(), free_port()
    with ScriptedBackend(store.play) as backend:
        words = [
            f"backend conf b1 host {LOOPBACK} port {backend.port} state online",
            "pdm add everyone any b1",
            f"vserv conf v1 iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, words) as proxy:
            with PopClient(port) as client:
                assert client.ask("UTF8") == b"-ERR UTF8 is not offered here"
                assert client.log_in() == b"+OK"
            wait_until(lambda: _capabilities(port)[-2:] == [b"UTF8 USER", b"LANG"], "what it offers is known")
            time.sleep(patient(1.1))  # for so long another worker may go on with what it knew
            shown = json.loads("".join(proxy.said("json backend show b1").lines))
            assert shown["languages"] == ["en English", "fr Français"]
            with PopClient(port) as client:
                assert client.ask("LANG fr-CA") == "+OK fr Français".encode()
                assert client.ask("UTF8").startswith(b"+OK")
                assert client.ask("USER jörg") == b"+OK send PASS"
                assert client.ask("PASS größer") == b"+OK"
                assert client.ask("LANG fr") == "+OK fr d'accord, déjà".encode()
            assert store.logins[-1][:4] == [line.encode() for line in ("UTF8", "LANG fr", "USER jörg", "PASS größer")]
            proxy.said(f"backend conf b2 host {LOOPBACK} port {backend.port} state online")
            assert b"LANG" not in _capabilities(port)


def _capabilities(port: int) -> list[bytes]:
    with PopClient(port) as client:
        client.ask("CAPA")
        return client.block()
