"""Scanners of the distribution find no weakness in TLS as it is by default, with an RSA and an EC certificate.

What they find is compared with what is allowed: anything that a newer scanner or a newer OpenSSL adds and that nobody
has judged is a failure.
"""

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.patience import patient
from tests.system.certificates import EC, RSA, Authority
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, need

NAME = "localhost"
WAYS = {"POP3S": "prot POP3s", "STLS": "starttls force"}
SCAN_SECONDS = patient(200)
TESTSSL_SECONDS = patient(600)

TLS_1_3 = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
TLS_1_2 = {
    f"ECDHE-{key}-{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES256-GCM-SHA384", "AES128-GCM-SHA256", "CHACHA20-POLY1305")
}
"""Forward secrecy and authenticated encryption: what RFC 9325 section 4.2 recommends, and ChaCha20 (RFC 7905)."""

GROUPS = {"x25519", "secp256r1", "secp384r1"}
"""Elliptic curves of 112 bits and more. In the groups of finite fields a handshake costs a server up to a hundred
times as much: whoever asks for ffdhe8192 ten times a second stops a worker (CVE-2002-20001).
"""

EXCUSED = {
    "engine_problem": "is about the openssl that testssl.sh runs",
    "cert_revocation": "the test authority publishes no revocations",
    "cert_chain_of_trust": "the test authority is in nobody's list",
    "cert_caaRecord": "localhost is in no DNS",
    "sessionresumption_ticket": "its openssl may hang up before the ticket of TLS 1.3 has come; then it cannot ask",
    "sessionresumption_ID": "the same",
}
"""Findings of testssl.sh that say nothing about the server, and why."""


class Target(NamedTuple):
    """A proxy as it is by default, and the authority of its certificates."""

    proxy: Proxy
    ports: dict[str, int]
    authority: Path


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Two virtual servers, one for each way into TLS, with two certificates side by side."""
    directory, tlsdir, authority = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("tls"), Authority()
    authority.issue(NAME, key=EC, days=200).write(tlsdir, "default")
    authority.issue(NAME, key=RSA, days=200).write(tlsdir, "default-rsa")
    ports = {way: free_port() for way in WAYS}
    rc = [f"vserv conf {way} iface {LOOPBACK} port {ports[way]} {WAYS[way]} state online" for way in WAYS]
    with Proxy(directory, [f"set tlsdir {tlsdir}", *rc], options=("-n", "100")) as proxy:
        yield Target(proxy, ports, authority.write(directory))


def _scanned(target: Target, way: str) -> ElementTree.Element:
    command = [need("sslscan"), "--xml=-", *(["--starttls-pop3"] if way == "STLS" else [])]
    done = subprocess.run(
        [*command, f"{NAME}:{target.ports[way]}"], capture_output=True, text=True, timeout=SCAN_SECONDS, check=True
    )
    # It leaves the document open where it could not connect.
    test = ElementTree.fromstring(done.stdout).find("ssltest")
    assert test is not None, done.stdout
    return test


@pytest.fixture(scope="module", params=WAYS)
def scan(request: pytest.FixtureRequest, target: Target) -> ElementTree.Element:
    """What sslscan has found at one of the virtual servers."""
    return _scanned(target, request.param)


def _attributes(scan: ElementTree.Element, tag: str, *names: str) -> set[tuple[str, ...]]:
    found = {tuple(element.attrib[name] for name in names) for element in scan.iter(tag)}
    assert found, f"sslscan says nothing about {tag}"
    return found


def test_only_tls_1_2_and_1_3_are_spoken(scan: ElementTree.Element) -> None:
    """No SSL, no TLS 1.0, no TLS 1.1."""
    spoken = {
        (kind, version)
        for kind, version, on in _attributes(scan, "protocol", "type", "version", "enabled")
        if on == "1"
    }
    assert spoken == {("tls", "1.2"), ("tls", "1.3")}


def test_ciphers_are_forward_secret_and_authenticated(scan: ElementTree.Element) -> None:
    """AEAD with ephemeral elliptic curves, for the RSA certificate and for the EC one."""
    ciphers = _attributes(scan, "cipher", "sslversion", "cipher")
    assert {cipher for version, cipher in ciphers if version == "TLSv1.3"} == TLS_1_3
    assert {cipher for version, cipher in ciphers if version == "TLSv1.2"} == TLS_1_2
    assert {version for version, _ in ciphers} == {"TLSv1.2", "TLSv1.3"}


def test_groups_are_strong_and_cheap(scan: ElementTree.Element) -> None:
    """Elliptic curves only."""
    assert {name.split()[0] for (name,) in _attributes(scan, "group", "name")} <= GROUPS


def test_there_is_no_known_hole(scan: ElementTree.Element) -> None:
    """No heartbleed, no renegotiation that a client begins, no compression."""
    assert {vulnerable for (vulnerable,) in _attributes(scan, "heartbleed", "vulnerable")} == {"0"}
    assert {supported for (supported,) in _attributes(scan, "renegotiation", "supported")} == {"0"}
    assert [element.attrib for element in scan.iter("compression") if element.attrib["supported"] != "0"] == []


def test_certificates_are_strong(scan: ElementTree.Element) -> None:
    """SHA-256 in the signature; 2048 bits of RSA or a curve of 128 bits; neither self-signed nor over."""
    certificates = scan.findall("certificates/certificate")
    assert certificates
    for certificate in certificates:
        key = certificate.find("pk")
        assert key is not None
        assert key.attrib["error"] == "false"
        assert int(key.attrib["bits"]) >= {"EC": 128, "RSA": 2048}[key.attrib["type"]]
        assert certificate.findtext("signature-algorithm") == "ecdsa-with-SHA256"
        assert certificate.findtext("altnames") == f"DNS:{NAME}"
        assert (certificate.findtext("self-signed"), certificate.findtext("expired")) == ("false", "false")


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(TESTSSL_SECONDS + SCAN_SECONDS)
def test_testssl_finds_nothing(target: Target, tmp_path: Path) -> None:
    """Protocols, ciphers, forward secrecy, certificates, known vulnerabilities: nothing that is LOW or worse."""
    report = tmp_path / "report.json"
    about_itself = ["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "min", "--ip", LOOPBACK]
    checks = ["-p", "-s", "-f", "-S", "-U", "--jsonfile", str(report)]
    subprocess.run(
        [need("testssl"), *about_itself, *checks, f"{NAME}:{target.ports['POP3S']}"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TESTSSL_SECONDS,
        check=False,
    )
    results = {one["id"]: one for one in json.loads(report.read_text())}
    for looked_at in ("SSLv3", "TLS1_1", "TLS1_3", "cipherlist_NULL", "cert_keySize", "heartbleed", "ROBOT", "LUCKY13"):
        assert any(looked_at in one for one in results), f"{looked_at} was not looked at"
    weak = [
        f"{name}: {one['severity']}: {one['result']}"
        for name, one in results.items()
        if one["severity"] not in ("OK", "INFO", "DEBUG") and name.split(" ")[0] not in EXCUSED
    ]
    assert weak == []


def test_the_scans_leave_no_trace(target: Target) -> None:
    """After hundreds of handshakes that were broken off, the table is empty and everybody is served."""
    _scanned(target, "POP3S")
    target.proxy.wait_until_quiet()
    assert [entry.line for entry in target.proxy.log() if entry.level == "BUG"] == []
    with PopClient(target.ports["STLS"]) as client:
        assert client.greeted().startswith(b"+OK")
        assert client.ask("QUIT").startswith(b"+OK")
