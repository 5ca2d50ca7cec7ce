"""TicketContexts: who changes when, and what becomes of tickets. Two ends in one process, joined in memory."""

import ssl

import pytest

from popular.tls.contexts import WEEK_SECONDS, TicketContexts
from tests.system.certificates import Authority

NOON = 1000.0
NAME = "mail.example.org"


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A context with a certificate, as a connection changes to one."""
    directory = tmp_path_factory.mktemp("tls")
    leaf = Authority().issue(NAME)
    leaf.write(directory, "default")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "default.pem", directory / "default.key")
    return context


class Client:
    """Comes again and again, with the ticket that it was given the last time."""

    def __init__(self, version: ssl.TLSVersion) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None

    def is_resumed(self, front: ssl.SSLContext, chosen: ssl.SSLContext) -> bool:
        """Whether the server knew the ticket."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._context.wrap_bio(to_client, to_server, server_hostname=NAME, session=self._session)
        server = front.wrap_bio(to_server, to_client, server_side=True)
        server.context = chosen
        for _ in range(4):
            for end in (client, server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        server.write(b"+OK")
        assert client.read(3) == b"+OK"  # the tickets of TLS 1.3 come before it
        self._session = client.session
        return bool(client.session_reused)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tickets_are_good_for_a_week(chosen: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """Within a week a session is resumed; in the next one its ticket is unknown, and a new one is given."""
    fronts = TicketContexts(3, NOON)
    client = Client(version)
    said = [
        client.is_resumed(fronts.rotate_to(NOON + hours * 3600), chosen)
        for hours in (0, 1, 167, 168, 169, 168 + 167, 2 * 168 + 1)
    ]
    assert said == [False, True, True, False, True, True, False]


def test_the_last_front_stays() -> None:
    """Whoever runs longer than all weeks goes on with the last one; weeks in which nobody came are skipped."""
    fronts = TicketContexts(3, NOON)
    first, last = fronts.rotate_to(NOON), fronts.rotate_to(NOON + 2 * WEEK_SECONDS)
    assert last is not first
    assert fronts.rotate_to(NOON + 99 * WEEK_SECONDS) is last
