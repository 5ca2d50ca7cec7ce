"""The ClientHello as we read it: real ones of OpenSSL, in any pieces, and whatever strangers may send instead."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.clienthello import MOST_OCTETS, NO_HELLO, BadHello, ClientHello, NotTls, read_hello


def hello(server_name: str | None = None, alpn: list[str] | None = None) -> bytes:
    """What OpenSSL says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=server_name).do_handshake()
    return outgoing.read()


def records(message: bytes, size: int) -> bytes:
    """A handshake message in records of this size."""
    body = message[5:]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)


REAL = hello("mail.example.org", ["imap", "pop3"])


@pytest.mark.parametrize(
    ("server_name", "alpn", "read"),
    [
        (None, None, NO_HELLO),
        ("mail.example.org", None, ClientHello("mail.example.org", None)),
        ("MAIL.Example.ORG", ["pop3"], ClientHello("mail.example.org", (b"pop3",))),
        ("_a-b.c", ["imap", "pop3"], ClientHello("_a-b.c", (b"imap", b"pop3"))),
        ("a" * 63 + ".org", ["h2"], ClientHello("a" * 63 + ".org", (b"h2",))),
        ("xn--bcher-kva.example", None, ClientHello("xn--bcher-kva.example", None)),
    ],
)
def test_what_openssl_says(server_name: str | None, alpn: list[str] | None, read: ClientHello) -> None:
    """Server name and ALPN are read as they were given; the name in lower case."""
    assert read_hello(hello(server_name, alpn)) == read


@pytest.mark.parametrize(
    "name", [b"b\xfccher.exam", b"mail.example org", b"mail.example\0org", b"../../../e/tc.pwd", b"."]
)
def test_an_odd_name_is_none(name: bytes) -> None:
    """What is no host name in ASCII counts as if no name were given."""
    name = name.ljust(len(b"mail.example.org"), b"\xff")[: len(b"mail.example.org")]
    assert read_hello(REAL.replace(b"mail.example.org", name)) == ClientHello("", (b"imap", b"pop3"))


@pytest.mark.parametrize("data", [REAL, records(REAL, 100)], ids=["one record", "six records"])
def test_octet_by_octet(data: bytes) -> None:
    """While it is not whole it tells how many octets are needed: more than there are, never more than there will be."""
    for length in range(len(data)):
        needed = read_hello(data[:length])
        assert isinstance(needed, int)
        assert length < needed <= len(data)
    assert read_hello(data) == ClientHello("mail.example.org", (b"imap", b"pop3"))
    assert read_hello(data + b"more") == ClientHello("mail.example.org", (b"imap", b"pop3"))


@pytest.mark.parametrize("data", [b"USER joe\r\n", b"\x80\x2e\x01\x03\x01", b"\0", b"\x16\x02", b"GET / HTTP/1.1\r\n"])
def test_what_is_not_tls(data: bytes) -> None:
    """The very first octets tell."""
    with pytest.raises(NotTls):
        read_hello(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\0\0", id="an empty record"),
        pytest.param(b"\x16\x03\x01\xff\xff", id="a record that is too long"),
        pytest.param(b"\x16\x03\x01\0\x05\x02\0\0\x01\0", id="a ServerHello"),
        pytest.param(REAL[:5] + REAL[5:9] + b"\xff" * (len(REAL) - 9), id="lengths that do not fit"),
        pytest.param(records(REAL, 60), id="too many records"),
        pytest.param(records(REAL, 100)[:105] + b"\x15" + records(REAL, 100)[106:], id="an alert in the middle"),
        pytest.param(b"\x16\x03\x01\0\x04\x01\xff\xff\xff" + 8 * b"\x16\x03\x01\0\x01x", id="without end"),
    ],
)
def test_what_makes_no_sense(data: bytes) -> None:
    """It is refused, for OpenSSL to answer."""
    with pytest.raises(BadHello):
        read_hello(data)


def _is_answered(data: bytes) -> None:
    try:
        read = read_hello(data)
    except (NotTls, BadHello):
        return
    if isinstance(read, int):
        assert len(data) < read <= MOST_OCTETS
    else:
        assert read.server_name.isascii()


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    """Whatever comes, nothing but the two errors is raised."""
    _is_answered(data)
    _is_answered(b"\x16\x03\x01" + len(data).to_bytes(2) + data)
    _is_answered(b"\x16\x03\x01" + (len(data) + 4).to_bytes(2) + b"\x01" + len(data).to_bytes(3) + data)


@given(st.integers(0, len(REAL) - 1), st.binary(min_size=1, max_size=4), st.integers(0, len(REAL)))
def test_a_real_one_that_was_tampered_with(place: int, octets: bytes, end: int) -> None:
    """Nor is anything else raised for what is nearly right, and cut anywhere."""
    data = REAL[:place] + octets + REAL[place + len(octets) :]
    _is_answered(data)
    _is_answered(data[:end])
