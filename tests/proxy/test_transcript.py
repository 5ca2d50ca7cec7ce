"""Transcripts: what is said is in them, and no password, token or mail, whatever a side says."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.conversation import MOST_AHEAD
from popular.proxy.session.tracing import transcript
from popular.proxy.session.tracing.transcript import PassedOn

CANARY = b"canary-in-the-mine"
DIGEST = b"0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"USER joe@example.org", "USER joe@example.org"),
        (b"user \xffjoe\x07", "USER \N{REPLACEMENT CHARACTER}joe\\x07"),
        (b"PASS %s" % CANARY, "PASS ****"),
        (b"pass", "PASS ****"),
        (b"APOP joe %s" % DIGEST, "APOP joe ****"),
        (b"APOP %s" % DIGEST, "APOP **** (32 octets)"),
        (b"APOP joe\t%s" % DIGEST, "APOP **** (36 octets)"),
        (b"APOP %s joe" % DIGEST, "APOP **** (36 octets)"),
        (b"APOP joe %s" % CANARY, "APOP **** (22 octets)"),
        (b"AUTH", "AUTH"),
        (b"AUTH PLAIN", "AUTH PLAIN"),
        (b"AUTH PLAIN %s" % CANARY, "AUTH PLAIN ****"),
        (b"auth login %s" % CANARY, "AUTH login ****"),
        (b"AUTH XOAUTH2 %s" % CANARY, "AUTH XOAUTH2 **** (18 octets)"),
        (b"AUTH c2Vj+cmV0==", "AUTH **** (11 octets)"),
        (b"STAT", "STAT"),
        (b"RETR 12", "RETR 12"),
        (b"TOP 1 0", "TOP 1 0"),
        (b"LANG de", "LANG de"),
        (b"LIST %s" % CANARY, "LIST **** (18 octets)"),
        (b"STLS %s" % CANARY, "STLS **** (18 octets)"),
        (b"XTND %s" % CANARY, "XTND **** (18 octets)"),
        (CANARY, "**** (18 octets)"),
        (b"PASSWORD %s" % CANARY, "**** (27 octets)"),
        (b"", "**** (0 octets)"),
    ],
)
def test_a_command(line: bytes, shown: str) -> None:
    """What is not known to be open is not shown, only how long it is."""
    assert list(transcript.command(line)) == [shown]


def test_a_response_is_never_shown() -> None:
    """But for the one that gives up; nor its size, where that is a password's."""
    assert list(transcript.response(b64encode(CANARY), "CRAM-MD5")) == ["**** (24 octets)"]
    assert list(transcript.response(b64encode(CANARY), "LOGIN")) == ["****"]
    assert list(transcript.response(b"*", "LOGIN")) == ["*"]


def test_replies_of_ours() -> None:
    """All of them, but for challenges."""
    said = b"+OK hello <1.2@x>\r\n+ \r\n+ %s\r\n-ERR [AUTH] no\r\n" % CANARY
    assert list(transcript.ours(said)) == ["+OK hello <1.2@x>", "+ ", "+ **** (18 octets)", "-ERR [AUTH] no"]


def test_the_login_at_a_backend() -> None:
    """The name is shown, the secret is not, nor what a backend says that has heard it."""
    ahead = b"USER joe*boss\r\nPASS %s\r\n" % CANARY
    assert list(transcript.to_backend(ahead)) == ["USER joe*boss", "PASS ****"]
    assert list(transcript.to_backend(b"AUTH PLAIN %s\r\n" % CANARY)) == ["AUTH PLAIN ****"]
    assert list(transcript.to_backend(CANARY + b"\r\n")) == ["****"]
    assert list(transcript.to_silent_backend(b"X\r\nY\r\n")) == ["**** (1 octets)", "**** (1 octets)"]
    assert list(transcript.from_backend(b"+OK ready\r\n")) == ["+OK ready"]
    refusal = b"-ERR [AUTH] not with %s\r\n" % CANARY
    assert list(transcript.from_told_backend(refusal)) == ["-ERR [AUTH] (39 octets)"]


MAIL = b"From: ann\r\n\r\n%s\r\n+OK %s\r\n" % (CANARY, CANARY)


