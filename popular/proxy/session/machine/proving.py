"""A client that proves that it has a password (SCRAM), and never says it: by which keys, and what that comes to. Pure.

client    AUTH SCRAM-SHA-256, name and nonce       the modules are asked by which keys it can prove that
proxy     + nonce, salt, iterations                whoever the user is: one that nobody knows has invented keys
client    proof
proxy     + its own proof                          only if that of the client holds, and the user may come in
client    an empty line                            what is decided now is as if the modules had decided it

Where a module hands the exchange on to a server (`ToHandOn`), that makes the challenges, and the module is asked what
comes of each thing that the client says (`ClientResponse`), until it has come to something.
"""

from popular.pdm.contract import CannotTell, ClientResponse
from popular.pdm.decision import Decision, NobodyKnows, RefusedLogin, ToHandOn, ToProve, Undecided
from popular.protocol.sasl import BadResponse
from popular.protocol.scram import LONGEST_MESSAGE, SCRAM, Proof, invented_keys


class Proving:
    """One exchange, from the client's first message on. Raises BadResponse for what SCRAM does not allow."""

    __slots__ = ("_decision", "_proof", "_salt", "has_responded", "is_told", "name")

    def __init__(self, first: bytes, nonce: str) -> None:
        self._proof = Proof(first, nonce)
        self.name = self._proof.user.encode()
        """Whom the client names."""
        self._salt = b""
        self._decision: Decision = NobodyKnows()
        self.has_responded = False
        """What the client has said is before the server behind a module."""
        self.is_told = False
        """The client was told that its proof holds, and so that the password is right; it has not logged in yet."""

    def salted(self, salt: bytes) -> bytes:
        """The salt, which is kept: it is for who has none of his own."""
        self._salt = salt
        return salt

    def is_over(self, decision: Decision) -> bool:
        """Whether what the modules have said ends it; else it is followed by a challenge."""
        return type(decision) is CannotTell or (self.has_responded and not isinstance(decision, ToHandOn))

    def challenge(self, decision: Decision) -> bytes:
        """What is said to the client, after what the modules have said."""
        self._decision = decision
        if isinstance(decision, ToHandOn):
            self.is_told = self.has_responded
            return decision.said.challenge
        keys = decision.keys if isinstance(decision, (ToProve, NobodyKnows, Undecided)) else None
        return self._proof.challenge(keys or invented_keys(self._salt))

    def lock(self) -> None:
        """The operator has locked the user: that looks as if the module had."""
        if isinstance(self._decision, ToProve):
            self._decision = self._decision._replace(locked=True)

    @property
    def decision(self) -> Decision:
        """What the modules have said last."""
        return self._decision

    def answered(self, response: bytes) -> bytes | ClientResponse | Decision:
        """What is said to what the client says next, or who is to be asked about it, or what it has all come to."""
        decision = self._decision
        if isinstance(decision, ToHandOn):
            if len(response) > LONGEST_MESSAGE:
                raise BadResponse(f"this is too long for {SCRAM}; allowed: {LONGEST_MESSAGE} octets")
            self.has_responded = True
            return ClientResponse(
                SCRAM, decision.identified_by, response, respond=decision.said.respond, doubt=decision.doubt
            )
        if self._proof.holds:
            if response:
                raise BadResponse("nothing but an empty line is wanted after a proof that holds")
            assert isinstance(decision, ToProve), "nobody has invented keys"
            return decision.admits()
        said = self._proof.answered(response)
        if not isinstance(decision, ToProve):  # nothing is proven by keys that are invented, whatever a module says
            return decision if isinstance(decision, (RefusedLogin, NobodyKnows, Undecided)) else NobodyKnows()
        if said and not decision.locked:
            self.is_told = True
            return said
        if decision.doubt:
            return CannotTell(decision.doubt)
        return RefusedLogin(decision.identified_by, decision.locked)
