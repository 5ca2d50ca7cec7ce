"""What the proxy makes of the words of a client: the AUTHORIZATION state, STLS, and the simulated mailbox.

The lower half of the machine (`machine.py`), which adds what modules and backends say. Pure, as it is: octets and facts
come in, verbs are called (`verbs.py`).
"""

from collections.abc import Callable
from typing import Any

from popular import messages
from popular.pdm.contract import Question, Secret, Token
from popular.protocol import replies
from popular.protocol.commands import VERBS, State, parse
from popular.protocol.lines import LineBuffer, LineTooLong, NullByte
from popular.protocol.replies import Code
from popular.protocol.transaction import Transaction
from popular.proxy.session.known import LoginLimits, Who, who_asks
from popular.proxy.session.phases import (
    ASKING,
    AWAITING_HEADER,
    ENDED,
    GREETED,
    HELD,
    LISTENING,
    MOVES,
    NAMED,
    NOT_READ,
    NOTHING_SAID,
    PENDING,
    SIMULATING,
    STARTING_TLS,
    Phase,
)
from popular.proxy.session.rules import Rules
from popular.proxy.session.verbs import Verbs
from popular.proxy.settings.vserv import POP3S
from supervisor.octets import find, part

_BLANK = 32
LINES_A_TURN = 4
"""Lines of a client that are answered before all others get their turn."""
MOST_HELD = 1 << 14
"""Octets that a client may send ahead of an answer before it is no longer read."""

HEADER_SECONDS = 5.0
"""For the PROXY header: it is sent with the connection, by a host that is near."""
HANDSHAKE_SECONDS = 30.0
MODULE_SECONDS = 30.0
CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""

_NOT_SHOWN = tuple(Question._field_defaults.values())[1:]
"""Behind the name in the certificate: what no client shows here."""
_BAD_LOGIN = "the user name or the password is wrong"
_TRY_LATER = "the mailbox cannot be reached at the moment, please try again later"

OWN_WORDS = {
    Code.AUTH: _BAD_LOGIN,
    Code.IN_USE: "the mailbox is in use by another session",
    Code.LOGIN_DELAY: "the mailbox was asked too soon after the last time",
    Code.SYS_TEMP: _TRY_LATER,
    Code.SYS_PERM: "the mailbox cannot be opened, please ask your postmaster",
}
"""What a client hears of a login that failed."""

_SEND_PASS = replies.ok("send PASS")
_BYE = replies.ok("bye")


