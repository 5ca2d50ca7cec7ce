"""What a session keeps of one login, and what the next one finds of it: nothing, but how often it was wrong."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from popular.pdm.contract import PASSWORD, SCRAM, TOKEN, Route
from popular.pdm.decision import Admitted, NobodyKnows, RefusedLogin
from popular.protocol.sasl import LONGEST_NAME
from popular.proxy.session.machine.phases import EXCHANGING, GREETED, HELD, Phase
from popular.proxy.settings.mechanisms import USER_AND_PASS
from popular.proxy.settings.vserv import POP3S
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import backend, rules
from tests.proxy.test_session_machine import (
    OK,
    REFERRAL,
    WRONG,
    Limited,
    after,
    asking,
    at_backend,
    begun,
    by_auth,
    by_token,
    logging_in,
    relaying,
    simulating,
)
from tests.proxy.test_sessions_health import Ill

SAID = b"USER ann\r\nPASS secret\r\n"


def test_a_session_begins_with_nothing() -> None:
    """All fields are there, and none says that anything has happened."""
    machine = begun().machine
    slots = [name for part in type(machine).__mro__ for name in getattr(part, "__slots__", ())]
    fields = {name: getattr(machine, name) for name in slots}
    told = {name for name, value in fields.items() if not name.startswith("_") and value}
    assert told == {"peer_ip", "peer_port", "phase"}


def test_the_backup_takes_each_login() -> None:
    """A wrong password there leaves the next one a backup, too."""
    session = PureSession(rules(), health={"twin": Ill(down=True)})
    session.begin()
    for _ in range(2):
        session.says(SAID)
        assert session.decided(Admitted(Route("twin"), "m", "m"))[1] == ("connect", "other", True)
        for reply in (OK, OK, b"-ERR [AUTH] no\r\n"):
            session.backend_says(reply)
        assert session.machine.phase is GREETED


def test_each_login_may_be_referred() -> None:
    """Once: what the first one was counts for that one."""
    session = begun()
    for _ in range(2):
        session.says(SAID)
        session.decided(Admitted(Route("pop"), "m", "m"))
        session.backend_says(OK)
        assert session.backend_says(REFERRAL)[-1] == ("connect", "other", True)
        for reply in (OK, OK, b"-ERR [AUTH] no\r\n"):
            session.backend_says(reply)
        assert session.machine.phase is GREETED


@pytest.mark.parametrize("decision", [NobodyKnows(), RefusedLogin("m", code="SYS/TEMP", wait=3.0)])
def test_who_is_held_back_has_no_secret_left_here(decision: Any) -> None:
    """What he has shown was looked at; nothing of it is kept for the time of the pause."""
    session = after(asking(limits=Limited(delay=3.0)), "decided", decision)
    assert session.machine.phase is HELD
    assert kept(session) == []


@pytest.mark.parametrize(("said", "phase"), [(b"-ERR [AUTH] no\r\n", HELD), (b"-ERR [IN-USE] locked\r\n", GREETED)])
def test_nor_has_whom_the_backend_refused(said: bytes, phase: Phase) -> None:
    """The dialogue with it holds the password as well."""
    session = after(logging_in(limits=Limited(delay=3.0)), "backend_says", said)
    assert session.machine.phase is phase
    assert kept(session) == []


@pytest.mark.parametrize("session", [relaying, simulating, lambda: after(at_backend(), "leaves")])
def test_a_login_that_is_over_has_left_nothing(session: Callable[[], PureSession]) -> None:
    """Neither where it has led to a mailbox, nor where the client has gone meanwhile."""
    assert kept(session()) == []


def kept(session: PureSession) -> list[str]:
    """Fields of the machine that a login has left."""
    return [name for name in ("_secret", "_question", "_routing", "_dialogue") if getattr(session.machine, name)]


def test_a_modules_words_are_said_once() -> None:
    """Whom nobody knows is told what all are told, whatever another user heard before."""
    session = after(asking(), "decided", RefusedLogin("m", text="ann is on leave"))
    assert session.verbs.to_client.endswith(b"-ERR [AUTH] ann is on leave\r\n")
    session.says(SAID)
    assert session.decided(NobodyKnows())[-1] == ("send", WRONG)


def test_whose_token_the_backend_refuses_is_told_at_once() -> None:
    """The exchange with us is over: a module has let him in."""
    there = replace(backend("pop"), login="xoauth2")
    session = after(
        begun(protocol=POP3S, takes=frozenset({TOKEN}), backends={**rules().backends, "pop": there}), "tls_up"
    )
    session.says(b"AUTH XOAUTH2 " + b64encode(b"user=ann\x01auth=Bearer x\x01\x01") + b"\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    for reply in (OK, b"+ \r\n", b"-ERR [AUTH] no\r\n"):
        session.backend_says(reply)
    assert session.verbs.to_client.endswith(WRONG)
    assert session.machine.phase is GREETED


def test_who_is_refused_for_now_is_told_at_once() -> None:
    """A challenge is for whose token is wrong (RFC 7628 section 3.2.3)."""
    session = by_token()
    ((_, said),) = [verb for verb in session.decided(RefusedLogin("m", code="SYS/TEMP")) if verb[0] == "send"]
    assert said.startswith(b"-ERR [SYS/TEMP] ")
    assert session.machine.phase is GREETED


def test_who_was_refused_behind_a_challenge_may_show_another_token() -> None:
    """What it answers to a challenge is looked at again: the refusal was that of the one before."""
    session = after(by_token(), "decided", NobodyKnows())
    assert session.says(b"\r\n") == [("send", WRONG)]
    session.says(b"AUTH XOAUTH2\r\n")
    assert session.says(b64encode(b"user=ann\x01auth=Bearer y\x01\x01") + b"\r\n")[0][0] == "ask"


@pytest.mark.parametrize("cancels", [True, False])
def test_who_goes_on_by_user_and_pass_is_sent_no_challenge(cancels: bool) -> None:
    """That was for a token, which he has shown before, or was about to."""
    session = after(begun(protocol=POP3S, takes=frozenset({TOKEN, PASSWORD})), "tls_up")
    if cancels:
        session.says(b"AUTH XOAUTH2\r\n*\r\n")
    else:
        session.says(b"AUTH XOAUTH2 " + b64encode(b"user=ann\x01auth=Bearer x\x01\x01") + b"\r\n")
        session.decided(NobodyKnows())
        assert session.says(b"\r\n") == [("send", WRONG)]
    session.says(SAID)
    assert session.decided(NobodyKnows())[-1] == ("send", WRONG)


def test_nor_is_he_who_has_shown_no_name() -> None:
    """An exchange that is faulty is over, with all that came of it."""
    session = begun(takes=frozenset({SCRAM, PASSWORD}), mechanisms=("plain", "scram-sha-256", USER_AND_PASS))
    session.says(b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=" + b"a" * (LONGEST_NAME + 1) + b",r=nonce") + b"\r\n")
    assert session.machine.phase is GREETED
    session.says(SAID)
    assert session.decided(NobodyKnows())[-1] == ("send", WRONG)


def test_nor_is_it_counted_as_a_login_by_auth() -> None:
    """The mechanism was that of the login which failed."""
    session = after(by_auth(), "decided", NobodyKnows())
    assert session.machine.mechanism == "PLAIN"
    session.says(SAID)
    done = session.decided(Admitted(Route("fake"), "m", "m"))
    assert session.machine.mechanism == ""
    assert [verb[1] for verb in done if verb[0] == "count"] == ["simulated"]


def test_auth_forgets_whom_user_has_named() -> None:
    """Nobody is known before he has shown a name: log and table would show another user."""
    session = after(begun(), "says", b"USER ann\r\nAUTH PLAIN\r\n")
    assert session.machine.phase is EXCHANGING
    assert (session.machine.user, session.machine.namespace) == ("", "")


def test_who_asks_for_the_capabilities_is_remembered() -> None:
    """The report of who does what wants to know."""
    session = begun()
    assert session.machine.asked_capa is False
    session.says(b"CAPA\r\n")
    assert session.machine.asked_capa is True
