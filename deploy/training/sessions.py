"""What the site is asked: logins with mail and without, in clear and in TLS, and words that are refused."""

import contextlib
import poplib
import socket
import ssl
from typing import NamedTuple

HOST = "127.0.0.1"  # not from the demo, which is installed: what lies here may not be compiled
ROUNDS = 150
SECONDS = 100.0


class SitePorts(NamedTuple):
    """Where the site listens."""

    clear: int
    tls: int


class Clients:
    """Mail programs of the site's two users."""

    def __init__(self, ports: SitePorts) -> None:
        self._ports = ports
        self._trusting = ssl.create_default_context()
        self._trusting.check_hostname = False  # the demo's certificate is signed by nobody
        self._trusting.verify_mode = ssl.CERT_NONE

    def play(self) -> None:
        """Some hundred sessions, of each kind the same number. Raises poplib.error_proto if one goes wrong."""
        for _ in range(ROUNDS):
            for connect in (self._in_clear, self._in_clear, self._in_tls, self._by_starttls):
                _fetch(connect())
                _poll(connect())
            _err(self._in_clear())

    def _in_clear(self) -> poplib.POP3:
        return poplib.POP3(HOST, self._ports.clear, SECONDS)

    def _in_tls(self) -> poplib.POP3:
        return poplib.POP3_SSL(HOST, self._ports.tls, timeout=SECONDS, context=self._trusting)

    def _by_starttls(self) -> poplib.POP3:
        client = self._in_clear()
        client.stls(self._trusting)
        return client


def free_ports() -> SitePorts:
    """Two that nobody has now."""
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        return SitePorts(one.getsockname()[1], other.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether somebody answers there."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), SECONDS):
        return True
    return False


def _fetch(client: poplib.POP3) -> None:
    """Joe has mail, and leaves it there."""
    client.user("joe")
    client.pass_("joe")
    number, _ = client.stat()
    client.uidl()
    client.list()
    for one in range(1, number + 1):
        client.retr(one)
    client.top(1, 0)
    client.quit()


def _poll(client: poplib.POP3) -> None:
    """Ann has none: the proxy asks for her mail by UDP and answers alone."""
    client.user("ann")
    client.pass_("ann")
    client.stat()
    client.quit()


def _err(client: poplib.POP3) -> None:
    """Commands that are not for now are refused."""
    client.capa()
    for command in (client.stat, client.list, client.uidl):
        with contextlib.suppress(poplib.error_proto):
            command()
    client.quit()
