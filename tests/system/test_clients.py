"""Mail programs of the distribution read and delete mail through `pproxy`, and get exactly what is on the server."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.mailclients import CLIENTS, Account
from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.storages import STORAGES, Storage

pytestmark = pytest.mark.clients

LARGE = 50_000_000
PASSWORD = "4711-geheim"


class Site(NamedTuple):
    """A proxy in front of a storage."""

    proxy: Proxy
    port: int
    storage: Storage


@pytest.fixture(scope="module", params=STORAGES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A storage, and a proxy before it."""
    directory, port = tmp_path_factory.mktemp("site"), free_port()
    with STORAGES[request.param](directory) as (storage, rc):
        online = f"vserv conf v1 iface {LOOPBACK} port {port} state online"
        with Proxy(directory, [*rc, online], options=("-n", "200")) as proxy:
            yield Site(proxy, port, storage)


def mail(number: int, octets: int = 0) -> bytes:
    """A mail with LF line ends and what is hard for POP3 in it, or of about so many octets."""
    chance = random.Random(number)
    header = (
        f"From: sender{number}@example.org\nTo: ann@example.org\nSubject: =?utf-8?q?Nummer_{number}_=C3=A4?=\n"
        f"Date: Thu, 1 Jan 2026 00:00:{number % 60:02} +0000\nMessage-ID: <{number}@example.org>\n\n"
    )
    traps = [
        ".",
        "..",
        ". ",
        ".dot",
        "..two dots",
        "",
        "From the beginning",
        " ",
        "ümläut",
        "x" * 900,
        "\t",
        "+OK",
        "-ERR",
    ]
    lines = [chance.choice(traps) for _ in range(chance.randrange(60))]
    if octets:
        line = "".join(chance.choice("abcdefghijklmnop.") for _ in range(74))
        lines += [f".{line}"[: 60 + turn % 16] for turn in range(octets // 68)]
    return (header + "".join(f"{line}\n" for line in [*lines, "the end"])).encode()


def _digests(mails: Sequence[bytes]) -> list[str]:
    return sorted(hashlib.sha256(mail).hexdigest() for mail in mails)


def _on_the_wire(mails: Sequence[bytes]) -> list[bytes]:
    return [mail.replace(b"\n", b"\r\n") for mail in mails]


def _account(site: Site, request: pytest.FixtureRequest, mails: Sequence[bytes]) -> Account:
    """A new user with these mails."""
    user = f"user{abs(hash(request.node.name)) % 10**8}"
    site.storage.add_user(user, PASSWORD, mails)
    for module in site.proxy.said("pdm list").lines:
        site.proxy.said(f"pdm reload {module}")
    return Account(site.port, user, PASSWORD, len(mails))


def _fetch(client: str, account: Account, tmp_path: Path, *, delete: bool) -> list[str]:
    directory = tmp_path / ("delete" if delete else "keep")
    directory.mkdir()
    return _digests(CLIENTS[client](account, directory, delete))


def _assert_all_quit(site: Site, user: str) -> None:
    """Each session of the user has said QUIT, and none is left."""
    site.proxy.wait_until_quiet()
    ended = [entry.fields["ending"] for entry in site.proxy.log("session_end") if entry.fields["user"] == user]
    assert ended
    assert set(ended) == {"quit"}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_mailbox_is_read_and_emptied(
    site: Site, client: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Every mail arrives octet for octet, and none is left."""
    mails = [mail(number) for number in range(count)]
    account = _account(site, request, mails)

    assert _fetch(client, account, tmp_path, delete=True) == _digests(_on_the_wire(mails))
    assert site.storage.mails(account.user) == []
    _assert_all_quit(site, account.user)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_mailbox_is_read_and_left(site: Site, client: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A client that keeps mail on the server leaves all of it, and gets it again the next time."""
    mails = [mail(number) for number in range(3)]
    account = _account(site, request, mails)

    for turn in ("first", "second"):
        (tmp_path / turn).mkdir()
        assert _fetch(client, account, tmp_path / turn, delete=False) == _digests(_on_the_wire(mails))
        assert _digests(site.storage.mails(account.user)) == _digests(mails)
    _assert_all_quit(site, account.user)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_large_mail_is_read_and_deleted(
    site: Site, client: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A mail of 50 MB between two small ones arrives octet for octet."""
    mails = [mail(1), mail(2, LARGE), mail(3)]
    account = _account(site, request, mails)

    assert _fetch(client, account, tmp_path, delete=True) == _digests(_on_the_wire(mails))
    assert site.storage.mails(account.user) == []
    _assert_all_quit(site, account.user)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_password_is_refused(site: Site, client: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The client reports a failure, and the mail is still there."""
    mails = [mail(1)]
    account = _account(site, request, mails)._replace(password="wrong")

    with pytest.raises(Exception, match=r"AUTH|ended with|denied|wrong"):
        _fetch(client, account, tmp_path, delete=True)
    assert site.storage.mails(account.user) == mails


def test_an_empty_mailbox_costs_no_connection(site: Site, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Where the mail check is asked first, the storage server never hears of a user who has no mail."""
    if "prot CXPOP" not in site.proxy.said("backend show b1").lines[0]:
        pytest.skip("this backend has no mail check")
    before = site.proxy.state().counters()
    account = _account(site, request, [])

    assert _fetch("poplib", account, tmp_path, delete=True) == []
    site.proxy.wait_until_quiet()
    after = site.proxy.state().counters()
    assert after["logins"] == before["logins"]
    assert after["simulated"] == before["simulated"] + 1  # type: ignore[operator]
