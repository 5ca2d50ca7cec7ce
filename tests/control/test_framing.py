"""Bytes ⇄ requests and replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.control.wire.server import ControlRequestReader, Malformed, encode_reply
from supervisor.control.words import LONGEST_LINE
from supervisor.pcontrol.connection import ControlReply, NotAReply, ReplyReader, encode_request

LINE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40)


def feed_all(data: bytes, size: int) -> list[str | Malformed]:
    """The requests in `data`, fed in pieces."""
    reader = ControlRequestReader()
    return [request for at in range(0, len(data), size) for request in reader.feed(data[at : at + size])]


@given(st.lists(LINE, max_size=8), st.integers(1, 50))
def test_requests_come_out_however_they_are_cut(lines: list[str], size: int) -> None:
    """Whether fed octet by octet or in any pieces."""
    data = b"".join(encode_request(line) for line in lines)

    assert lines == feed_all(data, size)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_line_that_is_too_long_is_answered_once(size: int) -> None:
    """100 kB without an end is one error, and the line after it is understood."""
    requests = feed_all(b"x" * 100_000 + b"\nshow\n", size)

    assert [type(request) for request in requests] == [Malformed, str]
    assert str(LONGEST_LINE) in requests[0].text
    assert requests[1] == "show"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 1000])
def test_the_longest_line_is_accepted(end: bytes, size: int) -> None:
    """A line of exactly the limit is a request, one octet more is not, with either line end."""
    assert feed_all(b"x" * LONGEST_LINE + end, size) == ["x" * LONGEST_LINE]
    assert [type(one) for one in feed_all(b"x" * (LONGEST_LINE + 1) + end, size)] == [Malformed]


def test_an_endless_line_takes_no_memory() -> None:
    """What is skipped is not kept."""
    reader = ControlRequestReader()
    for _ in range(100):
        reader.feed(b"x" * 10_000)

    assert len(reader._rest) <= LONGEST_LINE + 1


@pytest.mark.parametrize("octets", [b"a\x00b", b"a\x1b[0m", b"a\rb", b"\x7f", b"\xff\xfe", b"\xc2\x85"])
def test_control_octets_are_malformed(octets: bytes) -> None:
    """NUL, escape, a lone CR, DEL, C1 controls and what is not UTF-8 are refused; the next line counts."""
    bad, good = feed_all(octets + b"\nshow\n", 1000)

    assert isinstance(bad, Malformed)
    assert good == "show"


def test_a_tab_is_a_blank() -> None:
    """A tab may stand in a request."""
    assert feed_all(b"show\tpid\n", 1) == ["show\tpid"]


@given(st.lists(st.tuples(st.booleans(), LINE, st.lists(LINE, max_size=5)), max_size=5), st.integers(1, 60))
def test_replies_survive_the_wire(replies: list[tuple[bool, str, list[str]]], size: int) -> None:
    """A reply is understood as it was meant, cut anywhere, dots and all."""
    data = b"".join(encode_reply(*reply) for reply in replies)
    reader = ReplyReader()
    answers = [answer for at in range(0, len(data), size) for answer in reader.feed(data[at : at + size])]

    assert answers == [ControlReply(ok, text.rstrip(), lines) for ok, text, lines in replies]


def test_dots_are_stuffed() -> None:
    """A data line that begins with a dot gets another one; the reply ends with a lone dot."""
    assert encode_reply(True, "", ["a", ".", "..b"]) == b"+OK\na\n..\n...b\n.\n"
    assert encode_reply(False, "no") == b"-ERR no\n.\n"


def test_a_reply_cannot_be_broken_by_its_text() -> None:
    """Line ends in a status text become blanks, in a data line they begin a new line."""
    assert encode_reply(True, "a\n.\r\nb", ["x\n.\ny\x00"]) == b"+OK a .  b\nx\n..\ny \n.\n"


def test_a_request_is_one_line() -> None:
    """What has a line end inside cannot be sent as a request."""
    with pytest.raises(ValueError, match="one line"):
        encode_request("a\nb")


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"\n", b"x" * 2_000_000])
def test_other_protocols_are_noticed(data: bytes) -> None:
    """Something that is not a status line is not a reply."""
    with pytest.raises(NotAReply):
        ReplyReader().feed(data)
