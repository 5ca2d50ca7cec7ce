"""What a client may say and a plain login passes by: the PROXY header, TLS, what is offered, the simulated mailbox.

One of the classes of which the machine is made (machine.py lists them). Pure, as they all are.
"""

from typing import Any

from popular import messages
from popular.protocol import replies
from popular.protocol.capabilities import with_lines
from popular.protocol.international import LANG, UTF8, International, lang
from popular.protocol.transaction import AT_ONCE, WELCOME, Response, Transaction
from popular.proxy.session.machine.machine_state import MachineState
from popular.proxy.session.machine.offers import Offer
from popular.proxy.session.machine.phases import GREETED, SIMULATING, STARTING_TLS
from popular.proxy.settings.vserv import POP3S

HEADER_SECONDS = 5.0
"""For the PROXY header: it is sent with the connection, by a host that is near."""
HANDSHAKE_SECONDS = 30.0

_OF_WHAT_IS_OFFERED = (b"CAPA", LANG.encode())
"""Commands after the login whose answer depends on what the backends offer."""
_AT_ONCE, _QUIT = AT_ONCE, b"QUIT"

BYE = replies.ok("bye")


class ClientSide(MachineState):
    """One session, as far as its client neither logs in nor is at a backend."""

    __slots__ = ()

    # What subclasses have

    def _greet(self) -> None:
        """`Authorization._greet`."""
        raise NotImplementedError

    def _answer_lines(self) -> None:
        """`Authorization._answer_lines`."""
        raise NotImplementedError

    def _logged_in(self) -> None:
        """`BackendSide._logged_in`."""
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
        self.asked_capa = True
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
        if adapted is None:
            return self._offer
        return adapted.counterpart(self._offer, self._around.in_common.capabilities())

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
