"""AUTH and APOP on the pure machine: what is asked, what is said, and what is kept."""

import base64
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.pdm.contract import (
    CERTIFICATE,
    CHALLENGE,
    PASSWORD,
    SCRAM,
    TOKEN,
    AsyncModule,
    CannotTell,
    CertificateShown,
    ChallengeAnswer,
    Question,
    Route,
    Secret,
    Token,
)
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.protocol.sasl import LONGEST_RESPONSE, digest_of
from popular.proxy.service import kinds_taken
from popular.proxy.session.explain.dialogues import DIALOGUES
from popular.proxy.session.explain.rehearsal import ASK, PlayedVerbs, Rehearsal
from popular.proxy.session.limits.contracts import NO_LIMITS
from popular.proxy.session.machine.machine_state import MOST_HELD
from popular.proxy.session.machine.phases import ASKING, EXCHANGING, GREETED, SIMULATING
from popular.proxy.settings.mechanisms import WAYS
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import rules

ALL = frozenset({PASSWORD, TOKEN, CHALLENGE, CERTIFICATE, SCRAM})
WRONG = b"-ERR [AUTH] the user name or the password is wrong\r\n"
EMPTY = b"+OK 0 messages (0 octets)\r\n"
TOKEN_SAID = b"user=ann\x01auth=Bearer tok.en\x01\x01"


class Taking(AsyncModule):
    """Takes what it is told to take."""

    def __init__(self, ident: str, *takes: str) -> None:
        self.ident, self.arguments, self.takes = ident, (), frozenset(takes)

    def reload(self) -> "Taking":
        return self


def coded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def begun(*, tls: bool = False, certificate: str = "", **other: Any) -> PureSession:
    """A session whose client may use whatever there is."""
    given: dict[str, Any] = {"takes": ALL, "mechanisms": WAYS, "clientcert": "optional", **other}
    given |= {"protocol": "POP3s"} if tls else {}
    session = PureSession(rules(**given))
    session.begin()
    if tls:
        session.tls_up(certificate)
    return session


def asked(verbs: list[tuple[Any, ...]]) -> Question:
    """What the modules are asked, which is the last verb."""
    assert verbs[-1][0] == "ask", verbs
    question: Question = verbs[-1][1]
    return question


def said(verbs: list[tuple[Any, ...]]) -> bytes:
    return b"".join(verb[1] for verb in verbs if verb[0] == "send")


def authenticated(response: bytes = b"\0ann\0secret", mechanism: bytes = b"PLAIN", **other: Any) -> PureSession:
    """… and the modules are asked."""
    session = begun(**other)
    asked(session.says(b"AUTH " + mechanism + b" " + coded(response) + b"\r\n"))
    return session


# What is asked


@pytest.mark.parametrize("initial", [True, False], ids=["initial response", "in two lines"])
@pytest.mark.parametrize("keyword", [b"AUTH PLAIN", b"auth plain"])
def test_plain(initial: bool, keyword: bytes) -> None:
    """It makes the question that USER and PASS make, whichever way it is said."""
    by_user = begun()
    expected = asked(by_user.says(b"USER ann\r\nPASS secret\r\n"))
    session, response = begun(), coded(b"\0ann\0secret")
    if initial:
        verbs = session.says(keyword + b" " + response + b"\r\n")
    else:
        assert session.says(keyword + b"\r\n") == [("send", b"+ \r\n")]
        assert session.machine.phase is EXCHANGING
        verbs = session.says(response + b"\r\n")
    assert verbs == [("ask", expected)]


def test_login() -> None:
    """Asked for name and password; or the name is the initial response."""
    session = begun()
    assert said(session.says(b"AUTH LOGIN\r\n")) == b"+ VXNlcm5hbWU6\r\n"
    assert said(session.says(coded(b"ann") + b"\r\n")) == b"+ UGFzc3dvcmQ6\r\n"
    assert asked(session.says(coded(b"secret") + b"\r\n")).password == Secret(b"secret")
    session = begun()
    assert said(session.says(b"AUTH LOGIN " + coded(b"ann") + b"\r\n")) == b"+ UGFzc3dvcmQ6\r\n"
    assert asked(session.says(coded(b"secret") + b"\r\n")).user == "ann"


