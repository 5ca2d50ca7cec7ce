"""XPOP requests and the rule for mailbox names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.lines import LineBuffer, LineTooLong, NullByte
from popular.protocol.xpop import (
    LONGEST_LINE,
    LONGEST_NAME,
    BadMailboxName,
    BadRequest,
    Request,
    RequestReader,
    check_mailbox_name,
    request,
)

ALPHABET = "abcXYZ019._-+/=%"


def read(data: bytes) -> tuple[Request | None, bytes]:
    buffer = LineBuffer(LONGEST_LINE)
    buffer.feed(data)
    return RequestReader().take(buffer), buffer.take_rest()


@pytest.mark.parametrize(
    "name", ["joe", "3/2d/joe.doe", "a", "joe+spam=x%40y", "-", "_", "%00", ".x", "x" * LONGEST_NAME]
)
def test_good_names(name: str) -> None:
    """Every character that the manual names may be used."""
    check_mailbox_name(name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "empty"),
        ("/joe", "begin with /"),
        ("..", "contain .."),
        ("a/../b", "contain .."),
        ("a..b", "contain .."),
        (".", "steps"),
        ("a/./b", "steps"),
        ("a//b", "steps"),
        ("a/", "steps"),
        ("joe doe", "not ' '"),
        ("joe\n", r"not '\\n'"),
        ("joe\0", r"not '\\x00'"),
        ("jo~e", "not '~'"),
        ("jö", r"not '\\xf6'"),
        ("٣", r"not '\\u0663'"),
        ("joe\\x", "not"),
        ("x" * (LONGEST_NAME + 1), "longer than 255"),
    ],
)
def test_bad_names(name: str, complaint: str) -> None:
    """Anything else is refused, and the text says what is allowed."""
    with pytest.raises(BadMailboxName, match=complaint):
        check_mailbox_name(name)


@given(st.text(ALPHABET, max_size=40) | st.text(max_size=10))
def test_a_name_that_passes_stays_below_the_root(name: str) -> None:
    """A checked name has only the allowed characters, and no step of it leads upwards or nowhere."""
    try:
        check_mailbox_name(name)
    except BadMailboxName:
        assert not re.fullmatch("[a-z0-9]+(/[a-z0-9]+)*", name)
        return
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+/=%")
    assert all(step not in ("", ".", "..") for step in name.split("/"))


def test_the_three_lines() -> None:
    """Mailbox, session id, flags, each ended by CRLF."""
    assert request("3/2d/joe", "p02.990738012.7845", "M") == b"3/2d/joe\r\np02.990738012.7845\r\nM\r\n"
    assert request("joe", "x") == b"joe\r\nx\r\n\r\n"


@pytest.mark.parametrize(
    ("mailbox", "sid", "flags"),
    [
        ("joe\r\nx", "s", ""),
        ("joe", "s\r\nDELE 1", ""),
        ("joe", "", ""),
        ("joe", "s", "M\r\nDELE 1"),
        ("joe", "a b", ""),
    ],
)
def test_nothing_can_be_smuggled_into_a_request(mailbox: str, sid: str, flags: str) -> None:
    """A value with a line end or a blank in it never leaves."""
    with pytest.raises((BadMailboxName, BadRequest)):
        request(mailbox, sid, flags)


def test_reading_leaves_what_was_pipelined() -> None:
    """The request is taken out of the buffer; commands after it stay, byte for byte."""
    asked, rest = read(b"joe\r\nsid\r\nM\r\nSTAT\r\nQU")
    assert asked == Request("joe", "sid", "M")
    assert asked.is_master
    assert rest == b"STAT\r\nQU"


def test_reading_octet_by_octet() -> None:
    """However the request arrives, it is complete with the end of its third line and not before."""
    buffer, reader = LineBuffer(LONGEST_LINE), RequestReader()
    data = request("3/2d/joe", "p02.990738012.7845", "")
    for octet in data[:-1]:
        buffer.feed(bytes([octet]))
        assert reader.take(buffer) is None
    buffer.feed(data[-1:])
    asked = reader.take(buffer)
    assert asked == Request("3/2d/joe", "p02.990738012.7845", "")
    assert not asked.is_master


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"../joe\r\ns\r\n\r\n", BadMailboxName),
        (b"\r\ns\r\n\r\n", BadMailboxName),
        (b"j\xf6\r\ns\r\n\r\n", BadMailboxName),
        (b"joe\r\na b\r\n\r\n", BadRequest),
        (b"joe\r\n" + b"s" * 129 + b"\r\n\r\n", BadRequest),
        (b"joe\r\ns\r\nM1\r\n", BadRequest),
        (b"joe\r\ns\0\r\n\r\n", NullByte),
        (b"x" * LONGEST_LINE, LineTooLong),
        (b"joe\r\n" + b"x" * LONGEST_LINE, LineTooLong),
    ],
)
def test_a_bad_request_is_refused(data: bytes, fault: type[Exception]) -> None:
    """Bad names, ids, flags, NUL and endless lines are told apart."""
    with pytest.raises(fault):
        read(data)


def test_an_empty_session_id_is_a_dash() -> None:
    """As in the log: `-` stands for none."""
    assert read(b"joe\r\n\r\n\r\n")[0] == Request("joe", "-", "")


def test_unknown_flags_mean_nothing() -> None:
    """A flag of a later protocol is no error."""
    asked, _ = read(b"joe\r\ns\r\nXyz\r\n")
    assert asked is not None
    assert not asked.is_master


@given(
    st.lists(st.text(ALPHABET, min_size=1, max_size=9)),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128),
    st.sampled_from(["", "M", "XM"]),
)
def test_what_is_sent_is_read(steps: list[str], sid: str, flags: str) -> None:
    """Every request that can be made is understood."""
    mailbox = "/".join(steps)
    try:
        data = request(mailbox, sid, flags)
    except BadMailboxName:
        return
    assert read(data) == (Request(mailbox, sid, flags), b"")


@given(st.binary(max_size=600))
def test_no_input_raises_anything_else(data: bytes) -> None:
    """Whatever comes, only the documented faults are raised."""
    try:
        read(data)
    except (BadMailboxName, BadRequest, NullByte, LineTooLong):
        pass
