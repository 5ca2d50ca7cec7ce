"""What is taken from tlsdir and what is refused, each with its reason; and what stays in use when it is read again."""

import math
import os
import pickle
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from popular.tls import directory as tlsdir
from popular.tls.directory import CertificateStore, LookAt, ReadAll, merged
from supervisor.control.language.lookups import Unfit
from tests.patience import patient
from tests.system.certificates import EC, RSA, Authority
from tests.system.site import need

AUTHORITY = Authority()
LEAF = AUTHORITY.issue("Mail.Example.org", "*.example.org", "mail.example.org")


def read(directory: Path) -> CertificateStore:
    return ReadAll(str(directory)).perform()


def fault(directory: Path, name: str = "one") -> str:
    """Why a file is not usable; nothing else may be wrong."""
    found = read(directory)
    assert name not in found.certificates
    assert list(found.faults) == [name]
    return found.faults[name]


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    """Names in lower case and once, kind of key, dates, serial and fingerprint; with the key in a file or in two."""
    LEAF.write(tmp_path, "default")
    LEAF.write_in_one(tmp_path, "both")
    AUTHORITY.issue("r.org", key=RSA, common_name="other.org").write(tmp_path, "rsa")
    AUTHORITY.issue(common_name="only.in.subject").write(tmp_path, "old")
    found = read(tmp_path)
    assert (found.faults, found.directory) == ({}, str(tmp_path))
    one = found.certificates["default"]
    assert one.names == ("*.example.org", "mail.example.org")
    assert (one.key_type, one.family, one.serial, one.fingerprint) == ("EC P-256", "EC", LEAF.serial, LEAF.fingerprint)
    assert one.not_after - one.not_before == 11 * 86_400
    assert found.certificates["both"].key == one.key
    assert (found.certificates["rsa"].names, found.certificates["rsa"].key_type) == (("r.org",), "RSA 2048")
    assert found.certificates["old"].names == ("only.in.subject",)
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.processes
def test_what_the_openssl_program_makes(tmp_path: Path) -> None:
    """A key with parameters in front of it, as `openssl ecparam` writes it, is taken."""
    openssl = need("openssl")
    for command in (
        "ecparam -name secp384r1 -genkey -out one.key",
        "req -x509 -new -key one.key -out one.pem -days 2 -subj /CN=x -addext subjectAltName=DNS:x.org,IP:127.0.0.1",
    ):
        subprocess.run([openssl, *command.split()], cwd=tmp_path, check=True, capture_output=True, timeout=patient(20))
    (tmp_path / "one.key").chmod(0o600)
    one = read(tmp_path).certificates["one"]
    assert (one.names, one.key_type) == (("x.org",), "EC P-384")


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Only NAME.pem counts; hidden files and all others do not, and an empty directory is no fault."""
    for name in ("README", ".hidden.pem", "lonely.key", "one.crt"):
        (tmp_path / name).write_text("nothing")
    (tmp_path / "sub").mkdir()
    found = read(tmp_path)
    assert (found.certificates, found.faults) == ({}, {})


@pytest.mark.parametrize(
    ("mode", "good"),
    [
        (0o600, True),
        (0o400, True),
        (0o640, True),
        (0o440, True),
        (0o644, False),
        (0o604, False),
        (0o660, False),
        (0o602, False),
    ],
)
@pytest.mark.parametrize("in_one", [False, True])
def test_who_may_read_a_key(tmp_path: Path, mode: int, good: bool, in_one: bool) -> None:
    """Its owner and a group of readers. Otherwise the reason names file and mode, and what is allowed."""
    (LEAF.write_in_one if in_one else LEAF.write)(tmp_path, "one", mode)
    if good:
        assert read(tmp_path).faults == {}
    else:
        text = fault(tmp_path)
        assert f"one.{'pem' if in_one else 'key'} has mode {mode:04o}" in text
        assert "allowed: 0600, or 0640" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_whose_key_it_is(tmp_path: Path) -> None:
    """A key that belongs to a third user is refused."""
    LEAF.write(tmp_path, "one")
    os.chown(tmp_path / "one.key", 65534, -1)
    assert "one.key belongs to user 65534; allowed: root" in fault(tmp_path)


def _write(file: str, content: bytes) -> Callable[[Path], object]:
    def write(directory: Path) -> None:
        (directory / file).write_bytes(content)
        (directory / file).chmod(0o600)

    return write


_OTHER_KEY = AUTHORITY.issue("x.org").key
_FAULTS = [
    (_write("one.key", _OTHER_KEY), "the private key is not the one of the certificate"),
    (_write("one.key", b""), "no private key is in one.key; allowed: one"),
    (_write("one.key", LEAF.key + _OTHER_KEY), "2 private keys are in one.key; allowed: one"),
    (_write("one.key", LEAF.key[:60] + b"\n" + LEAF.key[-30:]), "the private key cannot be read"),
    (_write("one.key", b"x" * (tlsdir.MOST_OCTETS + 1)), "one.key is too large"),
    (_write("one.pem", b""), "it holds no certificate"),
    (_write("one.pem", LEAF.chain[:300]), "it holds no certificate"),
    (_write("one.pem", LEAF.chain[:100] + LEAF.chain[200:]), "the certificate cannot be read"),
    (lambda place: (place / "one.key").unlink(), "no private key is in one.pem, and there is no one.key"),
    (lambda place: ((place / "one.pem").unlink(), (place / "one.pem").mkdir()), "one.pem is not a file"),
    (lambda place: ((place / "one.pem").unlink(), os.mkfifo(place / "one.pem")), "one.pem is not a file"),
    (lambda place: ((place / "one.pem").unlink(), (place / "one.pem").symlink_to("nowhere")), "No such file"),
]


@pytest.mark.parametrize(("spoil", "reason"), _FAULTS)
def test_faulty_files(tmp_path: Path, spoil: Callable[[Path], object], reason: str) -> None:
    """Each is refused with its reason, and the good one beside it is taken."""
    LEAF.write(tmp_path, "one")
    spoil(tmp_path)
    assert reason in fault(tmp_path)
    LEAF.write(tmp_path, "good")
    assert list(read(tmp_path).certificates) == ["good"]


@pytest.mark.processes
def test_an_encrypted_or_a_short_key(tmp_path: Path) -> None:
    """A key with a password, and one that OpenSSL finds too short, are refused."""
    openssl = need("openssl")
    req = "req -x509 -days 2 -subj /CN=x -keyout one.key -out one.pem -newkey"
    for options, reason in (("rsa:2048 -passout pass:secret", "encrypted"), ("rsa:1024 -nodes", "KEY_TOO_SMALL")):
        subprocess.run(
            [openssl, *req.split(), *options.split()],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            timeout=patient(20),
        )
        (tmp_path / "one.key").chmod(0o600)
        assert reason in fault(tmp_path)


def test_names_of_files_are_ids(tmp_path: Path) -> None:
    """A name that cannot be said in a command is refused."""
    LEAF.write(tmp_path, "a b")
    assert "is not an Id" in fault(tmp_path, "a b")


def test_too_many(tmp_path: Path) -> None:
    """More than a thousand are refused as a whole; no directory at all raises what the system says."""
    for number in range(tlsdir.MOST_CERTIFICATES + 1):
        (tmp_path / f"{number}.pem").touch()
    with pytest.raises(Unfit, match="holds 1001 certificates; allowed: 1000"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere")


def test_a_look_tells_of_every_change(tmp_path: Path) -> None:
    """Content, mode, a link that leads elsewhere, a file more or less: each shows; nothing done shows nothing."""
    live, archive = tmp_path / "live", tmp_path / "archive"
    live.mkdir()
    archive.mkdir()
    for number in (1, 2):
        AUTHORITY.issue("a.org").write(archive, f"a{number}")
    (live / "a.pem").symlink_to(archive / "a1.pem")
    (live / "a.key").symlink_to(archive / "a1.key")

    def look() -> str:
        return LookAt(str(live)).perform().stamp

    seen = [read(live).stamp]
    assert look() == seen[0]

    def exchange() -> None:
        (live / "new").symlink_to(archive / "a2.pem")
        (live / "new").rename(live / "a.pem")

    steps = [
        exchange,
        lambda: (archive / "a1.key").chmod(0o400),
        lambda: (archive / "a2.pem").write_bytes(LEAF.chain),
        lambda: LEAF.write(live, "b"),
        lambda: (live / "b.pem").unlink(),
    ]
    for step in steps:
        step()
        seen.append(look())
        assert look() == seen[-1]
    assert len(set(seen)) == len(seen)


def test_a_certificate_that_begins_or_ends(tmp_path: Path) -> None:
    """What was read is outdated when a certificate in it begins, and when one ends, though no file has changed; until
    then, and after it, it says that it is not valid.
    """
    AUTHORITY.issue("a.org", begins=1).write(tmp_path, "a")
    found = merged(None, read(tmp_path), ())
    one = found.certificates["a"]
    stamp = LookAt(str(tmp_path)).perform().stamp
    assert found.troubles["a"].startswith("not valid before 2")
    for turn in (one.not_before, one.not_after):
        assert not found.is_outdated(tlsdir.Look(stamp, turn - 1))
        assert found.is_outdated(tlsdir.Look(stamp, turn))
        again = merged(found, replace(found, read_at=turn), ())
        assert again != found
        found = again
    assert found.troubles["a"].startswith("expired on 2")
    assert found.next_turn == math.inf


@pytest.mark.parametrize(("begins", "days", "reason"), [(1, 9, "not valid before"), (-9, -1, "expired on")])
def test_no_invalid_one_replaces_a_valid_one(tmp_path: Path, begins: float, days: float, reason: str) -> None:
    """The one before stays while it is valid itself, and it is told why; then the new one is in use, as told."""
    AUTHORITY.issue("a.org", days=3).write(tmp_path, "a")
    before = merged(None, read(tmp_path), ())
    AUTHORITY.issue("a.org", begins=begins, days=days).write(tmp_path, "a")
    found = read(tmp_path)
    after = merged(before, found, ())
    assert after.certificates["a"] == before.certificates["a"]
    assert reason in after.faults["a"]
    assert "what was read before stays in use" in after.troubles["a"]
    assert after.next_turn == min(
        t for t in (found.certificates["a"].not_before, before.certificates["a"].not_after) if t > found.read_at
    )
    later = merged(after, replace(found, read_at=after.next_turn), ())
    assert later.certificates["a"] == found.certificates["a"]
    assert (later.faults, bool(later.invalid)) == ({}, days < 0)


def test_what_stays_in_use(tmp_path: Path) -> None:
    """Read again: the new is taken, of a faulty file the old stays, what is gone goes unless it is needed."""
    for name in ("changed", "faulty", "gone", "needed"):
        AUTHORITY.issue(f"{name}.org").write(tmp_path, name)
    before = merged(None, read(tmp_path), ())
    AUTHORITY.issue("changed.org", key=EC).write(tmp_path, "changed")
    LEAF.write(tmp_path, "new")
    (tmp_path / "faulty.key").write_bytes(LEAF.key)
    for name in ("gone", "needed"):
        (tmp_path / f"{name}.pem").unlink()
    after = merged(before, read(tmp_path), {"needed"})
    assert list(after.certificates) == ["changed", "new", "faulty", "needed"]
    assert after.certificates["changed"] != before.certificates["changed"]
    assert after.certificates["faulty"] == before.certificates["faulty"]
    assert after.certificates["needed"] == before.certificates["needed"]
    assert "is not the one of the certificate" in after.faults["faulty"]
    assert "the file is gone" in after.faults["needed"]