def test_what_is_passed_on() -> None:
    """Each command with its reply; of a mail only how large it is."""
    passed = PassedOn()
    shown = passed.backend_says(b"+OK welcome, %s\r\n" % CANARY)
    shown += passed.client_says(b"STAT\r\nUIDL\r\nRETR 1\r\nXTND %s\r\nQUIT\r\n" % CANARY)
    mail = b"+OK %s\r\n%s.\r\n" % (CANARY, MAIL)
    shown += passed.backend_says(b"+OK 1 60\r\n+OK\r\n1 uid1\r\n.\r\n" + mail + b"-ERR %s?\r\n+OK bye\r\n" % CANARY)
    assert shown + passed.rest() == [
        ("B>C", "+OK (31 octets)"),
        ("C>B", "STAT"),
        ("C>B", "UIDL"),
        ("C>B", "RETR 1"),
        ("C>B", "XTND **** (18 octets)"),
        ("C>B", "QUIT"),
        ("B>C", "+OK 1 60"),
        ("B>C", "+OK"),
        ("B>C", "1 uid1"),
        ("B>C", "."),
        ("B>C", "+OK (22 octets)"),
        ("B>C", f"(4 lines, {len(MAIL)} octets) ."),
        ("B>C", "-ERR (24 octets)"),
        ("B>C", "+OK bye"),
    ]


def test_what_is_cut_off_is_told() -> None:
    """How far a mail had come, and what nobody understood."""
    passed = PassedOn()
    passed.client_says(b"RETR 1\r\n")
    passed.backend_says(b"+OK\r\n+OK\r\n" + MAIL)
    assert passed.rest() == [("B>C", f"(4 lines, {len(MAIL)} octets) so far, and no end")]
    passed = PassedOn()
    shown = passed.backend_says(b"+OK\r\n* nonsense\r\n")
    assert shown[-1] == ("--", "not understood from here on: nothing more of it is shown")
    assert passed.backend_says(MAIL) + passed.client_says(b"PASS x\r\n") == []
    assert passed.rest() == [("--", f"({len(MAIL) + 8:,} octets) that were not understood")]


@pytest.mark.parametrize("listing", [b"CAPA", b"LANG", b"LIST", b"UIDL"])
@pytest.mark.parametrize(
    "said",
    [
        b"-ERR no such command\r\n+OK\r\n%s.\r\n",  # NOOP and the listing are one line to it
        b"+OK\r\n+OK no list here\r\n+OK\r\n%s.\r\n",  # a listing without its lines
    ],
)
def test_a_backend_that_counts_commands_otherwise(listing: bytes, said: bytes) -> None:
    """A mail that seems to be a listing is none."""
    passed = PassedOn()
    passed.backend_says(b"+OK\r\n")
    passed.client_says(b"NOOP\n%s\r\nRETR 1\r\n" % listing)
    shown = passed.backend_says(said % MAIL)
    assert CANARY.decode() not in str(shown + passed.rest())


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        (b"CAPA", b"TOP\r\nSASL PLAIN LOGIN\r\nIMPLEMENTATION x: (y)\r\nX-Z\r\n"),
        (b"LANG", b"de Deutsch: ja\r\ni-default Default\r\n* any\r\n"),
        (b"LIST", b" 1 120\r\n2 7\r\n"),
        (b"UIDL", b"1 <a:b>\r\n"),
        (b"UIDL", b""),
    ],
)
def test_a_listing(command: bytes, lines: bytes) -> None:
    """All of its lines are shown."""
    passed = PassedOn()
    passed.client_says(command + b"\r\n")
    shown = passed.backend_says(b"+OK\r\n+OK\r\n%s.\r\n" % lines)
    assert [text for _leg, text in shown[2:]] == [*lines.decode().split("\r\n")[:-1], "."]


def test_a_client_that_is_too_far_ahead_is_told_once() -> None:
    """What it says and hears from there on is only counted."""
    passed = PassedOn()
    passed.backend_says(b"+OK\r\n")
    shown = passed.client_says(b"\n" * (MOST_AHEAD + 1))
    assert shown[-1] == ("--", "not understood from here on: nothing more of it is shown")
    assert passed.client_says(b"PASS x\r\n") + passed.backend_says(b"+OK\r\n") == []
    assert passed.rest() == [("--", "(13 octets) that were not understood")]


@given(st.lists(st.sampled_from([b"RETR 1", b"PASS " + CANARY, CANARY, b"AUTH " + CANARY, b"XTND x", b"TOP 1 1"])))
def test_no_mail_and_no_secret_whatever_is_said(said: list[bytes]) -> None:
    """A backend that repeats both wherever it can: in the status, in the mail, in the reply to what is no command."""
    passed = PassedOn()
    shown = passed.backend_says(b"+OK %s\r\n" % CANARY)
    for line in said:
        shown += passed.client_says(line + b"\r\n")
        shown += passed.backend_says(b"+OK %s\r\n" % CANARY)
        if line.startswith((b"RETR", b"TOP")):
            shown += passed.backend_says(MAIL + b".\r\n")
    assert CANARY.decode() not in str(shown + passed.rest())
