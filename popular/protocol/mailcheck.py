"""MAILCHECK: is there mail? One UDP packet asks, one answers, as in POPular 1.5.

    *Mjoe.doe       is there mail in this mailbox?     +OK 0 no mail
    *L              what is the machine's load?        +OK 3.23
    joe.doe         the old form of *M                 -ERR text

Packets carry no number, so whoever asks uses a socket of its own, connected to the server, for each question. Of an
`+OK` to *M only the digit counts: the texts differ between versions.
"""

import enum
import math
import re
from typing import NamedTuple

from popular.protocol.lines import NullByte
from popular.protocol.xpop import LONGEST_NAME, check_mailbox_name

DEFAULT_PORT = 50110
"""The UDP port of pcheckd."""

LONGEST_QUESTION = LONGEST_NAME + 4
"""Octets of the longest packet that can be a question: `*M`, a name, CR LF."""

LONGEST_ANSWER = 512
"""Octets that are read of an answer."""


NULL_IN_ANSWER = "a NUL octet in the answer"
"""Such a packet is as if it had not come, like any input with one, and is told as that."""


class Mail(enum.IntEnum):
    """The answers to *M."""

    NONE = 0
    ONLY_READ = 1
    NEW = 2
    LOAD_TOO_HIGH = 3


NO_MAIL, LOAD_TOO_HIGH = Mail.NONE, Mail.LOAD_TOO_HIGH
# Names of the module, because a member of an enum is ten times as far away.

_MAILS = tuple(Mail)
"""By their codes."""
_ZERO = 48

_TEXTS = {
    Mail.NONE: "no mail",
    Mail.ONLY_READ: "mail",
    Mail.NEW: "new mail",
    Mail.LOAD_TOO_HIGH: "load too high",
}


class BadPacket(ValueError):
    """A packet that is not what it should be; says why."""


class NotAQuestion(BadPacket):
    """The packet is itself an answer. It must not be answered: two servers would go on for ever."""


class CheckFailed(Exception):
    """The server answered `-ERR`; its words, made printable."""


class MailCheckQuestion(NamedTuple):
    """What is asked: about this mailbox, or, if it is None, the machine's load."""

    mailbox: str | None


def question(mailbox: str | None) -> bytes:
    """The packet that asks about a mailbox, or for the load (None). Raises BadMailboxName."""
    if mailbox is None:
        return b"*L\r\n"
    check_mailbox_name(mailbox)
    return f"*M{mailbox}\r\n".encode()


def parse_question(packet: bytes) -> MailCheckQuestion:
    """Raises BadPacket, NotAQuestion, BadMailboxName, and NullByte, on which the server stays silent."""
    if b"\0" in packet:
        raise NullByte
    if re.match(rb"(\+OK|-ERR)(\s|$)", packet):
        raise NotAQuestion("an answer, not a question")
    if len(packet) > LONGEST_QUESTION:
        raise BadPacket(f"longer than {LONGEST_QUESTION} octets")
    text = packet.removesuffix(b"\n").removesuffix(b"\r").decode("ascii", "replace")
    if not text.startswith("*"):
        return _about(text)
    if text.startswith("*M"):
        return _about(text[2:])
    if text == "*L":
        return MailCheckQuestion(None)
    raise BadPacket("unknown question; known are *L and *M")


def _about(mailbox: str) -> MailCheckQuestion:
    check_mailbox_name(mailbox)
    return MailCheckQuestion(mailbox)


def mail_answer(mail: Mail) -> bytes:
    """The packet that answers *M."""
    return f"+OK {mail.value} {_TEXTS[mail]}\n".encode("ascii")


def load_answer(load: float) -> bytes:
    """The packet that answers *L with the 1-minute load."""
    return b"+OK %.2f\n" % load


def error_answer(text: str) -> bytes:
    """The packet that says why there is no answer. Keep it short: the asker's address may be forged."""
    return f"-ERR {text}\n".encode("ascii", "replace")


def parse_mail_answer(packet: bytes) -> Mail:
    """Raises BadPacket, CheckFailed."""
    if b"\0" in packet:
        raise BadPacket(NULL_IN_ANSWER)
    if not packet.startswith(b"+OK "):
        _text_of(packet)  # raises what it is instead
    code = packet[4] - _ZERO if len(packet) > 4 else -1
    if not 0 <= code < len(_MAILS) or (len(packet) > 5 and 0 <= packet[5] - _ZERO <= 9):
        raise BadPacket("the answer has no code from 0 to 3")
    return _MAILS[code]


def parse_load_answer(packet: bytes) -> float:
    """The 1-minute load, sent with or without a fraction. Raises BadPacket, CheckFailed."""
    if b"\0" in packet:
        raise BadPacket(NULL_IN_ANSWER)
    word = _text_of(packet).partition(" ")[0]
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", word):
        raise BadPacket("the answer has no load")
    load = float(word)
    assert math.isfinite(load)
    return load


def printable(packet: bytes) -> str:
    """A packet as text that is safe to show: its line end removed, other control octets and non-ASCII escaped."""
    text = packet.rstrip(b"\r\n").decode("ascii", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _text_of(packet: bytes) -> str:
    shown = printable(packet)
    if shown.startswith("+OK "):
        return shown[4:]
    if shown == "-ERR" or shown.startswith("-ERR "):
        raise CheckFailed(shown[5:] or "no reason given")
    raise BadPacket("neither +OK nor -ERR")
