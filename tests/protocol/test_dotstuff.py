"""Dot-stuffing and line ends: however the content is cut into chunks, the bytes are the same."""

import itertools
import poplib
import re
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.dotstuff import LineEnds, Stuffer, Top, Unstuffer
from tests.patience import patient

# Mostly the octets that matter, so that their combinations are met.
content = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"\r\n.", b"\r\n.\r\n", b"a", b"xyz", b"\xff"])).map(
    b"".join
)
cuts = st.lists(st.integers(0, 60))


def chunks(whole: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(whole)) for place in at), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(places)]


def stuffed(parts: list[bytes]) -> bytes:
    stuffer = Stuffer()
    return b"".join(map(stuffer.feed, parts)) + stuffer.end()


def unstuffed(parts: list[bytes]) -> tuple[bytes, bool]:
    unstuffer = Unstuffer()
    return b"".join(map(unstuffer.feed, parts)), unstuffer.done


def topped(parts: list[bytes], lines: int) -> bytes:
    top = Top(lines)
    return b"".join(map(top.feed, parts))


def with_crlf(parts: list[bytes]) -> bytes:
    made = LineEnds()
    return b"".join(map(made.feed, parts))


@pytest.mark.parametrize(
    ("plain", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
        (b"a\n", b"a\n\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\n.a\r\n", b"...\r\n..a\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
        (b"a\n.\r\n+OK b\r\n", b"a\n..\r\n+OK b\r\n.\r\n"),
    ],
)
def test_stuffing(plain: bytes, wire: bytes) -> None:
    """The lines of RFC 1939 section 3, whole and octet by octet."""
    assert stuffed([plain]) == wire
    assert stuffed([plain[i : i + 1] for i in range(len(plain))]) == wire


@given(content, cuts)
def test_stuffing_does_not_depend_on_the_chunks(whole: bytes, at: list[int]) -> None:
    """Any cut gives the same bytes, and the end is nowhere but at the end, by CRLF and by LF."""
    wire = stuffed(chunks(whole, at))
    assert wire == stuffed([whole])
    assert [found.end() for found in re.finditer(rb"(?:^|(?<=\n))\.\r?\n", wire)] == [len(wire)]


@given(content.filter(lambda whole: not re.search(rb"(?<!\r)\n", whole)), cuts)
def test_stuffed_content_comes_back(whole: bytes, at: list[int]) -> None:
    """Unstuffing gives back CRLF content, with the line end it lacked."""
    wire = stuffed([whole])
    expected = whole if whole.endswith(b"\r\n") or not whole else whole + b"\r\n"
    assert unstuffed(chunks(wire + b"QUIT\r\n", at)) == (expected, True)


@pytest.mark.parametrize(
    ("wire", "plain"),
    [
        (b".\r\n", b""),
        (b"a\r\n.\r\nb\r\n", b"a\r\n"),
        (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n"),
    ],
)
def test_unstuffing(wire: bytes, plain: bytes) -> None:
    """Only CRLF, dot, CRLF is the end."""
    assert unstuffed([wire]) == (plain, True)
    assert unstuffed([wire[i : i + 1] for i in range(len(wire))]) == (plain, True)


@pytest.mark.parametrize("wire", [b"", b".", b"a\r\n", b"a\r\n.", b"a\r\n.\r", b"a\r", b"a"])
def test_what_has_no_end_is_not_done(wire: bytes) -> None:
    """Whatever of it is given out, somebody broke off."""
    assert not unstuffed([wire])[1]
    assert not unstuffed([wire[i : i + 1] for i in range(len(wire))])[1]


@given(content, cuts)
def test_unstuffing_does_not_depend_on_the_chunks(whole: bytes, at: list[int]) -> None:
    """Any cut gives the same content."""
    assert unstuffed(chunks(whole, at)) == unstuffed([whole])


MAIL = b"Subject: x\r\nTo: y\r\n\r\none\r\n\r\n.two\r\nthree"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (0, b"Subject: x\r\nTo: y\r\n\r\n"),
        (1, b"Subject: x\r\nTo: y\r\n\r\none\r\n"),
        (2, b"Subject: x\r\nTo: y\r\n\r\none\r\n\r\n"),
        (3, b"Subject: x\r\nTo: y\r\n\r\none\r\n\r\n.two\r\n"),
        (4, MAIL),
        (9999, MAIL),
    ],
)
def test_top(lines: int, expected: bytes) -> None:
    """TOP passes the header, the empty line and so many lines of the body."""
    assert topped([MAIL], lines) == expected
    assert topped([MAIL[i : i + 1] for i in range(len(MAIL))], lines) == expected


@pytest.mark.parametrize("mail", [b"Subject: x\r\nno body", b"", b"Subject: x\r\n"])
def test_top_of_a_mail_without_a_body_is_the_whole_mail(mail: bytes) -> None:
    """Without an empty line all is header."""
    assert topped([mail], 0) == mail


def test_top_stops_reading() -> None:
    """`done` says that the rest of a large mail need not be read."""
    top = Top(1)
    assert top.feed(b"a: b\r\n\r\none\r\ntwo\r\n") == b"a: b\r\n\r\none\r\n"
    assert top.done
    assert top.feed(b"more") == b""


@given(content, cuts, st.integers(0, 5))
def test_top_does_not_depend_on_the_chunks(whole: bytes, at: list[int], lines: int) -> None:
    """Any cut gives the same bytes: the lines of the header, the empty one, and `lines` more."""
    split = whole.splitlines(keepends=True) if b"\r" not in whole.replace(b"\r\n", b"") else None
    passed = topped(chunks(whole, at), lines)
    assert passed == topped([whole], lines)
    if split is not None:
        header = next((n for n, line in enumerate(split) if line.strip(b"\r\n") == b""), len(split))
        assert passed == b"".join(split[: header + 1 + lines])


@given(content, cuts)
def test_line_ends_do_not_depend_on_the_chunks(whole: bytes, at: list[int]) -> None:
    """Every LF gets exactly one CR in front of it, whatever the cut, and nothing else changes."""
    made = with_crlf(chunks(whole, at))
    assert made == re.sub(rb"(?<!\r)\n", b"\r\n", whole)
    counter = LineEnds()
    assert len(whole) + sum(map(counter.count, chunks(whole, at))) == len(made)


def test_a_mail_with_bare_line_feeds_cannot_forge_replies() -> None:
    """A client that takes LF for a line end (Python's poplib) gets the whole mail, and the real next reply."""
    hostile = b"Subject: x\r\n\r\na\n.\r\n-ERR forged\r\n"
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"+OK\r\n")
            lines.readline()
            connection.sendall(b"+OK\r\n" + stuffed([hostile]))
            lines.readline()
            connection.sendall(b"+OK 7 7\r\n")
            lines.readline()
            connection.sendall(b"+OK bye\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    client = poplib.POP3("127.0.0.1", server.getsockname()[1], timeout=patient(10))
    try:
        assert client.retr(1)[1] == [b"Subject: x", b"", b"a", b".", b"-ERR forged"]
        assert client.stat() == (7, 7)
    finally:
        client.quit()
        thread.join(patient(10))
        server.close()