def test_namespaces_are_treated_as_by_user() -> None:
    """`name=namespace` where the virtual server has it so, else the client has no say in it."""
    session = begun(namespace="USER")
    question = asked(session.says(b"AUTH PLAIN " + coded(b"\0ann=work\0secret") + b"\r\n"))
    assert (question.user, question.namespace) == ("ann", "work")
    session = begun()
    question = asked(session.says(b"AUTH PLAIN " + coded(b"\0ann=work\0secret") + b"\r\n"))
    assert (question.user, question.namespace) == ("ann=work", "default")


@pytest.mark.parametrize("name", [b"=work", b"="])
def test_a_name_that_is_only_a_namespace_is_none(name: bytes) -> None:
    """Else who has a token would be counted, and limited, as nobody."""
    session = begun(namespace="USER", tls=True)
    token = b"user=" + name + b"\x01auth=Bearer tok.en\x01\x01"
    for line in (b"USER " + name, b"AUTH PLAIN " + coded(b"\0" + name + b"\0secret"), b"AUTH XOAUTH2 " + coded(token)):
        assert session.says(line + b"\r\n") == [("send", b"-ERR the user name is empty\r\n")]
        assert session.machine.phase is GREETED
    assert session.says(b"PASS secret\r\n") == [("send", b"-ERR say USER first\r\n")]


def test_for_another() -> None:
    """Whose mailbox it is, and whose password: two names, both asked."""
    question = asked(begun().says(b"AUTH PLAIN " + coded(b"ann\0boss\0secret") + b"\r\n"))
    assert (question.user, question.actor, question.password) == ("ann", "boss", Secret(b"secret"))


def test_tokens() -> None:
    """In TLS only: a token, and no password."""
    for mechanism, response in {
        "XOAUTH2": TOKEN_SAID,
        "OAUTHBEARER": b"n,a=ann,\x01auth=Bearer tok.en\x01\x01",
    }.items():
        session = begun(tls=True)
        question = asked(session.says(f"AUTH {mechanism} ".encode() + coded(response) + b"\r\n"))
        assert question.token == Token(mechanism, Secret(b"tok.en"))
        assert (question.user, question.kind, question.password) == ("ann", TOKEN, Secret(b""))
        assert b"not offered" in said(begun().says(f"AUTH {mechanism}\r\n".encode()))


def test_cram_md5_and_apop() -> None:
    """A challenge that is another one each time; the answer is asked, and proves who has the password."""
    challenges: set[bytes] = set()
    for _ in range(2):
        session = begun()
        session.machine._commands_said = len(challenges)
        challenge = base64.b64decode(said(session.says(b"AUTH CRAM-MD5\r\n"))[2:])
        challenges.add(challenge)
        digest = digest_of("CRAM-MD5", challenge, b"secret")
        proof = asked(session.says(coded(b"ann " + digest) + b"\r\n")).proof
        assert proof == ChallengeAnswer("CRAM-MD5", challenge, digest)
        assert isinstance(proof, ChallengeAnswer)
        assert proof.proves(Secret(b"secret"))
        assert not proof.proves(Secret(b"secrets"))
    assert len(challenges) == 2
    session = PureSession(rules(takes=ALL, apop=True))
    greeting = said(session.begin())
    challenge = greeting.split()[-1]
    assert challenge.startswith(b"<")
    proof = asked(session.says(b"APOP ann " + digest_of("APOP", challenge, b"secret") + b"\r\n")).proof
    assert isinstance(proof, ChallengeAnswer)
    assert proof.proves(Secret(b"secret"))


@pytest.mark.parametrize(
    "argument", [b"ann", b"ann " + b"a" * 31, b" " + b"a" * 32], ids=["no digest", "short", "no name"]
)
def test_an_apop_that_shows_nothing(argument: bytes) -> None:
    """It is a faulty command: nobody is asked, and it is answered."""
    session = begun(apop=True)
    assert said(session.says(b"APOP " + argument + b"\r\n")).startswith(b"-ERR ")
    assert session.machine.phase is GREETED


def test_external() -> None:
    """The certificate says who it is, unless the client says for whom it comes; the module is told both."""
    for response, user in {b"=": "ann@example.org", coded(b"bob"): "bob"}.items():
        session = begun(tls=True, certificate="ann@example.org")
        question = asked(session.says(b"AUTH EXTERNAL " + response + b"\r\n"))
        assert (question.user, question.certificate_name) == (user, "ann@example.org")
        assert question.proof == CertificateShown()
    assert b"not offered" in said(begun(tls=True).says(b"AUTH EXTERNAL =\r\n"))


