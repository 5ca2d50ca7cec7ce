"""Certificates of a running proxy: who is shown which, and how they are renewed. Real handshakes throughout."""

import hashlib
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patient
from tests.system.certificates import RSA, Leaf
from tests.system.site import free_port, need, wait_until
from tests.system.tlssite import AUTHORITY, CONF, TlsClient, TlsSite, client_context, serial

RENEWALS = 20


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TlsSite]:
    """A proxy that looks at tlsdir only when it is told to."""
    with TlsSite(tmp_path) as site:
        yield site


def add(site: TlsSite, name: str, *names: str, **how: object) -> Leaf:
    """Puts another certificate into tlsdir; it still has to be reloaded."""
    leaf = AUTHORITY.issue(*names, **how)  # type: ignore[arg-type]
    leaf.write(site.tlsdir, name)
    return leaf


def shown(port: int, context: ssl.SSLContext, name: str) -> str:
    """The fingerprint of the certificate that a client sees who verifies nothing."""
    with TlsClient(port, context, name) as client:
        der = client.socket.getpeercert(binary_form=True)
    return hashlib.sha256(der or b"").hexdigest()


def test_by_the_name_that_is_asked_for(site: TlsSite) -> None:
    """Exact name before wildcard before default; a wildcard stands for one label; case does not matter."""
    shop = add(site, "shop", "shop.example.org", "www.shop.example.org")
    wild = add(site, "wild", "*.example.org")
    site.said("tls reload")
    unverified = client_context(check_hostname=False)
    expected = {
        "shop.example.org": shop,
        "SHOP.Example.Org": shop,
        "www.shop.example.org": shop,
        "mail.example.org": wild,
        "a.b.example.org": site.default,
        "example.org": site.default,
        "localhost": site.default,
        None: site.default,
    }
    for name, leaf in expected.items():
        assert serial(site.port, unverified, name) == leaf.serial, name


def test_names_that_are_none(site: TlsSite) -> None:
    """A server name with characters that no host name has gets the default certificate; stderr stays silent."""
    openssl = need("openssl")
    for name in ("b\xfccher.example", "a b", "-" * 250, "..", "localhost."):
        command = [openssl, "s_client", "-quiet", "-connect", f"127.0.0.1:{site.port}", "-servername"]
        told = subprocess.run(
            [*command, name.encode("latin-1"), "-quiet"], input=b"QUIT\r\n", capture_output=True, timeout=patient(20)
        ).stdout
        assert told.startswith(b"+OK"), name


def test_rsa_and_ecdsa_side_by_side(site: TlsSite) -> None:
    """A client that understands only one kind of signature gets the certificate of that kind."""
    openssl = need("openssl")
    add(site, "rsa", "localhost", key=RSA)
    site.said("tls reload")
    for version in ("-tls1_2", "-tls1_3"):
        for algorithms, kind in (("rsa_pss_rsae_sha256", b"RSA"), ("ECDSA+SHA256", b"ECDSA")):
            command = f"s_client -connect 127.0.0.1:{site.port} -servername localhost {version} -sigalgs {algorithms}"
            told = subprocess.run(
                [openssl, *command.split()], input=b"QUIT\r\n", capture_output=True, timeout=patient(20)
            ).stdout
            lines = [line for line in told.split(b"\n") if b"Peer signature type" in line]
            assert len(lines) == 1
            assert (b"ECDSA" in lines[0]) is (kind == b"ECDSA"), (version, algorithms, lines)


def test_a_pinned_certificate(site: TlsSite) -> None:
    """`vserv … tls NAME`: this one, whatever name is asked for. One that is not there is refused, with the place."""
    shop = add(site, "shop", "shop.example.org")
    unverified = client_context(check_hostname=False)
    port = free_port()
    site.said(f"vserv conf pinned {CONF} {port} prot POP3s tls shop")
    for name in ("localhost", "shop.example.org", None):
        assert serial(port, unverified, name) == shop.serial
        assert serial(site.port, unverified, name) == (shop if name == "shop.example.org" else site.default).serial
    reply = site.control("vserv conf pinned tls other")
    assert not reply.ok
    assert "other.pem is not there" in reply.text
    assert str(site.tlsdir) in reply.text
    assert serial(port, unverified) == shop.serial


