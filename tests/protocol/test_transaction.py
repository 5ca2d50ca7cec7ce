"""The TRANSACTION state, as scripts in RFC 1939's notation."""

import sys
import time
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.commands import VERBS, State
from popular.protocol.transaction import (
    AT_ONCE,
    LINES_OF_A_PIECE,
    WELCOME,
    Content,
    Response,
    Transaction,
    quit_reply,
)

CAPABILITIES = ("TOP", "UIDL", "USER")
LANGUAGES = {"de": "de Deutsch"}


class Mail(NamedTuple):
    size: int
    uid: str


THREE = (Mail(120, "a1"), Mail(200, "b2"), Mail(44, "c3"))


def maildrop(*messages: Mail) -> Transaction:
    return Transaction(messages, CAPABILITIES)


def whole(answer: Response) -> bytes:
    """The answer with all its pieces."""
    return answer.reply + b"".join(answer.more or ())


def play(transaction: Transaction, script: str) -> None:
    """Plays `C:`/`S:` lines: each reply must be exactly the S lines that stand after its command."""
    exchanges: list[tuple[str, list[str]]] = []
    for line in script.strip().splitlines():
        who, _, text = line.strip().partition(": ")
        if who == "C":
            exchanges.append((text, []))
        else:
            exchanges[-1][1].append(text)
    assert exchanges
    for command, expected in exchanges:
        reply = transaction.command(command.encode()).reply.decode()
        assert reply == "".join(f"{line}\r\n" for line in expected), command


@given(st.lists(st.sampled_from([*AT_ONCE, b"CAPA", b"LANG", b"RETR 1", b"DELE 1", b"TOP 1 1", b"list 1", b"odd"])))
def test_what_an_empty_maildrop_says_at_once_is_what_it_always_says(lines: list[bytes]) -> None:
    """Whatever it was asked before, and whatever it offers: who answers by the table alone errs never."""
    drop = Transaction((), CAPABILITIES, LANGUAGES)
    assert drop.welcome() == WELCOME
    for line in lines:
        reply = drop.command(line).reply
        assert reply == AT_ONCE.get(line, reply)
    for line, reply in AT_ONCE.items():
        assert drop.command(line).reply == reply


def test_empty_maildrop() -> None:
    """The simulated mailbox answers as RFC 1939 asks of a maildrop without messages."""
    play(
        maildrop(),
        """
        C: STAT
        S: +OK 0 0
        C: LIST
        S: +OK 0 messages (0 octets)
        S: .
        C: UIDL
        S: +OK 0 messages (0 octets)
        S: .
        C: RETR 1
        S: -ERR no such message, the highest number is 0
        C: RSET
        S: +OK 0 messages (0 octets)
        C: NOOP
        S: +OK
        C: QUIT
        S: +OK bye
        """,
    )


def test_whole_session() -> None:
    """Deleted messages leave STAT, LIST and UIDL, keep their numbers, and RSET brings them back."""
    transaction = maildrop(*THREE)
    assert transaction.welcome() == b"+OK 3 messages (364 octets)\r\n"
    play(
        transaction,
        """
        C: STAT
        S: +OK 3 364
        C: LIST
        S: +OK 3 messages (364 octets)
        S: 1 120
        S: 2 200
        S: 3 44
        S: .
        C: list 2
        S: +OK 2 200
        C: UIDL 3
        S: +OK 3 c3
        C: DELE 2
        S: +OK message 2 deleted
        C: DELE 2
        S: -ERR message 2 is deleted
        C: STAT
        S: +OK 2 164
        C: UIDL
        S: +OK 2 messages (164 octets)
        S: 1 a1
        S: 3 c3
        S: .
        C: RETR 2
        S: -ERR message 2 is deleted
        C: RSET
        S: +OK 3 messages (364 octets)
        C: LIST 2
        S: +OK 2 200
        """,
    )
    assert transaction.deleted == []


def test_capa_lists_the_capabilities_given() -> None:
    """CAPA answers with the list it was given, one a line."""
    play(
        maildrop(),
        """
        C: CAPA
        S: +OK capability list follows
        S: TOP
        S: UIDL
        S: USER
        S: .
        """,
    )


def test_a_capability_that_begins_with_a_dot_is_stuffed() -> None:
    """A listing cannot be ended early by one of its lines."""
    assert Transaction((), (".",)).command(b"CAPA").reply.endswith(b"\r\n..\r\n.\r\n")


