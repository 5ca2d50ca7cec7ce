"""The proxy's session as a machine: octets and lookups in, verbs out."""

import itertools
from base64 import b64encode
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.net.networks import Networks
from popular.pdm.contract import TOKEN, CannotTell, Question, Route, Secret, UserLimits
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.pdm.libpdm_http import request_headers
from popular.protocol.commands import VERBS, State, Verb
from popular.protocol.mailcheck import Mail
from popular.protocol.replies import Code
from popular.protocol.sasl import LONGEST_NAME, BadResponse
from popular.proxy.session.backend.contracts import OURS
from popular.proxy.session.backend.rejections import ENOUGH, UnexplainedRejections
from popular.proxy.session.limits.contracts import NO_LIMITS, Hindrance, LoginLimits, NoLimits
from popular.proxy.session.machine.authorization import LINES_A_TURN, name_of
from popular.proxy.session.machine.failed_logins import NO_ANSWER, NO_CONNECTION, NO_HANDSHAKE, NO_TIME
from popular.proxy.session.machine.machine import COMMITTING, LINGERING, QUIT_ANSWERED
from popular.proxy.session.machine.machine_state import MOST_HELD
from popular.proxy.session.machine.phases import (
    ANSWERING,
    ASKING,
    AWAITING_HEADER,
    BEGINNINGS,
    CHECKING,
    CONNECTING,
    ENDED,
    EXCHANGING,
    GREETED,
    HELD,
    LEGAL,
    LOGGING_IN,
    MOVES,
    NAMED,
    PENDING,
    RELAYING,
    SILENT,
    SIMULATING,
    STARTING_TLS,
    STATES,
    Phase,
)
from popular.proxy.session.who import Who
from popular.proxy.settings.vserv import POP3S
from supervisor.serving.session import COMMITTING_SECONDS
from tests.proxy.session_double import Known, PureSession
from tests.proxy.session_rules import LOGIN_SECONDS, rules

TRUSTED = Networks("", (ip_network("192.0.2.0/24"),))
FAILED = {"backend": "pop", "address": "127.0.0.1", "user": "ann"}
WHO = {"client": "192.0.2.1", "vserv": "v1", "namespace": "default", "user": "ann"}
LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later\r\n"
WRONG = b"-ERR [AUTH] the user name or the password is wrong\r\n"
SEND_PASS = b"+OK send PASS\r\n"
EMPTY = b"+OK 0 messages (0 octets)\r\n"
OK = b"+OK\r\n"
REFERRAL = b"-ERR [REFERRAL/ann@127.0.0.2:1111] Try there.\r\n"


def admitted(backend: str, **route: Any) -> Admitted:
    return Admitted(Route(backend, **route), "m", "m")