# What is refused


@pytest.mark.parametrize(
    "lines",
    [
        b"AUTH PLAIN\r\n*\r\n",
        b"AUTH PLAIN !!!!\r\n",
        b"AUTH PLAIN\r\nQUIT!\r\n",
        b"AUTH PLAIN =\r\n",
        b"AUTH PLAIN " + coded(b"\0\0\0") + b"\r\n",
        b"AUTH PLAIN " + coded(b"\0a\nb\0secret") + b"\r\n",
        b"AUTH PLAIN " + coded(b"\0\xff\0secret") + b"\r\n",
        b"AUTH PLAIN " + coded(b"a\rb\0ann\0secret") + b"\r\n",
        b"AUTH PLAIN " + coded(b"ann\0a\rb\0secret") + b"\r\n",
        b"AUTH PLAIN " + coded(b"\0\0secret") + b"\r\n",
        b"AUTH PLAIN " + coded(b"\0" + b"x" * 300 + b"\0secret") + b"\r\n",
        b"AUTH PLAIN x y\r\n",
        b"AUTH GSSAPI\r\n",
        b"AUTH EXTERNAL =\r\n",
        b"AUTH CRAM-MD5 " + coded(b"ann") + b"\r\n",
        b"APOP ann " + b"a" * 32 + b"\r\n",
    ],
)
def test_faulty_commands(lines: bytes) -> None:
    """Each is one error, nobody is asked, and the client may go on."""
    session = begun(maxerrors=1)
    verbs = session.says(lines)
    assert [verb[0] for verb in verbs] == ["send"]
    assert b"-ERR " in said(verbs)
    assert session.machine.phase is GREETED
    asked(session.says(b"AUTH PLAIN " + coded(b"\0ann\0secret") + b"\r\n"))
    session = begun(maxerrors=0)
    assert session.says(lines)[-1] == ("finish", "too_many_errors")


def test_each_auth_is_a_command() -> None:
    """… of which there may be so many; the lines of an exchange are none."""
    session = begun(maxcommands=2)
    session.says(b"AUTH LOGIN\r\n" + coded(b"ann") + b"\r\n*\r\n")
    session.says(b"AUTH LOGIN\r\n*\r\n")
    assert session.says(b"AUTH LOGIN\r\n")[-1] == ("finish", "too_many_commands")


def test_wrong_logins_are_counted_whichever_way_they_come() -> None:
    """The words, the code and the limit are those of USER and PASS; the log has the mechanism too."""
    session = authenticated(maxfailures=2)
    verbs = session.decided(RefusedLogin("m"))
    who = {"client": "192.0.2.1", "vserv": "v1", "namespace": "default", "user": "ann", "mechanism": "PLAIN"}
    assert verbs == [
        ("note", "login_failed", {**who, "why": "password"}),
        ("count", "login_failures", "password", "v1"),
        ("send", WRONG),
    ]
    session.says(b"USER ann\r\nPASS secret\r\n")
    assert session.decided(NobodyKnows())[-2:] == [("send", WRONG), ("finish", "too_many_failures")]


def test_the_reason_of_a_module_is_logged_and_told_to_nobody() -> None:
    """After its id, as where a module cannot tell."""
    verbs = authenticated().decided(RefusedLogin("tokens", reason="the token is expired"))
    assert [verb[2]["reason"] for verb in verbs if verb[0] == "note"] == ["tokens: the token is expired"]
    assert verbs[-1] == ("send", WRONG)


def test_the_words_of_a_module() -> None:
    """Instead of ours, after the code: as nginx passes on what its auth server says; also when they were held back."""
    for wait in (0.0, 2.0):
        session = authenticated()
        verbs = session.decided(RefusedLogin("m", text="come back tomorrow", wait=wait))
        if wait:
            assert verbs[-1] == ("hold", wait)
            verbs = session.expired("step")
        assert verbs[-1] == ("send", b"-ERR [AUTH] come back tomorrow\r\n")
        session.says(b"USER ann\r\nPASS secret\r\n")
        assert session.decided(RefusedLogin("m"))[-1] == ("send", WRONG), "they are said once"
        session.says(b"USER ann\r\nPASS secret\r\n")
        verbs = session.decided(RefusedLogin("m", code="IN-USE", text="once is enough"))
        assert verbs[-2] == ("send", b"-ERR [IN-USE] once is enough\r\n")


