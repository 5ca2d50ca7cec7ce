"""The base class of all of the machine: its fields, the one place that moves it, the one that lets go of what a login
had, and the one that ends it; what its phase allows; and the two ways in which a client may be at fault.

One of the classes of which the machine is made (machine.py lists them). Pure, as they all are: octets and
facts come in, verbs are called (verbs.py).
"""

from popular import messages
from popular.pdm.contract import Question, Secret, UserLimits
from popular.protocol import replies, sasl
from popular.protocol.lines import LineBuffer
from popular.proxy.session.backend.backend_login import BackendLogin
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import HealthKnowledge
from popular.proxy.session.backend.rejections import UnexplainedRejections
from popular.proxy.session.machine.holds import Hold
from popular.proxy.session.machine.phases import (
    ANSWERING,
    AWAITING_HEADER,
    ENDED,
    EXCHANGING,
    GREETED,
    MOVES,
    NOT_READ,
    NOTHING_SAID,
    PENDING,
    Phase,
    bits,
)
from popular.proxy.session.machine.proving import Proving
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.session.who import Poll, Routing

MOST_HELD = 1 << 14
"""Octets that a client may send ahead of an answer before it is no longer read."""

CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""

_ANSWERING, _NOT_READ, _PENDING, _NOTHING_SAID = map(bits, (ANSWERING, NOT_READ, PENDING, NOTHING_SAID))


class MachineState:
    """One session, as far as it goes from phase to phase."""

    __slots__ = (
        "_around",
        "_asked_at",
        "_backend",
        "_backup_taken",
        "_bit",
        "_certificate_name",
        "_charged",
        "_client_eof",
        "_commands_said",
        "_denied",
        "_dialogue",
        "_errors",
        "_exchange",
        "_failures",
        "_has_yielded",
        "_health",
        "_hold",
        "_home",
        "_in_tls",
        "_language",
        "_may_follow",
        "_offer",
        "_own_limits",
        "_password_is_ours",
        "_patience",
        "_probed",
        "_proving",
        "_question",
        "_referred",
        "_rejections",
        "_routing",
        "_row_number",
        "_rules",
        "_secret",
        "_sid",
        "_utf8",
        "_verbs",
        "_words",
        "absorbed",
        "asked_capa",
        "backend_id",
        "counted",
        "lines",
        "mechanism",
        "namespace",
        "peer_ip",
        "peer_port",
        "phase",
        "poll",
        "target",
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
        self._row_number = self._verbs.row_number
        self._in_tls = False
        self._certificate_name = ""
        self._offer = self._rules.offers.clear
        self.lines = LineBuffer()
        """What the client has sent and was not yet answered."""
        self.absorbed = False
        """The client is shown an empty mailbox because its mailbox was empty a moment ago (absorber.py)."""
        self.asked_capa = False
        """The client has asked for the capabilities."""
        self._errors = 0
        self._client_eof = False
        self._has_yielded = False
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
        self._set_up_login()

    def _set_up_login(self) -> None:
        """What becomes of the login: guesses and refusals, the backend, where the user is sent."""
        self._commands_said = 0
        self._failures = 0
        """Wrong logins, and guesses that came too fast."""
        self._charged = False
        """A guess was charged to the client's network; whether it was one, a wrong login, is not known yet."""
        self._asked_at = 0.0
        """When somebody was asked last what is to become of the client, if `times` of the surroundings want to know."""
        self._denied: replies.Code | None = None
        """The client is refused, and is told so when it has answered to the reason (a challenge of its mechanism)."""
        self._words = ""
        """What the client is told when it is refused, instead of ours: those of a module."""
        self._own_limits: UserLimits | None = None
        self.backend_id = ""
        self.target = ""
        self._backend: BackendRuntime | None = None
        """The one with the id `backend_id`; its address is another one where a route or a referral names a server."""
        self._health: HealthKnowledge | None = None
        """How well that one is; None where a route or a referral names a server, which is not the backend itself."""
        self._rejections: UnexplainedRejections | None = None
        """The backend's, if it is told the user's own password: else its rejections say nothing of other users."""
        self._password_is_ours = False
        """The backend was told a password, or nothing, on our account: not the client's own."""
        self.counted = False
        """Limits may count this session: they were asked, and are told of its end."""
        self._referred = False
        """A backend has sent us to another one."""
        self._patience = 0.0
        """Seconds more for the greeting, where a backend is found connected when the time for the connect is over."""
        self.poll: Poll | None = None
        """The login, if it may be answered without its backend the next time."""
        self._home = ""
        """The backend at which he is at home, as the modules say, wherever he is sent."""
        self._backup_taken = False
        """The login has turned to the backup of its backend, which was down."""
        self._probed: HealthKnowledge | None = None
        """The health of a backend to which this login was let through as a probe."""

    def peer(self) -> tuple[str, int]:
        """Who the client is: by the PROXY header, if there was one."""
        return self.peer_ip, self.peer_port

    def wants_input(self) -> bool:
        """Whether the client is to be read: not while it is too far ahead of our answers."""
        if len(self.lines.held) > MOST_HELD and self.phase is not EXCHANGING:
            return False
        return not (self._bit & _NOT_READ or self._has_yielded)

    def answers(self) -> bool:
        """Whether a line that comes now is answered at once: none waits before it."""
        return self._takes_lines() and not self.lines.held

    # What the phases have in common (the sets of phases.py)

    def _takes_lines(self) -> bool:
        """Whether a line of the client is answered at once (ANSWERING)."""
        return self._bit & _ANSWERING != 0

    def _owes_answer(self) -> bool:
        """Whether the client waits for the answer to PASS (PENDING)."""
        return self._bit & _PENDING != 0

    def _expects_first_word(self) -> bool:
        """Whether the client has said nothing yet of what was expected (NOTHING_SAID)."""
        return self._bit & _NOTHING_SAID != 0

    def _move(self, phase: Phase) -> None:
        """The only one that changes the phase."""
        number = phase  # typed in machine_state.pxd: a number of C
        bit = 1 << number
        assert self._may_follow & bit, f"{self.phase.name} does not lead to {phase.name}"
        self.phase = phase
        self._bit = bit
        self._may_follow = MOVES[number]

    def _forget(self) -> None:
        """What the client has shown has done its work, and what was made of it."""
        self._secret = self._question = self._exchange = self._routing = self._proving = self._hold = None
        self._dialogue = None

    def _end(self, ending: str) -> None:
        self._move(ENDED)
        if self._proving is not None:
            self._give_up_proof()
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

    # What a subclass has: a proof (failed_logins.py)

    def _give_up_proof(self) -> None:
        """`FailedLogins._give_up_proof`."""
        raise NotImplementedError