class Limited(NoLimits):
    """Limits that do what they are told, and note what they are asked."""

    def __init__(self, *, turn: float = 0.0, late: bool = False, delay: float = 0.0, full: bool = False) -> None:
        self.counts_guesses = self.counts_sessions = True
        self.turn, self.late, self.delay, self.full = turn, late, delay, full
        self.asked: list[tuple[Any, ...]] = []

    def charge_guess(self, who: Who) -> tuple[float, Hindrance | None]:
        self.asked.append(("charge_guess", who))
        return self.turn, Hindrance("guessrate", Code.SYS_TEMP) if self.late else None

    def give_guess_back(self, who: Who) -> None:
        self.asked.append(("give_guess_back", who))

    def charge_failure(self, who: Who, secret: Secret | None) -> float:
        self.asked.append(("charge_failure", who, secret and secret.reveal()))
        return self.delay

    def comes_in(self, row: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        self.asked.append(("comes_in", row, who, own))
        return Hindrance("usersessions", Code.IN_USE) if self.full else None

    def words(self) -> list[str]:
        return [asked[0] for asked in self.asked]


ANN = Who("192.0.2.1", "default", "ann")


def begun(limits: LoginLimits = NO_LIMITS, **other: Any) -> PureSession:
    """A session that has begun, and the client has been answered."""
    session = PureSession(rules(**other), limits=limits)
    session.begin()
    return session


def asking(**other: Any) -> PureSession:
    """… whose client has said a name and a password."""
    session = begun(**other)
    session.says(b"USER ann\r\nPASS secret\r\n")
    return session


def at_backend(name: str = "pop", **other: Any) -> PureSession:
    """… and is let in by the modules."""
    session = asking(**other)
    session.decided(admitted(name))
    return session


def logging_in(**other: Any) -> PureSession:
    """… and whose password the backend has."""
    session = at_backend(**other)
    session.backend_says(OK)
    session.backend_says(OK)
    return session


def relaying(**other: Any) -> PureSession:
    session = logging_in(**other)
    session.backend_says(OK)
    return session


def held() -> PureSession:
    """… whose password was wrong, and who is held back."""
    return after(asking(limits=Limited(delay=2.0)), "decided", NobodyKnows())


def simulating() -> PureSession:
    return at_backend("fake")


def after(session: PureSession, entry: str, *lookups: Any) -> PureSession:
    getattr(session, entry)(*lookups)
    return session


def by_auth(**other: Any) -> PureSession:
    return after(begun(**other), "says", b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n")


def by_token() -> PureSession:
    """… whose client is in TLS and shows a token."""
    session = after(begun(protocol=POP3S, takes=frozenset({TOKEN})), "tls_up")
    return after(session, "says", b"AUTH XOAUTH2 " + b64encode(b"user=ann\x01auth=Bearer x\x01\x01") + b"\r\n")


# The table

WAYS: dict[tuple[Phase, Phase], Callable[[], PureSession]] = {
    (AWAITING_HEADER, GREETED): lambda: after(begun(trusted=TRUSTED), "introduced", "198.51.100.7", 99),
    (AWAITING_HEADER, ENDED): lambda: after(begun(trusted=TRUSTED), "header_failed", "no header"),
    (GREETED, NAMED): lambda: after(begun(), "says", b"USER ann\r\n"),
    (GREETED, EXCHANGING): lambda: after(begun(), "says", b"AUTH PLAIN\r\n"),
    (GREETED, ASKING): by_auth,
    (GREETED, SIMULATING): lambda: by_auth(state="fake"),
    (EXCHANGING, GREETED): lambda: after(begun(), "says", b"AUTH PLAIN\r\n*\r\n"),
    (EXCHANGING, ENDED): lambda: after(after(begun(), "says", b"AUTH PLAIN\r\n"), "leaves"),
    (GREETED, STARTING_TLS): lambda: after(begun(starttls="optional"), "says", b"STLS\r\n"),
    (GREETED, ENDED): lambda: after(begun(), "says", b"QUIT\r\n"),
    (STARTING_TLS, GREETED): lambda: after(begun(protocol=POP3S), "tls_up"),
    (STARTING_TLS, ENDED): lambda: after(begun(protocol=POP3S), "tls_failed", "version", "too old"),
    (NAMED, NAMED): lambda: after(begun(), "says", b"USER ann\r\nUSER bob\r\n"),
    (NAMED, STARTING_TLS): lambda: after(begun(starttls="optional"), "says", b"USER ann\r\nSTLS\r\n"),
    (NAMED, ASKING): asking,
    (NAMED, EXCHANGING): lambda: after(begun(), "says", b"USER ann\r\nAUTH PLAIN\r\n"),
    (NAMED, SIMULATING): lambda: asking(state="fake"),
    (NAMED, ENDED): lambda: after(begun(), "says", b"USER ann\r\nQUIT\r\n"),
    (ASKING, GREETED): lambda: after(asking(), "decided", NobodyKnows()),
    (ASKING, EXCHANGING): lambda: after(by_token(), "decided", NobodyKnows()),
    (ASKING, CHECKING): lambda: at_backend("cxpop"),
    (ASKING, CONNECTING): at_backend,
    (ASKING, SIMULATING): simulating,
    (ASKING, ENDED): lambda: at_backend("offline"),
    (CHECKING, CONNECTING): lambda: after(at_backend("cxpop"), "checked", Mail.NEW),
    (CHECKING, SIMULATING): lambda: after(at_backend("cxpop"), "checked", Mail.NONE),
    (ASKING, HELD): lambda: after(asking(), "decided", RefusedLogin("m", wait=3.0)),
    (LOGGING_IN, HELD): lambda: after(logging_in(limits=Limited(delay=2.0)), "backend_says", b"-ERR\r\n"),
    (HELD, GREETED): lambda: after(held(), "expired", "step"),
    (HELD, EXCHANGING): lambda: after(after(by_token(), "decided", RefusedLogin("m", wait=3.0)), "expired", "step"),
    (HELD, ASKING): lambda: after(asking(limits=Limited(turn=2.0)), "expired", "step"),
    (HELD, ENDED): lambda: after(held(), "expired", "auth"),
    (CHECKING, GREETED): lambda: after(at_backend("cxpop", limits=Limited(full=True)), "checked", Mail.NONE),
    (CHECKING, ENDED): lambda: after(at_backend("cxpop"), "expired", "auth"),
    (CONNECTING, LOGGING_IN): lambda: after(at_backend("xpop"), "connected"),
    (CONNECTING, SIMULATING): lambda: after(at_backend(softfail=True), "backend_failed", "refused"),
    (CONNECTING, ENDED): lambda: after(at_backend(), "backend_failed", "refused"),
    (LOGGING_IN, CONNECTING): lambda: after(logging_in(), "backend_says", REFERRAL),
    (LOGGING_IN, GREETED): lambda: after(logging_in(), "backend_says", b"-ERR\r\n"),
    (LOGGING_IN, SIMULATING): lambda: after(logging_in(softfail=True), "backend_failed", "closed"),
    (LOGGING_IN, RELAYING): relaying,
    (LOGGING_IN, ENDED): lambda: after(logging_in(), "backend_failed", "closed"),
    (SIMULATING, ENDED): lambda: after(simulating(), "says", b"QUIT\r\n"),
    (RELAYING, ENDED): lambda: after(relaying(), "relay_ended", "quit"),
}


def test_every_phase_has_its_moves_and_can_be_reached() -> None:
    """The table has a row for each phase; each can be reached from a beginning, and each but the last can end."""
    assert set(LEGAL) == set(Phase)
    reached = set(BEGINNINGS)
    for _ in Phase:
        reached |= {after for before in reached for after in LEGAL[before]}
    assert reached == set(Phase)
    assert [phase for phase in Phase if ENDED not in LEGAL[phase]] == [ENDED]
    assert not LEGAL[ENDED]


def test_the_number_of_a_phase_is_its_state_in_the_table() -> None:
    """A row's number is the place of its phrase."""
    assert [STATES[phase] for phase in Phase] == [phase.phrase for phase in Phase]
    assert len(STATES) == len(Phase) + 1


def test_moves_are_numbers_that_cannot_be_mistaken() -> None:
    """Two phases in one number, four bits each: there is no seventeenth phase."""
    assert max(Phase) < 16
    assert sum(mask.bit_count() for mask in MOVES) == sum(map(len, LEGAL.values()))


def test_every_legal_move_is_made() -> None:
    """The table has no move that never happens, and none is missing here."""
    assert set(WAYS) == {(before, after) for before in LEGAL for after in LEGAL[before]}


@pytest.mark.parametrize("move", WAYS, ids=lambda move: f"{move[0].name}-{move[1].name}")
def test_a_legal_move(move: tuple[Phase, Phase]) -> None:
    """Something makes it."""
    assert WAYS[move]().moves[-1] == move


def test_an_illegal_move_is_a_fault_of_ours() -> None:
    """Nobody is relayed who was not asked for a password."""
    with pytest.raises(AssertionError, match="GREETED does not lead to RELAYING"):
        begun().machine._move(RELAYING)


# The beginning


@pytest.mark.parametrize(
    ("other", "verbs"),
    [
        ({}, [("send", b"+OK ready\r\n")]),
        ({"state": "disabled"}, [("send", b"-ERR disabled\r\n"), ("finish", "vserv_disabled")]),
        ({"protocol": POP3S}, [("start_tls",)]),
        ({"trusted": TRUSTED}, [("await_header",)]),
    ],
)
def test_how_it_begins(other: dict[str, Any], verbs: list[tuple[Any, ...]]) -> None:
    """With a greeting, a refusal, TLS or a PROXY header."""
    assert PureSession(rules(**other)).begin() == verbs


def test_whoever_is_not_trusted_hears_nothing() -> None:
    """A connection from elsewhere is closed without a word, and the operator is told."""
    note, end = PureSession(rules(trusted=TRUSTED), ip="203.0.113.1").begin()
    assert note == (
        "note",
        "bad_header",
        {"peer": "203.0.113.1", "vserv": "v1", "reason": "it is not in trusted"},
    )
    assert end == ("finish", "proxy_header")


def test_the_header_says_who_the_client_is() -> None:
    """The modules hear the address that the PROXY header names."""
    session = begun(trusted=TRUSTED)
    assert session.introduced("198.51.100.7", 99) == [("send", b"+OK ready\r\n")]
    ((verb, question), *_) = session.says(b"USER ann\r\nPASS secret\r\n")[1:]
    assert (verb, question.client_ip) == ("ask", "198.51.100.7")


# The client


def test_the_modules_are_asked_with_all_that_is_known() -> None:
    """After USER and PASS in one piece there is one reply, and one question."""
    session = begun(namespace="USER")
    question = Question(
        "192.0.2.1", "POP3", "context", user="ann", password=Secret(b" se cret "), vserv="v1", certificate_name=""
    )
    assert session.says(b"USER ann=context\r\nPASS  se cret \r\n") == [("send", SEND_PASS), ("ask", question)]


@given(st.lists(st.integers(1, 30), max_size=6))
def test_commands_may_come_in_pieces(cuts: list[int]) -> None:
    """However they are cut, the same is said and asked."""
    said = b"CAPA\r\nUSER ann\r\nPASS secret\r\nQUIT\r\n"
    whole, pieces = begun(), begun()
    verbs = whole.says(said)
    ends = [0, *sorted({cut for cut in cuts if cut < len(said)}), len(said)]
    in_pieces = [verb for start, end in itertools.pairwise(ends) for verb in pieces.says(said[start:end])]
    assert b"".join(verb[1] for verb in in_pieces if verb[0] == "send") == verbs[0][1]
    assert [verb for verb in in_pieces if verb[0] != "send"] == verbs[1:]


@pytest.mark.parametrize(
    ("line", "ending"),
    [(b"\0", "null_byte"), (b"A" * 300, "line_too_long"), (b"STLS\r\nCAPA\r\n", "plaintext_after_stls")],
)
def test_what_ends_a_session_at_once(line: bytes, ending: str) -> None:
    """Whatever stands after it is not answered."""
    session = begun(starttls="optional")
    assert session.says(line)[-1] == ("finish", ending)
    assert session.says(b"CAPA\r\n") == []


def test_a_null_byte_is_told_to_nobody_but_the_operator() -> None:
    """No reply, and an entry that names the phase."""
    note = ("note", "null_byte_in_input", {"phase": GREETED.phrase})
    assert begun().says(b"CA\0PA\r\n") == [note, ("finish", "null_byte")]


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS.values() if State.AUTHORIZATION in verb.states], ids=lambda verb: verb.keyword
)
def test_each_command_before_the_login_is_answered(verb: Verb) -> None:
    """With as many arguments as it needs, whatever it says."""
    session = begun(starttls="optional")
    words = " ".join([verb.keyword, *("x" * verb.fewest)])
    assert session.says(f"{words}\r\n".encode())[0][0] == "send"


