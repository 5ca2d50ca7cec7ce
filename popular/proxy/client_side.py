"""What the proxy makes of the words of a client: the AUTHORIZATION state, STLS, and the simulated mailbox.

The lower half of the machine (`machine.py`), which adds what modules and backends say. Pure, as it is.
"""

import itertools
from collections.abc import Callable
from typing import Any

from popular import messages
from popular.pdm.contract import Question, Secret
from popular.protocol import replies
from popular.protocol.commands import VERBS, State, parse
from popular.protocol.lines import LineBuffer, LineTooLong, NullByte
from popular.protocol.transaction import Transaction
from popular.proxy import actions
from popular.proxy.actions import Action
from popular.proxy.phases import (
    ASKING,
    AWAITING_HEADER,
    ENDED,
    GREETED,
    LISTENING,
    NAMED,
    SIMULATING,
    STARTING_TLS,
    Phase,
)
from popular.proxy.rules import Rules
from popular.proxy.settings.vserv import POP3S

MOST_ERRORS = 10
"""Faulty commands before login."""

_SEND_PASS = actions.Send(replies.ok("send PASS"))
LOGGED_IN = actions.LoggedIn()


class ClientSide:
    """One session, as far as its client goes."""

    __slots__ = (
        "_certificate_name",
        "_eof",
        "_errors",
        "_peer_ip",
        "_peer_port",
        "_rules",
        "_secret",
        "_sid",
        "_tls",
        "_transaction",
        "lines",
        "namespace",
        "phase",
        "user",
    )

    def __init__(self, rules: Rules, peer_ip: str, peer_port: int, sid: str, tls: bool) -> None:
        self._rules = rules
        self._peer_ip = peer_ip
        self._peer_port = peer_port
        self._sid = sid
        self._tls = tls
        self._certificate_name = ""
        self.lines = LineBuffer()
        """What the client has sent and was not yet answered."""
        self._errors = 0
        self._eof = False
        self._secret: Secret | None = None
        self._transaction: Transaction | None = None
        self.phase: Phase = GREETED
        self.user = ""
        self.namespace = ""

    def begin(self) -> list[Action]:
        """The connection is there (and TLS, if it comes first)."""
        trusted = self._rules.trusted
        if trusted is None:
            return self._greet()
        self.phase = AWAITING_HEADER
        if self._peer_ip not in trusted:
            return self.header_failed("it is not in trusted")
        return [actions.AwaitHeader()]

    def introduced(self, peer: tuple[Any, ...]) -> list[Action]:
        """The PROXY header has come: this is who the client is (address, port)."""
        self._peer_ip, self._peer_port = peer[:2]
        self.phase = GREETED
        return self._greet()

    def header_failed(self, reason: str) -> list[Action]:
        """Whoever is there must not be, or says no proper PROXY header: not a word to him."""
        note = actions.Note(messages.BAD_HEADER, {"peer": self._peer_ip, "vserv": self._rules.vserv, "reason": reason})
        return [note, self._end("proxy_header")]

    def _greet(self) -> list[Action]:
        if self._rules.protocol == POP3S and not self._tls:
            self.phase = STARTING_TLS
            return [actions.StartTls()]
        if self._rules.state == "disabled":
            return [actions.Send(self._rules.refusal), self._end("vserv_disabled")]
        return [actions.Send(self._rules.greeting)]

    def client_says(self, data: bytes) -> list[Action]:
        """The client sent this."""
        self.lines.feed(data)
        return self._go_on()

    def client_eof(self) -> list[Action]:
        """The client will send nothing more. What it sent before is still answered."""
        self._eof = True
        return self._go_on()

    def _go_on(self) -> list[Action]:
        """Answers the lines that are there, as far as the phase allows."""
        todo: list[Action] = []
        lines = self.lines
        while lines.held and self.phase in LISTENING:
            try:
                line = lines.next_line()
            except NullByte:
                todo += (self.null_byte(), self._end("null_byte"))
                break
            except LineTooLong:
                todo += (actions.Send(replies.err("the line is too long")), self._end("line_too_long"))
                break
            if line is None:
                break
            said = self._command(line) if self._transaction is None else self._simulated(line)
            todo = todo + said if todo else said
        if self._eof and self.phase in LISTENING:
            todo.append(self._end("client_closed"))
        return todo if len(todo) < 2 else in_one_piece(todo)

    def null_byte(self) -> actions.Note:
        """What the log says of a NUL octet, also of one that the relay found."""
        return actions.Note(messages.NULL_BYTE_IN_INPUT, {"phase": self.phase.phrase})

    def _simulated(self, line: bytes) -> list[Action]:
        assert self._transaction is not None
        answer = self._transaction.command(line)
        if answer.over:
            return [actions.Send(answer.reply or replies.ok("bye")), self._end("quit")]
        return [actions.Send(answer.reply)]

    def _command(self, line: bytes) -> list[Action]:
        """A command in the AUTHORIZATION state."""
        keyword, _, argument = line.partition(b" ")
        known = _COMMANDS.get(keyword.upper())
        if known is None:
            return self._not_here(parse(line).keyword)
        takes_none, answer = known
        # A password may be blanks only: all behind the first blank is it (RFC 1939 section 7).
        if takes_none is not (not (argument if answer is ClientSide._password else argument.strip())):
            return self._error(f"{keyword.decode().upper()} takes {'no' if takes_none else 'an'} argument")
        return answer(self, argument)

    def _not_here(self, keyword: str) -> list[Action]:
        return self._error(f"{keyword} is for after the login" if keyword in VERBS else "unknown command")

    def _error(self, text: str) -> list[Action]:
        self._errors += 1
        if self._errors > MOST_ERRORS:
            return [actions.Send(replies.err("too many faulty commands")), self._end("too_many_errors")]
        return [actions.Send(replies.err(text))]

    def _needs_tls(self) -> bool:
        return self._rules.starttls == "force" and not self._tls

    def _name(self, argument: bytes) -> list[Action]:
        if self._needs_tls():
            return self._error("say STLS first, a password must not travel in clear")
        try:
            name = argument.decode("utf-8")
        except UnicodeDecodeError:
            return self._error("the user name is not UTF-8")
        if not name.isprintable():
            return self._error("the user name has control characters")
        self.user, self.namespace = self._split_namespace(name)
        self.phase = NAMED
        return [_SEND_PASS]

    def _split_namespace(self, name: str) -> tuple[str, str]:
        """`name=namespace` only under the namespace USER; otherwise the client has no say in it."""
        if self._rules.namespace != "USER":
            return name, self._rules.namespace
        user, equals, namespace = name.rpartition("=")
        return (user, namespace or self._rules.defaultns) if equals else (name, self._rules.defaultns)

    def _password(self, argument: bytes) -> list[Action]:
        if self._needs_tls():
            return self._error("say STLS first, a password must not travel in clear")
        if self.phase is not NAMED:
            return self._error("say USER first")
        if self._rules.state == "fake":
            return self._simulate()
        self._secret = Secret(argument)
        self.phase = ASKING
        rules = self._rules
        protocol = rules.protocol
        question = Question(
            self._peer_ip, protocol, self.namespace, self.user, self._secret, rules.vserv, self._certificate_name
        )
        return [actions.Ask(question)]

    def _capa(self, _argument: bytes) -> list[Action]:
        return [actions.Send(self._rules.capa_tls if self._tls else self._rules.capa_clear)]

    def _quit(self, _argument: bytes) -> list[Action]:
        return [actions.Send(replies.ok("bye")), self._end("quit")]

    def _stls(self, _argument: bytes) -> list[Action]:
        if self._tls:
            return self._error("TLS is already there")
        if self._rules.starttls == "off":
            return self._error("STLS is not offered here")
        if len(self.lines):
            # Typed in clear, but to be believed as if it came inside TLS: the classic injection (RFC 2595 section 4).
            return [self._end("plaintext_after_stls")]
        self.phase = STARTING_TLS
        return [actions.Send(replies.ok("begin TLS")), actions.StartTls()]

    def tls_up(self, certificate_name: str = "") -> list[Action]:
        """TLS stands. All that was learned before is forgotten (RFC 2595 section 4).

        `certificate_name` belongs to the connection, and is known from now on: a login is wanted all the same.
        """
        if len(self.lines):
            return [self._end("plaintext_after_stls")]
        self._tls = True
        self._certificate_name = certificate_name
        self.user = self.namespace = ""
        self.phase = GREETED
        return self._greet() if self._rules.protocol == POP3S else []

    def _simulate(self) -> list[Action]:
        """The client goes on with us, in a mailbox without mail."""
        self._transaction = Transaction((), self._rules.capa_after)
        self._secret = None
        self.phase = SIMULATING
        reply = actions.Send(self._transaction.welcome())
        return [LOGGED_IN, actions.Count("simulated"), *in_one_piece([reply, *self._go_on()])]

    def _end(self, ending: str) -> Action:
        self.phase = ENDED
        return actions.End(ending)


_ANSWERS: dict[str, Callable[[ClientSide, bytes], list[Action]]] = {
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


def in_one_piece(todo: list[Action]) -> list[Action]:
    """The same, but neighbouring replies are one: a client that pipelines gets its answers in one packet."""
    joined: list[Action] = []
    for kind, group in itertools.groupby(todo, type):
        if kind is actions.Send:
            joined.append(actions.Send(b"".join([action.data for action in group if isinstance(action, actions.Send)])))
        else:
            joined += group
    return joined
