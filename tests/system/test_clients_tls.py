"""Mail programs of the distribution use `pproxy` in TLS: POP3S and STLS, verified, every mail octet for octet; and so
does the proxy with its backends.

The largest mails go one way each. In each refusal it is looked at what went over the wire, and what the proxy learned.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.certificates import EC, RSA, Authority
from tests.system.dovecot import Dovecot
from tests.system.mailclients import CLIENTS, KNOW_NO_STLS, NAME, TLS_CLIENTS, Account, Tls
from tests.system.mailsite import LARGE, PASSWORD, Site, as_sent, digests, fetched, mail
from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.storages import BACKEND_NAME, STORAGES, STORAGES_IN_TLS
from tests.system.tap import Tap

pytestmark = pytest.mark.clients

FRONTS = {"POP3S": "prot POP3s", "optional": "starttls optional", "force": "starttls force"}
"""The virtual servers of a site, by how they get to TLS."""

PAIRS = [(client, way) for client in TLS_CLIENTS for way in FRONTS if way == "POP3S" or client not in KNOW_NO_STLS]
MIDDLE = [("poplib", "optional"), ("curl", "POP3S"), ("fetchmail", "force"), ("mpop", "optional"), ("getmail", "POP3S")]
MANY = [*MIDDLE, ("openssl", "force")]


class Doors(NamedTuple):
    """The ports of the virtual servers, and the authority that a client has to believe."""

    ports: dict[str, int]
    authority: Path

    def tls(self, way: str) -> Tls:
        return Tls(way == "POP3S", self.authority)


def _doors(directory: Path, authority: Authority) -> Doors:
    return Doors({way: free_port() for way in FRONTS}, authority.write(directory))


def _vservs(doors: Doors, directory: Path, state: str) -> list[str]:
    """Commands for the virtual servers, with the certificates in `directory`."""
    lines = [f"vserv conf {way} iface {LOOPBACK} port {port} {FRONTS[way]}" for way, port in doors.ports.items()]
    return [f"set tlsdir {directory}", *(f"{line} state {state}" for line in lines)]


BEHIND = {"pserv": STORAGES["pserv"], **STORAGES_IN_TLS}
"""A storage that is spoken to in clear, and one for each way into TLS."""


@pytest.fixture(scope="module", params=BEHIND)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Doors]]:
    """A storage, and a proxy before it with a virtual server for each way into TLS."""
    directory, tlsdir, authority = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("tls"), Authority()
    authority.issue(NAME, key=EC if request.param == "pserv" else RSA).write(tlsdir, "default")
    doors = _doors(directory, authority)
    with (
        BEHIND[request.param](directory) as (storage, rc),
        Proxy(directory, [*rc, *_vservs(doors, tlsdir, "online")], options=("-n", "200")) as proxy,
    ):
        yield Site(proxy, 0, storage), doors


@pytest.mark.parametrize(("client", "way"), PAIRS)
def test_a_mailbox_is_read_and_emptied(
    site: tuple[Site, Doors], client: str, way: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Every mail arrives octet for octet, and the next time the mailbox is empty."""
    (place, doors), mails = site, [mail(number) for number in range(3)]
    account = place.account(request.node.name, mails, doors.ports[way], doors.tls(way))

    assert fetched(client, account, tmp_path, delete=True) == as_sent(mails)
    assert place.storage.mails(account.user) == []
    (tmp_path / "again").mkdir()
    assert fetched(client, account._replace(mails=0), tmp_path / "again", delete=True) == []
    place.assert_all_quit(account.user)


