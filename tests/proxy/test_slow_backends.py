"""How long a backend may take, and how many may wait for it: what the machine does, and what the settings say."""

from typing import Any

import pytest

from popular.pdm.contract import Route
from popular.pdm.decision import Admitted
from popular.proxy.session.backend.backend_admission import CROWDED
from popular.proxy.session.machine.failed_logins import NO_ANSWER, NO_CONNECTION, NO_HANDSHAKE
from popular.proxy.session.machine.phases import CONNECTING, LOGGING_IN
from popular.proxy.session.rules import Rules
from popular.proxy.settings.backend import waiting_limit
from supervisor.control.words import CommandRefused
from tests.proxy.console import Console
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import LOGIN_SECONDS, rules

OK = b"+OK\r\n"
LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later\r\n"


def at_backend(name: str, its_rules: Rules | None = None, login_seconds: float = LOGIN_SECONDS) -> PureSession:
    """A session that the modules have led to a backend."""
    session = PureSession(its_rules or rules(), login_seconds=login_seconds)
    session.begin()
    session.says(b"USER ann\r\nPASS secret\r\n")
    session.decided(Admitted(Route(name), "m", "m"))
    return session


@pytest.mark.parametrize(("name", "connect", "login"), [("pop", 5, 30), ("slow", 9, 70)])
def test_the_connection_has_its_time_and_then_the_login(name: str, connect: float, login: float) -> None:
    """The variables' defaults, or what the backend's own parameters say."""
    session = at_backend(name)
    assert session.verbs.seconds == connect
    session.backend_says(OK)
    assert (session.machine.phase, session.verbs.seconds) == (LOGGING_IN, login)
    session.backend_says(OK)
    assert session.verbs.seconds == login


@pytest.mark.parametrize(("name", "connect", "login"), [("xpop", 5, 30), ("slowxpop", 9, 70)])
def test_the_same_of_a_backend_that_does_not_greet(name: str, connect: float, login: float) -> None:
    """Its login begins when the connection stands."""
    session = at_backend(name)
    assert session.verbs.seconds == connect
    session.connected()
    assert session.verbs.seconds == login


@pytest.mark.parametrize("missing", [NO_ANSWER, NO_HANDSHAKE])
def test_who_is_connected_but_has_not_greeted_has_the_time_of_the_login(missing: str) -> None:
    """Nobody watches for the connection of a backend that greets: whether it stands is seen when its time is over."""
    session = at_backend("slow")
    assert session.expired("step", missing) == [("expect", 61.0)]
    assert session.machine.phase is CONNECTING
    leave, note, *_ = session.expired("step", missing)
    assert (leave, note[2]["reason"]) == (("leave_backend",), missing)


def test_a_late_greeting_is_in_time() -> None:
    """The login then has its own time."""
    session = at_backend("slow")
    session.expired("step", NO_ANSWER)
    session.backend_says(OK)
    assert (session.machine.phase, session.verbs.seconds) == (LOGGING_IN, 70)


def test_no_connection_in_time_is_the_end_of_it() -> None:
    """And so is no greeting, where the login has no more time than the connection."""
    cases: list[tuple[dict[str, Any], Any]] = [({}, NO_CONNECTION), ({"connecttimeout": 30}, NO_ANSWER)]
    for limits, missing in cases:
        session = at_backend("pop", rules(**limits))
        assert ("count", "backend_failures", "timeout", "pop") in session.expired("step", missing)
        assert session.verbs.ending == "backend_failed"


@pytest.mark.parametrize("name", ["pop", "cxpop"])
@pytest.mark.parametrize(("softfail", "told"), [(False, LATER), (True, b"+OK 0 messages (0 octets)\r\n")])
def test_one_too_many_is_told_to_come_again(name: str, softfail: bool, told: bytes) -> None:
    """At once, from the mail check as from the connect; the operator learns why."""
    session = at_backend(name, rules(softfail=softfail))
    verbs = session.backend_failed(*CROWDED)
    assert ("count", "backend_failures", "maxwaiting", name) in verbs
    assert [verb[2]["reason"] for verb in verbs if verb[0] == "note"] == [CROWDED[0]]
    assert [verb[1] for verb in verbs if verb[0] == "send"] == [told]


@pytest.mark.parametrize(
    ("lines", "limit"),
    [
        ((), (0, 0)),
        (("backend conf b2 host 127.0.0.1 state fake",), (0, 0)),
        (("backend conf b2 host 127.0.0.1 state online",), (0, 500)),
        (("backend conf b2 host 127.0.0.1 state online", "set maxsession 4000"), (0, 2000)),
        (("backend conf b1 maxwaiting 7",), (7, 0)),
        (("backend conf b2 host 127.0.0.1 state online", "backend conf b1 maxwaiting 0"), (0, 0)),
    ],
)
def test_how_many_may_wait(lines: tuple[str, ...], limit: tuple[int, int]) -> None:
    """A share of half of all sessions as soon as another backend is online; or what was said."""
    console = Console()
    console.say("backend conf b1 host 127.0.0.1 state online")
    for line in lines:
        console.say(line)
    assert waiting_limit(console.config.things["backend"]["b1"], console.config) == limit


def test_a_very_small_proxy_lets_one_wait() -> None:
    """Half of three sessions is one."""
    console = Console({"sessionlimit": 3})
    for name in ("b1", "b2"):
        console.say(f"backend conf {name} host 127.0.0.1 state online")
    assert waiting_limit(console.config.things["backend"]["b1"], console.config).room == 1


@pytest.mark.parametrize("word", ["-1", "x", "1000000000", ""])
def test_what_maxwaiting_cannot_be(word: str) -> None:
    """The refusal names both forms."""
    with pytest.raises(CommandRefused, match="allowed: auto, or a whole number from 0 to"):
        Console().say(f"backend conf b1 maxwaiting '{word}'")


def test_zero_is_the_variable() -> None:
    """A backend's own time goes before it, unless it is 0."""
    for name, connect, login in (("slow", 9, 70), ("pop", 1, 2)):
        session = at_backend(name, rules(connecttimeout=1), login_seconds=2)
        assert session.verbs.seconds == connect
        session.backend_says(OK)
        assert session.verbs.seconds == login