class ClientSide:
    """One session, as far as its client goes."""

    __slots__ = (
        "_certificate_name",
        "_charged",
        "_commands",
        "_eof",
        "_errors",
        "_failures",
        "_held",
        "_limits",
        "_peer_ip",
        "_peer_port",
        "_rests",
        "_rules",
        "_secret",
        "_sid",
        "_tls",
        "_token",
        "_transaction",
        "_verbs",
        "lines",
        "namespace",
        "phase",
        "user",
    )

    def __init__(self, verbs: Verbs, rules: Rules, peer: tuple[str, int], *, limits: LoginLimits) -> None:
        """`peer`: the client's address and port."""
        self._limits = limits
        self._charged = False
        """A guess was charged to his network, and it is not known yet whether it was one."""
        self._held: Question | Code | None = None
        """What comes when he was held back: the question for the modules, or the refusal."""
        self._verbs = verbs
        self._rules = rules
        self._peer_ip, self._peer_port = peer
        self._sid = self._verbs.sid
        self._tls = False
        self._certificate_name = ""
        self.lines = LineBuffer()
        """What the client has sent and was not yet answered."""
        self._commands = 0
        self._errors = 0
        self._failures = 0
        self._eof = False
        self._rests = False
        """It has had its turn, and there are lines left."""
        self._secret: Secret | None = None
        self._token: Token | None = None
        """What the client has shown instead of a password."""
        self._transaction: Transaction | None = None
        self.phase: Phase = GREETED if rules.trusted is None else AWAITING_HEADER
        self.user = ""
        self.namespace = ""

    def listens(self) -> bool:
        """Whether the client is to be read: not while it is too far ahead of our answers."""
        return self.phase not in NOT_READ and len(self.lines.held) <= MOST_HELD and not self._rests

    def _move(self, phase: Phase) -> None:
        """The only one that changes the phase."""
        before, after = self.phase, phase
        mask = MOVES[before]
        assert mask >> after & 1, f"{self.phase.name} does not lead to {phase.name}"
        self.phase = phase

    def _end(self, ending: str) -> None:
        self._move(ENDED)
        self._secret = self._token = None
        self._verbs.finish(ending, CLOSING_SECONDS)

    # The beginning

    def begin(self) -> None:
        """The connection is there."""
        trusted = self._rules.trusted
        if trusted is None:
            self._greet()
        elif self._peer_ip in trusted:
            self._verbs.await_header(HEADER_SECONDS)
        else:
            self.header_failed("it is not in trusted")

    def introduced(self, peer: tuple[Any, ...]) -> None:
        """The PROXY header has come: this is who the client is (address, port)."""
        self._peer_ip, self._peer_port = peer[:2]
        self._move(GREETED)
        self._greet()

    def header_failed(self, reason: str) -> None:
        """An untrusted peer, or a malformed header: closed without a reply."""
        fields: dict[str, object] = {"peer": self._peer_ip, "vserv": self._rules.vserv, "reason": reason}
        self._verbs.note(messages.BAD_HEADER, fields)
        self._end("proxy_header")

    def _greet(self) -> None:
        rules = self._rules
        if self._limits.blocks(self._peer_ip):
            self._end("blocked")
        elif rules.protocol == POP3S and not self._tls:
            self._start_tls()
        elif rules.state == "disabled":
            self._verbs.send(rules.refusal)
            self._end("vserv_disabled")
        else:
            self._verbs.send(rules.greeting)

    # Lines

    def client_says(self, data: bytes) -> None:
        """The client sent this."""
        self.lines.feed(data)
        self._go_on()

    def client_eof(self) -> None:
        """The client will send nothing more. What it sent before is still answered, unless it `is_gone`.

        In NOTHING_SAID it has said nothing of what was expected: a health check, and nobody's fault.
        """
        self._eof = True
        if (self.phase in PENDING and self._is_gone()) or self.phase in NOTHING_SAID:
            self._end("client_closed")
        else:
            self._go_on()

    def _is_gone(self) -> bool:
        """Whether nobody waits for the answer to PASS: the client sends nothing more, and PASS was its last word.

        Behind that nothing could be done for it, and whoever is asked for it is asked in vain. A client with commands
        behind PASS has only closed its half: it is served to its end.
        """
        return self._eof and not self.lines.held

    def _go_on(self) -> None:
        """Answers the lines that are there, as far as the phase allows."""
        lines = self.lines
        left = LINES_A_TURN
        while lines.held and self.phase in LISTENING:
            if not left:
                self._rests = True
                self._verbs.rest()
                return
            left -= 1
            try:
                line = lines.next_line()
            except NullByte:
                self._null_byte()
                return
            except LineTooLong:
                self._verbs.send(replies.err("the line is too long"))
                self._end("line_too_long")
                return
            if line is None:
                break
            if self._transaction is None:
                self._command(line)
            else:
                self._simulated(line)
        if self._eof and self.phase in LISTENING:
            self._end("client_closed")

    def proceed(self) -> None:
        """All others have had their turn."""
        self._rests = False
        self._go_on()

    def _null_byte(self) -> None:
        """A NUL octet, also one that the relay found: dropped silently, and told to the operator."""
        self._verbs.note(messages.NULL_BYTE_IN_INPUT, {"phase": self.phase.phrase})
        self._end("null_byte")

    def _simulated(self, line: bytes) -> None:
        assert self._transaction is not None
        answer = self._transaction.command(line)
        if answer.over:
            self._verbs.send(answer.reply or _BYE)
            self._end("quit")
        else:
            self._verbs.send(answer.reply)

    def _command(self, line: bytes) -> None:
        """A command in the AUTHORIZATION state."""
        self._commands += 1
        if self._commands > self._rules.maxcommands:
            self._verbs.send(replies.err("too many commands before the login"))
            self._end("too_many_commands")
            return
        blank = find(line, _BLANK)
        keyword = line if blank < 0 else part(line, 0, blank)
        argument = b"" if blank < 0 else part(line, blank + 1, len(line))
        known = _COMMANDS.get(keyword.upper())
        if known is None:
            self._not_here(parse(line).keyword)
            return
        takes_none, answer = known
        # A password may be blanks only: all behind the first blank is it (RFC 1939 section 7).
        if takes_none is not (not (argument if answer is ClientSide._password else argument.strip())):
            self._error(f"{keyword.decode().upper()} takes {'no' if takes_none else 'an'} argument")
        else:
            answer(self, argument)

    def _not_here(self, keyword: str) -> None:
        self._error(f"{keyword} is for after the login" if keyword in VERBS else "unknown command")

    def _error(self, text: str) -> None:
        self._errors += 1
        if self._errors > self._rules.maxerrors:
            self._verbs.send(replies.err("too many faulty commands"))
            self._end("too_many_errors")
        else:
            self._verbs.send(replies.err(text))

    # Commands

    def _needs_tls(self) -> bool:
        return self._rules.starttls == "force" and not self._tls

    def _name(self, argument: bytes) -> None:
        if self._needs_tls():
            self._error("say STLS first, a password must not travel in clear")
            return
        try:
            name = argument.decode("utf-8")
        except UnicodeDecodeError:
            self._error("the user name is not UTF-8")
            return
        if not name.isprintable():
            self._error("the user name has control characters")
            return
        self.user, self.namespace = self._split_namespace(name)
        self._move(NAMED)
        self._verbs.send(_SEND_PASS)

    def _split_namespace(self, name: str) -> tuple[str, str]:
        """`name=namespace` only under the namespace USER; otherwise the client has no say in it."""
        if self._rules.namespace != "USER":
            return name, self._rules.namespace
        user, equals, namespace = name.rpartition("=")
        return (user, namespace or self._rules.defaultns) if equals else (name, self._rules.defaultns)

    def _password(self, argument: bytes) -> None:
        rules = self._rules
        if self._needs_tls():
            self._error("say STLS first, a password must not travel in clear")
        elif self.phase is not NAMED:
            self._error("say USER first")
        elif rules.state == "fake":
            self._simulate()
        else:
            self._secret = secret = Secret(argument)
            self._move(ASKING)
            if self._is_gone():
                self._end("client_closed")
                return
            name = self._certificate_name
            facts = (self._peer_ip, rules.protocol, self.namespace, self.user, secret, rules.vserv, name)
            # A NamedTuple's own way, by its names, is five times as long.
            question: Question = tuple.__new__(Question, facts + _NOT_SHOWN)
            if self._limits.guards:
                self._ask_in_turn(question)
            else:
                self._verbs.ask(question, MODULE_SECONDS)

    def _ask_in_turn(self, question: Question) -> None:
        """Whose network guesses too fast waits before anybody is asked, or is asked to come again."""
        seconds, hindrance = self._limits.wait(who_asks(question))
        if hindrance is not None:
            self._secret = None
            self._failures += 1
            self._tell_hindrance(hindrance.limit)
            self._hold(seconds, hindrance.code)
            return
        self._charged = True
        if seconds:
            self._hold(seconds, question)
        else:
            self._verbs.ask(question, MODULE_SECONDS)

    def _tell_hindrance(self, limit: str) -> None:
        rules = self._rules
        fields: dict[str, object] = {"client": self._peer_ip, "vserv": rules.vserv, "namespace": self.namespace}
        self._verbs.note(messages.LOGIN_LIMITED, {**fields, "user": self.user, "limit": limit})
        self._verbs.count("limited", limit, "")

    def _hold(self, seconds: float, then: Question | Code) -> None:
        self._held = then
        self._move(HELD)
        self._verbs.hold(seconds)

    def _try_again(self, code: Code) -> None:
        """The client is told why it does not come in, and may say USER anew; but not too often with a wrong login."""
        self._secret = None
        self._verbs.send(replies.err(OWN_WORDS[code], code))
        if self._failures >= self._rules.maxfailures:
            self._end("too_many_failures")
            return
        self._move(GREETED)
        self._go_on()

    def _whom(self) -> Who:
        return Who(self._peer_ip, self.namespace, self.user)

    def _go_on_from_hold(self) -> None:
        """He was held back for long enough."""
        held, self._held = self._held, None
        if isinstance(held, Question):
            self._move(ASKING)
            self._verbs.ask(held, MODULE_SECONDS)
        else:
            assert held is not None
            self._try_again(held)

    def _no_guess(self) -> None:
        """Nobody could tell whether the password is right."""
        if self._charged:
            self._charged = False
            self._limits.no_guess(self._whom())

    def _capa(self, _argument: bytes) -> None:
        self._verbs.send(self._rules.capa_tls if self._tls else self._rules.capa_clear)

    def _quit(self, _argument: bytes) -> None:
        self._verbs.send(_BYE)
        self._end("quit")

    def _simulate(self) -> None:
        """The client goes on with us, in a mailbox without mail."""
        verbs = self._verbs
        self._transaction = Transaction((), self._rules.capa_after)
        self._secret = None
        self._move(SIMULATING)
        verbs.logged_in()
        verbs.count("simulated", None, "")
        verbs.send(self._transaction.welcome())
        self._go_on()

    # TLS

    def _stls(self, _argument: bytes) -> None:
        if self._tls:
            self._error("TLS is already there")
        elif self._rules.starttls == "off":
            self._error("STLS is not offered here")
        elif len(self.lines):
            # Typed in clear, but to be believed as if it came inside TLS: the classic injection (RFC 2595 section 4).
            self._end("plaintext_after_stls")
        else:
            self._verbs.send(replies.ok("begin TLS"))
            self._start_tls()

    def _start_tls(self) -> None:
        self._move(STARTING_TLS)
        self._verbs.start_tls(HANDSHAKE_SECONDS)

    def tls_up(self, certificate_name: str) -> None:
        """TLS stands. All that was learned before is forgotten (RFC 2595 section 4).

        `certificate_name` belongs to the connection, and is known from now on: a login is wanted all the same.
        """
        if len(self.lines):
            self._end("plaintext_after_stls")
            return
        self._tls = True
        self._certificate_name = certificate_name
        self.user = self.namespace = ""
        self._move(GREETED)
        if self._rules.protocol == POP3S:
            self._greet()

    def tls_failed(self, why: str, reason: str) -> None:
        """There is no TLS with this client, and nothing more is said to it. `why` is for the counter."""
        vserv = self._rules.vserv
        self._verbs.count("tls_failures", why, "")
        self._verbs.note(messages.TLS_FAILED, {"client": self._peer_ip, "vserv": vserv, "why": why, "reason": reason})
        self._end("tls_failed")


_ANSWERS: dict[str, Callable[[ClientSide, bytes], None]] = {
    "USER": ClientSide._name,
    "PASS": ClientSide._password,
    "CAPA": ClientSide._capa,
    "STLS": ClientSide._stls,
    "QUIT": ClientSide._quit,
}
_COMMANDS = {
    verb.keyword.encode(): (not verb.fewest, _ANSWERS[verb.keyword])
    for verb in VERBS.values()
    if State.AUTHORIZATION in verb.states
}
"""Whether it takes no argument, and what answers it."""
