"""AUTH SCRAM-SHA-256 on the pure machine: the modules say by which keys, the session tries the proof."""

import base64
import hashlib
import hmac
from typing import Any

import pytest

from popular import messages
from popular.pdm.contract import (
    RESPONSE,
    SCRAM,
    CannotTell,
    ClientResponse,
    HandedOn,
    KeysWanted,
    Refused,
    Route,
    Secret,
    UserLimits,
)
from popular.pdm.decision import Admitted, Decision, NobodyKnows, RefusedLogin, ToHandOn, ToProve, Undecided
from popular.protocol.scram import LONGEST_MESSAGE, ScramClient, ScramKeys, invented_keys, invented_salt, keys_of
from popular.proxy.session.explain.rehearsal import ASK, PlayedVerbs, Rehearsal
from popular.proxy.session.limits.contracts import NO_LIMITS
from popular.proxy.session.limits.login_orders import NO_ORDERS, LoginOrders, WorkerOrders
from popular.proxy.session.machine.phases import ASKING, CONNECTING, EXCHANGING, GREETED, LEGAL, SIMULATING
from supervisor.operatorstate import OperatorState, OrderEntry
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import rules

AUTH = b"AUTH SCRAM-SHA-256 "
WRONG = b"-ERR [AUTH] the user name or the password is wrong\r\n"
HERE = Route("fake")
LIMITS = UserLimits(sessions=3)


def coded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def keys(password: bytes = b"secret", salt: bytes = b"0123456789abcdef") -> ScramKeys:
    made = keys_of(password, salt)
    assert made is not None
    return made


KNOWN = ToProve(keys(), HERE, "users", limits=LIMITS)


def said(verbs: list[tuple[Any, ...]]) -> bytes:
    return b"".join(verb[1] for verb in verbs if verb[0] == "send")


def begun(orders: LoginOrders = NO_ORDERS, **other: Any) -> PureSession:
    given: dict[str, Any] = {"takes": frozenset({SCRAM}), "mechanisms": ("scram-sha-256",), **other}
    session = PureSession(rules(**given), orders=orders)
    session.begin()
    return session


def asked(user: str = "ann", password: str = "secret", **other: Any) -> tuple[PureSession, ScramClient]:
    """A session whose modules are asked, with its client."""
    session, client = begun(**other), ScramClient(user, password, "nonce")
    verbs = session.says(AUTH + coded(client.first()) + b"\r\n")
    assert verbs[-1][0] == "ask", verbs
    return session, client


def challenge(verbs: list[tuple[Any, ...]]) -> bytes:
    """What the client is challenged by, which is all that it hears."""
    assert [verb[0] for verb in verbs] == ["send"], verbs
    return base64.b64decode(said(verbs).removeprefix(b"+ "))


def proves(decision: Decision, password: str = "secret", **other: Any) -> tuple[PureSession, ScramClient, bytes]:
    """… and what is said to the client's proof."""
    session, client = asked(password=password, **other)
    final = client.final(challenge(session.decided(decision)))
    assert session.machine.phase is EXCHANGING
    return session, client, said(session.says(coded(final) + b"\r\n"))


def test_a_login() -> None:
    """Four messages; then the login goes on as one that the modules have let in, with the limits that they say."""
    session, client = asked()
    question = session.verbs.asked[0]
    assert (question.user, question.kind, question.password) == ("ann", SCRAM, Secret(b""))
    salt = invented_salt(b"s" * 32, "default", "ann")
    assert question.proof == KeysWanted("SCRAM-SHA-256", salt, b"n,,n=ann,r=nonce")
    session, client, reply = proves(KNOWN)
    assert client.trusts(base64.b64decode(reply.removeprefix(b"+ ")))
    assert session.machine.phase is EXCHANGING
    assert session.says(b"\r\n") == [("take_as_decided", Admitted(HERE, "users", "users", limits=LIMITS))]
    assert session.machine.phase is ASKING
    verbs = session.decided(KNOWN.admits())
    assert session.machine.phase is SIMULATING
    assert ("count", "sasl_logins", "SCRAM-SHA-256", "v1") in verbs
    assert all(after in LEGAL[before] for before, after in session.moves)


