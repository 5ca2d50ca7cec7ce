"""AUTH and APOP: the client shows in an exchange who it is, instead of by USER and PASS.

    AUTH MECHANISM      challenges and responses (`popular/protocol/sasl.py`) up to what the client has to show
    APOP                an answer to the challenge in the greeting

With SCRAM the modules are asked in the middle, for the keys; with all others at the end.
One of the classes of which the machine is made (machine.py lists them). Pure, as they all are.
"""

from popular.pdm.contract import ClientResponse, Question
from popular.pdm.decision import Decision, RefusedLogin, ToHandOn, ToProve
from popular.protocol import sasl
from popular.protocol.lines import LONGEST_COMMAND
from popular.protocol.scram import SCRAM, invented_salt
from popular.proxy.session.limits.login_orders import LOCKED, AskedLogin
from popular.proxy.session.machine.authentication import APOP, EXTERNAL, NO_PASSWORD, with_credential
from popular.proxy.session.machine.authorization import Authorization, name_of
from popular.proxy.session.machine.holds import ThenChallenge
from popular.proxy.session.machine.phases import ASKING, EXCHANGING, GREETED
from popular.proxy.session.machine.proving import Proving


class Exchanges(Authorization):
    """One session, as far as its client has not shown who it is."""

    __slots__ = ()

    def _auth(self, argument: bytes) -> None:
        """AUTH MECHANISM [INITIAL-RESPONSE] (RFC 5034). Alone, AUTH asks which mechanisms there are."""
        self.lines.limit = LONGEST_COMMAND
        offer, words = self._offer, argument.split()
        if not offer.mechanisms:
            self._not_offered()
        elif not words:
            self._verbs.send(offer.listing)
        elif words[0].upper() not in offer.mechanisms:
            self._error(f"this mechanism is not offered here, but {b', '.join(offer.mechanisms).decode()}")
        elif len(words) > 2:
            self._error("AUTH takes a mechanism and one initial response, in base64")
        else:
            mechanism = offer.mechanisms[words[0].upper()]
            self._exchange = sasl.Exchange(mechanism, challenge=self._challenge(self._commands_said))
            self._denied = None
            self.user = self.namespace = ""
            self._move(EXCHANGING)
            self._hear_response(words[1] if len(words) == 2 else None, first=True)

    def _response(self, line: bytes) -> None:
        """A line that is no command, but answers a challenge."""
        if self._denied is not None:
            self._leave_exchange()
            self._deny(self._denied)
        elif line == sasl.CANCEL:
            self._break_off("cancelled")
        elif self._proving is not None:
            self._prove(self._proving, line)
        else:
            self._hear_response(line, first=False)

    def _leave_exchange(self) -> None:
        self.lines.limit = LONGEST_COMMAND
        self._move(GREETED)

    def _hear_response(self, line: bytes | None, first: bool) -> None:
        """What the client says in an exchange, in base64; None: it has said nothing yet."""
        exchange = self._exchange
        assert exchange is not None
        try:
            if first:
                said = exchange.begin(None if line is None else sasl.initial_response(line))
            else:
                assert line is not None
                said = exchange.answer(sasl.decoded(line))
        except sasl.BadResponse as error:
            self._break_off(str(error))
            return
        if isinstance(said, bytes):
            self.lines.limit = sasl.LONGEST_RESPONSE
            self._verbs.send(sasl.encoded(said))
        else:
            self._leave_exchange()
            self._has_shown(said, exchange.mechanism.name, self._challenge(self._commands_said))

    def _break_off(self, why: str) -> None:
        """The client has cancelled an exchange, or said in it what it must not: it may try another one."""
        self._leave_exchange()
        if self._proving is not None:
            self._give_up_proof()
        self._forget()
        self._error(why)

    def _goes_on_proving(self, proving: Proving, decision: Decision) -> bool:
        """Whether it is the client's turn after this, to prove who it is: by SCRAM. Its challenge may have to wait."""
        if proving.is_over(decision):
            self._proving = None
            return False
        times, wait = self._around.times, 0.0
        if times is not None and not proving.has_responded:
            wait = times.left_to_challenge(self._asked_at, decision)
        if wait > 0:
            self._hold_back(wait, ThenChallenge(decision), wait)
        else:
            self._have_proven(proving, decision)
        return True

    def _have_proven(self, proving: Proving, decision: Decision) -> None:
        """The modules have said by which keys the client can prove who it is; or that it cannot, which it is not told
        yet. Where a server has looked at its proof, what is said now is that it holds.
        """
        if proving.has_responded and isinstance(decision, ToHandOn) and self._is_locked(decision):
            self._proving = None
            self._verbs.take_as_decided(RefusedLogin(decision.identified_by, locked=True))
            return
        self._move(EXCHANGING)
        self.lines.limit = sasl.LONGEST_RESPONSE
        self._verbs.send(sasl.encoded(proving.challenge(decision)))
        self._answer_lines()

    def _prove(self, proving: Proving, line: bytes) -> None:
        if self._is_locked(proving.decision):
            proving.lock()
        try:
            said = proving.answered(sasl.decoded(line))
        except sasl.BadResponse as error:
            self._break_off(str(error))
            return
        if isinstance(said, bytes):
            self._verbs.send(sasl.encoded(said))
            return
        self._leave_exchange()
        self._move(ASKING)
        if isinstance(said, ClientResponse):
            assert self._question is not None, "the modules were asked first"
            self._ask(self._question._replace(proof=said))
        else:
            self._proving = None
            self._note_time()
            self._verbs.take_as_decided(said)

    def _is_locked(self, decision: Decision) -> bool:
        """Whether the operator has locked the user: then no proof is told to hold, since that would tell whether the
        password is right.
        """
        orders = self._around.orders
        if not orders.any or not isinstance(decision, (ToProve, ToHandOn)):
            return False
        if isinstance(decision, ToHandOn):
            account = decision.said.account
        else:
            account = decision.limits.account if decision.limits is not None else ""
        asking = AskedLogin(self._rules.vserv, self.namespace, self.user, backend="", account=account)
        return orders.verdict(asking)[0] == LOCKED

    def _apop(self, argument: bytes) -> None:
        """RFC 1939 section 7."""
        if not self._offer.apop:
            self._not_offered()
            return
        try:
            shown = sasl.apop(argument)
        except sasl.BadResponse as error:
            self._error(str(error))
            return
        self._has_shown(shown, APOP, self._challenge(0))

    def _has_shown(self, shown: sasl.Presented, mechanism: str, challenge: bytes) -> None:
        """AUTH or APOP is complete: asks the modules about what the client has shown. With EXTERNAL its certificate may
        say who the user is.
        """
        nobody = mechanism == EXTERNAL and not shown.user
        try:
            if mechanism == SCRAM:
                self._proving = Proving(shown.proof, challenge.decode().strip("<>"))
                shown = shown._replace(user=self._proving.name)
            name = name_of(self._certificate_name.encode(errors="replace") if nobody else shown.user)
            actor = name_of(shown.actor) if shown.actor else ""
            self.user, self.namespace = self._split_namespace(name)
        except sasl.BadResponse as error:
            self._forget()
            self._error(str(error))
            return
        self.mechanism = mechanism
        rules = self._rules
        if rules.state == "fake":
            self._simulate()
            return
        question = Question(
            client_ip=self.peer_ip,
            protocol=rules.protocol,
            namespace=self.namespace,
            user=self.user,
            password=NO_PASSWORD,
            vserv=rules.vserv,
            certificate_name=self._certificate_name,
            actor=actor,
            attempt=self._failures + 1,
        )
        if self._proving is not None:
            challenge = self._proving.salted(invented_salt(rules.salt_key, self.namespace, self.user))
        self._question = question = self._as_named(with_credential(question, mechanism, challenge, shown=shown))
        self._secret = None if question.password is NO_PASSWORD else question.password
        self._put(question)
