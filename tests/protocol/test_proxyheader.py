"""The PROXY protocol's header: examples from the specification, every prefix of them, limits, and any octets at all."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.proxyheader import MOST, MOST_V1, MOST_V2_REST, BadHeader, Endpoint, build, parse

V2 = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_V1 = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"
TCP4 = V2 + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 198, 51, 100, 7]) + b"\x12\x67\x00\x6e"
TCP6 = V2 + b"\x21\x21\0\x24" + ipaddress.ip_address("2001:db8::1").packed * 2 + b"\x12\x67\x03\xe3"

NAMED = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 110\r\n", ("192.0.2.1", 4711), ("198.51.100.7", 110)),
    (b"PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n", ("255.255.255.255", 0), ("0.0.0.0", 65535)),
    (b"PROXY TCP6 2001:DB8:0::1 2001:db8::1 4711 995\r\n", ("2001:db8::1", 4711), ("2001:db8::1", 995)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", ("192.0.2.1", 1), ("192.0.2.2", 2)),
    (TCP4, ("192.0.2.1", 4711), ("198.51.100.7", 110)),
    (TCP6, ("2001:db8::1", 4711), ("2001:db8::1", 995)),
    (
        TCP4[:14] + b"\0\x11" + TCP4[16:] + b"\x04\0\2xx",
        ("192.0.2.1", 4711),
        ("198.51.100.7", 110),
    ),
    (
        TCP4[:14] + MOST_V2_REST.to_bytes(2) + TCP4[16:] + b"\x04" * (MOST_V2_REST - 12),
        ("192.0.2.1", 4711),
        ("198.51.100.7", 110),
    ),
]
"""Headers that name a connection: TLVs after the addresses, up to the limit, are skipped."""

NAMELESS = [
    b"PROXY UNKNOWN\r\n",
    LONGEST_V1,
    b"PROXY UNKNOWN " + b"x" * (MOST_V1 - 16) + b"\r\n",
    V2 + b"\x20\0\0\0",
    V2 + b"\x20\x11\0\x0c" + b"x" * 12,
    V2 + b"\x20\x11\0\x03xyz",
    V2 + b"\x21\0\0\0",
    V2 + b"\x21\x12\0\x0c" + b"x" * 12,
    V2 + b"\x21\x31\0\xd8" + b"x" * 216,
]
"""Headers that name none: UNKNOWN, LOCAL (health checks), and families that are not TCP."""

BAD = [
    b"USER joe\r\n",
    b"\x16\x03\x01\x02\0\x01",
    b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY \r\n",
    b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
    b"PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n",
    b"PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n",
    b"PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n",
    b"PROXY TCP4 ::1 ::1 1 1\r\n",
    b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
    b"PROXY TCP6 fe80::1%eth0 fe80::1 1 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 \xb2 1\r\n",
    b"PROXY TCP4 1.2.3.4\n1.2.3.4 1 1\r\n",
    b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
    b"PROXY UNKNOWN " + b"x" * (MOST_V1 - 15) + b"\r\n",
    b"PROXY TCP4 " + b"1" * 200,
    V2 + b"\x11\x11\0\x0c" + b"x" * 12,
    V2 + b"\x22\x11\0\x0c" + b"x" * 12,
    V2 + b"\x21\x11\0\x0b" + b"x" * 11,
    V2 + b"\x21\x21\0\x23" + b"x" * 35,
    V2 + b"\x21\x11\xff\xff",
    V2 + b"\x20\0" + (MOST_V2_REST + 1).to_bytes(2),
    V2[:11] + b"x\x21\x11\0\x0c",
]


@pytest.mark.parametrize(("header", "source", "destination"), NAMED)
def test_a_header_that_names_a_connection(header: bytes, source: Endpoint, destination: Endpoint) -> None:
    """Both ends are known, IPv4 in IPv6's form is IPv4, and what follows the header is not looked at."""
    for behind in (b"", b"\x16\x03\x01", b"\r\n", header):
        assert parse(header + behind) == (len(header), source, destination)


@pytest.mark.parametrize("header", NAMELESS)
def test_a_header_that_names_none(header: bytes) -> None:
    """It is taken, and says nothing about the client."""
    for behind in (b"", b"\r\n", header):
        assert parse(header + behind) == (len(header), None, None)


@pytest.mark.parametrize("header", [*(row[0] for row in NAMED), *NAMELESS])
def test_a_header_that_is_not_whole(header: bytes) -> None:
    """No beginning of a header is refused, or taken for a whole one."""
    assert len(header) <= MOST
    assert [parse(header[:length]) for length in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize("header", BAD)
def test_what_is_no_header(header: bytes) -> None:
    """It is refused, also with more after it; nothing of it stands in the error."""
    for behind in (b"", b"\r\n" * 300):
        with pytest.raises(BadHeader) as refusal:
            parse(header + behind)
        assert str(refusal.value).isascii()
        assert "1.2.3" not in str(refusal.value)


def test_a_length_is_refused_before_it_is_waited_for() -> None:
    """The sixteen octets that say it are enough; so is a first line without end."""
    with pytest.raises(BadHeader, match="65535 octets"):
        parse(V2 + b"\x21\x11\xff\xff")
    assert parse(b"PROXY UNKNOWN" + b" " * (MOST_V1 - 14)) is None
    with pytest.raises(BadHeader, match="without end"):
        parse(b"PROXY UNKNOWN" + b" " * (MOST_V1 - 13))


@given(st.one_of(st.binary(max_size=600), *(st.binary(max_size=60).map(start.__add__) for start in (b"PROXY ", V2))))
def test_any_octets(data: bytes) -> None:
    """A header within its limits, not yet one, or BadHeader; never more, and never more than MOST is waited for."""
    try:
        found = parse(data)
    except BadHeader:
        return
    assert len(data) < MOST if found is None else 15 <= found.length <= min(len(data), MOST)


PORTS = st.integers(0, 65535)
ADDRESSES = st.ip_addresses().map(lambda address: str(getattr(address, "ipv4_mapped", None) or address))
ENDPOINTS = st.tuples(ADDRESSES, PORTS)


@given(st.sampled_from(["v1", "v2"]), ENDPOINTS, ENDPOINTS)
def test_what_is_built_is_read_again(version: str, source: Endpoint, destination: Endpoint) -> None:
    """Also where the families differ: the IPv4 address is written as IPv6, and is IPv4 again."""
    header = build(version, source, destination)
    assert parse(header + b"+OK") == (len(header), source, destination)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_unknown_client(version: str) -> None:
    """Without endpoints the header says so."""
    header = build(version, None, ("192.0.2.1", 110))
    assert header in (b"PROXY UNKNOWN\r\n", V2 + b"\x20\0\0\0")
    assert parse(header) == (len(header), None, None)


def test_mixed_families_in_words() -> None:
    """As the receiver sees them."""
    assert build("v1", ("192.0.2.1", 4711), ("2001:db8::1", 110)).startswith(b"PROXY TCP6 ::ffff:")
