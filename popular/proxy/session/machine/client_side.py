"""What all of the machine stands on: its fields, the one place that moves it and the one that ends it; and what a plain
login passes by: the PROXY header, TLS, what is offered, the simulated mailbox.

The first of the six classes of which the machine is made (machine.py lists them), one on another. Pure, as they all
are: octets and facts come in, verbs are called (verbs.py).
"""

from typing import Any

from popular import messages
from popular.pdm.contract import Question, Secret
from popular.protocol import replies, sasl
from popular.protocol.capabilities import with_lines
from popular.protocol.international import LANG, UTF8, International, lang
from popular.protocol.lines import LineBuffer
from popular.protocol.transaction import AT_ONCE, WELCOME, Response, Transaction
from popular.proxy.session.backend.backend_login import BackendLogin
from popular.proxy.session.machine.holds import Hold, Routing
from popular.proxy.session.machine.offers import Offer
from popular.proxy.session.machine.phases import (
    ANSWERING,
    AWAITING_HEADER,
    ENDED,
    EXCHANGING,
    GREETED,
    MOVES,
    NOT_READ,
    SIMULATING,
    STARTING_TLS,
    Phase,
    bits,
)
from popular.proxy.session.machine.proving import Proving
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.settings.vserv import POP3S

MOST_HELD = 1 << 14
"""Octets that a client may send ahead of an answer before it is no longer read."""

HEADER_SECONDS = 5.0
"""For the PROXY header: it is sent with the connection, by a host that is near."""
HANDSHAKE_SECONDS = 30.0
CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""

_OF_WHAT_IS_OFFERED = (b"CAPA", LANG.encode())
"""Commands after the login whose answer depends on what the backends offer."""
_AT_ONCE, _QUIT = AT_ONCE, b"QUIT"

_ANSWERING, _NOT_READ = bits(ANSWERING), bits(NOT_READ)

BYE = replies.ok("bye")


