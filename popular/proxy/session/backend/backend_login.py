"""The login dialogue with a backend, as a machine: what it says goes in, what to say and how it ended come out.

    POP3          greeting → (STLS → TLS →) (XCLIENT →) (UTF8 →) (LANG →) USER → PASS → joined; or AUTH, see
                  backend_auth.py
                  … PASS in one piece with USER, ahead of the reply to it, where the backend can do with that
    XPOP, CXPOP   three lines → one reply → joined

What the backend sends after its last reply already belongs to the client; but not in XPOP, where the first reply may be
the greeting of a POP3 server. A backend may be hostile: its lines are bounded, and nothing that could end a line ever
goes into a name or password.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from popular.protocol.lines import LONGEST_COMMAND, LONGEST_REPLY, LineBuffer, PeerFault, is_ok
from popular.protocol.replies import code_of, known_code
from popular.protocol.xpop import request
from popular.proxy.session.backend.improper import fault, said
from supervisor.octets import find, joined, namedtuple_of

TLS_STEP, AUTHENTICATING = "starting TLS", "authenticating"
_LF, _CR, _NUL = 10, 13, 0


class StartTls(NamedTuple):
    """TLS is to begin now; `tls_up` goes on."""


START_TLS: Final = StartTls()


class LoggedIn(NamedTuple):
    """Logged in: the backend's reply line (without its end), and what it sent after it."""

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
    "auth",
    "mailbox",
    "closed",
    "maxwaiting",
    "maxsessions",
    "down",
    "refused",
    "everybody",
)
"""How an attempt at a backend can fail, for the counter: the step at which it ended, or at any step `timeout`, `closed`
and `refused` (a code says that the fault is the backend's). `everybody`: it does not say why it refuses a user, but has
refused several in a row (rejections.py). `maxwaiting`: there was none, because too many sessions wait for the backend;
`maxsessions`: because as many as it may have are at it; `down`: nor was there one, because it counts as down
(breaker.py).
"""


class Rejected(NamedTuple):
    """The backend answered `-ERR`. `step` completes "while ___"; `of_login` tells whether it was the answer to USER,
    PASS or AUTH. `word` is the step's word of FAILURES. In `reply` no password stands, whatever the backend repeats.
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


Progress: TypeAlias = bytes | StartTls | LoggedIn | Rejected | Broken | None
"""Octets are what to say now; None: there is no whole reply yet."""

FIRST_TTL = 7
"""Proxies that a session may pass through, ourselves not counted; the next one refuses it at 0 (Dovecot)."""

_STLS = b"STLS\r\n"
GREETING, _XCLIENT = "reading the greeting", "telling the client's address"
_OPENING = "opening the mailbox"
_TELLING = "telling how the client is spoken to"
WORDS = {
    GREETING: "greeting",
    TLS_STEP: "tls",
    _XCLIENT: "xclient",
    "sending the user name": "user",
    "sending the password": "password",
    AUTHENTICATING: "auth",
    _TELLING: "user",
}
"""The steps of a POP3 login in the words of FAILURES."""
_OFFER = b"[XCLIENT]"
"""In the greeting for those whose XCLIENT counts; from others Dovecot takes it with +OK, and ignores it.

