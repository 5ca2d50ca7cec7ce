"""A module that hands an exchange on to a server (HandedOn): the rules of the chain, alone and on an event loop."""

import asyncio

import pytest

from popular.pdm.answercache import to_keep
from popular.pdm.contract import (
    SCRAM,
    Answer,
    AsyncModule,
    Authenticated,
    CannotTell,
    ClientResponse,
    HandedOn,
    KeysWanted,
    Module,
    ModuleFailed,
    Provable,
    Question,
    Refused,
    Route,
    Secret,
)
from popular.pdm.decision import Admitted, Decision, RefusedLogin, ToHandOn
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.servers import servers
from popular.pdm.shadow import CANNOT_TELL, compared
from popular.pdm.steps import Record
from popular.protocol.scram import invented_keys
from tests.pdm.asking import ask

HERE = Route("b1")
WANTED = KeysWanted("SCRAM-SHA-256", bytes(64), b"n,,n=ann,r=x")


def question(proof: KeysWanted | ClientResponse = WANTED) -> Question:
    return Question("192.0.2.1", "POP3", "default", user="ann", password=Secret(b""), vserv="v", proof=proof)


class Server:
    """What is behind a module: a challenge, and what comes of the client's response to it."""

    def __init__(self, outcome: object) -> None:
        self.outcome, self.heard = outcome, list[bytes]()

    def respond(self, said: bytes) -> Answer:
        self.heard.append(said)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome  # type: ignore[return-value]  # some break the contract


class Plain(Module):
    """Answers by functions."""

    blocking = False
    takes = frozenset({SCRAM})

    def __init__(self, ident: str, server: Server) -> None:
        self.ident, self.arguments, self.server = ident, (), server

    def check(self, question: Question) -> Answer:
        assert isinstance(question.proof, KeysWanted), "a response is not for check"
        return HandedOn(b"challenge", self.server.respond)


class OnLoop(AsyncModule):
    """Answers by coroutines."""

    takes = frozenset({SCRAM})

    def __init__(self, ident: str, server: Server) -> None:
        self.ident, self.arguments, self.server = ident, (), server

    async def check(self, question: Question) -> Answer:
        assert isinstance(question.proof, KeysWanted)

        async def respond(said: bytes) -> Answer:
            await asyncio.sleep(0)
            return self.server.respond(said)

        return HandedOn(b"challenge", respond)


class Down(Module):
    """A database that is."""

    ident, arguments, takes = "down", (), frozenset({SCRAM})

    def check(self, question: Question) -> Answer:
        raise ModuleFailed(f"no connection for {question.user}")


def answered(decision: Decision, said: bytes = b"proof") -> Question:
    assert isinstance(decision, ToHandOn)
    return question(
        ClientResponse("SCRAM-SHA-256", decision.identified_by, said, decision.said.respond, doubt=decision.doubt)
    )


def on_loop(modules: list[Module | AsyncModule], terms: Terms | None = None) -> Decision:
    """What comes of the exchange, up to the response to the first challenge."""

    async def both() -> Decision:
        guards = [(Guarded(module), Asking(terms or Terms(), Unheard())) for module in modules]
        first = await decide(guards, question(), Record())
        decision = await decide(guards, answered(first), Record())
        for guard, _how in guards:
            await guard.close()
        return decision

    return asyncio.run(both())


LAST: list[tuple[object, type]] = [
    (Authenticated(HERE), Admitted),
    (Refused(), RefusedLogin),
    (CannotTell("it is down"), CannotTell),
    (HandedOn(b"more", lambda _said: Refused()), ToHandOn),
    (ModuleFailed("no connection"), CannotTell),
    (Provable(invented_keys(bytes(64)), HERE), CannotTell),
    ("yes", CannotTell),
    (KeyError("x"), CannotTell),
]


@pytest.mark.parametrize(("outcome", "decision"), LAST, ids=[str(type(outcome).__name__) for outcome, _ in LAST])
def test_the_module_that_hands_on_has_the_last_word(outcome: object, decision: type) -> None:
    """As the contract allows; the others are not asked, whatever stands in front of it."""
    for kind in (Plain, OnLoop):
        server, other = Server(outcome), Server(Authenticated(HERE))
        modules: list[Module | AsyncModule] = [kind("dovecot", server), kind("other", other)]
        assert type(on_loop(modules)) is decision
        assert server.heard == [b"proof"]
        assert other.heard == []
    plain = [Plain("dovecot", Server(outcome))]
    assert type(ask(plain, answered(ask(plain, question())))) is decision


def test_a_module_that_fails_in_front_makes_a_doubt_of_a_refusal() -> None:
    """As with keys: nobody can tell, which is said after the proof. A proof that holds needs nobody else."""
    for outcome, decision in ((Refused(), CannotTell), (Authenticated(HERE), Admitted)):
        assert type(on_loop([Down(), OnLoop("dovecot", Server(outcome))])) is decision


def test_a_response_whose_module_is_gone_lets_nobody_in() -> None:
    """It was deleted in the middle: nobody can tell."""
    asked = answered(ToHandOn(HandedOn(b"x", lambda _said: Authenticated(HERE)), "dovecot"))
    assert type(ask([Plain("other", Server(Authenticated(HERE)))], asked)) is CannotTell


def test_a_server_that_a_module_names_behind_a_proof_has_to_be_allowed() -> None:
    """As everywhere."""
    module = OnLoop("dovecot", Server(Authenticated(Route("192.0.2.7:110"))))
    assert type(on_loop([module])) is CannotTell
    terms = Terms(allow=(servers("192.0.2.0/24:110"),), like="b1")
    decision = on_loop([module], terms)
    assert isinstance(decision, Admitted)
    assert decision.route == Route("b1", server=("192.0.2.7", 110))


def test_nothing_is_shown_kept_or_compared_of_it() -> None:
    """What a client proves by is worth a password to who has the keys."""
    said = HandedOn(b"challenge", lambda _said: Refused())
    assert "challenge" not in repr(said)
    assert "secret" not in repr(answered(ToHandOn(said, "m"), b"secret"))
    assert to_keep(said) is None
    assert compared(ToHandOn(said, "m"), Refused()) == compared(RefusedLogin("m"), said) == CANNOT_TELL