class ClientSide:
    """One session, as far as it is neither a plain login nor its backend."""

    __slots__ = (
        "_around",
        "_bit",
        "_certificate_name",
        "_dialogue",
        "_eof",
        "_errors",
        "_exchange",
        "_hold",
        "_in_tls",
        "_language",
        "_may_follow",
        "_offer",
        "_proving",
        "_question",
        "_rests",
        "_routing",
        "_rules",
        "_secret",
        "_sid",
        "_utf8",
        "_verbs",
        "absorbed",
        "asked",
        "lines",
        "mechanism",
        "namespace",
        "peer_ip",
        "peer_port",
        "phase",
        "user",
    )

    def _set_up(self, verbs: Verbs, around: Surroundings, peer: tuple[str, int]) -> None:
        """A method, and not `__init__`, because in the compiled form a base class is set up by a call of C.

        `peer`: the client's address and port.
        """
        self._around = around
        self._hold: Hold | None = None
        """Why the client is held back, as long as it is."""
        self._verbs = verbs
        self._rules = around.rules
        self.peer_ip, self.peer_port = peer
        self._sid = self._verbs.sid
        self._in_tls = False
        self._certificate_name = ""
        self._offer = self._rules.offers.clear
        self.lines = LineBuffer()
        """What the client has sent and was not yet answered."""
        self.absorbed = False
        """The client is shown an empty mailbox because its mailbox was empty a moment ago (absorber.py)."""
        self.asked = False
        """The client has asked for the capabilities."""
        self._errors = 0
        self._eof = False
        self._rests = False
        """It has had its turn, and there are lines left."""
        self._exchange: sasl.Exchange | None = None
        self._proving: Proving | None = None
        self._dialogue: BackendLogin | None = None
        """With the backend. Holds a password, so it is let go of as soon as it has done its work."""
        self._secret: Secret | None = None
        self._routing: Routing | None = None
        """To where the modules, or the operator, have sent the user; set by `Machine._find_backend`."""
        self._question: Question | None = None
        """What was asked, if the client shows something else than its own password."""
        self._utf8 = False
        """The client has said UTF8, and is to be served so wherever its mail lies."""
        self._language = ""
        """The tag of the language that it has chosen by LANG, or "*"."""
        self.phase: Phase = GREETED if self._rules.trusted is None else AWAITING_HEADER
        self._bit = 1 << self.phase
        """The phase as `bits` has it."""
        self._may_follow = MOVES[self.phase]
        self.user = ""
        self.namespace = ""
        self.mechanism = ""
        """The mechanism of AUTH, or APOP; "" for USER and PASS."""

    def peer(self) -> tuple[str, int]:
        """Who the client is: by the PROXY header, if there was one."""
        return self.peer_ip, self.peer_port

    def listens(self) -> bool:
        """Whether the client is to be read: not while it is too far ahead of our answers."""
        if len(self.lines.held) > MOST_HELD and self.phase is not EXCHANGING:
            return False
        return not (self._bit & _NOT_READ or self._rests)

    def answers(self) -> bool:
        """Whether a line that comes now is answered at once: none waits before it."""
        return self._bit & _ANSWERING != 0 and not self.lines.held

    def _move(self, phase: Phase) -> None:
        """The only one that changes the phase."""
        number = phase  # typed in client_side.pxd: a number of C
        bit = 1 << number
        assert self._may_follow & bit, f"{self.phase.name} does not lead to {phase.name}"
        self.phase = phase
        self._bit = bit
        self._may_follow = MOVES[number]

    def _forget(self) -> None:
        """What the client has shown has done its work, and what was made of it."""
        if self._proving is not None and self._proving.is_told:
            self._tell_cancelled()
        self._secret = self._question = self._exchange = self._routing = self._proving = self._hold = None
        self._dialogue = None

    def _end(self, ending: str) -> None:
        self._move(ENDED)
        self._forget()
        self._verbs.finish(ending, CLOSING_SECONDS)

    # Two ways to be at fault

    def _null_byte(self) -> None:
        """A NUL octet, also one that the relay found: dropped silently, and told to the operator."""
        self._verbs.note(messages.NULL_BYTE_IN_INPUT, {"phase": self.phase.phrase})
        self._end("null_byte")

    def _error(self, text: str) -> None:
        """A command that is none, or not here: -ERR, and beyond `maxerrors` the end."""
        self._errors += 1
        if self._errors > self._rules.maxerrors:
            self._verbs.send(replies.err("too many faulty commands"))
            self._end("too_many_errors")
        else:
            self._verbs.send(replies.err(text))

    # What stands above: the words of a client (authorization.py)

    def _greet(self) -> None:
        """`Authorization._greet`."""
        raise NotImplementedError

    def _answer_lines(self) -> None:
        """`Authorization._answer_lines`."""
        raise NotImplementedError

    def _tell_cancelled(self) -> None:
        """`Teller._tell_cancelled`."""
        raise NotImplementedError

    # The PROXY header

    def introduced(self, peer: tuple[Any, ...]) -> None:
        """The PROXY header has come: this is who the client is (address, port)."""
        self.peer_ip, self.peer_port = peer[:2]
        self._move(GREETED)
        self._greet()

    def header_failed(self, reason: str) -> None:
        """An untrusted peer, or a malformed header: closed without a reply."""
        fields: dict[str, object] = {"peer": self.peer_ip, "vserv": self._rules.vserv, "reason": reason}
        self._verbs.note(messages.BAD_HEADER, fields)
        self._end("proxy_header")

    # TLS

    def _stls(self, _argument: bytes) -> None:
        if self._in_tls:
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
        self._in_tls = True
        self._certificate_name = certificate_name
        offers = self._rules.offers
        self._offer = offers.certified if certificate_name else offers.tls
        self.user = self.namespace = self._language = ""
        self._utf8 = False
        self._move(GREETED)
        if self._rules.protocol == POP3S:
            self._greet()

    def tls_failed(self, why: str, reason: str) -> None:
        """There is no TLS with this client, and nothing more is said to it. `why` is for the counter."""
        vserv = self._rules.vserv
        self._verbs.count("tls_failures", why, "")
        self._verbs.note(messages.TLS_FAILED, {"client": self.peer_ip, "vserv": vserv, "why": why, "reason": reason})
        self._end("tls_failed")

    # What is offered

    def _capa(self, _argument: bytes) -> None:
        self.asked = True
        more = self._international().capabilities(self._rules.international)
        self._verbs.send(with_lines(self._announced_offer().capa, more))

    def _say_utf8(self, _argument: bytes) -> None:
        """RFC 6856 section 2.1. The backend is told in front of the login."""
        if UTF8 not in self._rules.international or not self._international().utf8:
            self._error("UTF8 is not offered here")
            return
        self._utf8 = True
        self._verbs.send(replies.ok("UTF-8 from now on"))

    def _lang(self, argument: bytes) -> None:
        """RFC 6856 section 3.2. As UTF8; what is listed are the languages that all backends have."""
        languages, words = self._international().languages, argument.split()
        if LANG not in self._rules.international or not languages:
            self._error("LANG is not offered here")
        elif len(words) > 1:
            self._error("LANG takes one language, or no argument")
        else:
            reply, chosen = lang(languages, words)
            self._language = chosen or self._language
            self._verbs.send(reply)

    def _announced_offer(self) -> Offer:
        """The offer as CAPA has it: less, or more, than by its set alone where backends are listened to."""
        adapted = self._rules.adapted
        return self._offer if adapted is None else adapted.like(self._offer, self._around.in_common.capabilities())

    def _international(self) -> International:
        """What all backends offer that a user's mail may lie on: nobody knows yet on which of them."""
        return self._around.in_common.offered()

    # The simulated mailbox

    def _simulate(self) -> None:
        """The client goes on with us, in a mailbox without mail."""
        verbs = self._verbs
        self._forget()
        self._move(SIMULATING)
        self._logged_in()
        verbs.count("simulated", None, "")
        verbs.send(WELCOME)
        self._answer_lines()

    def _logged_in(self) -> None:
        self._verbs.logged_in()
        if self.mechanism:
            self._verbs.count("sasl_logins", self.mechanism, self._rules.vserv)

    def _simulated(self, line: bytes) -> None:
        """What the mailbox without mail says to it."""
        over = line == _QUIT
        reply = BYE if over else _AT_ONCE.get(line)
        if reply is None:
            answer = self._answer(line)
            reply, over = answer.reply, answer.over
        self._verbs.send(reply)
        if over:
            self._end("absorbed" if self.absorbed else "quit")

    def _answer(self, line: bytes) -> Response:
        if line[:4].upper() not in _OF_WHAT_IS_OFFERED:
            return Transaction((), ()).command(line)
        offered = self._international()
        more = offered.capabilities(self._rules.international)
        return Transaction((), self._announced_offer().capa_after + more, offered.languages).command(line)