def test_a_good_renewal(site: TlsSite) -> None:
    """`tls reload`: new handshakes get the new one; who was there goes on, and the log tells what was taken."""
    with TlsClient(site.port) as before:
        new = AUTHORITY.issue("localhost")
        new.write(site.tlsdir, "default")
        assert serial(site.port) == site.default.serial
        lines = site.said("tls reload").lines
        assert len(lines) == 1
        assert lines[0].startswith("certificate_taken default localhost EC P-256 ")
        assert serial(site.port) == new.serial
        before.quit()
    assert site.said("tls reload").text == "1 certificate; nothing has changed"
    assert [entry.fields["serial"] for entry in site.log("certificate_taken")] == [
        f"{site.default.serial:x}",
        f"{new.serial:x}",
    ]


def test_a_faulty_renewal(site: TlsSite) -> None:
    """A broken file, another's key, or one that all may read: reported, the old one stays; what is good is taken."""
    shop = add(site, "shop", "shop.example.org")
    site.said("tls reload")
    unverified = client_context(check_hostname=False)
    new = AUTHORITY.issue("localhost")
    for step, reason in (
        (lambda: (site.tlsdir / "shop.pem").write_bytes(b"rubbish"), "it holds no certificate"),
        (lambda: new.write(site.tlsdir, "shop", 0o644), "has mode 0644"),
        (lambda: (shop.write(site.tlsdir, "shop"), (site.tlsdir / "shop.key").write_bytes(new.key)), "not the one of"),
    ):
        step()
        good = add(site, "good", "good.example.org")
        reply = site.said("tls reload")
        assert "note: shop.pem: " in reply.text
        assert reason in reply.text
        assert reason in site.log("certificate_fault")[-1].fields["reason"]
        assert serial(site.port, unverified, "shop.example.org") == shop.serial
        assert serial(site.port, unverified, "good.example.org") == good.serial
    assert reason in site.json("tls list")[-1]["trouble"]


def test_an_invalid_renewal(site: TlsSite) -> None:
    """One that is not valid yet, or no more, replaces none that is: note, log and list tell why."""
    invalid: dict[str, dict[str, Any]] = {"not valid before": {"begins": 2}, "expired on": {"days": -0.5}}
    for step, (reason, how) in enumerate(invalid.items()):
        AUTHORITY.issue("localhost", **how).write(site.tlsdir, "default")
        reply = site.said("tls reload")
        assert f"note: default.pem: {reason} " in reply.text
        assert len(site.log("certificate_fault")) == step + 1
        assert reason in site.json("tls list")[0]["trouble"]
        assert serial(site.port) == site.default.serial
    assert len(site.log("certificate_taken")) == 1


def test_when_a_certificate_begins_or_ends(tmp_path: Path) -> None:
    """With tlswatch: a renewal is taken up when its time comes; a name whose certificate ends goes to the wildcard."""
    soon = patient(4) / 86_400
    with TlsSite(tmp_path, watch="1s") as site:
        new, wild = AUTHORITY.issue("localhost", begins=soon), add(site, "wild", "*.example.org")
        mail = add(site, "mail", "mail.example.org", days=soon)
        new.write(site.tlsdir, "default")
        unverified = client_context(check_hostname=False, verify_mode=ssl.CERT_NONE)
        site.said("tls reload")
        told = [entry.fields["reason"] for entry in site.log("certificate_fault")]
        assert [reason.partition(" before")[0] for reason in told] == ["not valid"]
        assert shown(site.port, unverified, "mail.example.org") == mail.fingerprint
        wait_until(lambda: shown(site.port, unverified, "localhost") == new.fingerprint, "the renewal is shown")
        wait_until(
            lambda: shown(site.port, unverified, "mail.example.org") == wild.fingerprint, "the wildcard is shown"
        )
        assert site.log("certificate_fault")[-1].fields["reason"].startswith("expired on ")


def test_a_file_that_is_gone(site: TlsSite) -> None:
    """Its certificate goes too; the default and pinned ones stay as long as they are needed, which is reported."""
    add(site, "shop", "shop.example.org")
    pinned = add(site, "pinned", "pinned.example.org")
    port = free_port()
    site.said(f"vserv conf pinned {CONF} {port} prot POP3s tls pinned")
    unverified = client_context(check_hostname=False)
    for file in site.tlsdir.iterdir():
        file.unlink()
    reply = site.said("tls reload")
    assert "certificate_gone shop" in reply.lines
    assert "default.pem: the file is gone" in reply.text
    assert serial(site.port, unverified, "shop.example.org") == site.default.serial
    assert serial(port, unverified) == pinned.serial
    site.said("vserv del pinned")
    assert "certificate_gone pinned" in site.said("tls reload").lines


