"""XPOP: how a proxy opens a mailbox on a storage server without a password, as in POPular 1.5.

Right after the connect the proxy sends three lines: the mailbox, the session id, and flag letters. The server answers
with one POP3 reply line; from then on it is plain POP3 in the TRANSACTION state. The rule for mailbox names lives here
too, because whoever takes a name from outside (XPOP, MAILCHECK, `pdeliver`) must check it.
"""

import re
from typing import NamedTuple

from popular.protocol.lines import LineBuffer

LONGEST_NAME = 255
"""Octets of a mailbox name."""

LONGEST_LINE = LONGEST_NAME + 2
"""Octets of a request line with its CRLF: the limit of the buffer that a request is read from."""

LONGEST_SID = 128
"""Octets of a session id."""

MASTER = "M"
"""The flag of a master session: mail that is read stays new, mail that is deleted really goes."""

_FLAGS = re.compile(r"[A-Za-z]{0,52}")


class BadMailboxName(ValueError):
    """Says what is wrong with a mailbox name."""


class BadRequest(ValueError):
    """Says what is wrong with an XPOP request other than its mailbox name."""


def check_mailbox_name(name: str) -> None:
    """Raises BadMailboxName unless `name` is a path below the mail root.

    Letters, digits and `. _ - + / = %`; no `..` anywhere, no `/` in front, at most 255 octets. Also refused are an
    empty name, and empty or `.` path steps, which would give one mailbox several names.
    """
    if not name:
        raise BadMailboxName("the mailbox name is empty")
    if len(name) > LONGEST_NAME:
        raise BadMailboxName(f"the mailbox name is longer than {LONGEST_NAME} characters")
    for letter in name:  # in the compiled form a tenth of what a regular expression costs
        if not ("a" <= letter <= "z" or "A" <= letter <= "Z" or "0" <= letter <= "9" or letter in "._-+/=%"):
            raise BadMailboxName(f"a mailbox name has only letters, digits and ._-+/=%, not {letter!a}")
    if name.startswith("/"):
        raise BadMailboxName("a mailbox name does not begin with /")
    if ".." in name:
        raise BadMailboxName("a mailbox name does not contain ..")
    for step in name.split("/"):
        if step in ("", "."):
            raise BadMailboxName("a mailbox name has no empty and no . steps between its /")


class Request(NamedTuple):
    """What a proxy asks of a storage server. `sid` is `-` where it named none; unknown flags mean nothing."""

    mailbox: str
    sid: str
    flags: str

    @property
    def is_master(self) -> bool:
        return MASTER in self.flags


def request(mailbox: str, sid: str, flags: str = "") -> bytes:
    """The three lines. Raises BadMailboxName, BadRequest: nothing that could be taken for a fourth line ever leaves."""
    check_mailbox_name(mailbox)
    check_sid(sid)
    _check_flags(flags)
    return f"{mailbox}\r\n{sid}\r\n{flags}\r\n".encode("ascii")


def check_sid(sid: str) -> None:
    """Raises BadRequest unless `sid` can stand in a log line as it is: 1 to 128 printable characters, no blank."""
    if not 0 < len(sid) <= LONGEST_SID or not sid.isascii() or not sid.isprintable() or " " in sid:
        raise BadRequest(f"a session id has 1-{LONGEST_SID} printable characters and no blank")


def _check_flags(flags: str) -> None:
    if flags and not _FLAGS.fullmatch(flags):
        raise BadRequest("flags are letters")


class RequestReader:
    """The server's side: takes the three lines out of the connection's buffer as they come."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    @property
    def mailbox(self) -> bytes:
        """The first line as it came; empty until then."""
        return self._lines[0] if self._lines else b""

    def take(self, buffer: LineBuffer) -> Request | None:
        """The request, once its three lines are there; until then None. What stands after it stays in the buffer.

        The buffer's limit should be LONGEST_LINE. Raises PeerFault (from the buffer), BadMailboxName, BadRequest, each
        as soon as the faulty line is there.
        """
        while len(self._lines) < len(_CHECKS):
            line = buffer.next_line()
            if line is None:
                return None
            self._lines.append(line)
            _CHECKS[len(self._lines) - 1](_text(line))
        mailbox, sid, flags = map(_text, self._lines)
        return Request(mailbox, sid or "-", flags)


def _text(line: bytes) -> str:
    """Octets beyond ASCII become characters that every check refuses."""
    return line.decode("ascii", "replace")


_CHECKS = (check_mailbox_name, lambda sid: check_sid(sid or "-"), _check_flags)
"""One for each line of a request."""
