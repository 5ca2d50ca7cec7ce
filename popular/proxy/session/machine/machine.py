"""The proxy session as a machine: bytes and facts in, verbs called. No socket, clock, log or file in here.

    begin                              the connection is there (authorization.py)
    client_says, client_eof            what the client sent, or that it will send nothing more (authorization.py)
    proceed                            all others have had their turn, after the verb `yield_turn` (authorization.py)
    introduced, header_failed          the PROXY header (client_side.py)
    tls_up, tls_failed                 TLS with the client (client_side.py)
    decided, checked                   what the modules, and the mail check (backend_side.py), have answered
    reached                            at which of its addresses the backend is connected
    connected, backend_says, backend_tls_up      how it goes with the backend (backend_side.py)
    backend_failed                     how it does not (failed_logins.py)
    released                           the operator holds the client no more
    relay_ended                        the two were joined, and are no more (backend_side.py)
    expired                            a deadline has passed
    over                               the session is; nothing is decided any more

It is one object of seven classes, each the base class of the next, cut by time: a plain login passes `Authorization`,
`Machine` and `BackendSide` only.

    MachineState     machine_state.py    the base class of all: the fields, the phase, the end
    ClientSide       client_side.py      PROXY header, TLS, CAPA, the simulated mailbox
    FailedLogins     failed_logins.py    who says no: to the client, and to log and counters
    Authorization    authorization.py    the greeting, lines, USER, PASS
    Exchanges        exchanges.py        AUTH and APOP, where the client says them instead
    BackendSide      backend_side.py     the login at the backend, up to the relay
    Machine          here                where a user goes: modules, orders, health

What a base class calls of a subclass it declares by a method without a body, which says where it is. Each
entry may call verbs (verbs.py), which never call back. When the backend has let the user in, the last verb is `relay`,
and from then on the octets do not pass through here. What ends a session from outside (a broken connection, the
supervisor, an error of ours) is not told to the machine but by `over`: there is nothing to decide.

`wants_input` (machine_state.py) is no entry but a question, asked when an entry has returned: is the client to be read?

What a login carries from class to class; `_forget` (machine_state.py) lets go of all of it:

    field        is set by                              is read by
    _secret      `_password`, `_has_shown`              the limits, `_absorb`, the dialogue with the backend
    _question    `_has_shown` (not after USER, PASS)   `_prove`; whoever asks what was shown beside a password
    _hold        `_hold_back`, `_check_orders`          `_leave_hold`, which is told of the end of each wait
    _dialogue    `_begin_dialogue`, `_open_mailbox`     `backend_says`; `failed_logins.py`, where the backend fails
    _routing     `_find_backend`                        `_go_to_backend`; `_refer`, when a backend knows another
"""

from popular import messages
from popular.pdm.contract import CannotTell, Route
from popular.pdm.decision import Admitted, Decision, NobodyKnows, RefusedLogin
from popular.proxy.session.backend.backend_auth import lacks_secret
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import AS_PROBE, NOT_NOW, HealthKnowledge
from popular.proxy.session.backend.reach import ELSEWHERE
from popular.proxy.session.limits.login_orders import DRAINED, FAKE, HELD_BACK, LOCKED, moved
from popular.proxy.session.machine.backend_side import BackendSide
from popular.proxy.session.machine.client_side import HANDSHAKE_SECONDS, HEADER_SECONDS
from popular.proxy.session.machine.failed_logins import NO_ANSWER, NO_CONNECTION
from popular.proxy.session.machine.holds import ThenAsk, ThenObey, ThenRefuse
from popular.proxy.session.machine.phases import (
    ASKING,
    AWAITING_HEADER,
    CHECKING,
    CONNECTING,
    HELD,
    LOGGING_IN,
    RELAYING,
    STARTING_TLS,
    bits,
)
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.session.who import FALLBACK, OWN_LOGIN, VOUCHED, Basis, Routing
from popular.proxy.settings.backend import Backend, looks_at_passwords
from supervisor.octets import fields_of
from supervisor.serving.session import COMMITTING_SECONDS

