"""The exchanges of SASL: what a client may say in each, and what is made of it."""

import base64
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.sasl import (
    LONGEST_NAME,
    LONGEST_PASSWORD,
    MECHANISMS,
    BadResponse,
    Challenges,
    Exchange,
    Presented,
    apop,
    decoded,
    digest_of,
    encoded,
    initial_response,
)
from popular.proxy.session.machine.authorization import name_of

CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"


def exchange(mechanism: str) -> Exchange:
    return Exchange(MECHANISMS[mechanism], challenge=CHALLENGE)


def shown(mechanism: str, *responses: bytes) -> Presented:
    """What comes of these responses, the first of which answers the first challenge."""
    talk = exchange(mechanism)
    said = talk.begin(None)
    for response in responses:
        assert isinstance(said, bytes), "it was over already"
        said = talk.answer(response)
    assert isinstance(said, Presented), "it is not over"
    return said


BEARER = b"auth=Bearer ab.c-d_e~+/1==\x01"
RIGHT = {
    "PLAIN": ([b"\0ann\0secret"], Presented(b"ann", b"secret")),
    "PLAIN, for herself": ([b"ann\0ann\0secret"], Presented(b"ann", b"secret")),
    "PLAIN, for another": ([b"ann\0boss\0secret"], Presented(b"ann", b"secret", b"boss")),
    "LOGIN": ([b"ann", b"secret"], Presented(b"ann", b"secret")),
    "CRAM-MD5": (
        [b"tim b913a602c7eda7a495b4e6e7334d3890"],
        Presented(b"tim", digest_of("CRAM-MD5", CHALLENGE, b"tanstaaftanstaaf")),
    ),
    "CRAM-MD5, a blank in the name": ([b"tim o " + b"A" * 32], Presented(b"tim o", b"a" * 32)),
    "XOAUTH2": ([b"user=ann\x01" + BEARER + b"\x01"], Presented(b"ann", b"ab.c-d_e~+/1==")),
    "OAUTHBEARER": (
        [b"n,a=ann,\x01host=pop\x01port=995\x01" + BEARER + b"\x01"],
        Presented(b"ann", b"ab.c-d_e~+/1=="),
    ),
    "OAUTHBEARER, an odd name": ([b"n,a=a=2Cn=3Dn,\x01" + BEARER + b"\x01"], Presented(b"a,n=n", b"ab.c-d_e~+/1==")),
    "EXTERNAL": ([b""], Presented(b"")),
    "EXTERNAL, for another": ([b"ann"], Presented(b"ann")),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_a_client_shows(case: str) -> None:
    """Whoever keeps to the mechanism is understood; the example of CRAM-MD5 is that of RFC 2195."""
    responses, expected = RIGHT[case]
    assert shown(case.partition(",")[0], *responses) == expected


WRONG = {
    "PLAIN": [b"", b"ann", b"\0ann", b"\0ann\0se\0cret", b"\0\0\0", b"\0ann\0", b"\0ann\0se\r\ncret"],
    "PLAIN, long": [b"\0ann\0" + b"x" * (LONGEST_PASSWORD + 1)],
    "CRAM-MD5": [b"", b"tim", b"tim b913", b"tim " + b"g" * 32, b"tim " + b"a" * 33],
    "XOAUTH2": [
        b"",
        b"user=ann",
        b"user=ann\x01auth=Bearer \x01\x01",
        b"user=ann\x01auth=Basic ab\x01\x01",
        b"user=ann\x01auth=Bearer a b\x01\x01",
        b"user=ann\x01auth=Bearer ab\x01",
        b"user=ann\x01auth=Bearer a\r\nb\x01\x01",
    ],
    "OAUTHBEARER": [
        b"user=ann\x01host=pop\x01auth=Bearer ab\x01\x01",
        b"y,a=ann,\x01auth=Bearer ab\x01\x01",
        b"p=tls-unique,a=ann,\x01auth=Bearer ab\x01\x01",
        b"n,,\x01auth=Bearer ab\x01\x01",
        b"n,a=a=2cnn,\x01auth=Bearer ab\x01\x01",
        b"n,a=ann,\x01\x01",
        b"n,a=ann,",
    ],
}


@pytest.mark.parametrize(("mechanism", "response"), [(name, said) for name, lines in WRONG.items() for said in lines])
def test_what_is_refused(mechanism: str, response: bytes) -> None:
    """What does not keep to it is told so, in words that repeat nothing of it."""
    with pytest.raises(BadResponse) as error:
        shown(mechanism.partition(",")[0], response)
    assert "ann" not in str(error.value).split()


@pytest.mark.parametrize("spoiled", [b" " * 47_000 + b"\x02", b" " * 47_000, b"t" * 47_000 + b"!", b"=" * 47_000])
@pytest.mark.parametrize(("mechanism", "head"), [("XOAUTH2", b"user=ann"), ("OAUTHBEARER", b"n,a=ann,")])
def test_a_long_token_that_is_none_is_seen_at_once(mechanism: str, head: bytes, spoiled: bytes) -> None:
    """Anybody may send 64 KiB before the login: the worker looks at each octet once, and not at each beside each."""
    began = time.thread_time()
    with pytest.raises(BadResponse):
        shown(mechanism, head + b"\x01auth=Bearer " + spoiled + b"\x01\x01")
    assert time.thread_time() - began < 0.5  # of a second; it was 16


def test_an_initial_response_is_the_answer_to_the_first_challenge() -> None:
    """Where the client speaks first; where the server does, there is none."""
    assert exchange("PLAIN").begin(b"\0ann\0secret") == Presented(b"ann", b"secret")
    talk = exchange("LOGIN")
    assert talk.begin(b"ann") == b"Password:"
    assert talk.answer(b"secret") == Presented(b"ann", b"secret")
    assert exchange("EXTERNAL").begin(b"") == Presented(b"")
    with pytest.raises(BadResponse, match="no initial response"):
        exchange("CRAM-MD5").begin(b"")


def test_what_is_shown_is_not_shown_in_a_text() -> None:
    """Nor is anything kept of it in the exchange."""
    assert repr(Presented(b"ann", b"secret")) == "Presented(****)"
    talk = exchange("LOGIN")
    talk.begin(None)
    talk.answer(b"ann")
    talk.answer(b"secret")
    dialogue: Any = talk._dialogue
    assert dialogue.gi_frame is None


def test_apop() -> None:
    """The example of RFC 1939 section 7."""
    said = apop(b"mrose c4c9334bac560ecc979e58001b3e22fb")
    assert said == Presented(b"mrose", digest_of("APOP", b"<1896.697170952@dbc.mtview.ca.us>", b"tanstaaf"))
    for line in (b"mrose", b"mrose xyz", b""):
        with pytest.raises(BadResponse):
            apop(line)


def test_lines() -> None:
    """Strict base64 (RFC 5034); an empty challenge keeps its blank, and "=" is an empty initial response."""
    assert encoded(b"") == b"+ \r\n"
    assert encoded(b"Username:") == b"+ VXNlcm5hbWU6\r\n"
    assert initial_response(b"=") == b""
    assert decoded(b"") == b""
    for line in (
        b"=",
        b"A",
        b"AB",
        b"AAA",
        b"A===",
        b"AA=A",
        b"AA==AA==",
        b"====",
        b"AA A",
        b"A\xffAA",
        b"QUI\tT",
        b"*",
    ):
        with pytest.raises(BadResponse, match="base64"):
            decoded(line)


@given(st.binary(max_size=3000))
def test_whatever_is_encoded_is_decoded(octets: bytes) -> None:
    """One line, and nothing but base64 in it."""
    line = encoded(octets)
    assert line.startswith(b"+ ")
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == 1
    assert decoded(line[2:-2]) == octets == base64.b64decode(line[2:-2])


@given(st.sampled_from(list(MECHANISMS)), st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_no_octets_break_an_exchange(mechanism: str, responses: list[bytes], initial: bool) -> None:
    """Whatever is said is a challenge more, the end, or a BadResponse; and the end comes by the second response."""
    talk = exchange(mechanism)
    with suppress(BadResponse):
        said = talk.begin(responses.pop(0) if initial and responses else None)
        for response in responses:
            if isinstance(said, Presented):
                break
            said = talk.answer(response)
        assert isinstance(said, bytes) or not any(end in said.proof for end in b"\0\r\n")


@given(st.binary(max_size=60))
def test_names(octets: bytes) -> None:
    """A user name is UTF-8 without control characters, of at most so many octets."""
    with suppress(BadResponse):
        name = name_of(octets)
        assert name.isprintable()
        assert name.encode() == octets
    for wrong in (b"", b"x" * (LONGEST_NAME + 1), b"a\nb", b"a\0b", b"\xff", "a\u2028b".encode()):
        with pytest.raises(BadResponse):
            name_of(wrong)


def test_challenges() -> None:
    """No two alike, none that another process would make, in the form of a Message-ID."""
    one, other = Challenges("pop.example.org", b"k" * 32), Challenges("pop.example.org", b"j" * 32)
    made = {one.of("p01.1.2", 0), one.of("p01.1.2", 1), one.of("p01.1.3", 0), other.of("p01.1.2", 0)}
    assert len(made) == 4
    assert all(challenge.startswith(b"<") and challenge.endswith(b"@pop.example.org>") for challenge in made)
    assert one.of("p01.1.2", 1) == one.of("p01.1.2", 1)
