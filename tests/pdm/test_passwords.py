"""Stored passwords: real hashes, made by Dovecot, by crypt(3) and by argon2, now and in here."""

import base64
import ctypes
import os
import shutil
import subprocess
import threading
import time
import traceback

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.pdm import passwords
from popular.pdm.passwords import LOCKED, CannotVerify, UnknownForm, form_of, verify
from tests.patience import patient

PASSWORD = "päss wörd:%"
CANARY = b"canary-4711"


def by_dovecot(scheme, password=PASSWORD):
    """What `doveadm pw` makes of a password."""
    doveadm = shutil.which("doveadm")
    if doveadm is None:
        assert not os.environ.get("CI"), "Dovecot must be there in CI"
        pytest.skip("Dovecot is not installed")
    made = subprocess.run(
        [doveadm, "pw", "-s", scheme, "-p", password], capture_output=True, text=True, timeout=patient(30), check=True
    )
    return made.stdout.removesuffix("\n")


def by_crypt(prefix, password=PASSWORD, count=0):
    """What crypt(3) makes of a password, with a salt of its own choice."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt_gensalt.restype = library.crypt.restype = ctypes.c_char_p
    library.crypt_gensalt.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int]
    setting = library.crypt_gensalt(prefix.encode(), count, None, 0)
    return library.crypt(password.encode(), setting).decode()


CRYPT_PREFIXES = {
    "yescrypt": "$y$",
    "gost-yescrypt": "$gy$",
    "scrypt": "$7$",
    "bcrypt": "$2b$",
    "sha512crypt": "$6$",
    "sha256crypt": "$5$",
    "md5crypt": "$1$",
    "bsdicrypt": "_",
    "descrypt": "",
}


def fits_only_its_own(stored, password=PASSWORD):
    octets = password.encode()
    assert verify(stored, octets)
    others = (octets[1:], octets.swapcase(), octets + b"\0", octets + b"\0x")
    for other in others:
        assert not verify(stored, other), other


@pytest.mark.processes
@pytest.mark.parametrize("written", ["", ".hex", ".b64"])
@pytest.mark.parametrize("scheme", passwords.SCHEMES)
def test_what_dovecot_stores_is_verified(scheme, written):
    """Each scheme of the table, as Dovecot writes it, in each of its three encodings."""
    stored = by_dovecot(scheme + written)
    fits_only_its_own(stored)
    name, brace, rest = stored.partition("}")
    fits_only_its_own(name.lower() + brace + rest)


@pytest.mark.processes
@pytest.mark.parametrize("scheme", ["SHA", "SHA256", "SHA512", "PLAIN-MD5", "LDAP-MD5"])
def test_a_digest_is_read_in_hexadecimal_without_being_told(scheme):
    """Its length says which of the two encodings it is, as in Dovecot."""
    fits_only_its_own(f"{{{scheme}}}{by_dovecot(scheme + '.hex').partition('}')[2]}")
    fits_only_its_own(f"{{{scheme}}}{by_dovecot(scheme + '.b64').partition('}')[2]}")


def test_every_form_of_crypt_has_a_hash_to_be_tested_with():
    """The table of the tests and the table of the program have the same rows."""
    assert set(CRYPT_PREFIXES) | {"argon2i", "argon2d", "argon2id"} == set(passwords.CRYPT_FORMS)


@pytest.mark.parametrize("form", CRYPT_PREFIXES)
def test_what_crypt_stores_is_verified(form):
    """Each form of the table, bare and after {CRYPT}."""
    stored = by_crypt(CRYPT_PREFIXES[form], "päss:%")  # seven octets: DES reads eight
    fits_only_its_own(stored, "päss:%")
    assert verify("{CRYPT}" + stored, "päss:%".encode())


@pytest.mark.parametrize("kind", argon2.Type)
def test_what_argon2_stores_is_verified(kind):
    """Each of its three kinds, with parameters of its own."""
    fits_only_its_own(argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=2, type=kind).hash(PASSWORD))


@pytest.mark.parametrize(
    ("prefix", "count", "form"),
    [
        ("$2y$", 5, "$2y$05"),
        ("$2b$", 6, "$2b$06"),
        ("$6$", 5000, "$6$"),
        ("$6$", 7000, "$6$rounds=7000$"),
        ("$5$", 6000, "$5$rounds=6000$"),
        ("$y$", 1, "$y$j75"),
        ("", 0, "descrypt"),
    ],
)
def test_a_form_says_what_it_costs(prefix, count, form):
    """Hashes of one form take the same time; the form holds neither salt nor hash."""
    assert form_of(by_crypt(prefix, "x", count)) == form
    assert form_of("{CRYPT}" + by_crypt(prefix, "y", count)) == form


@pytest.mark.processes
def test_other_forms_say_what_they_cost():
    """The rounds of PBKDF2, the parameters of argon2, the name of the rest."""
    assert form_of(by_dovecot("PBKDF2")) == "{PBKDF2}5000"
    assert form_of(by_dovecot("SSHA256.hex")) == "{SSHA256}"
    assert form_of(argon2.PasswordHasher(1, 64, 1).hash("x")) == "$argon2id$v=19$m=64,t=1,p=1"


@pytest.mark.parametrize("stored", ["!", "*", "!!", "*LK*", "!$6$abcdefgh$" + "x" * 86])
def test_a_locked_password_fits_nobody(stored):
    """It is told apart from a form that is not known, and nothing fits it, not even itself."""
    assert form_of(stored) == LOCKED
    assert not verify(stored, stored.encode())
    assert not verify(stored, b"")


SHA512 = "$6$abcdefgh$" + "x" * 86

UNKNOWN_FORMS = [
    "",
    "secret",
    "a secret of 13",
    "$",
    "$6$",
    "$6$$" + "x" * 86,
    SHA512[:-1],
    SHA512 + "x",
    SHA512 + " ",
    SHA512 + "\n",
    " " + SHA512,
    "$6$rounds=0$abcdefgh$" + "x" * 86,
    "$2b$99$" + "x" * 53,
    "$2b$03$" + "x" * 53,
    "$2z$05$" + "x" * 53,
    "$3$$" + "0" * 32,
    "$argon2id$v=19$m=64,t=1,p=1$abc",
    "$argon2$v=19$m=64,t=1,p=1$YWJj$YWJj",
    "{",
    "{}x",
    "{PLAIN}",
    "{PLAIN",
    "{CRAM-MD5}" + "0" * 64,
    "{OTP}x",
    "{SHA512-CRYPT}$5$abcdefgh$" + "x" * 43,
    "{CRYPT}secret",
    "{CRYPT}!",
    "{CRYPT}{PLAIN}x",
    "{PLAIN.rot13}frperg",
    "{PLAIN.hex}abc",
    "{PLAIN.b64}###",
    "{SHA}secret",
    "{SHA256}" + base64.b64encode(b"x" * 20).decode(),
    "{SSHA}" + base64.b64encode(b"x" * 20).decode(),
    "{SSHA}" + base64.b64encode(b"x" * 8).decode(),
    "{SHA}" + base64.b64encode(b"x" * 24).decode(),
    "{PBKDF2}$1$salt$0$" + "0" * 40,
    "{PBKDF2}$1$salt$5000$" + "0" * 39,
    "{ÄÖÜ}x",
    "päss",
]


@pytest.mark.parametrize("stored", UNKNOWN_FORMS)
def test_what_could_not_be_verified_is_said_before(stored):
    """Both functions refuse it, in words that do not quote it."""
    for handler in (form_of, lambda stored: verify(stored, b"x")):
        with pytest.raises(UnknownForm) as caught:
            handler(stored)
        if len(stored) > 5:
            assert stored not in "".join(traceback.format_exception_only(caught.value))


@given(st.one_of(st.text(), st.text("$./0123456789abcdefy{}=,+PLAINSH-", max_size=100)), st.binary(max_size=20))
def test_whatever_is_stored_either_has_a_form_or_not(stored, password):
    """No text makes it fail in any other way, and what has a form can be verified."""
    try:
        form_of(stored)
    except UnknownForm:
        return
    try:
        assert verify(stored, password) in (True, False)
    except CannotVerify:
        assert stored.startswith(("$", "_"))


def test_a_nul_never_cuts_a_password_short():
    """crypt(3) reads up to the NUL: then "joe" would let "joe NUL anything" in."""
    for stored in (by_crypt("$5$", "joe"), argon2.PasswordHasher(1, 64, 1).hash("joe"), "{PLAIN}joe"):
        assert verify(stored, b"joe")
        assert not verify(stored, b"joe\0")
        assert not verify(stored, b"joe\0anything")


def test_bcrypt_reads_72_octets():
    """As crypt(3) does: what comes after does not count."""
    stored = by_crypt("$2b$", "x" * 80, 4)
    assert verify(stored, b"x" * 72)
    assert verify(stored, b"x" * 72 + b"yyy")
    assert not verify(stored, b"x" * 71 + b"y")


def test_a_password_longer_than_crypt_takes_fits_nothing():
    """511 octets are the most, whatever the form."""
    assert verify("{PLAIN}" + "x" * 511, b"x" * 511)
    assert not verify("{PLAIN}" + "x" * 512, b"x" * 512)
    assert not verify(by_crypt("$6$", "x"), b"x" * 512)


def test_a_hash_that_the_library_refuses_is_no_wrong_password():
    """An argon2 hash of the right shape with impossible parameters: an error that quotes nothing."""
    stored = "$argon2id$v=19$m=1,t=0,p=9$YWJjZGVmZ2g$YWJjZGVmZ2g"
    form_of(stored)
    with pytest.raises(CannotVerify) as caught:
        verify(stored, CANARY)
    assert "4711" not in "".join(traceback.format_exception(caught.value))
    assert "YWJj" not in str(caught.value)


@pytest.mark.processes
@pytest.mark.parametrize(
    "make", [lambda: by_crypt("$y$"), lambda: by_crypt("$6$", count=200_000), lambda: by_dovecot("ARGON2I")]
)
def test_other_threads_run_while_a_password_is_verified(make):
    """The interpreter's lock is let go: a loop beside it is never held up for as long as one verification takes."""
    stored = make()
    begin = time.perf_counter()
    verify(stored, b"x")
    alone = time.perf_counter() - begin
    gaps, done = [], threading.Event()

    def watch():
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.0005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            verify(stored, b"x")
    finally:
        done.set()
        watcher.join()
    assert len(gaps) > 5
    assert sorted(gaps)[len(gaps) // 2] < alone / 2


def test_many_threads_verify_at_once():
    """Each has its own workspace: no right password fails and no wrong one fits."""
    stored = [(f"word{number}", by_crypt("$5$", f"word{number}", 1000)) for number in range(4)]
    wrong: list[str] = []

    def work(word, hashed):
        for _ in range(20):
            wrong.extend(other for other, _ in stored if verify(hashed, other.encode()) != (other == word))

    threads = [threading.Thread(target=work, args=pair) for pair in stored]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_missing_libcrypt_is_said_when_the_hash_is_read(monkeypatch):
    """Not when its user logs in. Forms that need no libcrypt still work."""
    monkeypatch.setattr(passwords, "_LIBCRYPT", ("libcrypt-that-is-not-there.so.1",))
    passwords._library.cache_clear()
    try:
        with pytest.raises(UnknownForm, match="libxcrypt"):
            form_of(SHA512)
        assert verify("{PLAIN}joe", b"joe")
    finally:
        passwords._library.cache_clear()