def test_retr_and_top_name_their_content() -> None:
    """RETR asks for the whole message, TOP for its header and some lines."""
    transaction = maildrop(*THREE)
    assert transaction.command(b"RETR 2") == Response(b"+OK 200 octets\r\n", Content(2, None))
    top = transaction.command(b"TOP 3 10")
    assert top.reply.startswith(b"+OK")
    assert top.content == Content(3, 10)
    assert transaction.command(b"TOP 3 0").content == Content(3, 0)


def test_only_what_was_sent_whole_counts_as_retrieved() -> None:
    """UPDATE marks as read what RETR sent and nobody deleted; TOP and a failed open do not count."""
    transaction = maildrop(*THREE, Mail(1, "d4"))
    for line in (b"RETR 1", b"TOP 2 1", b"RETR 3", b"DELE 3", b"RETR 4"):
        assert transaction.command(line).reply.startswith(b"+OK")
    assert transaction.lost(4) == b"-ERR message 4 is no longer there\r\n"
    assert transaction.command(b"QUIT") == Response(b"", None, True)
    assert transaction.retrieved == [1]
    assert transaction.deleted == [3]


def test_rset_leaves_retrieved_messages_retrieved() -> None:
    """RSET takes back deletions only."""
    transaction = maildrop(*THREE)
    for line in (b"RETR 1", b"DELE 1", b"RSET"):
        transaction.command(line)
    assert (transaction.deleted, transaction.retrieved) == ([], [1])


def test_quit_with_nothing_to_do_is_answered_at_once() -> None:
    """A session that changed nothing needs no UPDATE."""
    transaction = maildrop(*THREE)
    transaction.command(b"LIST")
    assert transaction.command(b"QUIT") == Response(b"+OK bye\r\n", None, True)


def test_quit_reply_tells_of_failed_deletions() -> None:
    """RFC 1939 section 6: -ERR when some deleted messages were not removed."""
    assert quit_reply(0).startswith(b"+OK")
    assert quit_reply(2).startswith(b"-ERR 2 ")


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        " STAT",
        "FOO",
        "APOP joe c4c9334bac560ecc979e58001b3e22fb",
        "STAT 1",
        "LIST 0",
        "LIST -1",
        "LIST +1",
        "LIST 1x",
        "LIST 1.0",
        "LIST 4",
        "LIST 99999999999999999999999999",
        "LIST ²",
        "LIST 1 2",
        "UIDL 0",
        "UIDL 1 2",
        "RETR",
        "RETR 0",
        "RETR 1 2",
        "TOP",
        "TOP 1",
        "TOP 1 -1",
        "TOP 1 x",
        "TOP 0 1",
        "TOP 1 1 1",
        "DELE",
        "DELE 0",
        "DELE all",
        "NOOP 1",
        "RSET 1",
        "CAPA 1",
        "QUIT now",
    ],
)
def test_a_wrong_command_is_refused_and_changes_nothing(line: str) -> None:
    """Unknown words, wrong counts and bad numbers get -ERR and leave the maildrop as it was."""
    transaction = maildrop(*THREE)
    answer = transaction.command(line.encode())
    assert answer.reply.startswith(b"-ERR ")
    assert answer.reply.endswith(b"\r\n")
    assert answer.content is None
    assert not answer.over
    assert transaction.command(b"STAT").reply == b"+OK 3 364\r\n"


@pytest.mark.parametrize("keyword", [k for k, verb in VERBS.items() if State.TRANSACTION not in verb.states])
def test_commands_of_the_other_state_are_told_apart(keyword: str) -> None:
    """USER, PASS and STLS after the login are refused with the reason."""
    reply = maildrop().command(f"{keyword} x".encode()).reply
    assert reply == f"-ERR {keyword} is not for this state: you are logged in\r\n".encode()


@pytest.mark.parametrize("keyword", [k for k, verb in VERBS.items() if State.TRANSACTION in verb.states])
def test_every_command_of_the_state_has_its_handler(keyword: str) -> None:
    """A row of the table that says TRANSACTION is answered with +OK when its arguments are right."""
    words = [keyword, *["1"] * VERBS[keyword].fewest]
    answer = Transaction(THREE, CAPABILITIES, LANGUAGES).command(" ".join(words).encode())
    assert answer.reply.startswith(b"+OK")


