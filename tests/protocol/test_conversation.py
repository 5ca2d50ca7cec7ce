"""Dialogues after the login, taken apart: whatever the pieces, each reply is its own command's."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.conversation import MOST_AHEAD, MOST_LINES, Conversation, Heard, ReplyLines, StatusLine, said

COMMANDS = b"STAT\r\nlist\r\nUIDL 2\r\nRETR 1\nTOP 1 0\r\nXTND\r\nCAPA\r\nQUIT\r\n"
MAIL = b"From: a\r\n\r\n..dot\r\n+OK no status\r\n"
REPLIES = (
    b"+OK logged in\r\n+OK 2 320\r\n+OK\r\n1 120\r\n2 200\r\n.\r\n+OK 2 uid2\r\n+OK 120 octets\r\n" + MAIL + b".\r\n"
    b"-ERR no TOP here\r\n-ERR what?\r\n+OK\r\nTOP\r\n.\r\n+OK bye\r\n"
)


def pieces(data: bytes, seed: int) -> list[bytes]:
    cuts = sorted(random.Random(seed).choices(range(len(data)), k=seed % 9))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(st.integers(0, 1000))
def test_each_reply_is_its_own_commands(seed: int) -> None:
    """All commands ahead, or one by one in any pieces."""
    dialogue = Conversation()
    commands = [one for piece in pieces(COMMANDS, seed) for one in dialogue.client_says(piece)]
    assert [one.keyword for one in commands] == ["STAT", "LIST", "UIDL", "RETR", "TOP", "XTND", "CAPA", "QUIT"]
    heard = [one for piece in pieces(REPLIES, seed + 1) for one in dialogue.server_says(piece)]
    assert [one.to.keyword for one in heard if isinstance(one, StatusLine)] == ["", *(one.keyword for one in commands)]
    lines = {one.to.keyword: one for one in heard if isinstance(one, ReplyLines)}
    assert set(lines) == {"LIST", "RETR", "CAPA"}
    assert lines["LIST"].shown == [b"1 120", b"2 200"]
    assert (lines["RETR"].shown, lines["RETR"].count, lines["RETR"].octets) == ([], 4, len(MAIL))
    assert not dialogue.lost
    assert not dialogue.open


@pytest.mark.parametrize("nonsense", [b"* OK\r\n", b"+OK\r\n+OK\r\n+OK\r\n", b"\r\n", b"x" * 70_000])
def test_what_makes_no_sense_is_left_alone(nonsense: bytes) -> None:
    """From there on nothing is made of it: a reply to nobody, or what no reply begins with."""
    dialogue = Conversation()
    dialogue.client_says(b"STAT\r\n")
    dialogue.server_says(nonsense)
    assert dialogue.lost
    assert dialogue.server_says(b"+OK 1 1\r\n") == []
    assert dialogue.client_says(b"STAT\r\n") == []


def test_a_client_is_so_far_ahead_and_no_further() -> None:
    """Whoever sends line ends only, and hears nothing, makes no dialogue of it: nothing of it is held, and nothing that
    is answered to it is looked at.
    """
    dialogue = Conversation()
    dialogue.server_says(b"+OK\r\n")
    assert len(dialogue.client_says(b"\n" * MOST_AHEAD)) == MOST_AHEAD
    assert not dialogue.lost
    assert len(dialogue.server_says(b"-ERR\r\n" * MOST_AHEAD)) == MOST_AHEAD
    dialogue.client_says(b"NOOP\r\n" * (MOST_AHEAD + 1) + b"NO")
    assert dialogue.lost
    assert not dialogue.open
    assert dialogue.server_says(b"+OK\r\n" * 3) == []


def test_a_listing_has_an_end() -> None:
    """Its lines are counted, and so many of them kept."""
    dialogue = Conversation()
    dialogue.client_says(b"UIDL\r\n")
    heard: list[Heard] = dialogue.server_says(b"+OK\r\n+OK\r\n" + b"1 x\r\n" * 1000 + b".\r\n")
    lines = heard[-1]
    assert isinstance(lines, ReplyLines)
    assert (lines.count, lines.octets, len(lines.shown)) == (1000, 5000, MOST_LINES)


@pytest.mark.parametrize(
    ("line", "keyword", "argument"),
    [
        (b"user joe x", "USER", b"joe x"),
        (b"c2VjcmV0IQ==", "", b""),
        (b"PASS", "PASS", b""),
        (b"\xff\xfe x", "", b"x"),
        (b"", "", b""),
    ],
)
def test_a_command(line: bytes, keyword: str, argument: bytes) -> None:
    """What cannot be a keyword is none."""
    one = said(line)
    assert (one.keyword, one.argument, one.octets) == (keyword, argument, len(line))
