"""A backend that refers a user to another server: what is understood, where it is allowed, what the machine does."""

from dataclasses import replace
from typing import Any

import pytest

from popular import messages
from popular.pdm.contract import Route, Secret
from popular.pdm.decision import Admitted, NobodyKnows
from popular.pdm.servers import servers
from popular.proxy.session.backend.referral import Referral, referral_of, referred_to
from popular.proxy.session.limits.login_orders import WorkerOrders
from popular.proxy.session.rules import Rules
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.secretfiles import KeptSecret
from supervisor.operatorstate import OperatorState, OrderEntry
from tests.proxy.session_double import PureSession
from tests.proxy.session_rules import backend, rules

LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later\r\n"
OK = b"+OK\r\n"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (b"[REFERRAL/ann@192.0.2.7] Referral", ("ann", "192.0.2.7", 110)),
        (b"[REFERRAL/ann@192.0.2.7:1110]", ("ann", "192.0.2.7", 1110)),
        (b"[referral/ann@example.org@store2.example.org:1110] x", ("ann@example.org", "store2.example.org", 1110)),
        (b"[REFERRAL/ann@[2001:db8::7]:1110] x", ("ann", "2001:db8::7", 1110)),
        (b"[REFERRAL/ann@[2001:db8::7]] x", ("ann", "2001:db8::7", 110)),
        (b"[REFERRAL/pop://ann@192.0.2.7:1110/] x", ("ann", "192.0.2.7", 1110)),
        (b"[REFERRAL/pop://a%40b;AUTH=*@192.0.2.7] x", ("a@b", "192.0.2.7", 110)),
        (b"[REFERRAL/192.0.2.7] x", None),
        (b"[REFERRAL/@192.0.2.7] x", None),
        (b"[REFERRAL/ann@192.0.2.7:0] x", None),
        (b"[REFERRAL/ann@192.0.2.7:65536] x", None),
        (b"[REFERRAL/pop://a%0d%0aDELE@192.0.2.7] x", None),
        (b"[REFERRAL/" + b"x" * 300 + b"@192.0.2.7] x", None),
        (b"[REFERRAL/ann@a b] x", None),
        (b"[REFERRAL/ann@\xff] x", None),
        (b"[AUTH] [REFERRAL/ann@192.0.2.7] x", None),
        (b"try [REFERRAL/ann@192.0.2.7]", None),
    ],
)
def test_what_is_understood(said: bytes, meant: tuple[str, str, int] | None) -> None:
    """Dovecot's form and a URL's; what is no user at a host is none."""
    assert referral_of(b"-ERR " + said) == (meant and Referral(*meant))


def kept(login: str, name: str = "pop", **other: Any) -> Backend:
    return replace(backend(name), login=login, masteruser="boss", mastersecret=KeptSecret("/m", b"m4ster"), **other)


def test_where_it_is_allowed() -> None:
    """To a configured backend that is online, or to what `referrals` names; never back to itself, or to a name that
    nobody has looked up.
    """
    backends = rules().backends
    said_by = replace(backend("pop"), referrals=(servers("192.0.2.0/24:1110"), servers("[2001:db8::/32]:110")))

    def place(host: str, port: int) -> tuple[str, str, int] | None:
        to = referred_to(Referral("ann", host, port), said_by, backends, target="ann")
        return (to.id, to.address, to.port) if to is not None else None

    assert place("127.0.0.2", 1111) == ("other", "127.0.0.2", 1111)
    assert place("192.0.2.7", 1110) == ("pop", "192.0.2.7", 1110)
    assert place("2001:DB8::7", 110) == ("pop", "2001:db8::7", 110)
    for host, port in (("192.0.2.7", 110), ("192.0.3.7", 1110), ("127.0.0.1", 1111), ("store2.example.org", 110)):
        assert place(host, port) is None


@pytest.mark.parametrize(
    ("said_by", "to", "user", "allowed"),
    [
        ("user", "user", "joe", True),
        ("user", "master", "ann", False),
        ("master", "master", "ann", True),
        ("master", "master", "joe", False),
        ("master", "user", "joe", True),
    ],
)
def test_nobody_is_sent_into_somebody_elses_mailbox(said_by: str, to: str, user: str, allowed: bool) -> None:
    """A backend that lets in whom we name gets no name, and no user, by another backend's word."""
    there = kept(to, "other")
    found = referred_to(Referral(user, "127.0.0.2", 1111), kept(said_by), {"other": there}, target="ann")
    assert found == (there if allowed else None)


def at(reply: bytes, under: Rules | None = None, **route: Any) -> PureSession:
    """A session whose backend has answered so to PASS."""
    session = before(under, **route)
    session.backend_says(reply)
    return session


def before(under: Rules | None = None, **route: Any) -> PureSession:
    """A session whose backend is to answer to PASS."""
    session = PureSession(under or rules())
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    session.decided(Admitted(Route("pop", **route), "m", "m", vouched="secret" in route))
    session.backend_says(OK)
    session.backend_says(OK)
    return session


REFERRAL = b"-ERR [REFERRAL/joe@127.0.0.2:1111] Referral\r\n"


def test_it_is_told_to_the_operator() -> None:
    """From where, to where, and by which name."""
    fields = {"user": "ann", "backend": "pop", "to": "127.0.0.2 port 1111", "as": "joe"}
    assert ("note", messages.REFERRED.name, fields) in before().backend_says(REFERRAL)


