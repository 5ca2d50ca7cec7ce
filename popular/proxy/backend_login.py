"""The login dialogue with a backend, as a machine: what it says goes in, what to say and how it ended come out.

    POP3   greeting → USER → PASS → joined       XPOP, CXPOP   three lines → one reply → joined

What the backend sends behind its last reply already belongs to the client. A backend may be hostile: its lines are
bounded, and nothing that could end a line ever goes into a name or password.
"""

import re
from typing import NamedTuple, TypeAlias

from popular.protocol import xpop
from popular.protocol.lines import LONGEST_REPLY, LineBuffer, PeerFault
from popular.protocol.replies import code_of, is_ok
from popular.proxy.actions import SendBackend

_LINE_ENDS = re.compile(b"[\r\n\0]")


class Joined(NamedTuple):
    """Logged in: the backend's reply line (without its end), and what it sent behind it."""

    reply: bytes
    rest: bytes


FAILURES = (
    "connect",
    "timeout",
    "proxy_header",
    "tls",
    "greeting",
    "xclient",
    "user",
    "password",
    "mailbox",
    "closed",
)
"""How an attempt at a backend can fail, for the counter: the step at which it ended, `timeout` or `closed` at any."""


class Rejected(NamedTuple):
    """The backend answered `-ERR`. `step` completes "while ___"; `of_login` tells whether it was about the password.

    `word` is the step's word of FAILURES.
    """

    reply: bytes
    code: bytes | None
    step: str
    of_login: bool
    word: str


class Broken(NamedTuple):
    """The backend does not speak the protocol. `word` is the step's word of FAILURES."""

    reason: str
    word: str


Progress: TypeAlias = SendBackend | Joined | Rejected | Broken | None


class Pop3Login:
    """USER and PASS (RFC 1939 section 7)."""

    __slots__ = ("_lines", "_say", "_step")

    greets = True
    STEPS = ("reading the greeting", "sending the user name", "sending the password")
    WORDS = ("greeting", "user", "password")

    def __init__(self, user: bytes, password: bytes) -> None:
        """Raises ValueError if either holds CR, LF or NUL."""
        if _LINE_ENDS.search(user) or _LINE_ENDS.search(password):
            raise ValueError("a name or password with a line end in it")
        self._say = (SendBackend(b"USER " + user + b"\r\n"), SendBackend(b"PASS " + password + b"\r\n"))
        self._step = 0
        self._lines = LineBuffer(LONGEST_REPLY)

    def opening(self) -> bytes:
        """What to send at once: nothing, the backend greets."""
        return b""

    def hear(self, data: bytes) -> Progress:
        """What the backend sent."""
        self._lines.feed(data)
        try:
            line = self._lines.next_line()
        except PeerFault:
            return Broken(f"no proper reply while {self.STEPS[self._step]}", self.WORDS[self._step])
        if line is None:
            return None
        if not is_ok(line):
            return self._refused(line)
        step = self._step
        if step == len(self._say):
            return Joined(line, self._lines.take_rest())
        if self._lines.held:
            return Broken(f"more than one reply while {self.STEPS[step]}", self.WORDS[step])
        self._step = step + 1
        return self._say[step]

    def _refused(self, line: bytes) -> Progress:
        step, word = self.STEPS[self._step], self.WORDS[self._step]
        if not line.startswith(b"-ERR"):
            return Broken(f"no proper reply while {step}", word)
        return Rejected(line, code_of(line), step, self._step > 0, word)


class XpopLogin:
    """Mailbox, session id, flags (the manual's chapter on XPOP)."""

    __slots__ = ("_lines", "_opening")

    greets = False

    def __init__(self, mailbox: str, sid: str, flags: str) -> None:
        """Raises BadMailboxName."""
        self._opening = xpop.request(mailbox, sid, flags)
        self._lines = LineBuffer(LONGEST_REPLY)

    def opening(self) -> bytes:
        """The three lines, sent before the server says anything."""
        return self._opening

    def hear(self, data: bytes) -> Progress:
        """What the storage server sent."""
        self._lines.feed(data)
        try:
            line = self._lines.next_line()
        except PeerFault:
            return Broken("no proper reply while opening the mailbox", "mailbox")
        if line is None:
            return None
        if is_ok(line):
            return Joined(line, self._lines.take_rest())
        if line.startswith(b"-ERR"):
            return Rejected(line, code_of(line), "opening the mailbox", False, "mailbox")
        return Broken("no proper reply while opening the mailbox", "mailbox")


BackendLogin: TypeAlias = Pop3Login | XpopLogin