def test_a_refused_token() -> None:
    """The reason is a challenge (RFC 7628 section 3.2.2); whatever the client says to it, it is refused after that."""
    for answer in (b"AQ==\r\n", b"\r\n", b"*\r\n", b"QUIT\r\n"):
        session = authenticated(TOKEN_SAID, b"XOAUTH2", tls=True)
        verbs = session.decided(RefusedLogin("m"))
        assert base64.b64decode(said(verbs)[2:]) == b'{"status":"401","schemes":"bearer"}'
        assert session.says(answer) == [("send", WRONG)]
        assert session.machine.phase is GREETED
        assert session.says(b"QUIT\r\n")[-1] == ("finish", "quit")
    session = authenticated(TOKEN_SAID, b"XOAUTH2", tls=True, maxfailures=1)
    assert session.decided(NobodyKnows())[-1][0] == "send"
    assert session.says(b"\r\n") == [("send", WRONG), ("finish", "too_many_failures")]


def test_modules_that_cannot_tell_are_no_reason_to_get_another_token() -> None:
    """No challenge, and `[SYS/TEMP]`."""
    session = authenticated(TOKEN_SAID, b"XOAUTH2", tls=True)
    verbs = session.decided(CannotTell("away"))
    assert said(verbs).startswith(b"-ERR [SYS/TEMP]")
    assert verbs[-1] == ("finish", "module_failed")


# Where it leads


def test_a_password_by_auth_leads_to_the_backend() -> None:
    """As by PASS; and the login is counted by its mechanism."""
    session = authenticated()
    session.decided(Admitted(Route("pop"), "m", "m"))
    assert session.backend_says(b"+OK\r\n")[-1] == ("send_backend", b"USER ann\r\n")
    assert session.backend_says(b"+OK\r\n") == [("send_backend", b"PASS secret\r\n")]
    assert session.backend_says(b"+OK\r\n") == [
        ("logged_in",),
        ("count", "sasl_logins", "PLAIN", "v1"),
        ("relay", b"+OK\r\n", b""),
    ]


WITHOUT_PASSWORD: dict[str, tuple[bytes, dict[str, Any]]] = {
    "XOAUTH2": (TOKEN_SAID, {"tls": True}),
    "EXTERNAL": (b"ann", {"tls": True, "certificate": "ann"}),
}


@pytest.mark.parametrize("mechanism", WITHOUT_PASSWORD)
def test_without_a_password_a_pop3_backend_needs_one_of_the_module(mechanism: str) -> None:
    """… and XPOP needs none; nor does anything else go to a backend, nor to `fallback`."""
    response, other = WITHOUT_PASSWORD[mechanism]

    def session(**more: Any) -> PureSession:
        return authenticated(response, mechanism.encode(), **other, **more)

    assert session().decided(Admitted(Route("pop"), "m", "m"))[-1] == ("finish", "no_secret")
    one = session()
    one.decided(Admitted(Route("pop", secret=Secret(b"ours")), "m", "m"))
    one.backend_says(b"+OK\r\n")
    assert one.backend_says(b"+OK\r\n") == [("send_backend", b"PASS ours\r\n")]
    one = session()
    assert one.decided(Admitted(Route("xpop"), "m", "m"))[-1][0] == "connect"
    assert b"-ERR" in said(session(fallback="pop").decided(NobodyKnows())) or mechanism == "XOAUTH2"


def test_who_acts_for_another_needs_one_of_the_module_too() -> None:
    """His password is not the user's: it is told to no backend; and who lets him in is told."""
    session = authenticated(b"ann\0boss\0secret")
    verbs = session.decided(Admitted(Route("pop"), "m", "master", vouched=True))
    [note] = [verb for verb in verbs if verb[:2] == ("note", "master_login")]
    assert (note[2]["user"], note[2]["actor"]) == ("ann", "boss")
    assert verbs[-1] == ("finish", "no_secret")
    session = authenticated(b"ann\0boss\0secret", fallback="pop")
    assert said(session.decided(NobodyKnows())) == WRONG


