"""`vserv … capafrom backends`: CAPA says what all backends do, as far as they were asked."""

from typing import Any

import pytest

from popular.pdm.contract import CERTIFICATE, PASSWORD
from popular.protocol.capabilities import (
    NOBODY_KNOWS,
    Common,
    after_login,
    answer,
    as_common,
    before_login,
    common,
    with_logins,
)
from popular.proxy.checks.drift import promised
from popular.proxy.settings.mechanisms import USER_AND_PASS
from popular.proxy.settings.vserv import POP3S
from tests.proxy.console import Console
from tests.proxy.session_double import Known, PureSession
from tests.proxy.session_rules import BACKENDS, rules

SET = ("TOP", "USER", "UIDL", "RESP-CODES", "IMPLEMENTATION POPular")
NOT_USED = ("fake", "offline")


@pytest.mark.parametrize(
    ("announced", "shared"),
    [
        ([], NOBODY_KNOWS),
        ([None], NOBODY_KNOWS),
        ([("TOP", "UIDL", "USER", "SASL PLAIN")], Common(("TOP", "UIDL"), True)),
        ([("TOP", "UIDL"), ("uidl", "EXPIRE 60")], Common(("UIDL",), True)),
        ([("TOP", "EXPIRE 60"), ("TOP", "EXPIRE 30")], Common(("TOP",), True)),
        ([("TOP",), None], Common(("TOP",), False)),
        ([(), ("TOP",)], Common((), True)),
    ],
)
def test_what_servers_have_in_common(announced: list[tuple[str, ...] | None], shared: Common) -> None:
    """The lines that all of them say; none that is ours to say."""
    assert common(announced) == shared


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        (NOBODY_KNOWS, SET),
        (Common(("TOP", "UIDL"), True), SET),
        (Common(("UIDL",), True), ("USER", "UIDL", "RESP-CODES", "IMPLEMENTATION POPular")),
        (Common(("TOP", "UIDL", "X-NEW"), True), (*SET, "X-NEW")),
        (Common(("TOP", "UIDL", "X-NEW"), False), SET),
        (Common((), False), ("USER", "RESP-CODES", "IMPLEMENTATION POPular")),
    ],
)
def test_a_set_as_servers_keep_it(shared: Common, said: tuple[str, ...]) -> None:
    """What one is known to lack is gone; what all have comes in when all are known. Ours stays."""
    assert as_common(SET, shared) == said


def capa(lines: dict[str, tuple[str, ...] | None], **of_vserv: Any) -> list[bytes]:
    """What a client is told, when the backends have announced that."""
    announced = {name: Known("off", lines=lines.get(name)) for name in BACKENDS}
    session = PureSession(rules(**of_vserv), announced=announced)
    session.begin()
    session.says(b"CAPA\r\n")
    return session.verbs.to_client.split(b"\r\n")[2:-2]


def test_a_client_is_told_what_all_backends_have() -> None:
    """Not of those that are not in use. With `set`, the default, all of the set is said, whatever they do."""
    all_alike: dict[str, tuple[str, ...] | None] = {name: ("TOP", "X-OURS") for name in BACKENDS}
    lines = all_alike | dict.fromkeys(NOT_USED, ())
    assert b"UIDL" in capa(lines)
    assert capa(lines, capafrom="backends") == [
        b"TOP",
        b"USER",
        b"RESP-CODES",
        b"AUTH-RESP-CODE",
        b"IMPLEMENTATION POPular",
        b"X-OURS",
        b"SASL PLAIN LOGIN",
    ]
    assert b"X-OURS" not in capa(lines | {"pop": None}, capafrom="backends")
    assert b"TOP" not in capa(lines | {"pop": ("UIDL",)}, capafrom="backends")
    assert b"UIDL" in capa({}, capafrom="backends")


def test_where_stls_must_come_first_no_pipelining_is_offered_either() -> None:
    """What all backends have goes the way of the set."""
    lines: dict[str, tuple[str, ...] | None] = dict.fromkeys(BACKENDS, ("TOP", "UIDL", "PIPELINING"))
    said = capa(lines, capafrom="backends", starttls="force")
    assert b"STLS" in said
    assert b"PIPELINING" not in said


@pytest.mark.parametrize(("name", "ways"), [("", b"PLAIN"), ("ann", b"PLAIN EXTERNAL")])
def test_a_certificate_is_offered_to_whom_it_serves(name: str, ways: bytes) -> None:
    """In TLS, to a client that has shown one, as with a set."""
    takes = frozenset({PASSWORD, CERTIFICATE})
    given: dict[str, Any] = {"capafrom": "backends", "clientcert": "optional", "mechanisms": ("plain", "external")}
    announced = {ident: Known("off", lines=("TOP",)) for ident in BACKENDS}
    session = PureSession(rules(protocol=POP3S, takes=takes, **given), announced=announced)
    session.begin()
    session.tls_up(name)
    session.says(b"CAPA\r\n")
    assert b"\r\nSASL " + ways + b"\r\n" in session.verbs.to_client


@pytest.mark.parametrize("ways", [("plain",), (USER_AND_PASS,)])
def test_whoever_may_log_in_may_do_it_in_one_piece(ways: tuple[str, ...]) -> None:
    """By any way that there is."""
    assert b"PIPELINING" in capa({}, mechanisms=ways)


def test_who_follows_the_backends_promises_nothing_else() -> None:
    """So there is no drift."""
    console = Console()
    console.say("vserv conf v port 1110 state online")
    assert [ident for ident, _ in promised(console.config)] == ["v"]
    console.say("vserv conf v capafrom backends")
    assert promised(console.config) == ()


def test_a_set_may_be_in_small_letters() -> None:
    """What is not to be said is left out all the same: USER and PIPELINING before STLS, and STLS where it cannot be."""
    written = ("top", "user", "stls", "pipelining")
    assert before_login(written, stls=True, login=False) == answer(["top", "STLS"])
    assert before_login(written, stls=False, login=True) == answer(["top", "user", "pipelining"])
    assert with_logins(written, user=False, mechanisms=()) == ("top", "stls", "pipelining")
    assert after_login(written) == ("top", "user", "pipelining")