def test_the_list(site: TlsSite) -> None:
    """`tls list` tells names, kind of key, days left, file, who uses it, and what is wrong; as lines and as JSON."""
    add(site, "old", "old.example.org", key=RSA, days=-0.5, begins=-2)
    (site.tlsdir / "bad.pem").write_bytes(b"rubbish")
    port = free_port()
    site.said(f"vserv conf pinned {CONF} {port} prot POP3s tls old")
    rows = {row["name"]: row for row in site.json("tls list")}
    default, old, bad = rows["default"], rows["old"], rows["bad"]
    assert default["names"] == ["localhost"]
    assert (default["key"], default["days"], default["vservs"]) == ("EC P-256", 9, ["implicit", "stls"])
    assert default["file"] == str(site.tlsdir / "default.pem")
    assert (old["key"], old["days"], old["vservs"]) == ("RSA 2048", -1, ["implicit", "stls", "pinned"])
    assert (bad["name"], bad["trouble"]) == ("bad", "it holds no certificate")
    lines = site.said("tls list").lines
    assert len(lines) == 4
    assert lines[0].split()[:5] == ["name", "names", "key", "days", "until"]


def test_nothing_is_read_before_it_is_needed(site: TlsSite) -> None:
    """A proxy without TLS neither reads tlsdir nor complains of it; `tls reload` reads it all the same."""
    site.said("vserv flush")
    site.said(f"set tlsdir {site.rundir}")
    assert "nothing was read" in site.said("tls list").text
    assert site.said("tls list").lines == [site.said("tls list").text]
    assert site.said("tls check").text == "nothing has changed"
    site.said(f"set tlsdir {site.tlsdir}")
    assert site.said("tls reload").text == "1 certificate"
    assert [row["name"] for row in site.json("tls list")] == ["default"]


def test_another_directory(site: TlsSite, tmp_path: Path) -> None:
    """`set tlsdir` reads the new one before it counts; without what is needed nothing is changed."""
    other = tmp_path / "other"
    other.mkdir()
    reply = site.control(f"set tlsdir {other}")
    assert not reply.ok
    assert "default.pem is not there" in reply.text
    assert serial(site.port) == site.default.serial
    new = AUTHORITY.issue("localhost")
    new.write(other, "default")
    site.said(f"set tlsdir {other}")
    assert serial(site.port) == new.serial


def test_a_worker_that_is_born_after_the_file_broke(site: TlsSite) -> None:
    """It serves what was in force: the files are not asked."""
    (site.tlsdir / "default.pem").write_bytes(b"rubbish")
    (old,) = site.workers()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: site.workers() and site.workers() != [old], "there is a successor")
    assert serial(site.port) == site.default.serial


def test_changes_are_taken_up_by_themselves(tmp_path: Path) -> None:
    """With tlswatch: a renewal counts without a word; a fault is told once, though it is looked at again and again."""
    with TlsSite(tmp_path, watch="1s") as site:
        new = AUTHORITY.issue("localhost")
        new.write(site.tlsdir, "default")
        wait_until(lambda: serial(site.port) == new.serial, "the new certificate is shown")
        (site.tlsdir / "default.pem").write_bytes(b"rubbish")
        wait_until(lambda: site.log("certificate_fault"), "the fault is told")
        site.tlsdir.rename(tmp_path / "away")
        wait_until(lambda: site.log("routine_failed"), "the missing directory is told")
        time.sleep(2.5)  # two more looks, or three
        told = [len(site.log(name)) for name in ("certificate_fault", "routine_failed", "sentence_refused")]
        assert told == [1, 1, 0]
        (tmp_path / "away").rename(site.tlsdir)
        newest = AUTHORITY.issue("localhost")
        newest.write(site.tlsdir, "default")
        wait_until(lambda: serial(site.port) == newest.serial, "the newest certificate is shown")


def test_renewal_under_load(tmp_path: Path) -> None:
    """The certificate replaced twenty times while sessions come and go: none fails, and each new one is shown."""
    with TlsSite(tmp_path, workers=2) as site:
        context = client_context()
        over = threading.Event()
        failures: list[BaseException] = []
        finished: list[int] = []

        def load() -> None:
            while not over.is_set():
                try:
                    finished.append(serial(site.port, context))
                except (OSError, AssertionError) as error:
                    failures.append(error)

        crowd = [threading.Thread(target=load) for _ in range(4)]
        for one in crowd:
            one.start()
        try:
            for _ in range(RENEWALS):
                new = AUTHORITY.issue("localhost")
                new.write(site.tlsdir, "default")
                site.said("tls reload")
                assert serial(site.port) == new.serial
        finally:
            over.set()
            for one in crowd:
                one.join()
        assert failures == []
        assert len(finished) > RENEWALS
        assert len(set(finished)) > RENEWALS // 2
