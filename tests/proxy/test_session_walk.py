"""Random walks through the proxy's machine, with every client, module, backend and clock that there may be."""

from base64 import b64encode
from collections import Counter
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from popular.net.networks import Networks
from popular.pdm import contract
from popular.pdm.contract import CannotTell, Route, Secret
from popular.pdm.decision import Admitted, Decision, NobodyKnows, RefusedLogin
from popular.protocol.international import International
from popular.protocol.mailcheck import Mail
from popular.proxy.session.machine.endings import ENDINGS
from popular.proxy.session.machine.failed_logins import NO_ANSWER, NO_CONNECTION, NO_HANDSHAKE
from popular.proxy.session.machine.machine import COMMITTING, LINGERING, QUIT_ANSWERED
from popular.proxy.session.machine.phases import ANSWERING, Phase
from popular.proxy.session.rules import Rules
from popular.proxy.settings.mechanisms import USUAL, WAYS
from popular.proxy.settings.vserv import POP3S
from tests.proxy.session_double import REPLY, Known, PureSession
from tests.proxy.session_rules import BACKENDS, rules

PASSWORD, OURS = b"s3cret", b"0urs"
LOGIN = [b"USER ann\r\n", b"PASS s3cret\r\n"]
LINES = [*LOGIN * 4, b"USER ann=x\r\n", b"USER \xff\r\n", b"USER \x07\r\n", b"PASS\r\n", b"CAPA\r\n", b"\r\n"]
LINES += [b"UTF8\r\n", b"LANG\r\n", b"LANG de\r\n"]
LINES += [b"STLS\r\n", b"STAT\r\n", b"NOOP\r\n", b"what\r\n", b"QU"]
AUTH = [
    b"AUTH PLAIN",
    b"AUTH LOGIN ",
    b"AUTH XOAUTH2 " + b64encode(b"user=ann\x01auth=Bearer s3cret\x01\x01"),
    b"*",
    b"AUTH",
]
AUTH += [
    b"AUTH PLAIN " + b64encode(b"\0ann\0s3cret"),
    b64encode(b"\0ann\0s3cret"),
    b64encode(b"boss\0ann\0s3cret"),
    b"=!",
]
LINES += [line + b"\r\n" for line in AUTH]
SAID = st.lists(st.sampled_from(LINES), min_size=1, max_size=12).map(b"".join) | st.binary(min_size=1, max_size=9)
LAST_WORDS = st.sampled_from([b"QUIT\r\n", b"A" * 260, b"\0", b"STLS\r\nCAPA\r\n"])
GOOD = b"+OK [XCLIENT]\r\n"
LINES_BACK = [GOOD] * 3 + [b"-ERR\r\n", b"-ERR [IN-USE] x\r\n", b"-ERR [AUTH] x\r\n", b"+OK\r\n+OK\r\n"]
LINES_BACK += [b"-ERR [REFERRAL/ann@127.0.0.2:1111] x\r\n", b"-ERR [REFERRAL/b@192.0.2.7] x\r\n"]
LINES_BACK += [b"+O", b"what\r\n", b"\0", b"+" * 600]
SAID_BACK = st.just(GOOD) | st.sampled_from(LINES_BACK) | st.binary(min_size=1, max_size=9)
ROUTES = st.builds(
    Route,
    st.sampled_from([*BACKENDS, *["pop", "xpop", "cxpop", "cxpop", "tls"] * 3, "nowhere"]),
    st.sampled_from([None] * 4 + ["joe", "../joe", "a\nb"]),
    st.sampled_from([None] * 3 + [Secret(OURS), Secret(b"a\nb")]),
    st.sampled_from(["", "M"]),
    st.sampled_from([None] * 4 + [("127.0.0.9", 65535), ("::1", 1)]),
)
DECISIONS = st.one_of(
    *[st.builds(Admitted, ROUTES, st.just("m"), st.just("m"), st.sampled_from([False, False, True]))] * 3,
    st.sampled_from([NobodyKnows(), RefusedLogin("m"), RefusedLogin("m", wait=2.0), CannotTell("m: away")]),
)
RULES = st.builds(
    rules,
    state=st.sampled_from(["online"] * 12 + ["fake", "disabled"]),
    protocol=st.sampled_from(["POP3", "POP3", POP3S]),
    starttls=st.sampled_from(["off", "optional", "optional", "force"]),
    mechanisms=st.sampled_from([USUAL, USUAL, WAYS, ("plain",)]),
    takes=st.sampled_from([frozenset({contract.PASSWORD, contract.TOKEN}), frozenset({contract.PASSWORD})]),
    namespace=st.sampled_from(["default", "USER"]),
    fallback=st.sampled_from(["", "", "pop", "nowhere"]),
    softfail=st.booleans(),
    maxcommands=st.sampled_from([50, 50, 4]),
    trusted=st.sampled_from([None] * 9 + [Networks("", (ip_network("192.0.2.0/24"),))] * 3 + [Networks()]),
)
INTERNATIONAL = International(True, True, {"de": "de Deutsch"})
SELDOM = st.sampled_from([False] * 19 + [True])
"""For what ends a session, or no walk comes far."""


