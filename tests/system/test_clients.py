"""Mail programs of the distribution read and delete mail through `pproxy`, and get exactly what is on the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.mailclients import CLIENTS
from tests.system.mailsite import LARGE, Site, as_sent, digests, fetched, mail
from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.storages import STORAGES

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module", params=STORAGES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A storage, and a proxy before it."""
    directory, port = tmp_path_factory.mktemp("site"), free_port()
    with STORAGES[request.param](directory) as (storage, rc):
        online = f"vserv conf v1 iface {LOOPBACK} port {port} state online"
        with Proxy(directory, [*rc, online], options=("-n", "200")) as proxy:
            yield Site(proxy, port, storage)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_mailbox_is_read_and_emptied(
    site: Site, client: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Every mail arrives octet for octet, and none is left."""
    mails = [mail(number) for number in range(count)]
    account = site.account(request.node.name, mails)

    assert fetched(client, account, tmp_path, delete=True) == as_sent(mails)
    assert site.storage.mails(account.user) == []
    site.assert_all_quit(account.user)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_mailbox_is_read_and_left(site: Site, client: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A client that keeps mail on the server leaves all of it, and gets it again the next time."""
    mails = [mail(number) for number in range(3)]
    account = site.account(request.node.name, mails)

    for turn in ("first", "second"):
        (tmp_path / turn).mkdir()
        assert fetched(client, account, tmp_path / turn, delete=False) == as_sent(mails)
        assert digests(site.storage.mails(account.user)) == digests(mails)
    site.assert_all_quit(account.user)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_large_mail_is_read_and_deleted(
    site: Site, client: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A mail of 50 MB between two small ones arrives octet for octet."""
    mails = [mail(1), mail(2, LARGE), mail(3)]
    account = site.account(request.node.name, mails)

    assert fetched(client, account, tmp_path, delete=True) == as_sent(mails)
    assert site.storage.mails(account.user) == []
    site.assert_all_quit(account.user)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_password_is_refused(site: Site, client: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The client reports a failure, and the mail is still there."""
    mails = [mail(1)]
    account = site.account(request.node.name, mails)._replace(password="wrong")

    with pytest.raises(Exception, match=r"AUTH|ended with|denied|wrong"):
        fetched(client, account, tmp_path, delete=True)
    assert site.storage.mails(account.user) == mails


def test_an_empty_mailbox_costs_no_connection(site: Site, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Where the mail check is asked first, the storage server never hears of a user who has no mail."""
    if "prot CXPOP" not in site.proxy.said("backend show b1").lines[0]:
        pytest.skip("this backend has no mail check")
    before = site.proxy.state().counters()
    account = site.account(request.node.name, [])

    assert fetched("poplib", account, tmp_path, delete=True) == []
    site.proxy.wait_until_quiet()
    after = site.proxy.state().counters()
    assert after["logins"] == before["logins"]
    assert after["simulated"] == before["simulated"] + 1  # type: ignore[operator]
