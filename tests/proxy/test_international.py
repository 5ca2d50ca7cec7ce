"""UTF8 and LANG (RFC 6856) before the login: offered where every backend offers them, and told to the one it is."""

from typing import Any

import pytest

from popular.pdm.contract import Route
from popular.pdm.decision import Admitted, RefusedLogin
from popular.protocol.international import LANG, NOTHING, UTF8, International
from popular.proxy.session.machine.phases import RELAYING
from popular.proxy.settings.vserv import POP3S
from tests.proxy.session_double import Known, PureSession
from tests.proxy.session_rules import BACKENDS, rules

WHOLE = International(True, True, {"de": "de Deutsch", "en": "en English"})
OK = b"+OK [XCLIENT]\r\n"
UNUSED = ("fake", "offline")
LOGIN = [b"USER ann\r\n", b"PASS secret\r\n"]


def session(*, but: dict[str, International] | None = None, pipelining: str = "off", **other: Any) -> PureSession:
    """One that has begun; all backends that are in use offer all of it, but for some. Nobody asks the others."""
    offers = dict.fromkeys(set(BACKENDS) - set(UNUSED), WHOLE) | (but or {})
    known = {name: Known(pipelining, offer) for name, offer in offers.items()}
    made = PureSession(rules(**other), announced=known)
    made.begin()
    return made


def said(session: PureSession, line: bytes) -> bytes:
    session.verbs.to_client = b""
    session.says(line + b"\r\n")
    return session.verbs.to_client


def told(session: PureSession, backend: str = "pop", reply: bytes = OK, secret: bytes = b"secret") -> list[bytes]:
    """What the backend hears up to the login's end, if it answers each line with this reply."""
    session.says(b"USER ann\r\nPASS " + secret + b"\r\n")
    session.decided(Admitted(Route(backend), "m", "m"))
    heard = []
    session.backend_says(OK)
    while session.machine.phase is not RELAYING and session.verbs.to_backend:
        line, session.verbs.to_backend = session.verbs.to_backend, b""
        heard.append(line)
        if session.verbs.waits == "relay" or session.verbs.ending:
            break
        session.backend_says(OK if line.startswith((b"USER", b"PASS", b"AUTH", b"XCLIENT")) else reply)
    return heard


def test_what_all_backends_offer_is_offered() -> None:
    """Those that nobody's mail is fetched from have no say."""
    one = session()
    assert said(one, b"CAPA").endswith(b"UTF8 USER\r\nLANG\r\n.\r\n")
    assert said(one, b"UTF8") == b"+OK UTF-8 from now on\r\n"
    assert said(one, b"LANG") == b"+OK language listing follows\r\nde Deutsch\r\nen English\r\n.\r\n"
    assert said(one, b"lang DE-ch") == b"+OK de Deutsch\r\n"


@pytest.mark.parametrize("lacks", ["pop", "xpop"])
def test_what_one_backend_lacks_is_not_offered(lacks: str) -> None:
    """It may be the one. A client that says it all the same is told so, and goes on."""
    one = session(but={lacks: NOTHING})
    assert b"UTF8" not in (capa := said(one, b"CAPA"))
    assert b"LANG" not in capa
    assert said(one, b"UTF8") == b"-ERR UTF8 is not offered here\r\n"
    assert said(one, b"LANG") == said(one, b"LANG de") == b"-ERR LANG is not offered here\r\n"
    assert told(one) == LOGIN


def test_a_backend_that_was_not_asked_yet_offers_nothing() -> None:
    """As one that announces nothing."""
    one = PureSession(rules(), announced={})
    one.begin()
    assert said(one, b"UTF8").startswith(b"-ERR ")


@pytest.mark.parametrize(
    ("wanted", "more"), [((), b""), ((UTF8,), b"UTF8 USER\r\n"), ((LANG,), b"LANG\r\n")], ids=["none", "utf8", "lang"]
)
def test_a_capability_set_says_what_is_wanted(wanted: tuple[str, ...], more: bytes) -> None:
    """What it does not name is refused too."""
    one = session(international=frozenset(wanted))
    assert said(one, b"CAPA").endswith(b"SASL PLAIN LOGIN\r\n" + more + b".\r\n")
    assert said(one, b"UTF8").startswith(b"+OK" if UTF8 in wanted else b"-ERR")
    assert said(one, b"LANG de").startswith(b"+OK" if LANG in wanted else b"-ERR")


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"-ERR what?\r\n"])
def test_the_backend_is_told_in_front_of_the_login(reply: bytes) -> None:
    """In one order, whatever the client's; one that refuses it now is logged in at all the same."""
    one = session()
    for line in (b"LANG de", b"UTF8", b"UTF8"):
        assert said(one, line).startswith(b"+OK")
    assert told(one, reply=reply) == [b"UTF8\r\n", b"LANG de\r\n", *LOGIN]
    assert one.machine.phase is RELAYING