@pytest.mark.parametrize("secret", [None, b"0urs"])
def test_it_is_followed_once(secret: bytes | None) -> None:
    """With the name that was said and the same password; the client notices nothing. A second referral is a fault of
    the backend, and no user's.
    """
    session = at(REFERRAL, secret=Secret(secret)) if secret else at(REFERRAL)
    assert session.verbs.waits == "connect"
    assert session.verbs.asked == ("other", True)
    assert (session.machine.backend_id, session.machine.target) == ("other", "joe")
    assert session.backend_says(OK)[-1] == ("send_backend", b"USER joe\r\n")
    assert session.backend_says(OK)[-1] == ("send_backend", b"PASS " + (secret or b"s3cret") + b"\r\n")
    session.backend_says(b"-ERR [REFERRAL/joe@127.0.0.1:1111] and back\r\n")
    assert session.verbs.to_client.endswith(LATER)
    assert session.verbs.ending == "backend_failed"
    session = at(REFERRAL)
    for _ in range(3):
        session.backend_says(OK)
    assert session.verbs.waits == "relay"


def test_a_drained_backend_takes_nobody_who_is_referred() -> None:
    """Nobody new comes in there; that is no failure of the backend that has sent him."""
    orders = WorkerOrders(OperatorState([OrderEntry("backend drain", "other", {"new": "refuse"})]), lambda _: None)
    session = PureSession(rules(), orders=orders)
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    for reply in (OK, OK, REFERRAL):
        session.backend_says(reply)
    assert session.verbs.to_client.endswith(LATER)
    assert session.verbs.ending == "drained"


def test_a_drain_that_comes_meanwhile_keeps_nobody_from_another_address() -> None:
    """The user is at that backend already, and no new one there."""
    operator = OperatorState([])
    orders = WorkerOrders(operator, lambda _: None)
    said_by = replace(backend("pop"), referrals=(servers("127.0.0.9:1112"),))
    session = PureSession(rules(backends={**rules().backends, "pop": said_by}), orders=orders)
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    session.backend_says(OK)
    entry = OrderEntry("backend drain", "pop", {"new": "refuse"})
    operator.change([entry])
    orders.changed([entry])
    session.backend_says(b"-ERR [REFERRAL/joe@127.0.0.9:1112] Referral\r\n")
    assert session.verbs.asked == ("pop", True)


def test_a_greeting_refers_nobody() -> None:
    """The backend does not know yet who it is."""
    session = PureSession(rules())
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m"))
    session.backend_says(REFERRAL)
    assert session.verbs.ending == "backend_failed"


def test_who_is_referred_without_a_secret_of_his_comes_in_nowhere() -> None:
    """His backend has let in whom we named; the other one asks for his password, and nobody has shown that."""
    session = PureSession(rules(backends={**rules().backends, "pop": kept("master")}))
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    session.decided(Admitted(Route("pop"), "m", "m", vouched=True))
    session.backend_says(OK)
    done = session.backend_says(REFERRAL)
    assert done[-1] == ("finish", "no_secret")
    assert ("note", messages.NO_SECRET.name, {"user": "ann", "backend": "other"}) in done


def test_one_that_is_not_allowed_is_nobodys_wrong_password() -> None:
    """The log says where to, and what would allow it."""
    session = at(b"-ERR [REFERRAL/joe@192.0.2.66:1110] Referral\r\n")
    assert session.verbs.to_client.endswith(LATER)
    assert session.verbs.backend is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9"])
def test_a_loop_by_way_of_ourselves_is_refused(address: str) -> None:
    """Allowed by `referrals`: where one of our own virtual servers listens nobody is connected, and the log says why.
    Another port of the same host is nobody of us.
    """
    said_by = replace(backend("pop"), referrals=(servers("127.0.0.0/8:1110"), servers("127.0.0.0/8:1112")))
    under = rules(backends={**rules().backends, "pop": said_by})
    assert at(b"-ERR [REFERRAL/joe@%b:1112] x\r\n" % address.encode(), under).verbs.asked == ("pop", True)
    session = at(b"", under)
    done = session.backend_says(b"-ERR [REFERRAL/joe@%b:1110] x\r\n" % address.encode())
    reasons = [verb[2]["reason"] for verb in done if verb[:2] == ("note", "backend_failed")]
    assert reasons == [f"it refers the user to {address} port 1110, which is one of our own virtual servers"]
    assert session.verbs.to_client.endswith(LATER)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::ffff:127.9.9.9", "0.0.0.0", "::"])
def test_a_module_that_leads_to_ourselves_is_not_followed(address: str) -> None:
    """Nor by another way to write it."""
    session = PureSession(rules())
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    done = session.decided(Admitted(Route("pop", server=(address, 1110)), "m", "m"))
    (note,) = [verb[2] for verb in done if verb[:2] == ("note", "backend_failed")]
    assert (note["address"], note["reason"]) == (address, "it is one of our own virtual servers")
    assert session.verbs.ending == "backend_failed"
    assert session.verbs.backend is None


def test_a_user_whom_nobody_knows_is_referred_with_his_own_password_only() -> None:
    """From the fallback, too."""
    session = PureSession(rules(fallback="pop"))
    session.begin()
    session.says(b"USER ann\r\nPASS s3cret\r\n")
    session.decided(NobodyKnows())
    for reply in (OK, OK, REFERRAL):
        session.backend_says(reply)
    assert session.verbs.asked == ("other", True)