def test_in_two_lines_and_all_at_once() -> None:
    """Without an initial response; and a client that does not wait has its lines kept."""
    session, client = begun(), ScramClient("ann", "secret", "nonce")
    assert said(session.says(b"AUTH SCRAM-SHA-256\r\n")) == b"+ \r\n"
    assert session.says(coded(client.first()) + b"\r\n")[-1][0] == "ask"
    session, client = asked()
    session.says(b"*\r\nCAPA\r\n")
    assert said(session.decided(KNOWN)).split(b"\r\n")[1:3] == [b"-ERR cancelled", b"+OK capability list follows"]


OUTCOMES: dict[str, tuple[Decision, str, str]] = {
    "wrong password": (KNOWN, "wrong", "password"),
    "locked, and the password is right": (KNOWN._replace(locked=True), "secret", "locked"),
    "locked, and the password is wrong": (KNOWN._replace(locked=True), "wrong", "locked"),
    "without keys": (RefusedLogin("users"), "secret", "password"),
    "unknown": (NobodyKnows(), "secret", "unknown"),
    "unknown, with a decoy": (NobodyKnows(invented_keys(bytes(64), keys())), "secret", "unknown"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_who_does_not_come_in(outcome: str) -> None:
    """All alike to the client: a challenge of the same form, the same refusal at the same place; the log knows why."""
    decision, password, why = OUTCOMES[outcome]
    session, client = asked(password=password)
    server_first = challenge(session.decided(decision))
    nonce, salt, iterations = server_first.split(b",")
    assert nonce.startswith(b"r=nonce")
    assert len(base64.b64decode(salt[2:])) == 16
    assert iterations == b"i=4096"
    (verb,) = session.says(coded(client.final(server_first)) + b"\r\n")
    assert verb[0] == "take_as_decided"
    verbs = session.decided(verb[1])
    assert said(verbs) == WRONG
    assert session.machine.phase is GREETED
    assert [verb[2]["why"] for verb in verbs if verb[0] == "note"] == [why]
    assert session.says(b"USER ann\r\n")[-1][0] == "send", "nothing is left of it"


@pytest.mark.parametrize(
    ("decision", "password"),
    [
        (KNOWN._replace(doubt="db: it is down"), "wrong"),
        (KNOWN._replace(doubt="db: it is down", locked=True), "secret"),
        (Undecided("db: it is down"), "secret"),
        (Undecided("db: it is down", invented_keys(bytes(64), keys())), "secret"),
    ],
    ids=["wrong password", "locked", "without keys", "unknown"],
)
def test_who_does_not_come_in_while_a_module_fails(decision: Decision, password: str) -> None:
    """All alike again: nobody can tell, and that is said after the proof."""
    session, client = asked(password=password)
    server_first = challenge(session.decided(decision))
    _nonce, salt, iterations = server_first.split(b",")
    assert (len(base64.b64decode(salt[2:])), iterations) == (16, b"i=4096")
    (verb,) = session.says(coded(client.final(server_first)) + b"\r\n")
    assert verb[0] == "take_as_decided"
    verbs = session.decided(verb[1])
    assert said(verbs).startswith(b"-ERR [SYS/TEMP]")
    assert verbs[-1] == ("finish", "module_failed")


def test_a_proof_that_holds_lets_in_while_another_module_fails() -> None:
    """Who is known needs nobody else."""
    session, _client, _reply = proves(KNOWN._replace(doubt="db: it is down"))
    assert session.says(b"\r\n") == [("take_as_decided", Admitted(HERE, "users", "users", limits=LIMITS))]


def test_one_name_has_one_salt() -> None:
    """In each session, whoever asks: it does not tell who exists; another name has another one."""
    salts = {challenge(asked(user)[0].decided(NobodyKnows())).split(b",")[1] for user in ("ann", "ann", "bob")}
    assert len(salts) == 2


def test_nonces() -> None:
    """No two alike: not in one session either."""
    session, _client = asked()
    first = challenge(session.decided(KNOWN)).split(b",")[0]
    session.says(b"*\r\n")
    again = ScramClient("ann", "secret", "nonce")
    session.says(AUTH + coded(again.first()) + b"\r\n")
    assert challenge(session.decided(KNOWN)).split(b",")[0] != first


@pytest.mark.parametrize(
    "response",
    [b"*", b"!!!", b"", b"=", coded(b"c=biws,r=other,p=AAAA"), coded(b"n,,n=ann,r=nonce"), b"QUIT", coded(b"x" * 3000)],
)
def test_what_is_no_proof(response: bytes) -> None:
    """Cancelled, no base64, nothing, another nonce: an error, and the session is where it was. No login has failed."""
    for decision in (KNOWN, NobodyKnows()):
        session, _client = asked()
        session.decided(decision)
        verbs = session.says(response + b"\r\n")
        assert [verb[0] for verb in verbs] == ["send"]
        assert said(verbs).startswith(b"-ERR")
        assert session.machine.phase is GREETED
        assert said(session.says(coded(b"c=biws") + b"\r\n")) == b"-ERR unknown command\r\n"


@pytest.mark.parametrize("response", [b"*", coded(b"x"), b"!!!"])
def test_behind_the_proof_only_an_empty_line(response: bytes) -> None:
    """Who does not trust our proof goes, or who wanted to know whether a password is right; nobody is let in by it."""
    session, _client, _reply = proves(KNOWN)
    verbs = session.says(response + b"\r\n")
    assert [verb[0] for verb in verbs] == ["note", "count", "send"]
    assert verbs[0][1] == messages.LOGIN_CANCELLED.name
    assert verbs[0][2]["user"] == "ann"
    assert verbs[1][1:] == ("login_failures", "cancelled", "v1")
    assert said(verbs).startswith(b"-ERR")
    assert session.machine.phase is GREETED
    assert "note" not in [verb[0] for verb in session.leaves()], "it is told once"


def test_who_hangs_up_behind_a_proof_that_holds_is_told() -> None:
    """To operators: he knows the password. Whose proof is none, or who has logged in, is not."""
    for goes in (PureSession.leaves, PureSession.breaks):
        for password, response, count in (("secret", b"", 1), ("wrong", b"", 0), ("secret", b"\r\n", 0)):
            session, client = asked(password=password)
            session.says(coded(client.final(challenge(session.decided(KNOWN)))) + b"\r\n")
            session.says(response)
            notes = [verb for verb in goes(session) if verb[:2] == ("note", messages.LOGIN_CANCELLED.name)]
            assert len(notes) == count, (password, response, goes)


# A user whom the operator has locked


def locked_ann() -> WorkerOrders:
    """The operator's order."""
    operator = OperatorState([OrderEntry("user lock", "default:ann", {})])
    return WorkerOrders(operator, lambda _call: None)


@pytest.mark.parametrize("user", ["ann", "ANN"])
@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_a_lock_does_not_tell_whether_the_password_is_right(user: str, password: str) -> None:
    """However the client has written the name."""
    session, client = asked(user, password, orders=locked_ann())
    known = KNOWN._replace(limits=UserLimits(account="ann"))
    final = client.final(challenge(session.decided(known)))
    (verb,) = session.says(coded(final) + b"\r\n")
    assert verb == ("take_as_decided", RefusedLogin("users", locked=True))
    assert said(session.decided(verb[1])) == WRONG


@pytest.mark.parametrize("decision", [NobodyKnows(), RefusedLogin("users"), Undecided("db: it is down")])
def test_orders_concern_nobody_whom_no_module_lets_in(decision: Decision) -> None:
    """They are challenged and refused as where nothing is ordered."""
    session, client = asked(orders=locked_ann())
    final = client.final(challenge(session.decided(decision)))
    assert session.says(coded(final) + b"\r\n") == [("take_as_decided", decision)]


def test_a_lock_that_is_said_in_the_middle() -> None:
    """After the challenge, before the proof."""
    operator = OperatorState([])
    orders = WorkerOrders(operator, lambda _call: None)
    session, client = asked(orders=orders)
    final = client.final(challenge(session.decided(KNOWN)))
    entry = OrderEntry("user lock", "default:ann", {})
    operator.change([entry])
    orders.changed([entry])
    assert session.says(coded(final) + b"\r\n") == [("take_as_decided", RefusedLogin("users", locked=True))]


@pytest.mark.parametrize(
    "first", [b"", b"n,,n=ann", b"p=tls-unique,,n=ann,r=x", b"n,a=boss,n=ann,r=x", b"n,,n=ann,r=" + b"x" * 3000]
)
def test_a_first_message_that_is_none_asks_nobody(first: bytes) -> None:
    """And says why."""
    verbs = begun().says(AUTH + (coded(first) or b"=") + b"\r\n")
    assert [verb[0] for verb in verbs] == ["send"]
    assert said(verbs).startswith(b"-ERR")


@pytest.mark.parametrize(("header", "repeated", "holds"), [(b"y,,", b"y,,", True), (b"y,,", b"n,,", False)])
def test_a_client_that_could_bind_and_thinks_that_we_cannot(header: bytes, repeated: bytes, holds: bool) -> None:
    """It is right, since -PLUS is not offered; one whose header was changed on its way proves nothing (RFC 5802)."""
    session, client = begun(), ScramClient("ann", "secret", "nonce")
    bare = client.first().removeprefix(b"n,,")
    assert session.says(AUTH + coded(header + bare) + b"\r\n")[-1][0] == "ask"
    server_first = challenge(session.decided(KNOWN))
    client.final(server_first)
    without_proof = b"c=" + coded(repeated) + b"," + server_first.split(b",")[0]
    salted = hashlib.pbkdf2_hmac("sha256", b"secret", b"0123456789abcdef", 4096)
    key = hmac.digest(salted, b"Client Key", "sha256")
    said_all = b",".join((bare, server_first, without_proof))
    signature = hmac.digest(hashlib.sha256(key).digest(), said_all, "sha256")
    proof = coded(bytes(one ^ other for one, other in zip(key, signature, strict=True)))
    reply = said(session.says(coded(without_proof + b",p=" + proof) + b"\r\n"))
    assert reply.startswith(b"+ ") is holds, reply
    assert holds or reply.startswith(b"-ERR")


def test_nobody_can_tell() -> None:
    """The client hears it at once, and has nothing to prove."""
    session, _client = asked()
    verbs = session.decided(CannotTell("it is down"))
    assert said(verbs).startswith(b"-ERR [SYS/TEMP]")
    assert verbs[-1] == ("finish", "module_failed")


def test_who_proves_nothing_is_not_let_in() -> None:
    """Even if a module says so, in whatever way it came here."""
    session, client = asked()
    verbs = session.decided(Admitted(HERE, "users", "users"))
    final = client.final(challenge(verbs))
    assert session.machine.phase is EXCHANGING
    verbs = session.says(coded(final) + b"\r\n")
    assert verbs == [("take_as_decided", NobodyKnows())]


def test_the_fallback_is_for_passwords() -> None:
    """Who is unknown is not led there: it could not be told a password."""
    session, client, reply = proves(NobodyKnows(), fallback="pop")
    del client, reply
    assert said(session.decided(NobodyKnows())) == WRONG


@pytest.mark.parametrize("takes", [frozenset(), frozenset({"password"})])
def test_it_is_offered_where_a_module_has_keys(takes: frozenset[str]) -> None:
    """Else CAPA does not name it."""
    assert b"SASL SCRAM-SHA-256\r\n" in said(begun().says(b"CAPA\r\n"))
    assert b"SCRAM" not in said(begun(takes=takes).says(b"CAPA\r\n"))
    assert b"SCRAM" not in said(begun(state="fake").says(b"CAPA\r\n")), "there everybody comes in"


# The exchange with a server behind a module


def refuses(_said: bytes) -> Refused:
    raise AssertionError("the machine calls nobody")


def handed_on(challenge: bytes, doubt: str = "", account: str = "") -> ToHandOn:
    return ToHandOn(HandedOn(challenge, refuses, account), "dovecot", doubt)


def test_an_exchange_that_a_server_has() -> None:
    """Its challenges reach the client as they are, and what the client says to them the module, which ends it."""
    session, _client = asked()
    first = session.verbs.asked[0]
    assert challenge(session.decided(handed_on(b"one", doubt="db: it is down"))) == b"one"
    (verb,) = session.says(coded(b"two") + b"\r\n")
    assert verb[0] == "ask"
    response = ClientResponse("SCRAM-SHA-256", "dovecot", b"two", refuses, doubt="db: it is down")
    assert verb[1] == first._replace(proof=response)
    assert verb[1].kind == RESPONSE
    assert "two" not in repr(verb[1]), "a proof is worth a password to who has the keys"
    assert challenge(session.decided(handed_on(b"three"))) == b"three"
    (verb,) = session.says(b"\r\n")
    assert verb[1].proof.said == b""
    verbs = session.decided(Admitted(HERE, "dovecot", "dovecot"))
    assert session.machine.phase is SIMULATING
    assert ("count", "sasl_logins", "SCRAM-SHA-256", "v1") in verbs
    assert all(after in LEGAL[before] for before, after in session.moves)


@pytest.mark.parametrize(
    ("decision", "reply"),
    [
        (RefusedLogin("dovecot"), WRONG),
        (RefusedLogin("dovecot", locked=True), WRONG),
        (CannotTell("dovecot: it is down"), b"-ERR [SYS/TEMP]"),
    ],
)
def test_a_server_that_does_not_let_in(decision: Decision, reply: bytes) -> None:
    """After the proof; then it is as if nothing had been."""
    session, _client = asked()
    session.decided(handed_on(b"one"))
    session.says(coded(b"two") + b"\r\n")
    verbs = session.decided(decision)
    assert said(verbs).startswith(reply)
    if reply == WRONG:
        assert session.machine.phase is GREETED
        assert session.says(AUTH + coded(b"n,,n=ann,r=x") + b"\r\n")[-1][0] == "ask"


def test_as_long_as_a_message_may_be_it_is_handed_on() -> None:
    """Octet for octet."""
    session, _client = asked()
    session.decided(handed_on(b"one"))
    (verb,) = session.says(coded(bytes(LONGEST_MESSAGE)) + b"\r\n")
    assert verb[1].proof.said == bytes(LONGEST_MESSAGE)


@pytest.mark.parametrize("response", [b"*", b"!!!", coded(bytes(LONGEST_MESSAGE + 1))], ids=["*", "!!!", "too long"])
def test_a_client_that_gives_up_an_exchange_of_a_server(response: bytes) -> None:
    """Nobody is asked, and an answer that comes late lets nobody in."""
    session, _client = asked()
    session.decided(handed_on(b"one"))
    verbs = session.says(response + b"\r\n")
    assert [verb[0] for verb in verbs] == ["send"]
    assert session.machine.phase is GREETED
    session.machine.decided(Admitted(HERE, "dovecot", "dovecot"))
    assert session.machine.phase is GREETED


@pytest.mark.parametrize(("user", "account"), [("ann", ""), ("ANN", "ann")])
def test_a_lock_where_a_server_looks_at_the_proof(user: str, account: str) -> None:
    """What it says of one that holds is not handed on; also where it alone knows whose account that is."""
    session, _client = asked(user, orders=locked_ann())
    session.decided(handed_on(b"one"))
    session.says(coded(b"two") + b"\r\n")
    (verb,) = session.decided(handed_on(b"v=three", account=account))
    assert verb == ("take_as_decided", RefusedLogin("dovecot", locked=True))
    assert said(session.decided(verb[1])) == WRONG


def test_who_gives_up_behind_the_proof_of_a_server_is_told() -> None:
    """As where the session has looked at the proof itself; before that he has learned nothing."""
    for challenges, told in ((1, False), (2, True)):
        session, _client = asked()
        session.decided(handed_on(b"one"))
        if challenges == 2:
            session.says(coded(b"two") + b"\r\n")
            session.decided(handed_on(b"v=three"))
        assert ("note" in [verb[0] for verb in session.says(b"*\r\n")]) is told


def test_whom_a_server_has_let_in_has_not_given_up() -> None:
    """Not even if he hangs up before his mailbox is open."""
    session, _client = asked()
    session.decided(handed_on(b"one"))
    session.says(coded(b"two") + b"\r\n")
    session.decided(handed_on(b"v=three"))
    session.says(b"\r\n")
    session.decided(Admitted(Route("xpop"), "dovecot", "dovecot"))
    assert session.machine.phase is CONNECTING
    assert "note" not in [verb[0] for verb in session.leaves()]


def test_explain_plays_an_exchange_of_a_server_to_its_end() -> None:
    """Each time that the client has said something the module is asked again; after it the login goes on."""
    given: dict[str, Any] = {"takes": frozenset({SCRAM}), "mechanisms": ("scram-sha-256",)}
    verbs = PlayedVerbs("explained", blocked=False)
    played = Rehearsal(rules(**given), ("192.0.2.1", 0), verbs, backends={}, limits=NO_LIMITS)
    played.log_in("SCRAM-SHA-256", b"ann", b"secret")
    for challenged, kind in ((b"r=explainedX,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096", SCRAM), (b"v=x", RESPONSE)):
        assert verbs.waits == ASK
        assert verbs.question is not None
        assert verbs.question.kind == kind
        played.decided(handed_on(challenged))
    assert verbs.waits == ASK
    assert verbs.question is not None
    assert isinstance(verbs.question.proof, ClientResponse)
    assert verbs.question.proof.said == b"", "a proof that holds is followed by an empty line"
    played.decided(RefusedLogin("dovecot"))
    assert played.reply == WRONG.decode().strip()