@pytest.mark.parametrize(("client", "way"), MANY)
def test_many_mails_are_read_and_left(
    site: tuple[Site, Doors], client: str, way: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """500 mails, many of them in one record or one in many, arrive octet for octet, and stay."""
    (place, doors), mails = site, [mail(number) for number in range(500)]
    account = place.account(request.node.name, mails, doors.ports[way], doors.tls(way))

    assert fetched(client, account, tmp_path, delete=False) == as_sent(mails)
    assert digests(place.storage.mails(account.user)) == digests(mails)
    place.assert_all_quit(account.user)


@pytest.mark.parametrize(("client", "way"), [("curl", "POP3S"), ("mpop", "force")])
def test_a_large_mail_is_read_and_deleted(
    site: tuple[Site, Doors], client: str, way: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A mail of 50 MB between two small ones arrives octet for octet."""
    (place, doors), mails = site, [mail(1), mail(2, LARGE), mail(3)]
    account = place.account(request.node.name, mails, doors.ports[way], doors.tls(way))

    assert fetched(client, account, tmp_path, delete=True) == as_sent(mails)
    assert place.storage.mails(account.user) == []
    place.assert_all_quit(account.user)


@pytest.mark.parametrize("client", TLS_CLIENTS)
def test_no_password_is_on_the_line(
    site: tuple[Site, Doors], client: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Whoever listens between client and proxy sees neither name, password nor mail."""
    (place, doors), mails = site, [mail(1)]
    way = "POP3S" if client in KNOW_NO_STLS else "optional"
    with Tap(doors.ports[way]) as tap:
        account = place.account(request.node.name, mails, tap.port, doors.tls(way))
        assert fetched(client, account, tmp_path, delete=True) == as_sent(mails)
    assert len(tap.heard) > 1000
    for secret in (account.user, PASSWORD, "the end"):
        assert secret.encode() not in tap.heard
    place.assert_all_quit(account.user)


@pytest.mark.parametrize("client", CLIENTS)
def test_force_takes_no_password_in_clear(
    site: tuple[Site, Doors], client: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A client that is not told of TLS is refused before it has sent its password, and the mail is still there."""
    (place, doors), mails = site, [mail(1)]
    with Tap(doors.ports["force"]) as tap:
        account = place.account(request.node.name, mails, tap.port)
        with pytest.raises(Exception, match=r"STLS|ended with"):
            fetched(client, account, tmp_path, delete=True)
    assert tap.answered.startswith(b"+OK")
    assert PASSWORD.encode() not in tap.heard
    assert place.storage.mails(account.user) == mails
    place.proxy.wait_until_quiet()


# Certificates that a client must not believe


class Liar(NamedTuple):
    """A proxy whose certificate is not what its clients expect."""

    proxy: Proxy
    doors: Doors


@pytest.fixture(scope="module", params=["unknown authority", "other name", "expired"])
def liar(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    """It would let everybody in."""
    directory, tlsdir, authority = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("tls"), Authority()
    doors = _doors(directory, authority)
    match request.param:
        case "unknown authority":
            leaf = Authority().issue(NAME)
        case "other name":
            leaf = authority.issue("mail.example.org")
        case _:
            leaf = authority.issue(NAME, begins=-10, days=-1)
    leaf.write(tlsdir, "default")
    everybody = ["backend conf b1 host 127.0.0.1 state fake", "pdm add all any b1"]
    with Proxy(directory, [*everybody, *_vservs(doors, tlsdir, "online")]) as proxy:
        yield Liar(proxy, doors)


@pytest.mark.parametrize(("client", "way"), [pair for pair in PAIRS if pair[1] != "force"])
def test_a_wrong_certificate_is_not_believed(liar: Liar, client: str, way: str, tmp_path: Path) -> None:
    """The client goes away, and the proxy never hears a name or a password."""
    before = len(liar.proxy.endings())
    account = Account(liar.doors.ports[way], "ann", PASSWORD, 0, liar.doors.tls(way))
    with pytest.raises(Exception, match=r"(?i)certificate|ended with"):
        fetched(client, account, tmp_path, delete=False)
    liar.proxy.wait_until_quiet()
    ended = liar.proxy.log("session_end")[before:]
    assert ended
    assert {entry.fields["user"] for entry in ended} == {""}
    assert {entry.fields["ending"] for entry in ended} <= {"tls_failed", "client_closed", "client_reset", "quit"}


# A backend that the proxy must not believe


@pytest.mark.parametrize("way", ["starttls", "implicit"])
@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_backend_with_a_wrong_certificate(tmp_path: Path, way: str, wrong: str) -> None:
    """Each client hears of a failure that is not about its password; Dovecot hears of no user, the log says why."""
    believed, authority = Authority("believed"), Authority()
    leaf = Authority("other").issue(BACKEND_NAME) if wrong == "authority" else believed.issue("mail.example.net")
    authority.issue(NAME).write(tmp_path, "default")
    doors = _doors(tmp_path, authority)
    ca = believed.write(tmp_path, "believed.pem")
    with Dovecot(leaf) as dovecot:
        port = dovecot.tls_port if way == "implicit" else dovecot.port
        tls = f"tls {way} tlsname {BACKEND_NAME} tlsca {ca}"
        rc = [f"backend conf b1 host {LOOPBACK} port {port} {tls} state online", "pdm add all any b1"]
        dovecot.add_user("ann", PASSWORD, [mail(1)])
        with Proxy(tmp_path, [*rc, *_vservs(doors, tmp_path, "online")]) as proxy, Tap(doors.ports["optional"]) as tap:
            for client in TLS_CLIENTS:
                account = Account(doors.ports["POP3S"], "ann", PASSWORD, 1, doors.tls("POP3S"))
                (tmp_path / client).mkdir()
                with pytest.raises(Exception, match=r"SYS/TEMP|ended with|denied"):
                    fetched(client, account, tmp_path / client, delete=True)
            (tmp_path / "clear").mkdir()
            with pytest.raises(Exception, match="SYS/TEMP"):
                fetched("poplib", Account(tap.port, "ann", PASSWORD, 1), tmp_path / "clear", delete=True)
            proxy.wait_until_quiet()
            reasons = {entry.fields["reason"] for entry in proxy.log("backend_failed")}
        assert b"-ERR [SYS/TEMP]" in tap.answered
        assert len(dovecot.mails("ann")) == 1
        assert "ann" not in dovecot.log()
    assert len(reasons) == 1
    assert ("certificate verify failed" if wrong == "authority" else "name mismatch") in reasons.pop()