def test_lang() -> None:
    """The languages that there are; where there is none the command is none of this server's."""
    speaking, mute = Transaction((), CAPABILITIES, LANGUAGES), maildrop()
    assert speaking.command(b"LANG").reply == b"+OK language listing follows\r\nde Deutsch\r\n.\r\n"
    assert speaking.command(b"LANG de-AT").reply == b"+OK de Deutsch\r\n"
    assert speaking.command(b"LANG fr").reply == b"-ERR this language is not offered, but de\r\n"
    assert mute.command(b"LANG").reply == mute.command(b"LANG de").reply == b"-ERR LANG is not offered here\r\n"
    assert b"LANG" not in mute.command(b"XYZZY").reply


@given(st.lists(st.binary(max_size=255), max_size=20))
def test_nothing_a_client_sends_raises(lines: list[bytes]) -> None:
    """Whatever comes, there is one reply, it ends with CRLF, and its first line has at most 512 octets."""
    transaction = maildrop(*THREE)
    for line in lines:
        answer = transaction.command(line)
        if answer.over:
            break
        first, end, _ = answer.reply.partition(b"\r\n")
        assert first.startswith((b"+OK", b"-ERR"))
        assert end
        assert len(first) <= 510


@given(st.lists(st.sampled_from([f"{verb} {n}" for verb in ("DELE", "RETR", "LIST") for n in range(5)] + ["RSET"])))
def test_stat_always_agrees_with_list(lines: list[str]) -> None:
    """After any commands STAT is the sum of what LIST shows, and never counts a deleted message."""
    transaction = maildrop(*THREE)
    for line in lines:
        transaction.command(line.encode())
    listed = [line.split() for line in transaction.command(b"LIST").reply.decode().split("\r\n")[1:-2]]
    sizes = [int(size) for _, size in listed]
    assert transaction.command(b"STAT").reply.decode() == f"+OK {len(sizes)} {sum(sizes)}\r\n"
    assert not {int(number) for number, _ in listed} & set(transaction.deleted)


def test_an_empty_session_is_small() -> None:
    """A simulated mailbox holds a few hundred octets, and no dict."""
    transaction = Transaction((), CAPABILITIES)
    assert not hasattr(transaction, "__dict__")
    owned = (transaction, transaction._marks)
    assert sum(map(sys.getsizeof, owned)) < 300


def test_listing_100_000_messages_is_not_quadratic() -> None:
    """Ten times the messages take about ten times as long; a quadratic listing would take a hundred times."""

    def seconds(count: int) -> float:
        transaction = Transaction([Mail(1000, f"uid{n}") for n in range(count)], CAPABILITIES)
        for number in range(1, count + 1, 2):
            transaction.command(b"DELE %d" % number)
        best = 1e9
        for _ in range(3):
            begun = time.thread_time()
            assert whole(transaction.command(b"UIDL")).count(b"\r\n") == count // 2 + 2
            best = min(best, time.thread_time() - begun)
        return best

    assert seconds(100_000) < 40 * seconds(10_000)


@given(st.integers(0, 3 * LINES_OF_A_PIECE), st.randoms(use_true_random=False))
def test_a_long_listing_comes_in_pieces(count: int, random: Random) -> None:
    """The pieces together are the whole listing; none has too many lines, and only a long listing has several."""
    transaction = Transaction([Mail(number, f"u{number}") for number in range(1, count + 1)], CAPABILITIES)
    deleted = set(random.sample(range(1, count + 1), random.randint(0, count)))
    for number in deleted:
        transaction.command(b"DELE %d" % number)
    for verb, shown in ((b"LIST", "%d %d\r\n"), (b"UIDL", "%d u%d\r\n")):
        answer = transaction.command(verb)
        pieces = [answer.reply, *(answer.more or ())]
        assert (len(pieces) > 1) == (count > LINES_OF_A_PIECE)
        assert all(0 < piece.count(b"\n") <= LINES_OF_A_PIECE + 2 for piece in pieces)
        expected = "".join(shown % (number, number) for number in range(1, count + 1) if number not in deleted)
        assert b"".join(pieces).partition(b"\r\n")[2].decode() == expected + ".\r\n"


def test_rset_of_a_large_maildrop_sums_nothing_up() -> None:
    """Sizes are read once, when the maildrop opens: RSET costs a large maildrop no look at each message."""
    looks = []

    class Watched(NamedTuple):
        uid: str = "u"

        @property
        def size(self) -> int:
            looks.append(1)
            return 10

    transaction = Transaction([Watched()] * 1000, CAPABILITIES)
    transaction.command(b"DELE 7")
    before = len(looks)
    assert transaction.command(b"RSET").reply == b"+OK 1000 messages (10000 octets)\r\n"
    assert len(looks) == before