Before STLS anybody could have written the greeting: nothing is made of it but to give up.
"""
_UNFIT = re.compile(r"[^!-~]")


def xclient(address: str, port: int, sid: str) -> bytes:
    """The line by which Dovecot's pop3-login learns whose session this is. Its values know no quoting.

    What could end a value or the line becomes an underscore.
    """
    values = {"ADDR": address, "PORT": str(port), "SESSION": sid, "TTL": str(FIRST_TTL)}
    return " ".join(["XCLIENT", *(f"{name}={_UNFIT.sub('_', value)}" for name, value in values.items())]).encode()


def _ends_a_line(octets: bytes) -> bool:
    return find(octets, _LF) >= 0 or find(octets, _CR) >= 0 or find(octets, _NUL) >= 0


class BackendLogin:
    """What every login dialogue has, whatever the protocol."""

    __slots__ = ("greets", "rejection")

    greets: bool
    """The backend speaks first."""
    rejection: Rejected | None
    """The backend has refused the user name, ahead of whose reply PASS was said: only that reply is still to come, and
    decides nothing.
    """

    @property
    def ahead(self) -> bool:
        """Whether PASS was said ahead: one reply to USER and one to PASS is what the backend owes."""
        return False

    @property
    def may_be_too_long(self) -> bool:
        """Whether a backend may break off because of what the client wants it to be told: a command has 255 octets at
        most (RFC 2449 section 4), and a name or password that came by AUTH may make a longer one.
        """
        return False

    @property
    def names_user(self) -> bool:
        """Whether the backend was told who wants in: what it does since may be because of him."""
        raise NotImplementedError

    @property
    def step(self) -> str:
        """What is waited for; completes "while ___"."""
        raise NotImplementedError

    def opening(self) -> bytes:
        """What to send at once."""
        raise NotImplementedError

    def hear(self, data: bytes) -> Progress:
        """What the backend sent."""
        raise NotImplementedError


class Pop3Login(BackendLogin):
    """USER and PASS (RFC 1939 section 7), after STLS (RFC 2595 section 4) and XCLIENT where they are wanted."""

    __slots__ = (
        "_ahead",
        "_first",
        "_last",
        "_lines",
        "_needs_offer",
        "_password",
        "_say",
        "_step",
        "_steps",
    )

    STEPS = (GREETING, "sending the user name", "sending the password")

    def __init__(
        self, user: bytes, password: bytes, ahead: bool = False, *, stls: bool = False, xclient: bytes = b""
    ) -> None:
        """`stls`: say STLS first; `xclient`: then this line; `ahead`: say PASS without waiting for the reply to USER
        (RFC 2449 section 6.6), to whoever announces PIPELINING. Raises ValueError if a name or password holds CR, LF or
        NUL.
        """
        self.greets = True
        self.rejection = None
        if _ends_a_line(user) or _ends_a_line(password):
            raise ValueError("a name or password with a line end in it")
        name, secret = joined(joined(b"USER ", user), b"\r\n"), joined(joined(b"PASS ", password), b"\r\n")
        self._say: tuple[bytes, ...] = (joined(name, secret),) if ahead else (name, secret)
        self._password = password
        self._steps: tuple[str, ...] = self.STEPS
        self._step = 0
        self._first = 0
        """The step at which it says USER."""
        self._lines = LineBuffer(LONGEST_REPLY)
        self._needs_offer = bool(xclient)
        if xclient:
            self._begin_with(xclient + b"\r\n", _XCLIENT)
        if stls:
            self._begin_with(_STLS, TLS_STEP)
        self._last = len(self._steps) - 1
        self._ahead = self._last - 1 if ahead else -1
        """The step at which the reply to USER is waited for, when PASS was said already."""

    def _begin_with(self, say: bytes, step: str) -> None:
        self._say = (say, *self._say)
        self._steps = (GREETING, step, *self._steps[1:])
        self._first += 1

    def tell_first(self, lines: Sequence[bytes]) -> None:
        """Has these commands said right before the login; a backend that refuses one is logged in at all the same.

        Once, before anything is heard.
        """
        first = self._first
        self._say = (*self._say[:first], *lines, *self._say[first:])
        self._steps = (*self._steps[: first + 1], *[_TELLING] * len(lines), *self._steps[first + 1 :])
        self._first += len(lines)
        self._last += len(lines)
        if self._ahead >= 0:
            self._ahead += len(lines)

    @property
    def step(self) -> str:
        return self._steps[self._step]

    @property
    def ahead(self) -> bool:
        return 0 <= self._ahead <= self._step

    @property
    def names_user(self) -> bool:
        return self._step > self._first

    @property
    def may_be_too_long(self) -> bool:
        return any(len(line) > LONGEST_COMMAND for said in self._say for line in said.splitlines(keepends=True))

    def opening(self) -> bytes:
        """Nothing: the backend greets."""
        return b""

    def hear(self, data: bytes) -> Progress:
        try:
            line = self._lines.next_line(data)
        except PeerFault as error:
            return Broken(fault(error), WORDS[self._steps[self._step]]) if self.rejection is None else self.rejection
        if line is None:
            return None
        if self.rejection is not None:
            return self.rejection
        step = self._step
        if step == self._ahead:
            return self._hear_of_user(line)
        if not is_ok(line) and not self._does_not_matter(line):
            return self._refused(line)
        if step == 0 and self._needs_offer and _OFFER not in line:
            return self._refused_xclient(line)
        if step == self._last:
            return namedtuple_of(LoggedIn, (line, self._lines.take_rest()))
        if self._lines.held:
            return Broken(f"more than one reply while {self._steps[step]}", WORDS[self._steps[step]])
        return START_TLS if self._steps[step] is TLS_STEP else self._say_next()

    def _does_not_matter(self, line: bytes) -> bool:
        return self._steps[self._step] is _TELLING and line.startswith(b"-ERR")

    def _hear_of_user(self, line: bytes) -> Progress:
        """The reply to USER, when PASS was said already. A rejection waits for the reply to PASS: nobody learns by the
        clock which of the two was wrong, and the backend is not cut off while it answers.
        """
        if not is_ok(line):
            refused = self._refused(line)
            if not isinstance(refused, Rejected):
                return refused
            self.rejection = refused
        self._step += 1
        return self.hear(b"")

    def tls_up(self) -> bytes:
        """TLS, asked for by StartTls, stands. Nothing that the backend said before is remembered."""
        assert self._steps[self._step] is TLS_STEP
        assert not self._lines.held
        return self._say_next()

    def _say_next(self) -> bytes:
        step = self._step
        self._step = step + 1
        return self._say[step]

    def _refused(self, line: bytes) -> Progress:
        step = self._steps[self._step]
        if not line.startswith(b"-ERR"):
            return Broken("no proper reply" if self._has_said_all() else said(line), WORDS[step])
        if step is TLS_STEP:
            return Broken(f"it offers no STLS: {line.decode('utf-8', 'replace')}", WORDS[step])
        if step is _XCLIENT:
            return self._refused_xclient(line)
        reply, code = self._without_password(line)
        return Rejected(reply, code, step, of_login=self.names_user, word=WORDS[step])

    def _without_password(self, line: bytes) -> tuple[bytes, bytes | None]:
        """The line and its response code, for the log, which holds no password: a server that takes PASS for an unknown
        command may repeat it.
        """
        code = code_of(line)
        if not self._repeats(line):
            return line, code
        known = known_code(code)
        return b"-ERR (not shown: the password is in it)", known.value.encode() if known is not None else None

    def _repeats(self, line: bytes) -> bool:
        """Whether what was said before, and nobody may see, is in the reply."""
        return self._has_said_all() and bool(self._password) and self._password in line

    def _has_said_all(self) -> bool:
        """Whether the password was told, too."""
        return self._step >= len(self._say)

    def _refused_xclient(self, line: bytes) -> Broken:
        words = line.decode("utf-8", "replace")
        return Broken(f"it takes no XCLIENT (is the proxy in its login_trusted_networks?): {words}", "xclient")


class XpopLogin(BackendLogin):
    """Mailbox, session id, flags: see popular/protocol/xpop.py."""

    __slots__ = ("_lines", "_opening")

    def __init__(self, mailbox: str, sid: str, flags: str) -> None:
        """Raises BadMailboxName."""
        self.greets = False
        self.rejection = None
        self._opening = request(mailbox, sid, flags)
        self._lines = LineBuffer(LONGEST_REPLY)

    @property
    def names_user(self) -> bool:
        return True

    @property
    def step(self) -> str:
        return _OPENING

    def opening(self) -> bytes:
        """The three lines, sent before the server says anything."""
        return self._opening

    def hear(self, data: bytes) -> Progress:
        try:
            line = self._lines.next_line(data)
        except PeerFault as error:
            return Broken(fault(error), "mailbox")
        if line is None:
            return None
        if is_ok(line):
            rest = self._lines.take_rest()
            return Broken("more than one reply: is it a POP3 server?", "mailbox") if rest else LoggedIn(line, rest)
        if line.startswith(b"-ERR"):
            return Rejected(line, code_of(line), _OPENING, of_login=False, word="mailbox")
        return Broken(said(line), "mailbox")