@pytest.mark.parametrize("line", [b"USERS ann", b"PASSWORD secret", b"USE ann", b"PAS", b"USER\tann"])
def test_what_only_looks_like_a_command_is_none(line: bytes) -> None:
    """USER and PASS are found by their first four octets, and only where a blank follows."""
    assert after(begun(), "says", b"USER ann\r\n").says(line + b"\r\n") == [("send", b"-ERR unknown command\r\n")]


def test_apop_is_offered_where_a_module_can_do_with_it() -> None:
    """Who has only hashes of passwords cannot."""
    (said,) = begun(apop=True).says(b"APOP ann 0123456789abcdef0123456789abcdef\r\n")
    assert said == ("send", b"-ERR this way to log in is not offered here\r\n")


@pytest.mark.parametrize("name", ["a" * LONGEST_NAME, "é" * (LONGEST_NAME // 2)])
def test_a_name_may_be_so_long_and_no_longer(name: str) -> None:
    """In octets, whatever letters it has. By AUTH: in the line of USER there is no room for it."""
    assert name_of(name.encode()) == name
    with pytest.raises(BadResponse, match="too long"):
        name_of(name.encode() + b"x")


def test_too_many_commands_before_the_login_end_it() -> None:
    """One more than maxcommands, whatever they are; after the login there is no limit."""
    session = begun(maxcommands=3)
    for said in (b"CAPA\r\n", b"USER ann\r\n", b"what\r\n"):
        session.says(said)
    assert session.says(b"PASS secret\r\n") == [
        ("send", b"-ERR too many commands before the login\r\n"),
        ("finish", "too_many_commands"),
    ]
    session = asking(maxcommands=2)
    session.decided(admitted("fake"))
    assert session.says(b"NOOP\r\n" * 3) == [("send", OK * 3)]


@pytest.mark.parametrize("state", ["before the login", "in an empty mailbox"])
def test_others_have_their_turn_between_the_lines_of_one_client(state: str) -> None:
    """Whoever sends many lines is answered a few at a time, and is not read in between; all are answered, in order."""
    session = begun(maxcommands=1000) if state == "before the login" else simulating()
    say = b"USER ann\r\n" if state == "before the login" else b"NOOP\r\n"
    reply = SEND_PASS if state == "before the login" else OK
    assert session.says(say * (2 * LINES_A_TURN + 1) + b"QUIT\r\n") == [("send", reply * LINES_A_TURN), ("yield_turn",)]
    assert not session.machine.wants_input()
    assert session.proceeds() == [("send", reply * LINES_A_TURN), ("yield_turn",)]
    *_, last = session.proceeds()
    assert last == ("finish", "quit")


def test_a_client_that_has_left_is_answered_to_its_end() -> None:
    """In as many turns as it takes."""
    session = begun()
    assert session.says(b"CAPA\r\n" * LINES_A_TURN)[1:] == []
    assert session.leaves() == [("finish", "client_closed")]
    session = begun()
    session.says(b"CAPA\r\n" * (LINES_A_TURN + 1))
    assert session.goes_on() == [("send", rules().offers.clear.capa)]
    assert session.machine.wants_input(), "it is read again"
    assert session.leaves() == [("finish", "client_closed")]


def test_a_session_that_ends_at_rest_is_over() -> None:
    """A deadline does not wait for its turn."""
    session = begun()
    session.says(b"CAPA\r\n" * (LINES_A_TURN + 1))
    assert session.expired("auth") == [("finish", "auth_timeout")]
    assert session.proceeds() == []


@pytest.mark.parametrize("most", [0, 10])
def test_too_many_faulty_commands_end_it(most: int) -> None:
    """One more than maxerrors."""
    session = begun(maxerrors=most)
    for _ in range(most):
        assert session.says(b"what\r\n") == [("send", b"-ERR unknown command\r\n")]
    assert session.says(b"what\r\n") == [("send", b"-ERR too many faulty commands\r\n"), ("finish", "too_many_errors")]


def test_a_client_that_says_nothing_more_is_answered_first() -> None:
    """Commands after PASS are answered; then it ends."""
    session = begun()
    session.says(b"USER ann\r\nPASS secret\r\nCAPA\r\n")
    assert session.leaves() == []
    *_, (_, reply), end = session.decided(NobodyKnows())
    assert reply.startswith(WRONG + b"+OK capability list")
    assert end == ("finish", "client_closed")


@pytest.mark.parametrize("phase", PENDING, ids=lambda phase: phase.name)
def test_a_client_is_gone_that_leaves_behind_pass(phase: Phase) -> None:
    """Nobody waits for the answer: it ends at once, whoever is asked; but for one with commands after PASS."""
    ways = {after: way for (_, after), way in WAYS.items() if after in PENDING}
    assert ways[phase]().leaves() == [("finish", "client_closed")]
    served = ways[phase]()
    served.says(b"QUIT\r\n")
    assert served.leaves() == []


@pytest.mark.parametrize("other", [{"trusted": TRUSTED}, {"protocol": POP3S}])
def test_a_health_check_is_no_fault(other: dict[str, Any]) -> None:
    """Who closes without a word where a PROXY header or TLS is expected is not complained of."""
    assert begun(**other).leaves() == [("finish", "client_closed")]


def test_nobody_is_asked_for_a_client_that_is_gone() -> None:
    """Its last word is a second PASS, and it has left already when that is read."""
    session = begun()
    session.says(b"USER ann\r\nPASS wrong\r\nUSER ann\r\nPASS secret\r\n")
    session.leaves()
    assert session.decided(NobodyKnows())[-1] == ("finish", "client_closed")


def test_a_line_behind_another_is_not_answered_at_once() -> None:
    """Nor is one whose beginning has come already, nor while somebody else is asked."""
    session = begun()
    assert session.machine.answers()
    session.says(b"USER a")
    assert not session.machine.answers()
    session.says(b"nn\r\n")
    assert session.machine.answers()
    session.says(b"PASS secret\r\n")
    assert not session.machine.answers()


def test_whoever_is_far_ahead_is_not_read() -> None:
    """What is held for a client that does not wait for its answers is bounded."""
    session = asking()
    session.says(b"x" * MOST_HELD)
    assert session.machine.wants_input()
    session.says(b"x")
    assert not session.machine.wants_input()


@pytest.mark.parametrize("way", WAYS.values(), ids=[f"{before.name}-{after.name}" for before, after in WAYS])
def test_who_reads_the_client(way: Callable[[], PureSession]) -> None:
    """The machine, unless TLS, a header or the relay is under way, or it is over."""
    machine = way().machine
    assert machine.wants_input() is (machine.phase not in (STARTING_TLS, AWAITING_HEADER, RELAYING, ENDED))
    assert machine.phase not in ANSWERING or machine.wants_input()


# TLS


def test_behind_stls_everything_is_forgotten() -> None:
    """Name and errors of before count for nothing; no second greeting; a second STLS is a fault."""
    session = begun(starttls="optional")
    assert session.says(b"USER ann\r\nSTLS\r\n") == [("send", SEND_PASS + b"+OK begin TLS\r\n"), ("start_tls",)]
    assert session.tls_up("ann@example.org") == []
    assert session.machine.user == ""
    assert session.says(b"PASS secret\r\n") == [("send", b"-ERR say USER first\r\n")]
    assert session.says(b"STLS\r\n") == [("send", b"-ERR TLS is already there\r\n")]
    _, (_, question) = session.says(b"USER ann\r\nPASS secret\r\n")
    assert question.certificate_name == "ann@example.org"


def test_where_stls_must_come_first_all_is_offered_behind_it() -> None:
    """What travels in TLS is read by nobody else."""
    session = begun(starttls="force")
    assert session.says(b"USER ann\r\n")[0][1].startswith(b"-ERR say STLS first")
    session.says(b"STLS\r\n")
    session.tls_up()
    assert session.says(b"USER ann\r\n") == [("send", SEND_PASS)]


def test_pop3s_greets_in_tls() -> None:
    """Once."""
    assert begun(protocol=POP3S).tls_up() == [("send", b"+OK ready\r\n")]


@pytest.mark.parametrize("other", [{"protocol": POP3S}, {"starttls": "optional"}])
def test_what_lies_there_before_tls_ends_it(other: dict[str, Any]) -> None:
    """Nobody reads a client in clear that begins TLS; what came all the same is not taken for what it says in TLS."""
    session = begun(**other)
    if not session.verbs.waits:
        session.says(b"STLS\r\n")
    session.machine.lines.feed(b"QUIT\r\n")
    assert session.tls_up() == [("finish", "plaintext_after_stls")]


def test_no_tls_no_session() -> None:
    """It is counted and told to the operator, and nothing is said to the client."""
    fields = {"client": "192.0.2.1", "vserv": "v1", "why": "version", "reason": "too old"}
    assert begun(protocol=POP3S).tls_failed("version", "too old") == [
        ("count", "tls_failures", "version", ""),
        ("note", "tls_failed", fields),
        ("finish", "tls_failed"),
    ]


@pytest.mark.parametrize("line", [b"USER ann\r\n", b"PASS secret\r\n"])
def test_no_password_in_clear_where_tls_is_forced(line: bytes) -> None:
    """Neither name nor password is taken."""
    session = begun(starttls="force")
    assert session.says(line) == [("send", b"-ERR say STLS first, a password must not travel in clear\r\n")]
    assert session.machine.phase is GREETED


# The modules


@pytest.mark.parametrize(("decision", "why"), [(NobodyKnows(), "unknown"), (RefusedLogin("m"), "password")])
def test_a_wrong_login(decision: Any, why: str) -> None:
    """The client cannot tell who is known; the operator can."""
    fields = {**WHO, "why": why}
    assert asking().decided(decision) == [
        ("note", "login_failed", fields),
        ("count", "login_failures", why, "v1"),
        ("send", WRONG),
    ]


def test_the_next_command_follows_a_wrong_login() -> None:
    """What was sent after PASS is answered after it, in one piece."""
    session = asking()
    session.says(b"USER bob\r\n")
    assert session.decided(NobodyKnows())[-1] == ("send", WRONG + SEND_PASS)
    assert session.machine.phase is NAMED


def test_too_many_wrong_logins_end_it() -> None:
    """The third is the last."""
    session = begun()
    most = rules().maxfailures
    for failures in range(1, most + 1):
        session.says(b"USER ann\r\nPASS secret\r\n")
        verbs = session.decided(NobodyKnows())
        assert (verbs[-1] == ("finish", "too_many_failures")) is (failures == most)


def test_a_module_that_cannot_tell() -> None:
    """Trouble of ours: never a wrong password."""
    assert asking().decided(CannotTell("m: away")) == [
        ("note", "module_failed", {"user": "ann", "reason": "m: away"}),
        ("count", "login_failures", "module", "v1"),
        ("send", LATER),
        ("finish", "module_failed"),
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [({"reason": "disk full", "text": "wait"}, "disk full"), ({"text": "wait"}, "wait"), ({}, "SYS/TEMP")],
)
def test_why_a_module_refuses_for_now_is_in_the_log(said: dict[str, Any], told: str) -> None:
    """By what it has for the operator; else by what the client hears."""
    note = ("note", "module_failed", {"user": "ann", "reason": f"m: {told}"})
    assert asking().decided(RefusedLogin("m", code="SYS/TEMP", **said))[0] == note


@pytest.mark.parametrize("wait", [0.0, 2.0])
def test_a_module_that_says_nothing_of_the_password_is_no_wrong_login(wait: float) -> None:
    """In its own words, and its own time; he may try again, and no guess is charged."""
    limits = Limited()
    session = asking(maxfailures=1, limits=limits)
    verbs = session.decided(RefusedLogin("m", code="SYS/TEMP", text="come again", wait=wait))
    assert verbs[:2] == [
        ("note", "module_failed", {"user": "ann", "reason": "m: come again"}),
        ("count", "login_failures", "module", "v1"),
    ]
    if wait:
        assert verbs[-1] == ("hold", wait)
        verbs = session.expired("step")
    assert verbs[-1] == ("send", b"-ERR [SYS/TEMP] come again\r\n")
    assert session.machine.phase is GREETED
    assert limits.words() == ["charge_guess", "give_guess_back"]


def test_a_module_hears_which_attempt_it_is() -> None:
    """In this session: a server may count on it (Auth-Login-Attempt of nginx)."""
    session = asking(maxfailures=9)
    attempts = [session.verbs.asked[0].attempt]
    for _ in range(2):
        session.decided(NobodyKnows())
        session.says(b"USER bob\r\nPASS secret\r\n")
        attempts.append(session.verbs.asked[0].attempt)
    assert attempts == [1, 2, 3]
    assert request_headers(session.verbs.asked[0])["Auth-Login-Attempt"] == "3"


def test_softfail_shows_an_empty_mailbox() -> None:
    """And whatever there may be of a backend is left."""
    assert asking(softfail=True).decided(CannotTell("m: away"))[1:] == [
        ("leave_backend",),
        ("logged_in",),
        ("count", "simulated", None, ""),
        ("send", EMPTY),
    ]


def vouched(backend: str, **route: Any) -> Admitted:
    return Admitted(Route(backend, **route), "users", "boss", vouched=True)


MASTER_LOGIN = {**WHO, "module": "boss"}


@pytest.mark.parametrize("backend", ["xpop", "cxpop", "pop", "tls", "dovecot", "fake", "offline"])
def test_a_master_login_is_told_and_counted(backend: str) -> None:
    """Who, from where, into whose mailbox, by which module; before anything else is done, whatever the backend is."""
    note, count, *rest = asking().decided(vouched(backend, target="3/ann", secret=Secret(b"ours")))
    assert note == ("note", "master_login", {**MASTER_LOGIN, "backend": backend, "target": "3/ann"})
    assert count == ("count", "master_logins", None, "boss")
    assert rest


def test_a_master_login_into_the_users_own_mailbox_names_it() -> None:
    """Also where the module has no other name for it; and nobody acts for him who has not said so."""
    for session in (asking(), by_auth()):
        fields = session.decided(vouched("xpop"))[0][2]
        assert fields["target"] == "ann"
        assert "actor" not in fields


@pytest.mark.parametrize("backend", ["pop", "tls", "dovecot"])
def test_a_master_password_is_sent_to_no_backend(backend: str) -> None:
    """Without a SECRET there is no login; with one that is what the backend hears."""
    *_, note, count, reply, end = asking().decided(vouched(backend))
    assert note == ("note", "no_secret", {"user": "ann", "backend": backend})
    assert count == ("count", "login_failures", "unavailable", "v1")
    assert reply == ("send", b"-ERR [SYS/PERM] the mailbox cannot be opened, please ask your postmaster\r\n")
    assert end == ("finish", "no_secret")
    session = asking()
    session.decided(vouched("pop", secret=Secret(b"ours")))
    session.backend_says(OK)
    assert session.backend_says(OK) == [("send_backend", b"PASS ours\r\n")]


def test_a_late_decision_changes_nothing() -> None:
    """The modules answer after their time was over."""
    session = asking(softfail=True)
    session.expired("step")
    assert session.machine.phase is SIMULATING
    assert session.decided(admitted("pop")) == []


def test_nobody_knows_him_but_there_is_a_fallback() -> None:
    """He is tried there by POP3, with his own name and password."""
    session = asking(fallback="xpop")
    assert session.decided(NobodyKnows()) == [("connect", "xpop", True)]
    assert session.backend_says(OK)[-1] == ("send_backend", b"USER ann\r\n")


@pytest.mark.parametrize(
    ("name", "verbs"),
    [
        ("pop", [("connect", "pop", True)]),
        ("xpop", [("connect", "xpop", False)]),
        ("cxpop", [("check_mail", "cxpop", "ann")]),
        ("fake", [("logged_in",), ("count", "simulated", None, ""), ("send", EMPTY)]),
        ("offline", [("count", "login_failures", "unavailable", "v1"), ("send", LATER), ("finish", "backend_offline")]),
        (
            "nowhere",
            [
                ("note", "no_backend", {"backend": "nowhere", "user": "ann"}),
                ("count", "login_failures", "unavailable", "v1"),
                ("send", LATER),
                ("finish", "no_backend"),
            ],
        ),
    ],
)
def test_where_the_mailbox_is(name: str, verbs: list[tuple[Any, ...]]) -> None:
    """What a route leads to."""
    assert asking().decided(admitted(name)) == verbs


def test_a_name_that_is_no_mailbox() -> None:
    """The storage server is not even asked; the password was right, and the user is told that it is not his fault."""
    note, count, reply, end = asking().decided(admitted("xpop", target="../ann"))
    assert note[:2] == ("note", "bad_mailbox")
    assert count == ("count", "login_failures", "unavailable", "v1")
    assert reply == ("send", b"-ERR [SYS/PERM] the mailbox cannot be opened, please ask your postmaster\r\n")
    assert end[:2] == ("finish", "bad_mailbox")


def test_a_name_at_the_backend_that_is_no_text() -> None:
    """A module has it from a server that speaks Latin-1, say: that is nobody's wrong password, and no guess."""
    session = asking()
    note, count, _reply, end = session.decided(admitted("pop", target="j\udcf6rg"))
    assert (note[1], count[2], end[1]) == ("bad_mailbox", "unavailable", "bad_mailbox")


def test_a_password_that_would_end_a_line_is_wrong() -> None:
    """It never gets to a backend."""
    assert asking().decided(admitted("pop", secret=Secret(b"a\nb")))[-1] == ("send", WRONG)


# The mail check


@pytest.mark.parametrize(
    ("mail", "label", "verbs"),
    [
        (Mail.NONE, "empty", [("logged_in",), ("count", "simulated", None, ""), ("send", EMPTY)]),
        (Mail.LOAD_TOO_HIGH, "load", [("logged_in",), ("count", "simulated", None, ""), ("send", EMPTY)]),
        (Mail.ONLY_READ, "mail", [("connect", "cxpop", False)]),
        (Mail.NEW, "mail", [("connect", "cxpop", False)]),
    ],
)
def test_what_the_mail_check_found(mail: Mail, label: str, verbs: list[tuple[Any, ...]]) -> None:
    """Nothing: an empty mailbox; anything: the storage server."""
    assert at_backend("cxpop").checked(mail) == [("count", "mail_checks", label, ""), *verbs]


def test_a_mail_check_without_an_answer() -> None:
    """The storage server is connected to all the same."""
    assert at_backend("cxpop").checked(None, "odd") == [
        ("note", "check_failed", {"backend": "cxpop", "address": "127.0.0.1", "reason": "odd"}),
        ("count", "mail_checks", "unanswered", ""),
        ("connect", "cxpop", False),
    ]


# The backend


def test_a_login_at_a_pop3_backend() -> None:
    """USER and PASS, each after a reply; then the two are joined, with what is there for either of them."""
    session = at_backend()
    session.says(b"STAT\r\nQU")
    assert session.backend_says(OK) == [("expect", LOGIN_SECONDS), ("send_backend", b"USER ann\r\n")]
    assert session.backend_says(b"+O") == []
    assert session.backend_says(b"K\r\n") == [("send_backend", b"PASS secret\r\n")]
    assert session.backend_says(b"+OK in\r\n+OK more\r\n") == [
        ("logged_in",),
        ("relay", b"+OK in\r\n+OK more\r\n", b"STAT\r\nQU"),
    ]


def test_a_login_in_tls() -> None:
    """The name is said only when TLS stands."""
    session = at_backend("tls")
    assert session.backend_says(OK)[-1] == ("send_backend", b"STLS\r\n")
    assert session.backend_says(OK) == [("start_backend_tls",)]
    assert session.backend_tls_up() == [("send_backend", b"USER ann\r\n")]


def test_a_login_at_a_storage_server() -> None:
    """Mailbox, session id and flags, as soon as it is there; from then on it has its time once more."""
    session = asking()
    session.decided(admitted("xpop", target="3/ann", flags="M"))
    assert session.connected() == [
        ("expect", LOGIN_SECONDS),
        ("send_backend", b"3/ann\r\np01.1.2\r\nM\r\n"),
    ]
    assert session.backend_says(OK) == [("logged_in",), ("relay", OK, b"")]


def test_a_backend_that_knows_the_client_by_xclient() -> None:
    """It hears the client's address and the session's id."""
    said = b"XCLIENT ADDR=192.0.2.1 PORT=4711 SESSION=p01.1.2 TTL=7\r\n"
    assert at_backend("dovecot").backend_says(b"+OK [XCLIENT]\r\n")[-1] == ("send_backend", said)


@pytest.mark.parametrize(("reply", "code"), [(b"-ERR no", ""), (b"-ERR [AUTH] no", "AUTH"), (b"-ERR [X] no", "X")])
def test_a_password_that_the_backend_refuses(reply: bytes, code: str) -> None:
    """A wrong login as any other; the log has the backend's words."""
    leave, note, count, send = logging_in().backend_says(reply + b"\r\n")
    assert leave == ("leave_backend",)
    said = {"why": "backend", "backend": "pop", "code": code, "reply": reply.decode()}
    assert note == ("note", "login_failed", {**WHO, **said})
    assert (count, send) == (("count", "login_failures", "backend", "v1"), ("send", WRONG))


@pytest.mark.parametrize(
    ("backend", "code", "label", "told"),
    [
        ("pop", "IN-USE", "in_use", b"-ERR [IN-USE] the mailbox is in use by another session\r\n"),
        ("xpop", "in-use/x", "in_use", b"-ERR [IN-USE] the mailbox is in use by another session\r\n"),
        (
            "pop",
            "LOGIN-DELAY",
            "login_delay",
            b"-ERR [LOGIN-DELAY] the mailbox was asked too soon after the last time\r\n",
        ),
    ],
)
def test_a_login_that_the_backend_puts_off(backend: str, code: str, label: str, told: bytes) -> None:
    """Neither a wrong login nor a fault of the backend's: the client may come again as often as it likes."""
    session = begun(softfail=True)
    for _ in range(rules().maxfailures + 1):
        session.says(b"USER ann\r\nPASS secret\r\n")
        session.decided(admitted(backend))
        if backend == "xpop":
            session.connected()
        else:
            session.backend_says(OK)
            session.backend_says(OK)
        said = {"backend": backend, "code": code, "reply": f"-ERR [{code}] no"}
        assert session.backend_says(f"-ERR [{code}] no\r\n".encode()) == [
            ("leave_backend",),
            ("note", "login_deferred", {**WHO, **said}),
            ("count", "logins_deferred", label, backend),
            ("send", told),
        ]


@pytest.mark.parametrize(
    ("code", "word"), [("SYS/TEMP", "refused"), ("SYS/PERM", "refused"), ("sys/temp/x", "refused")]
)
@pytest.mark.parametrize("replies", [1, 2])
def test_a_login_that_fails_by_the_backends_own_word(code: str, word: str, replies: int) -> None:
    """To USER as to PASS: the backend's failure, its words and its code in the log; no wrong login."""
    session = at_backend()
    for _ in range(replies):
        session.backend_says(OK)
    note, count, refused, (_, told), end = session.backend_says(f"-ERR [{code}] no disk\r\n".encode())
    step = ["sending the user name", "sending the password"][replies - 1]
    fields = {**FAILED, "step": step, "reason": f"-ERR [{code}] no disk", "code": code}
    assert note == ("note", "backend_failed", fields)
    assert count == ("count", "backend_failures", word, "pop")
    assert refused == ("count", "login_failures", "unavailable", "v1")
    assert told.startswith(f"-ERR [{code[:8].upper()}] ".encode())
    assert end == ("finish", "backend_failed")


@pytest.mark.parametrize("reply", [b"-ERR [AUTH] use STLS", b"-ERR plaintext logins are off", b"-ERR [X] SSL only"])
def test_a_backend_that_wants_tls(reply: bytes) -> None:
    """Its fault (or its operator's), where the connection is in clear; in TLS it must mean the password."""
    note, count, *_ = logging_in().backend_says(reply + b"\r\n")
    assert (note[1], count) == ("backend_failed", ("count", "backend_failures", "tls", "pop"))
    session = at_backend("tls")
    session.backend_says(OK)
    session.backend_says(OK)
    session.backend_tls_up()
    session.backend_says(OK)
    assert session.backend_says(reply + b"\r\n")[1][1] == "login_failed"


def tried(
    rejections: UnexplainedRejections, user: str, *, reply: bytes = b"-ERR\r\n", **other: Any
) -> list[tuple[Any, ...]]:
    """A login of this user at a backend that answers the password so; what comes of the answer."""
    session = PureSession(rules(**other), rejections={"pop": rejections})
    session.begin()
    session.says(f"USER {user}\r\nPASS secret\r\n".encode())
    session.decided(NobodyKnows() if other else admitted("pop"))
    session.backend_says(OK)
    session.backend_says(OK)
    return session.backend_says(reply)


def test_a_backend_that_refuses_everybody_without_a_word() -> None:
    """Each of them is a wrong login as before, but from ENOUGH users on it counts as the backend's too, told once."""
    rejections = UnexplainedRejections()
    names = [f"u{number}" for number in range(ENOUGH)]
    for name in names[:-1]:
        assert [verb[1] for verb in tried(rejections, name)[1:3]] == ["login_failed", "login_failures"]
    leave, note, count, *rest = tried(rejections, names[-1])
    assert leave == ("leave_backend",)
    assert note[1:2] == ("backend_failed",)
    assert note[2]["reason"] == f"it refused {ENOUGH} users in a row and does not say why: -ERR"
    assert count == ("count", "backend_failures", "everybody", "pop")
    assert [verb[1] for verb in rest[:2]] == ["login_failed", "login_failures"]
    assert tried(rejections, names[0])[1:2] == [count]
    tried(rejections, "bob", reply=OK)
    assert tried(rejections, names[0])[1][1] == "login_failed"


def test_what_does_not_show_that_a_backend_refuses_everybody() -> None:
    """One user again and again; strangers, once it has let somebody in; a code; whoever comes by the fallback."""
    for let_in, names, reply, other in (
        ("", ["ann"] * 9, b"-ERR\r\n", {}),
        ("ann", [f"stranger{number}" for number in range(9)], b"-ERR\r\n", {}),
        ("", [f"u{number}" for number in range(9)], b"-ERR [AUTH]\r\n", {}),
        ("", [f"u{number}" for number in range(9)], b"-ERR\r\n", {"fallback": "pop"}),
    ):
        rejections = UnexplainedRejections()
        if let_in:
            tried(rejections, let_in, reply=OK)
        for name in names:
            verbs = tried(rejections, name, reply=reply, **other)
            assert [verb[1] for verb in verbs[1:3]] == ["login_failed", "login_failures"]


def test_users_whom_it_has_let_in_show_it() -> None:
    """Somebody was let in long ago, and now nobody is."""
    rejections = UnexplainedRejections()
    names = [f"u{number}" for number in range(ENOUGH)]
    for name in names:
        tried(rejections, name, reply=OK)
    assert [len(tried(rejections, name)) for name in names] == [4] * (ENOUGH - 1) + [6]


def test_a_password_of_ours_shows_nothing_of_the_users_own() -> None:
    """One whom it lets in by a password of his module's is no sign that it lets in others."""
    rejections = UnexplainedRejections()
    for name in [f"u{number}" for number in range(ENOUGH)]:
        tried(rejections, name)
    session = PureSession(rules(), rejections={"pop": rejections})
    session.begin()
    session.says(b"USER bob\r\nPASS secret\r\n")
    session.decided(admitted("pop", secret=Secret(b"0urs")))
    for _ in range(3):
        session.backend_says(OK)
    assert session.machine.phase is RELAYING
    assert rejections.of_everybody


@pytest.mark.parametrize(("response", "phase"), [(b"\0ann\0secret", CONNECTING), (b"ann\0boss\0secret", GREETED)])
def test_the_fallback_is_for_the_users_own_password(response: bytes, phase: Phase) -> None:
    """By AUTH as by PASS; not for somebody's who acts for him."""
    session = after(begun(fallback="pop"), "says", b"AUTH PLAIN " + b64encode(response) + b"\r\n")
    session.decided(NobodyKnows())
    assert session.machine.phase is phase


def test_a_password_of_ours_that_the_backend_refuses() -> None:
    """The client's was right: it is told to come again, and the operator what the backend said."""
    session = asking()
    session.decided(admitted("pop", secret=Secret(b"ours")))
    session.backend_says(OK)
    assert session.backend_says(OK) == [("send_backend", b"PASS ours\r\n")]
    step = "sending the password"
    assert session.backend_says(b"-ERR no\r\n") == [
        ("note", "backend_failed", {**FAILED, "step": step, "reason": "-ERR no", "code": ""}),
        ("count", "backend_failures", "password", "pop"),
        ("count", "login_failures", "unavailable", "v1"),
        ("send", LATER),
        ("finish", "backend_failed"),
    ]


@pytest.mark.parametrize(
    ("session", "word", "label"),
    [(at_backend, "", "connect"), (logging_in, "", "closed"), (logging_in, "tls", "tls")],
)
def test_a_backend_that_is_not_to_be_had(session: Callable[[], PureSession], word: str, label: str) -> None:
    """The counter knows at which step."""
    note, count, *rest = session().backend_failed("away", word)
    assert note[1] == "backend_failed"
    assert count == ("count", "backend_failures", label, "pop")
    assert rest == [("count", "login_failures", "unavailable", "v1"), ("send", LATER), ("finish", "backend_failed")]


@pytest.mark.parametrize(
    ("session", "word", "label", "step"),
    [
        (at_backend, "", "connect", "connecting to the backend"),
        (at_backend, "closed", "closed", "reading the greeting"),
        (lambda: at_backend("xpop"), "", "connect", "connecting to the backend"),
        (lambda: after(at_backend("xpop"), "connected"), "closed", "closed", "opening the mailbox"),
        (lambda: after(at_backend(), "backend_says", OK), "closed", "closed", "sending the user name"),
        (logging_in, "", "closed", "sending the password"),
        (logging_in, "tls", "tls", "starting TLS"),
        (lambda: after(at_backend("tls"), "backend_says", OK), "", "closed", "starting TLS"),
    ],
)
def test_at_which_step_a_backend_fails(session: Callable[[], PureSession], word: str, label: str, step: str) -> None:
    """It is connected to until it has not come so far; then what it owes is named."""
    note, count, *_ = session().backend_failed("away", word)
    assert (note[2]["step"], count) == (step, ("count", "backend_failures", label, note[2]["backend"]))


@pytest.mark.parametrize(
    ("session", "missing", "step"),
    [
        (at_backend, NO_CONNECTION, "connecting to the backend"),
        (at_backend, NO_ANSWER, "reading the greeting"),
        (at_backend, NO_HANDSHAKE, "starting TLS"),
        (logging_in, NO_ANSWER, "sending the password"),
        (lambda: after(at_backend("xpop"), "connected"), NO_ANSWER, "opening the mailbox"),
    ],
)
def test_at_which_step_a_backend_is_too_slow(session: Callable[[], PureSession], missing: str, step: str) -> None:
    """What it owes is named. A backend that took the connection has the time of a login for its greeting, too."""
    waits = session()
    calls = waits.expired("step", missing)
    if calls[0][0] == "expect":
        calls = waits.expired("step", missing)
    assert calls[1][2]["step"] == step


@pytest.mark.parametrize("backend", ["pop", "cxpop"])
def test_what_we_lack_is_no_backends_fault(backend: str) -> None:
    """A descriptor or a port: told and counted as ours, and the client shall come again."""
    session = at_backend(backend)
    fields = {"user": "ann", "step": session.machine.phase.phrase, "reason": "Too many open files"}
    session.verbs.waits = "connect"
    assert session.backend_failed("Too many open files", OURS) == [
        ("note", "no_resources", fields),
        ("count", "login_failures", "resources", "v1"),
        ("send", LATER),
        ("finish", "no_resources"),
    ]


def test_a_backend_that_talks_nonsense() -> None:
    """It is as if it were not there."""
    note, count, *_ = logging_in().backend_says(b"hello\r\n")
    assert note[2]["reason"] == "no proper reply"
    assert count == ("count", "backend_failures", "password", "pop")


# Joined


@pytest.mark.parametrize("ending", ["quit", "client_closed", "client_reset", "backend_closed"])
def test_the_relay_ends(ending: str) -> None:
    """And the session with it."""
    assert relaying().relay_ended(ending) == [("finish", ending)]


def test_a_null_byte_in_the_relay() -> None:
    """The operator is told, as of any other."""
    note = ("note", "null_byte_in_input", {"phase": RELAYING.phrase})
    assert relaying().relay_ended("null_byte") == [note, ("finish", "null_byte")]


# Time


@pytest.mark.parametrize(
    ("session", "what", "missing", "ending"),
    [
        (begun, "auth", "", "auth_timeout"),
        (begun, "idle", "", "idle_timeout"),
        (asking, "idle", "", "idle_timeout"),
        (lambda: begun(trusted=TRUSTED), "auth", "", "auth_timeout"),
        (simulating, "session", "", "session_timeout"),
        (simulating, "idle", "", "idle_timeout"),
        (relaying, "session", "", "session_timeout"),
        (relaying, "idle", "", "proxy_timeout"),
        (relaying, "idle", COMMITTING, "proxy_timeout"),
        (relaying, "idle", LINGERING, "client_closed"),
        (relaying, "idle", QUIT_ANSWERED, "quit"),
    ],
)
def test_a_deadline_ends_a_session_without_a_word(
    session: Callable[[], PureSession], what: str, missing: str, ending: str
) -> None:
    """What the ending is called depends on where it was."""
    assert session().expired(what, missing) == [("finish", ending)]


def test_sessiontimeout_waits_for_the_answer_to_quit() -> None:
    """A minute at most: the store may have deleted by then what the client would have again."""
    session = relaying()
    assert session.expired("session", COMMITTING) == [("expect", COMMITTING_SECONDS)]
    assert session.expired("step", COMMITTING) == [("finish", "session_timeout")]


@pytest.mark.parametrize(
    ("session", "missing", "event", "told"),
    [
        (lambda: begun(trusted=TRUSTED), "", "bad_header", "no header within 5 s"),
        (lambda: begun(protocol=POP3S), "", "tls_failed", "not done within 30 s"),
        (asking, "", "module_failed", NO_ANSWER),
        (lambda: at_backend("cxpop"), "", "check_failed", NO_ANSWER),
        (at_backend, NO_CONNECTION, "backend_failed", NO_CONNECTION),
        (logging_in, NO_ANSWER, "backend_failed", NO_ANSWER),
        (logging_in, NO_HANDSHAKE, "backend_failed", NO_HANDSHAKE),
    ],
)
def test_an_answer_that_does_not_come_in_time(
    session: Callable[[], PureSession], missing: str, event: str, told: str
) -> None:
    """Is told as any other failure of that step."""
    verbs = session().expired("step", missing)
    notes = [verb for verb in verbs if verb[0] == "note"]
    assert [(note[1], note[2]["reason"]) for note in notes] == [(event, told)]


@pytest.mark.parametrize("softfail", [False, True])
@pytest.mark.parametrize(
    ("session", "event"),
    [
        (asking, "module_failed"),
        (lambda **more: at_backend("cxpop", **more), "check_failed"),
        (logging_in, "backend_failed"),
    ],
)
def test_who_waits_for_somebodys_answer_when_authtimeout_is_over_is_told(
    session: Callable[..., PureSession], event: str, softfail: bool
) -> None:
    """It is no fault of his, and the operator learns whose; with softfail he sees an empty mailbox."""
    calls = session(softfail=softfail).expired("auth", NO_ANSWER)
    assert [call[1] for call in calls if call[0] == "note"] == [event]
    assert ("send", EMPTY if softfail else LATER) in calls


def test_a_backend_that_is_too_slow_is_left_first() -> None:
    """Whatever it still says is not heard."""
    leave, _, count, *_ = at_backend().expired("step", NO_CONNECTION)
    assert (leave, count) == (("leave_backend",), ("count", "backend_failures", "timeout", "pop"))


def _ahead(known: Known) -> PureSession:
    """A session whose backend was just told USER and PASS in one piece."""
    session = PureSession(rules(), announced={"pop": known})
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(admitted("pop"))
    assert session.backend_says(OK)[-1] == ("send_backend", b"USER ann\r\nPASS secret\r\n")
    return session


@pytest.mark.parametrize(("pipelining", "notes"), [("auto", 1), ("on", 0)])
@pytest.mark.parametrize(
    "misbehave",
    [
        lambda session: session.backend_failed("it closed the connection", "closed"),
        lambda session: session.expired("step", NO_ANSWER),
        lambda session: session.backend_says(b"500 what?\r\n"),
        lambda session: session.backend_says(b"+OK\r\n\0"),
    ],
)
def test_a_backend_that_cannot_do_with_both_at_once(
    misbehave: Callable[[PureSession], list[tuple[Any, ...]]], pipelining: str, notes: int
) -> None:
    """Whatever goes wrong after them: the client may come again, and one that had announced it is not believed."""
    known = Known(pipelining)
    done = misbehave(_ahead(known))
    assert [verb[1] for verb in done if verb[0] == "note"].count("not_pipelined") == notes
    assert next(verb for verb in done if verb[0] == "send")[1].startswith(b"-ERR [SYS/TEMP] ")
    assert ("finish", "backend_failed") in done
    assert known.pipelines() == (pipelining == "on")


@pytest.mark.parametrize("greets", [True, False])
def test_what_fails_before_that_says_nothing_of_it(greets: bool) -> None:
    """A backend that is away, or turns the client away, was told neither."""
    known = Known("auto")
    session = PureSession(rules(), announced={"pop": known})
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(admitted("pop"))
    if greets:
        session.backend_says(b"-ERR [SYS/TEMP] too many\r\n")
    else:
        session.backend_failed("Connection refused")
    assert session.verbs.ending == "backend_failed"
    assert known.pipelines()


def test_too_little_time_says_nothing_of_it() -> None:
    """The client has left the backend next to none."""
    known = Known("auto")
    _ahead(known).expired("auth", NO_TIME)
    assert known.pipelines()


def test_a_refused_user_is_no_misbehaviour() -> None:
    """Whether the reply to PASS comes, or the connection ends, or nothing: it is a wrong login, and the backend is
    believed as before.
    """
    for end in (
        lambda session: session.backend_says(b"+OK in\r\n"),
        lambda session: session.backend_failed("it closed the connection", "closed"),
        lambda session: session.expired("step", NO_ANSWER),
        lambda session: session.backend_says(b"\0"),
    ):
        known = Known("auto")
        session = _ahead(known)
        assert session.backend_says(b"-ERR [AUTH] who?\r\n") == []
        done = end(session)
        assert ("count", "login_failures", "backend", "v1") in done
        assert not any(verb[:2] == ("note", "not_pipelined") for verb in done)
        assert known.pipelines()


# Limits


def test_who_is_held_back_makes_room_for_others() -> None:
    """A thousand guessers who wait for their replies use up nothing that somebody else needs."""
    assert held().machine.phase in SILENT


@pytest.mark.parametrize("decision", [NobodyKnows(), RefusedLogin("m"), RefusedLogin("m", locked=True)])
def test_wrong_unknown_and_locked_are_held_back_alike(decision: Any) -> None:
    """They hear one reply after one time; what the client says meanwhile is answered after it."""
    limits = Limited(delay=4.0)
    session = asking(limits=limits)
    assert session.decided(decision)[-1] == ("hold", 4.0)
    assert session.says(b"QUIT\r\n") == []

    assert session.expired("step") == [("send", WRONG + b"+OK bye\r\n"), ("finish", "quit")]
    assert limits.asked == [("charge_guess", ANN), ("charge_failure", ANN, b"secret")]


def test_a_module_may_have_the_reply_held_back() -> None:
    """For as long as it says, where nothing is limited; the longer time counts where something is."""
    assert asking().decided(RefusedLogin("m", wait=7.0))[-1] == ("hold", 7.0)
    assert asking(limits=Limited(delay=2.0)).decided(RefusedLogin("m", wait=7.0))[-1] == ("hold", 7.0)
    assert asking(limits=Limited(delay=9.0)).decided(RefusedLogin("m", wait=7.0))[-1] == ("hold", 9.0)


def test_the_last_failure_is_held_back_too() -> None:
    """And ends the session then."""
    session = asking(limits=Limited(delay=2.0), maxfailures=1)
    session.decided(NobodyKnows())
    assert session.expired("step") == [("send", WRONG), ("finish", "too_many_failures")]


def test_who_guesses_too_fast_is_asked_for_later() -> None:
    """Nobody is asked before it is his turn, and no hash is computed."""
    session = begun(limits=Limited(turn=3.0))
    assert session.says(b"USER ann\r\nPASS secret\r\n") == [("send", SEND_PASS), ("hold", 3.0), ("expect", 3.0)]
    ((verb, question),) = session.expired("step")
    assert (verb, question.user, question.password) == ("ask", "ann", Secret(b"secret"))


def test_who_guesses_far_too_fast_is_asked_to_come_again() -> None:
    """Whatever his password is; it counts among the failures of the connection."""
    session = begun(limits=Limited(turn=15.0, late=True), maxfailures=1)
    done = session.says(b"USER ann\r\nPASS secret\r\n")
    assert done[1:] == [
        ("note", "login_limited", {**WHO, "limit": "guessrate"}),
        ("count", "limited", "guessrate", ""),
        ("hold", 15.0),
    ]
    assert session.machine._secret is None
    assert session.expired("step") == [("send", LATER), ("finish", "too_many_failures")]


def test_a_client_that_goes_while_it_is_held_back_is_gone() -> None:
    """Nobody waits for the reply."""
    assert held().leaves() == [("finish", "client_closed")]


@pytest.mark.parametrize("backend", ["pop", "xpop", "fake"])
def test_a_limit_is_told_behind_a_right_password_only(backend: str) -> None:
    """Where the backend decides about the password, that is after its answer; it is no wrong login."""
    limits = Limited(full=True)
    session = asking(limits=limits)
    done = session.decided(admitted(backend))
    if backend == "xpop":
        done += session.connected() + session.backend_says(OK)
    while session.verbs.waits:
        assert "comes_in" not in limits.words()
        done += session.backend_says(OK)

    said = b"-ERR [IN-USE] the mailbox is in use by another session\r\n"
    assert done[-4:] == [
        ("leave_backend",),
        ("note", "login_limited", {**WHO, "limit": "usersessions"}),
        ("count", "limited", "usersessions", ""),
        ("send", said),
    ]
    assert session.machine.phase is GREETED
    assert session.machine.counted
    assert not [verb for verb in done if verb[:2] == ("count", "login_failures")]


def test_limits_of_a_users_own_count_where_nothing_else_does() -> None:
    """What a module says of him reaches the limits."""
    limits = Limited(full=True)
    limits.counts_guesses = limits.counts_sessions = False
    session = asking(limits=limits)
    own = UserLimits(sessions=1)
    session.decided(Admitted(Route("fake"), "m", "m", limits=own))
    assert limits.asked == [("comes_in", 0, ANN, own)]


@pytest.mark.parametrize("how", ["module", "backend", "deferred", "offline"])
def test_what_is_no_guess_is_given_back(how: str) -> None:
    """Nobody could tell whether the password is right: the network is charged nothing for it."""
    limits = Limited()
    session = asking(limits=limits)
    if how == "module":
        session.decided(CannotTell("m: away"))
    elif how == "offline":
        session.decided(admitted("offline"))
    else:
        session.decided(admitted("pop"))
        session.backend_says(OK)
        if how == "backend":
            session.backend_failed("closed")
        else:
            session.backend_says(OK)
            session.backend_says(b"-ERR [IN-USE] locked\r\n")
    assert limits.words() == ["charge_guess", "give_guess_back"]


@pytest.mark.parametrize("other", [{}, {"protocol": POP3S}, {"trusted": TRUSTED}])
def test_whoever_is_blocked_hears_nothing(other: dict[str, Any]) -> None:
    """Not even a handshake; where a PROXY header says who he is, as soon as it is read."""
    session = PureSession(rules(**other))
    session.verbs.blocked = {"192.0.2.1", "198.51.100.7"} - ({"192.0.2.1"} if other.get("trusted") else set())
    done = session.begin()
    if other.get("trusted"):
        done = session.introduced("198.51.100.7", 99)
    assert done == [("finish", "blocked")]
