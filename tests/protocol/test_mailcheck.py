"""MAILCHECK packets: what is asked, what is answered, what is neither."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.lines import NullByte
from popular.protocol.mailcheck import (
    LONGEST_QUESTION,
    BadPacket,
    CheckFailed,
    Mail,
    MailCheckQuestion,
    NotAQuestion,
    error_answer,
    load_answer,
    mail_answer,
    parse_load_answer,
    parse_mail_answer,
    parse_question,
    printable,
    question,
)
from popular.protocol.xpop import BadMailboxName


@pytest.mark.parametrize(
    ("packet", "mailbox"),
    [
        (b"*L", None),
        (b"*L\n", None),
        (b"*L\r\n", None),
        (b"*M3/2d/joe.doe", "3/2d/joe.doe"),
        (b"*Mjoe\n", "joe"),
        (b"*Mjoe\r", "joe"),
        (b"*Mjoe\r\n", "joe"),
        (b"joe", "joe"),
        (b"joe\n", "joe"),
        (b"joe\r\n", "joe"),
        (b"+OKay", "+OKay"),
        (b"*M" + b"x" * 255 + b"\r\n", "x" * 255),
    ],
)
def test_questions(packet: bytes, mailbox: str | None) -> None:
    """Both questions, with any line end, and the old form."""
    assert parse_question(packet) == MailCheckQuestion(mailbox)


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (b"", BadMailboxName),
        (b"\r\n", BadMailboxName),
        (b"*", BadPacket),
        (b"*X", BadPacket),
        (b"*Lx", BadPacket),
        (b"*m", BadPacket),
        (b"*M", BadMailboxName),
        (b"*M/etc/passwd", BadMailboxName),
        (b"*M../joe", BadMailboxName),
        (b"*Mjoe\n*Mann", BadMailboxName),
        (b"*M\xff", BadMailboxName),
        (b"*M" + b"x" * 256, BadMailboxName),
        (b"*M" + b"x" * LONGEST_QUESTION, BadPacket),
        (b"*Mjoe\0", NullByte),
        (b"+OK", NotAQuestion),
        (b"+OK 0 no mail\n", NotAQuestion),
        (b"-ERR\n", NotAQuestion),
        (b"-ERR " + b"x" * 400, NotAQuestion),
    ],
)
def test_bad_questions(packet: bytes, fault: type[Exception]) -> None:
    """Everything else is refused; an answer is told apart, because it must never be answered."""
    with pytest.raises(fault) as caught:
        parse_question(packet)
    assert type(caught.value) is fault


@pytest.mark.parametrize(
    ("packet", "mail"),
    [
        (b"+OK 0 no mails\n", Mail.NONE),
        (b"+OK 0", Mail.NONE),
        (b"+OK 1 mail\n", Mail.ONLY_READ),
        (b"+OK 2 whatever\r\n", Mail.NEW),
        (b"+OK 3 load too high\n", Mail.LOAD_TOO_HIGH),
    ],
)
def test_only_the_digit_counts(packet: bytes, mail: Mail) -> None:
    """The texts differ between versions of the server."""
    assert parse_mail_answer(packet) is mail


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"+OK",
        b"+OK ",
        b"+OK x",
        b"+OK 4 x",
        b"+OK 10",
        b"+OK -1",
        b"+ok 0",
        b"*Mjoe",
        b"\0",
        b"+OK 0\0",
        b"+OK 0 no\0mail\n",
    ],
)
def test_bad_answers(packet: bytes) -> None:
    """A packet without a code is no answer."""
    with pytest.raises(BadPacket):
        parse_mail_answer(packet)


def test_an_error_answer_carries_the_servers_words_made_printable() -> None:
    """What the server says can be logged as it stands."""
    with pytest.raises(CheckFailed, match=r"^no \\x1b\[31m such mailbox$"):
        parse_mail_answer(b"-ERR no \x1b[31m such mailbox\n")
    with pytest.raises(CheckFailed, match="no reason given"):
        parse_load_answer(b"-ERR\n")


@pytest.mark.parametrize(("packet", "load"), [(b"+OK 3.23\n", 3.23), (b"+OK 3\n", 3.0), (b"+OK 0.00 fine\n", 0.0)])
def test_load_with_and_without_a_fraction(packet: bytes, load: float) -> None:
    """Both forms that the manual shows are understood."""
    assert parse_load_answer(packet) == load


@pytest.mark.parametrize("packet", [b"+OK nan", b"+OK inf", b"+OK -1", b"+OK 1e9", b"+OK", b"+OK x", b"x"])
def test_bad_loads(packet: bytes) -> None:
    """Only plain decimal numbers are loads."""
    with pytest.raises(BadPacket):
        parse_load_answer(packet)


@given(st.sampled_from(Mail))
def test_mail_answers_come_back(mail: Mail) -> None:
    """What one side writes the other reads."""
    assert mail_answer(mail).endswith(b"\n")
    assert parse_mail_answer(mail_answer(mail)) is mail


@given(st.floats(0, 99999))
def test_load_answers_come_back(load: float) -> None:
    """Two digits of the load survive."""
    assert parse_load_answer(load_answer(load)) == pytest.approx(load, abs=0.0051)


@given(st.text("abc./-", min_size=1, max_size=20))
def test_questions_come_back(mailbox: str) -> None:
    """Every question that can be asked is understood."""
    try:
        packet = question(mailbox)
    except BadMailboxName:
        return
    assert parse_question(packet) == MailCheckQuestion(mailbox)


def test_error_answers_come_back() -> None:
    """The server's words arrive."""
    with pytest.raises(CheckFailed, match=r"^go away$"):
        parse_mail_answer(error_answer("go away"))


@given(st.binary(max_size=600))
def test_no_packet_raises_anything_else(packet: bytes) -> None:
    """Whatever a hostile network sends, only the documented faults are raised, and what is shown of it is printable."""
    with contextlib.suppress(BadPacket, BadMailboxName, NullByte):
        parse_question(packet)
    with contextlib.suppress(BadPacket, CheckFailed):
        parse_mail_answer(packet)
    with contextlib.suppress(BadPacket, CheckFailed):
        parse_load_answer(packet)
    assert printable(packet).isprintable()