def test_in_the_state_fake() -> None:
    """USER, PLAIN and LOGIN lead into the empty mailbox; nothing else is offered."""
    session = begun(state="fake")
    assert said(session.says(b"AUTH\r\n")) == b"+OK mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n"
    assert said(session.says(b"AUTH PLAIN " + coded(b"\0ann\0x") + b"\r\n")) == EMPTY
    assert session.machine.phase is SIMULATING


# What is offered


def offered(**other: Any) -> tuple[str, str]:
    """What CAPA and AUTH name."""
    session = begun(**other)
    capa = said(session.says(b"CAPA\r\n")).decode().splitlines()
    sasl = [line for line in capa if line.startswith("SASL")]
    listing = said(session.says(b"AUTH\r\n")).decode().splitlines()
    named = " ".join(listing[1:-1]) if listing[0].startswith("+OK") else ""
    return (sasl[0] if sasl else ""), named


OFFERS: dict[str, tuple[dict[str, Any], str]] = {
    "in clear": ({}, "PLAIN LOGIN SCRAM-SHA-256 CRAM-MD5"),
    "in TLS": ({"tls": True}, "PLAIN LOGIN SCRAM-SHA-256 CRAM-MD5 XOAUTH2 OAUTHBEARER"),
    "certified": (
        {"tls": True, "certificate": "ann"},
        "PLAIN LOGIN SCRAM-SHA-256 CRAM-MD5 XOAUTH2 OAUTHBEARER EXTERNAL",
    ),
    "no certificate is asked for": (
        {"tls": True, "certificate": "ann", "clientcert": "off"},
        "PLAIN LOGIN SCRAM-SHA-256 CRAM-MD5 XOAUTH2 OAUTHBEARER",
    ),
    "TLS first": ({"starttls": "force"}, ""),
    "only some": ({"mechanisms": ("user", "login")}, "LOGIN"),
    "only USER": ({"mechanisms": ("user",)}, ""),
    "no module for more": ({"takes": frozenset({PASSWORD}), "tls": True}, "PLAIN LOGIN"),
    "no module for passwords": ({"takes": frozenset({TOKEN}), "tls": True}, "XOAUTH2 OAUTHBEARER"),
    "fake": ({"state": "fake", "tls": True}, "PLAIN LOGIN"),
}


@pytest.mark.parametrize("case", OFFERS)
def test_what_is_offered(case: str) -> None:
    """By the virtual server, its modules and the connection: in CAPA as in AUTH, and what is not, is refused."""
    other, names = OFFERS[case]
    assert offered(**other) == (f"SASL {names}" if names else "", names)
    for name in {"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"} - set(names.split()):
        assert said(begun(**other).says(f"AUTH {name}\r\n".encode())).startswith(b"-ERR")


@pytest.mark.parametrize("clientcert", ["off", "optional", "require"])
@pytest.mark.parametrize("mechanism", DIALOGUES)
def test_explain_has_the_same_offers(mechanism: str, clientcert: str) -> None:
    """What is played comes as far as the modules exactly where CAPA offers it in TLS."""
    in_force = rules(takes=ALL, mechanisms=WAYS, apop=True, protocol="POP3s", clientcert=clientcert)
    played = Rehearsal(in_force, ("192.0.2.1", 0), PlayedVerbs("sid", blocked=False), backends={}, limits=NO_LIMITS)
    played.log_in(mechanism, b"ann", b"x")
    is_offered = mechanism in ("USER", "APOP") or mechanism.encode() in in_force.offers.certified.mechanisms
    assert is_offered == (mechanism != "EXTERNAL" or clientcert != "off")
    assert (played.verbs.waits == ASK) == is_offered
    assert ("not offered" in played.reply) != is_offered
    assert played.machine._row_number == -1, "it has no row, by which limits could count it"


def test_user_can_be_switched_off() -> None:
    """Then CAPA does not name it, and USER and PASS are errors."""
    session = begun(mechanisms=("plain",))
    capa = said(session.says(b"CAPA\r\n"))
    assert b"\r\nUSER\r\n" not in capa
    assert b"\r\nPIPELINING\r\n" in capa
    assert said(session.says(b"USER ann\r\nPASS secret\r\n")).count(b"-ERR this way to log in is not offered here") == 2


