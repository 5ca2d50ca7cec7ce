"""CA certificates that nobody can come from: they are taken, with a note."""

import ssl
import time
from pathlib import Path

import pytest

from popular import messages
from popular.tls.authorities import Authorities, troubles_of
from supervisor.control.language.outcome import Change
from tests.proxy.console import Console
from tests.system.certificates import Authority, Leaf, self_signed

DAY = 86_400
AUTHORITY = Authority("People")
LEAF = AUTHORITY.issue("joe", client=True)
NOW = time.time()


def test_what_is_wrong_with_them() -> None:
    """One that is not valid, yet or any more, and one that is no authority's."""
    good, leaf = (Authorities("/ca.pem", pem.decode()) for pem in (AUTHORITY.pem, LEAF.chain))
    both = Authorities("/ca.pem", f"{good.pem}{leaf.pem}")
    assert list(troubles_of(good, NOW, of_clients=True)) == []
    for days, why in ((-3, "not valid before"), (40, "expired on")):
        (text,) = troubles_of(good, NOW + days * DAY, of_clients=False)
        assert text.startswith(f'the CA certificate of "People": {why} 2')
    for read in (leaf, both):
        (text,) = troubles_of(read, NOW, of_clients=False)
        assert text.startswith("1 certificate in it without CA:TRUE")


def is_believed(leaf: Leaf, ca: bytes, directory: Path) -> bool:
    """Whether OpenSSL believes a server with this certificate by these."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.load_verify_locations(cadata=ca.decode())
    server.load_cert_chain(leaf.write_in_one(directory, "shown"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server, server_hostname="store"), server.wrap_bio(to_server, to_client, True)
    try:
        for end in ends * 3:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError:
        return False
    return ends[0].version() is not None


@pytest.mark.parametrize("days", [10, 20_000])
def test_a_server_that_has_signed_itself_is_pinned(tmp_path: Path, days: int) -> None:
    """OpenSSL believes it without CA:TRUE; only not when its time is over. Of clients it makes one be believed, which
    is hardly what was meant. After 2049 times are written in another form.
    """
    own, issued = self_signed("store", days=days), AUTHORITY.issue("store")
    read = Authorities("/own.pem", f"{AUTHORITY.pem.decode()}\n{own.chain.decode()}")
    assert is_believed(own, own.chain, tmp_path)
    assert not is_believed(issued, issued.chain, tmp_path)
    assert list(troubles_of(read, NOW, of_clients=False)) == []
    (text,) = troubles_of(read, NOW, of_clients=True)
    assert text == "1 self-signed certificate in it without CA:TRUE; only its owner is believed by it"
    alone = Authorities("/own.pem", own.chain.decode())
    (text,) = troubles_of(alone, NOW + (days + 1) * DAY, of_clients=False)
    assert text.startswith("a self-signed certificate: expired on 2")
    assert text.endswith("; it is not believed")


def test_it_is_told_of_clients_only(tmp_path: Path) -> None:
    """One file may be a backend's and a virtual server's."""
    path = tmp_path / "own.pem"
    path.write_bytes(self_signed("store").chain)
    console = Console()
    backend = console.say(f"backend conf b1 host 127.0.0.1 tls implicit tlsname store tlsca {path}")
    vserv = console.say(f"vserv conf v port 995 prot POP3s clientcert require clientca {path}")
    assert isinstance(backend, Change)
    assert isinstance(vserv, Change)
    assert "self-signed" not in backend.text
    assert not backend.entries
    assert "only its owner is believed by it" in vserv.text


def test_they_are_told_once(tmp_path: Path) -> None:
    """The command that brings them has a note and a line in the log, be it a whole configuration; others have none."""
    path = tmp_path / "leaf.pem"
    path.write_bytes(LEAF.chain)
    console = Console()
    wanted = f"vserv conf v port 995 prot POP3s clientcert require clientca {path}"

    def told(*commands: str) -> tuple[int, list[str]]:
        """How many notes the last one has, and which files are in the log for it."""
        outcome = [console.say(command) for command in commands][-1]
        assert isinstance(outcome, Change)
        files = [fields["file"] for message, fields in outcome.entries if message is messages.CERTIFICATE_FAULT]
        return outcome.text.count(f"note: {path}: 1 certificate in it without CA:TRUE"), files

    assert told(wanted) == (1, [str(path)])
    assert told("vserv conf v port 996") == (0, [])
    assert told("vserv del v", "draft begin", f"draft say {wanted}", "draft apply") == (1, [str(path)])
