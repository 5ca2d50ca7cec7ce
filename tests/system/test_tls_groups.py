"""The groups of the key exchange: which a client can have, by default and with --tls-groups."""

import ssl
import subprocess
from pathlib import Path

import pytest

from popular.tls import groups
from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, need, program
from tests.system.tlssite import AUTHORITY

OFTEN_SEEN = ("X25519", "P-256", "P-384", "P-521", "X448", "ffdhe2048", "ffdhe8192")


def _agrees(port: int, group: str) -> bool:
    """Whether a client that knows this group only gets its handshake, in TLS 1.3."""
    command = [need("openssl"), "s_client", "-tls1_3", "-groups", group, "-connect", f"{LOOPBACK}:{port}"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=patient(20), check=False)
    return b"TLSv1.3, Cipher is TLS" in done.stdout


def _offered(tmp_path: Path, *options: str) -> list[str]:
    """The groups that a proxy started with these options takes."""
    port, tls = free_port(), tmp_path / "tls"
    tls.mkdir()
    AUTHORITY.issue("localhost").write(tls, "default")
    rc = [f"set tlsdir {tls}", f"vserv conf v iface {LOOPBACK} port {port} prot POP3s state fake"]
    with Proxy(tmp_path, rc, workers=1, options=options) as proxy:
        found = [group for group in OFTEN_SEEN if _agrees(port, group)]
        proxy.wait_for_endings(len(OFTEN_SEEN))
    return found


def test_by_default(tmp_path: Path) -> None:
    """Those that are quick, and the one against quantum computers where OpenSSL has it."""
    assert _offered(tmp_path) == ["X25519", "P-256", "P-384"]
    assert [group for group in groups.default() if group != "X25519MLKEM768"] == ["X25519", "P-256", "P-384"]
    assert ("X25519MLKEM768" in groups.default()) is (ssl.OPENSSL_VERSION_INFO >= (3, 5))


def test_chosen_ones(tmp_path: Path) -> None:
    """Only those, also one that is not among the usual ones."""
    assert _offered(tmp_path, "--tls-groups", "P-521,X25519") == ["X25519", "P-521"]


@pytest.mark.parametrize("given", ["X25519,P-25", "X25519:P-256", "X25519,,P-256", "P-256\nOptions = -all"])
def test_unknown_ones(tmp_path: Path, given: str) -> None:
    """Told with those that there are; nothing is started."""
    command = [program("pproxy"), "-r", str(tmp_path / "run"), "--tls-groups", given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(20), check=False)
    assert done.returncode == 2
    assert "argument --tls-groups: '" in done.stderr
    assert "is not known to OpenSSL" in done.stderr
    assert "X25519,P-256,P-384" in done.stderr
    assert not (tmp_path / "run").exists()