class Watched(PureSession):
    """A session whose backends must not be told a thing twice."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules, announced=dict.fromkeys(BACKENDS, Known("off", INTERNATIONAL)))
        self.heard = b""
        """From the client."""
        self.heard_back = b""
        """From the backend."""
        self.told: list[bytes] = []
        """Lines of this login that the backend has."""
        self.endings: list[str] = []

    def _done(self) -> list[tuple[Any, ...]]:
        done = super()._done()
        for verb, *asked in done:
            if verb == "connect":
                self.told = []
            elif verb == "send_backend":
                assert asked[0] not in self.told, "told twice"
                self.told.append(asked[0])
            elif verb == "relay":
                to_client, to_backend = asked
                assert self.heard.endswith(to_backend)
                assert not self.machine.lines.held, "kept, and passed on"
                assert unix(self.heard_back).endswith(unix(to_client))
            elif verb == "finish":
                self.endings += asked
        return done


class Walk(RuleBasedStateMachine):
    """One session. A rule is what may happen to it, whenever it may happen."""

    moves: Counter[tuple[Phase, Phase]] = Counter()
    """How often each move was made, in all walks."""

    @initialize(rules=RULES, logs_in=st.sampled_from([True, True, True, False]))
    def begins(self, rules: Rules, logs_in: bool) -> None:
        """Most walks begin with a login: what is after it is larger."""
        self.session = Watched(rules)
        self.machine = self.session.machine
        self.verbs = self.session.verbs
        self.has_left = False
        self.session.begin()
        if logs_in and self.waits("await_header"):
            self.session.introduced("198.51.100.7", 99)
        if logs_in and self.waits("start_tls"):
            self.session.tls_up()
        if logs_in and self.alive():
            self.client_says(b"".join(LOGIN))

    def alive(self) -> bool:
        return not self.verbs.ending

    def waits(self, *verbs: str) -> bool:
        return self.alive() and self.verbs.waits in verbs

    # The client

    def is_read(self) -> bool:
        if self.verbs.has_yielded:
            return False
        return self.alive() and not self.has_left and not self.waits("start_tls", "await_header", "relay")

    @precondition(is_read)
    @rule(data=SAID | st.just(b"".join(LOGIN)))
    def client_says(self, data: bytes) -> None:
        self.session.heard += data
        self.session.says(data)

    @precondition(lambda self: self.verbs.has_yielded)
    @rule()
    def others_have_had_their_turn(self) -> None:
        self.session.proceeds()

    @precondition(is_read)
    @rule(now=SELDOM, data=LAST_WORDS)
    def client_says_goodbye(self, now: bool, data: bytes) -> None:
        if now:
            self.client_says(data)

    @precondition(is_read)
    @rule(now=SELDOM)
    def client_leaves(self, now: bool) -> None:
        if now:
            self.has_left = True
            self.session.leaves()

    @precondition(lambda self: self.waits("start_tls"))
    @rule(fails=SELDOM)
    def tls_comes(self, fails: bool) -> None:
        if fails:
            self.session.tls_failed("version", "too old")
        else:
            self.session.tls_up()

    @precondition(lambda self: self.waits("await_header"))
    @rule(fails=SELDOM)
    def header_comes(self, fails: bool) -> None:
        if fails:
            self.session.header_failed("no header")
        else:
            self.session.introduced("198.51.100.7", 99)

    # The login

    @precondition(lambda self: self.waits("ask"))
    @rule(decision=DECISIONS)
    def modules_decide(self, decision: Decision) -> None:
        self.session.decided(decision)

    @precondition(lambda self: self.alive() and self.machine.phase is Phase.SIMULATING)
    @rule(decision=DECISIONS)
    def modules_decide_too_late(self, decision: Decision) -> None:
        assert self.session.decided(decision) == []

    @precondition(lambda self: self.waits("check_mail"))
    @rule(mail=st.sampled_from([None, *Mail]))
    def check_is_answered(self, mail: Mail | None) -> None:
        self.session.checked(mail, "no answer")

    @precondition(lambda self: self.waits("connect") and self.verbs.asked[1] is False)
    @rule()
    def backend_is_there(self) -> None:
        self.session.connected()

    @precondition(lambda self: self.waits(REPLY) or (self.waits("connect") and self.verbs.asked[1]))
    @rule(data=SAID_BACK)
    def backend_says(self, data: bytes) -> None:
        self.session.heard_back += data
        self.session.backend_says(data)

    @precondition(lambda self: self.waits("start_backend_tls"))
    @rule()
    def backend_tls_comes(self) -> None:
        self.session.backend_tls_up()

    @precondition(lambda self: self.waits("check_mail", "connect", REPLY, "start_backend_tls"))
    @rule(now=SELDOM, word=st.sampled_from(["", "tls"]))
    def backend_fails(self, now: bool, word: str) -> None:
        if now:
            self.session.backend_failed("it closed the connection", word)

    @precondition(lambda self: self.waits("relay"))
    @rule(ending=st.sampled_from(["quit", "client_closed", "client_reset", "backend_closed", "null_byte"]))
    def relay_ends(self, ending: str) -> None:
        self.session.relay_ended(ending)

    # Time

    @precondition(lambda self: self.alive())
    @rule(
        now=SELDOM,
        what=st.sampled_from(["step", "step", "auth", "session", "idle"]),
        relay=st.sampled_from(["", COMMITTING, LINGERING, QUIT_ANSWERED]),
        stands=st.booleans(),
    )
    def time_is_over(self, now: bool, what: str, relay: str, stands: bool) -> None:
        """`relay`: how it stands; `stands`: the connection to a backend does, which has not greeted."""
        verbs = self.verbs
        logged_in = self.machine.phase in (Phase.SIMULATING, Phase.RELAYING)
        possible = {"step": verbs.seconds is not None, "auth": not logged_in, "session": logged_in, "idle": True}
        if now and possible[what]:
            of_backend = {
                "connect": NO_ANSWER if stands else NO_CONNECTION,
                REPLY: NO_ANSWER,
                "start_backend_tls": NO_HANDSHAKE,
            }
            missing = relay if verbs.waits == "relay" else of_backend.get(verbs.waits, "")
            self.session.expired(what, missing)

    @precondition(lambda self: not self.alive())
    @rule()
    def is_over(self) -> None:
        """Nothing can happen any more."""

    def teardown(self) -> None:
        self.moves.update(self.session.moves)

    # What always holds

    @invariant()
    def ends_once(self) -> None:
        """For a reason of the table. (Machine and double assert that each move is legal and no verb comes later.)"""
        endings = self.session.endings
        assert len(endings) == (self.machine.phase is Phase.ENDED)
        assert set(endings) <= set(ENDINGS)

    @invariant()
    def waits_for_something_that_comes(self) -> None:
        """No session hangs: whoever is not listened to, something else is waited for, and not for ever."""
        if self.alive():
            listens = self.machine.phase in ANSWERING
            assert listens is (self.verbs.waits == "")
            if self.verbs.has_yielded:
                assert listens
                assert not self.machine.wants_input()
                return
            assert listens is self.machine.wants_input() or self.machine.phase in READ_AHEAD
            assert listens or self.verbs.waits == "relay" or self.verbs.seconds is not None
            assert not (self.has_left and listens), "a client that has left is listened to"

    @invariant()
    def keeps_no_password(self) -> None:
        """A password is known from PASS until the backend has let the user in, or not."""
        if self.machine.phase not in READ_AHEAD:
            kept = {octets for octets in reachable(self.machine, "lines", "_verbs", "_rules") if octets}
            assert not [octets for octets in kept if PASSWORD in octets or OURS in octets]


def unix(text: bytes) -> bytes:
    """With LF for line ends: the backend may say it so."""
    return text.replace(b"\r\n", b"\n")


READ_AHEAD = (Phase.ASKING, Phase.HELD, Phase.CHECKING, Phase.CONNECTING, Phase.LOGGING_IN)
"""What the client sends in these is kept until it can be answered."""


def reachable(thing: Any, *but: str) -> list[bytes]:
    """The octets that an object holds, itself or through others."""
    if isinstance(thing, bytes):
        return [thing]
    if isinstance(thing, Secret):
        return [thing.reveal()]
    if isinstance(thing, (tuple, list)):
        return [octets for part in thing for octets in reachable(part)]
    names = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())} - set(but)
    return [octets for name in names if hasattr(thing, name) for octets in reachable(getattr(thing, name))]


def test_a_password_that_is_kept_would_be_found() -> None:
    """While the modules are asked the machine has it: so the walk looks where it could be."""
    session = PureSession(rules())
    session.begin()
    session.says(b"".join(LOGIN))
    assert PASSWORD in reachable(session.machine, "lines", "_verbs", "_rules")


@pytest.mark.parametrize("answer", [b"+OK in\r\n", b"-ERR [AUTH] no\r\n"])
def test_whoever_has_his_answer_to_pass_keeps_no_password(answer: bytes) -> None:
    """Let in or not: the password has done its work."""
    session = PureSession(rules())
    session.begin()
    session.says(b"".join(LOGIN))
    session.decided(Admitted(Route("pop"), "m", "m"))
    session.backend_says(b"+OK\r\n")
    session.backend_says(b"+OK\r\n")
    assert any(PASSWORD in octets for octets in reachable(session.machine, "lines", "_verbs", "_rules"))
    session.backend_says(answer)
    assert not any(PASSWORD in octets for octets in reachable(session.machine, "lines", "_verbs", "_rules"))


def test_whoever_is_shown_an_empty_mailbox_leaves_no_password_of_a_module_behind() -> None:
    """Nothing is to be shown to a backend any more."""
    session = PureSession(rules())
    session.begin()
    session.says(b"".join(LOGIN))
    session.decided(Admitted(Route("fake", secret=Secret(OURS)), "m", "m"))
    assert not any(OURS in octets for octets in reachable(session.machine, "lines", "_verbs", "_rules"))


def test_random_walks() -> None:
    """No exception, no illegal move, one ending, nothing after it, no session that hangs, nothing told to a backend
    twice, no password kept; and the walks come through every phase.
    """
    Walk.moves.clear()
    rare = set(Phase) - {Phase.AWAITING_HEADER}
    walks = settings(max_examples=600, stateful_step_count=40, deadline=None, derandomize=False)
    for _ in range(5):  # chance may leave a phase out
        run_state_machine_as_test(Walk, settings=walks)
        rare -= {after for _, after in Walk.moves}
        if not rare:
            break
    assert rare == set()