LINGERING, QUIT_ANSWERED = "lingering", "lingering after QUIT"
"""The relay waits for nothing but the last words of a backend, for a client that sends nothing more; and has had his
answer to QUIT.
"""
COMMITTING = "committing"
"""QUIT may be on its way, and its answer is not there."""

_AWAITED = bits((ASKING, CHECKING, CONNECTING, LOGGING_IN))
"""Phases in which the client waits for somebody's answer."""

_TIME_OUTS = {"auth": "auth_timeout", "session": "session_timeout"}
_QUIET_RELAYS = {LINGERING: "client_closed", QUIT_ANSWERED: "quit"}
"""Why a relay ends in which nothing passes any more; else it is proxytimeout."""


class Machine(BackendSide):
    """What one session decides, from its greeting to its end.

    `phase`, `user`, `namespace`, `backend_id` and `target` may be looked at; nobody but the machine sets them.
    """

    __slots__ = ()

    def __init__(self, verbs: Verbs, around: Surroundings, peer: tuple[str, int]) -> None:
        """`peer`: the client's address and port."""
        self._set_up(verbs, around, peer)

    # The modules

    def decided(self, decision: Decision) -> None:
        """What the modules made of the user name and the password."""
        if self.phase is not ASKING:
            return  # A thread cannot be stopped: this one was given up.
        self._backup_taken = False
        if self._proving is not None and self._goes_on_proving(self._proving, decision):
            return
        if isinstance(decision, Admitted):
            route, _identified_by, _authenticated_by, vouched, self._own_limits = fields_of(decision)
            if vouched:
                self._tell_master_login(decision)
            self._admit(route, VOUCHED if vouched else OWN_LOGIN)
        elif isinstance(decision, NobodyKnows) and self._rules.fallback and self._has_own_password():
            self._own_limits = None
            self._admit(Route(self._rules.fallback), FALLBACK)
        elif isinstance(decision, CannotTell):
            self._verbs.note(messages.MODULE_FAILED, {"user": self.user, "reason": decision.reason})
            self._service_failed("module_failed", label="module")
        elif isinstance(decision, NobodyKnows):
            self._wrong_login(label="unknown")
        else:
            assert isinstance(decision, RefusedLogin), "what is to prove is proven by now"
            self._refused_by_module(decision)

    # What the operator has ordered

    def _admit(self, route: Route, basis: Basis) -> None:
        """The modules have let the user in: does the operator, and where to?"""
        self._home = route.backend
        if self._around.orders.any:
            self._check_orders((route, basis), waited=False)
        else:
            self._find_backend(route, basis)

    def _check_orders(self, routing: Routing, *, waited: bool) -> None:
        """`waited`: he was held as long as may be."""
        route, basis = routing
        orders = self._around.orders
        asking = orders.routed(self._asked(route.backend))
        verdict, seconds = orders.verdict(asking)
        if verdict == LOCKED:
            self._wrong_login(label="locked")
        elif verdict == HELD_BACK and not waited:
            self._hold = ThenObey(routing)
            self._move(HELD)
            self._verbs.await_release(asking, seconds)
        elif verdict in (HELD_BACK, DRAINED):
            self._end_with_err(verdict)
        elif verdict == FAKE:
            self.backend_id, self.target = asking.backend, route.target or self.user
            self._show_empty()
        elif basis is not VOUCHED and self._is_open_to_all(self._rules.backends.get(asking.backend)):
            self.backend_id = asking.backend
            self._no_secret()
        else:
            self._find_backend(moved(route, asking.backend), basis)

    def released(self) -> None:
        """The operator has ordered something else about a user who is held. Not any more, if his time was over in the
        same turn of the loop.
        """
        if self.awaits_release():
            self._leave_hold(waited=False)

    def awaits_release(self) -> bool:
        """Whether the operator holds the client."""
        return self.phase is HELD and isinstance(self._hold, ThenObey)

    def _leave_hold(self, *, waited: bool) -> None:
        """The client is held back no more: what that was for goes on. `waited`: for as long as may be."""
        hold, self._hold = self._hold, None
        if isinstance(hold, ThenObey):
            self._move(ASKING)
            self._note_time()  # what the operator has kept him waiting for is no module's
            self._check_orders(hold.routing, waited=waited)
        elif isinstance(hold, ThenAsk):
            self._move(ASKING)
            self._ask(hold.question)
        elif isinstance(hold, ThenRefuse):
            self._try_again(hold.code)
        else:
            assert hold is not None
            assert self._proving is not None
            self._have_proven(self._proving, hold.decision)

    def _is_open_to_all(self, other: Backend | None) -> bool:
        """Whether everybody could have this user's mailbox there: nobody but the backend to which the modules lead him
        has looked at his password yet, and this one, to which he would be led instead, does not.
        """
        home = self._rules.backends.get(self._home)
        if other is None or self._home not in self._rules.blind or looks_at_passwords(other):
            return False
        return home is None or looks_at_passwords(home)

    # The mailbox

    def _find_backend(self, route: Route, basis: Basis) -> None:
        """The user may come in: is the backend there, and does it take him?"""
        name, target, _secret, _flags, server = fields_of(route)
        backend = self._around.backend_runtimes.get(name)
        if server is not None and backend is not None:
            backend = backend.placed(server)
        self._backend = backend
        self.backend_id, self.target = name, target or self.user
        self._health = health = None if backend is None else backend.health
        self._rejections = self.poll = None
        self._routing = route, basis
        self._referred = False
        if backend is None:
            self._verbs.note(messages.NO_BACKEND, {"backend": name, "user": self.user})
            self._service_failed("no_backend")
        elif server is not None and self._rules.ourselves.are_at(*server):
            self._note_backend(CONNECTING.phrase, "it is one of our own virtual servers", label="refused")
            self._service_failed("backend_failed")
        elif not backend.is_online:
            self._not_in_use(backend)
        elif health is not None and not self._is_taken(health):
            self._turn_to_backup(backend, health)
        else:
            self._go_to_backend(backend)

    def _go_to_backend(self, backend: BackendRuntime) -> None:
        """It takes the user: how is the mailbox there opened, and is there anything in it?"""
        assert self._routing is not None
        route, basis = self._routing
        if not backend.speaks_pop3 and basis is not FALLBACK:
            self._open_mailbox(route, backend)
        elif (basis is VOUCHED or self._question is not None or not backend.says_user) and lacks_secret(
            self._routing, backend.settings, self._shows()
        ):
            self._no_secret()
        else:
            secret = route.secret
            if basis is not FALLBACK and secret is None and not backend.trusts_us:
                self._rejections = backend.rejections
            if not backend.absorbs or not self._absorb(backend, basis):
                self._begin_dialogue(secret, backend)

    def _not_in_use(self, backend: BackendRuntime) -> None:
        """The backend is configured, and not in use."""
        if backend.state == "fake":
            self._show_empty()
        else:
            self._end_with_err("backend_offline")

    def _absorb(self, backend: BackendRuntime, basis: Basis) -> bool:
        """Whether the same login, by the user's own password, found no mail a moment ago: then it is shown none."""
        polls = self._around.polls
        if basis is VOUCHED or polls is None or self._secret is None or not self._has_own_password():
            return False
        self.poll = poll = polls.poll_of(self._whom(), self._secret, backend.settings, target=self.target)
        if not polls.is_empty(poll):
            return False
        if self._passes_limits():
            self.absorbed = True
            self._verbs.count("absorbed", None, self.backend_id)
            self._simulate()
        return True

    def reached(self, number: int) -> None:
        """The backend has several addresses, and is connected at this one, 0 being the first."""
        assert self._backend is not None
        self._backend = self._backend.elsewhere(self._backend.settings.at_address(number))
        if number:
            self._verbs.count("backend_elsewhere", ELSEWHERE[number - 1], self.backend_id)

    # A backend that is down

    def _is_taken(self, health: HealthKnowledge) -> bool:
        """Whether a backend takes this login; if as a probe, it is heard of at the latest when the session is over."""
        if self._probed is not None:  # before it is asked: after that the new one would be taken back
            self._take_back_probe()
        takes = health.takes(self.peer_ip)
        if takes == AS_PROBE:
            self._probed = health
        return takes != NOT_NOW

    def _take_back_probe(self) -> None:
        if self._probed is not None:
            self._probed.came_to_nothing(self.peer_ip)
            self._probed = None

    def over(self) -> None:
        """The session is, whoever ended it: a probe of which no backend has told anything is free for others."""
        if self._probed is not None:
            self._take_back_probe()
        if self._proving is not None:
            self._give_up_proof()

    def _turn_to_backup(self, backend: BackendRuntime, health: HealthKnowledge) -> None:
        """The backend is known to be down, or full: its backup takes the user, or he is told at once."""
        assert self._routing is not None
        route, basis = self._routing
        backup = self._backup_of(backend.settings, basis)
        if backup:
            self._find_backend(route._replace(backend=backup), basis)
        else:
            reason, word = health.why_not()
            self._note_backend(CONNECTING.phrase, reason, label=word)
            self._service_failed("backend_failed")

    def _backup_of(self, backend: Backend, basis: Basis) -> str:
        """Where the users of a backend go that takes none; "" for nowhere. A backup's own backup counts for nothing."""
        other = self._rules.backends.get(backend.backup)
        if other is None or other.state != "online" or self._backup_taken or not self._takes_new(other.id):
            return ""
        if basis is not VOUCHED and self._is_open_to_all(other):
            return ""
        self._backup_taken = True
        fields: dict[str, object] = {"user": self.user, "backend": backend.id, "backup": other.id}
        self._verbs.note(messages.BACKUP_USED, fields)
        return other.id

    # Deadlines

    def expired(self, what: str, missing: str) -> None:
        """A deadline has passed: "step", "auth", "session" or "idle". `missing`: how far the backend had come, if there
        is one: NO_CONNECTION, NO_HANDSHAKE, NO_ANSWER, NO_TIME; or how the relay stands: LINGERING, QUIT_ANSWERED or
        COMMITTING.

        It closes without a word (RFC 1939 section 3), but where the client waits for somebody else's answer; and a
        session that is committing may do so.
        """
        if what == "step":
            self._step_expired(missing)
        elif what == "auth" and self._bit & _AWAITED:
            self._answer_expired(missing)
        elif what == "session" and missing == COMMITTING:
            self._verbs.expect(COMMITTING_SECONDS)
        elif what != "idle":
            self._end(_TIME_OUTS[what])
        elif self.phase is not RELAYING:
            self._end("idle_timeout")
        else:
            self._end(_QUIET_RELAYS.get(missing, "proxy_timeout"))

    def _answer_expired(self, missing: str) -> None:
        """The login takes too long, and whose answer is missing is at fault, not the client, who waits for it."""
        if self.phase is ASKING:
            self.decided(CannotTell(NO_ANSWER))
        elif self.phase is CHECKING:
            self._tell_unchecked(NO_ANSWER)
            self._service_failed(_TIME_OUTS["auth"])
        else:
            self._verbs.leave_backend()
            self.backend_failed(missing, "timeout")

    def _step_expired(self, missing: str) -> None:
        phase = self.phase
        if phase is AWAITING_HEADER:
            self.header_failed(f"no header within {HEADER_SECONDS:g} s")
        elif phase is STARTING_TLS:
            self.tls_failed("timeout", f"not done within {HANDSHAKE_SECONDS:.0f} s")
        elif phase is ASKING:
            self.decided(CannotTell(NO_ANSWER))
        elif phase is HELD:
            self._leave_hold(waited=True)
        elif phase is RELAYING:  # its sessiontimeout was over before
            self._end("session_timeout")
        elif phase is CHECKING:
            self.checked(None, NO_ANSWER)
        elif phase is CONNECTING and missing != NO_CONNECTION and self._patience:
            self._verbs.expect(self._patience)
            self._patience = 0.0
        else:
            self._verbs.leave_backend()
            self.backend_failed(missing, "timeout")
