"""SCRAM-SHA-256 as its server: the example of RFC 7677, and whatever a client may say instead."""

import base64
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.sasl import BadResponse
from popular.protocol.scram import (
    FEWEST_ITERATIONS,
    LONGEST_MESSAGE,
    Proof,
    ScramClient,
    ScramKeys,
    invented_keys,
    invented_salt,
    keys_of,
)

NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
WITHOUT_PROOF = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FINAL = WITHOUT_PROOF + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SAID = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
"""All of RFC 7677 section 3."""


def keys(password: bytes = b"pencil", salt: bytes = SALT) -> ScramKeys:
    made = keys_of(password, salt)
    assert made is not None
    return made


def challenged(first: bytes = FIRST, known: ScramKeys | None = None) -> Proof:
    proof = Proof(first, NONCE)
    proof.challenge(known or keys())
    return proof


def test_the_example() -> None:
    """As the RFC has it, octet by octet; nothing of the keys is in a text."""
    proof = Proof(FIRST, NONCE)
    assert proof.user == "user"
    assert proof.challenge(keys()) == CHALLENGE
    assert not proof.holds
    assert proof.answered(FINAL) == SAID
    assert proof.holds
    assert repr(keys()) == "ScramKeys(****)"


def test_its_client() -> None:
    """The one by which `explain` plays a login says the same, and knows a server that has the keys."""
    client = ScramClient("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert client.first() == FIRST
    assert client.final(CHALLENGE) == FINAL
    assert client.trusts(SAID)
    other = ScramClient("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    other.first()
    other.final(CHALLENGE)
    assert not other.trusts(b"v=" + base64.b64encode(bytes(32)))


@pytest.mark.parametrize("known", [keys(b"Pencil"), invented_keys(SALT), invented_keys(bytes(64), keys())])
def test_the_wrong_password(known: ScramKeys) -> None:
    """Is no fault of the client's, and nothing is proven; so it is with keys that nobody has."""
    proof = challenged(known=known)
    assert proof.answered(FINAL) == b""
    assert not proof.holds


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n",
        b"n,,",
        b"user",
        b"n,,n=user",
        b"n,,r=abc",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=us=er,r=abc",
        b"n,,n=us=2cer,r=abc",
        b"n,,n=us\0er,r=abc",
        b"n,,n=us\xff,r=abc",
        b"n,,n=us\x07er,r=abc",
        b"n,,m=ext,n=user,r=abc",
        b"n,,n=user,n=user,r=abc",
        b"n,a=boss,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"p=tls-unique,,n=user,r=abc",
        b"p=tls-exporter,,n=user,r=abc",
        b"p,,n=user,r=abc",
        b"n,,n=user,r=" + b"a" * LONGEST_MESSAGE,
    ],
)
def test_a_first_message_that_is_none(first: bytes) -> None:
    """Bound to a channel, for another one, with extensions, cut off, too long: said in words that repeat nothing."""
    with pytest.raises(BadResponse) as told:
        Proof(first, NONCE)
    assert "user" not in str(told.value)


def test_a_client_that_could_bind_the_channel() -> None:
    """And thinks that we cannot (y) is right; its last message has to say the same."""
    proof = challenged(b"y" + FIRST[1:])
    with pytest.raises(BadResponse):
        proof.answered(FINAL)  # c=biws is `n,,`
    assert challenged(b"n,,n=a=2Cb=3D,r=abc").user == "a,b="


@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"*",
        FINAL[:-1],
        FINAL.replace(b"biws", b"eSws"),
        FINAL.replace(b"biws", b"!!!!"),
        FINAL.replace(b"biws", base64.b64encode(b"p=tls-unique,,x")),
        FINAL.replace(b"rOpr", b"rOpx"),
        FINAL.replace(b"NlF$k0", b"NlF$k"),
        FINAL.replace(b"NlF$k0", b"NlF$k0x"),
        WITHOUT_PROOF,
        WITHOUT_PROOF + b",p=",
        WITHOUT_PROOF + b",p=####",
        FINAL + b",x=y",
        FINAL.replace(b",p=", b",m=x,p="),
        FINAL + b"\xff",
        WITHOUT_PROOF + b",p=" + b"A" * LONGEST_MESSAGE,
    ],
)
def test_a_last_message_that_is_none(final: bytes) -> None:
    """Another nonce, another channel, cut off, no base64, too long: nothing is proven, whoever the user is."""
    for known in (keys(), invented_keys(SALT)):
        proof = challenged(known=known)
        with pytest.raises(BadResponse):
            proof.answered(final)
        assert not proof.holds


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_proof_of_another_length(length: int) -> None:
    """Is a wrong one, or none: never an error of ours."""
    proof = challenged()
    final = WITHOUT_PROOF + b",p=" + base64.b64encode(b"\1" * length)
    try:
        assert proof.answered(final) == b""
    except BadResponse:
        pass
    assert not proof.holds


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_is_said_proves_nothing(first: bytes, final: bytes) -> None:
    """And is no error of ours."""
    for said in (first, b"n,,n=user,r=" + first):
        try:
            proof = Proof(said, NONCE)
        except BadResponse:
            continue
        proof.challenge(keys_for_all)
        try:
            assert proof.answered(final) == b""
        except BadResponse:
            pass
        assert not proof.holds


keys_for_all = keys()


def test_the_salt_of_who_has_none() -> None:
    """One name has always the same, another one another, and nobody knows it without the key."""
    made = {
        invented_salt(key, namespace, user)
        for key in (b"k" * 32, b"l" * 32)
        for namespace, user in (("a", "bc"), ("ab", "c"), ("a", "joe"))
        for _ in range(2)
    }
    assert len(made) == 6
    shown = invented_keys(made.pop(), keys(salt=b"s" * 24)._replace(iterations=8000))
    assert (len(shown.salt), shown.iterations, shown.fit_nobody) == (24, 8000, True)
    assert keys().are_sound
    assert not keys().fit_nobody


@pytest.mark.parametrize("password", [b"\xff", "a\u0007b".encode(), "\u06271".encode()])
def test_a_password_that_scram_cannot_have(password: bytes) -> None:
    """No UTF-8, control characters, mixed directions (SASLprep)."""
    assert keys_of(password, SALT) is None


@pytest.mark.processes
def test_the_library_is_imported_by_who_needs_it() -> None:
    """It would double the time that pcontrol takes to start."""
    program = "import sys, popular.programs, popular.pdm.passwords; sys.exit('scramp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert FEWEST_ITERATIONS == 4096