def test_passwords_are_asked_for_where_somebody_looks_at_them() -> None:
    """A module does, or the fallback; where there is no module yet it is as it will be."""
    passwords, tokens = Taking("users", PASSWORD, CHALLENGE), Taking("tokens", TOKEN)
    assert kinds_taken([passwords, tokens], "") == {PASSWORD, CHALLENGE, TOKEN}
    assert kinds_taken([tokens], "") == {TOKEN}
    assert kinds_taken([tokens], "store1") == {TOKEN, PASSWORD}
    assert kinds_taken([], "") == {PASSWORD}
    session = begun(tls=True, takes=frozenset({TOKEN}))
    assert b"\r\nUSER\r\n" not in said(session.says(b"CAPA\r\n"))
    assert said(session.says(b"USER ann\r\n")) == b"-ERR this way to log in is not offered here\r\n"


def test_what_was_begun_in_clear_is_forgotten_in_tls() -> None:
    """And more is offered then."""
    session = PureSession(rules(takes=ALL, mechanisms=WAYS, starttls="optional"))
    session.begin()
    session.says(b"AUTH LOGIN\r\n*\r\nSTLS\r\n")
    session.tls_up()
    assert b"XOAUTH2" in said(session.says(b"CAPA\r\n"))


# Long lines


def test_a_token_may_be_long() -> None:
    """64 KiB in an exchange, of which the client is read to the end; elsewhere a line is as short as ever."""
    session = begun(tls=True)
    session.says(b"AUTH XOAUTH2\r\n")
    response = coded(TOKEN_SAID.replace(b"tok.en", b"t" * 49_000))
    assert MOST_HELD < len(response) < LONGEST_RESPONSE
    for at in range(0, len(response), 4096):
        assert session.says(response[at : at + 4096]) == []
        assert session.machine.wants_input()
    assert asked(session.says(b"\r\n")).user == "ann"
    session = begun(tls=True)
    session.says(b"AUTH XOAUTH2\r\n")
    assert session.says(b"A" * LONGEST_RESPONSE)[-1] == ("finish", "line_too_long")
    session = begun(tls=True)
    session.says(b"AUTH XOAUTH2\r\n*\r\n")
    assert session.says(b"A" * 300)[-1] == ("finish", "line_too_long")


def test_an_initial_response_may_be_longer_than_a_command() -> None:
    """As mpop and getmail send it, against RFC 5034; but only after AUTH, and only so far."""
    session = begun(tls=True)
    line = b"AUTH XOAUTH2 " + coded(TOKEN_SAID.replace(b"tok.en", b"t" * 8000)) + b"\r\n"
    for at in range(0, len(line) - 1, 1000):
        session.says(line[at : min(at + 1000, len(line) - 1)])
    assert asked(session.says(b"\n")).user == "ann"
    session = begun(tls=True)
    assert session.says(b"AUTH XOAUTH2 " + b"A" * MOST_HELD)[-1] == ("finish", "line_too_long")
    session = begun()
    session.says(b"AUTH " + b"A" * 1000 + b"\r\n")
    assert session.says(b"A" * 300)[-1] == ("finish", "line_too_long")


SAYS = [
    b"AUTH PLAIN " + coded(b"\0ann\0secret") + b"\r\nQUIT\r\n",
    b"USER bob\r\nAUTH LOGIN\r\n" + coded(b"ann") + b"\r\n" + coded(b"secret") + b"\r\nSTAT\r\n",
    b"AUTH LOGIN\r\n*\r\nAUTH PLAIN\r\n" + coded(b"\0ann\0secret") + b"\r\n",
]


@given(st.sampled_from(SAYS), st.lists(st.integers(1, 120), max_size=8))
def test_exchanges_may_come_in_pieces(line: bytes, cuts: list[int]) -> None:
    """However they are cut, the same is said and asked."""
    whole = begun().says(line)
    session = begun()
    ends = [0, *sorted({cut for cut in cuts if cut < len(line)}), len(line)]
    pieces = [verb for start, end in itertools.pairwise(ends) for verb in session.says(line[start:end])]
    assert said(pieces) == said(whole)
    assert [verb for verb in pieces if verb[0] != "send"] == [verb for verb in whole if verb[0] != "send"]
    assert session.machine.phase is ASKING