@pytest.mark.parametrize(("line", "more"), [(b"UTF8", b"UTF8\r\n"), (b"LANG de", b"LANG de\r\n")])
def test_either_is_told_alone(line: bytes, more: bytes) -> None:
    """Nothing that the client has not said."""
    one = session()
    said(one, line)
    assert told(one) == [more, *LOGIN]


def test_behind_xclient_and_in_front_of_both_in_one_piece() -> None:
    """Wherever the login begins."""
    one = session(pipelining="on")
    said(one, b"UTF8")
    xclient, *rest = told(one, "dovecot")
    assert xclient.startswith(b"XCLIENT ")
    assert rest == [b"UTF8\r\n", b"".join(LOGIN)]


def test_what_was_chosen_stays_until_something_else_is() -> None:
    """A listing, and a language that there is not, change nothing."""
    one = session()
    for line in (b"LANG de", b"LANG", b"LANG xx"):
        said(one, line)
    assert told(one) == [b"LANG de\r\n", *LOGIN]


def test_in_tls_behind_the_handshake() -> None:
    """RFC 2595 section 4: what was said before counts for nothing."""
    one = session()
    said(one, b"UTF8")
    one.says(b"USER ann\r\nPASS secret\r\n")
    one.decided(Admitted(Route("tls"), "m", "m"))
    one.backend_says(OK)
    one.backend_says(OK)
    assert one.backend_tls_up() == [("send_backend", b"UTF8\r\n")]


def test_only_what_was_said_and_it_announces() -> None:
    """The listing alone chooses nothing; and who is told in clear what he wants says it again after STLS."""
    one = session()
    said(one, b"LANG")
    assert said(one, b"LANG xx").startswith(b"-ERR ")
    assert told(one) == LOGIN
    one = session(starttls="optional")
    for line in (b"UTF8", b"LANG de", b"STLS"):
        said(one, line)
    one.tls_up()
    assert told(one) == LOGIN
    one = session()
    said(one, b"LANG *")
    said(one, b"UTF8")
    one.machine._around.backend_runtimes["pop"].announced.offers = International(languages={"en": "en"})
    assert told(one) == [b"LANG *\r\n", *LOGIN]
    one = session()
    said(one, b"LANG de")
    said(one, b"UTF8")
    one.machine._around.backend_runtimes["pop"].announced.offers = International(True)
    assert told(one) == [b"UTF8\r\n", *LOGIN]


def test_it_holds_for_the_next_try() -> None:
    """A wrong password does not change how one is spoken to."""
    one = session()
    said(one, b"UTF8")
    one.says(b"USER ann\r\nPASS wrong\r\n")
    one.decided(RefusedLogin("m"))
    assert told(one) == [b"UTF8\r\n", *LOGIN]


def test_names_and_passwords_in_utf8() -> None:
    """They pass through as they are."""
    one = session()
    said(one, b"UTF8")
    assert said(one, "USER jörg".encode()) == b"+OK send PASS\r\n"
    one.says("PASS größer\r\n".encode())
    one.decided(Admitted(Route("pop"), "m", "m"))
    for _ in range(4):
        one.backend_says(OK)
    assert one.verbs.to_backend == "UTF8\r\nUSER jörg\r\nPASS größer\r\n".encode()


@pytest.mark.parametrize("state", ["online", "fake"])
def test_in_the_simulated_mailbox(state: str) -> None:
    """Its capabilities are those before the login, and LANG; UTF8 belongs before it."""
    one = session(state=state)
    one.says(b"USER ann\r\nPASS secret\r\n")
    if state == "online":
        one.decided(Admitted(Route("fake"), "m", "m"))
    assert said(one, b"CAPA").endswith(b"UTF8 USER\r\nLANG\r\n.\r\n")
    assert said(one, b"LANG en") == b"+OK en English\r\n"
    assert said(one, b"UTF8") == b"-ERR UTF8 is not for this state: you are logged in\r\n"


@pytest.mark.parametrize("line", [b"UTF8 x", b"LANG a b", b"LANG de en"])
def test_too_many_words(line: bytes) -> None:
    """Are an error of the client's."""
    assert said(session(), line).startswith(b"-ERR ")


def test_in_pop3s() -> None:
    """As everywhere."""
    one = session(protocol=POP3S)
    one.tls_up()
    said(one, b"UTF8")
    assert told(one) == [b"UTF8\r\n", *LOGIN]
