"""TLS sessions that are resumed, whichever worker answers; and client certificates, with which nothing is resumed."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.certificates import Authority, Leaf
from tests.system.site import LOOPBACK, ScriptedBackend, free_port, pop3_server, wait_until
from tests.system.tlssite import AUTHORITY, CONF, TlsClient, TlsSite, client_context, serial

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
PEOPLE = Authority("People")

MODULE = '''
"""Lets in whoever is named by his certificate."""

from popular.pdm.contract import UNKNOWN, Authenticated, Module, Route


class Named(Module):
    blocking = False

    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, arguments

    def check(self, question):
        return Authenticated(Route("b")) if question.certificate_name == question.user else UNKNOWN

    def reload(self):
        return self


def open_module(ident, arguments):
    return Named(ident, arguments)
'''


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    chosen: ssl.TLSVersion = request.param
    return chosen


def context_for(version: ssl.TLSVersion) -> ssl.SSLContext:
    return client_context(minimum_version=version, maximum_version=version)


def worker_of(site: TlsSite) -> int:
    """The process that serves the one session."""
    (row,) = wait_until(site.sessions, "the session is there")
    return int(row["pid"])


def finish(site: TlsSite, client: TlsClient) -> ssl.SSLSession:
    """Ends the session in good order; gives what it can be resumed with."""
    client.quit()
    session = client.socket.session
    assert session is not None
    site.wait_until_quiet()
    return session


def test_another_worker_resumes(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A ticket that one worker gave is taken by every other one, and counted."""
    with TlsSite(tmp_path, workers=3) as site:
        context = context_for(version)
        with TlsClient(site.port, context) as client:
            first = worker_of(site)
            assert not client.socket.session_reused
            session = finish(site, client)
        others: set[int] = set()
        resumed = 0
        while len(others) < 2 and resumed < 60:
            with TlsClient(site.port, context, session=session) as client:
                others |= {worker_of(site)} - {first}
                assert client.socket.session_reused
                finish(site, client)
            resumed += 1
        assert len(others) == 2, f"{resumed} sessions all came to the same workers"
        assert site.count("tls_resumptions") == resumed
        assert site.count("tls_handshakes", f"TLSv{'1.2' if version == VERSIONS[0] else '1.3'}") == resumed + 1


def test_resumed_after_recycling_and_renewal(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """`workers recycle`, a changed configuration and a new certificate do not take the tickets away."""
    with TlsSite(tmp_path) as site:
        context = context_for(version)
        for name in ("localhost", None):
            with TlsClient(site.port, context, name) as client:
                session = finish(site, client)
            (old,) = site.workers()
            site.said("workers recycle")
            wait_until(lambda old=old: old not in site.workers(), "the old worker is gone")
            AUTHORITY.issue("localhost").write(site.tlsdir, "default")
            site.said("tls reload")
            site.said("set sidprefix other")
            with TlsClient(site.port, context, name, session) as client:
                assert client.socket.session_reused
                client.quit()


def test_resumed_by_stls(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A session of one virtual server is resumed at another, with another certificate for another name."""
    with TlsSite(tmp_path) as site:
        AUTHORITY.issue("shop.example.org").write(site.tlsdir, "shop")
        port = free_port()
        site.said(f"vserv conf shop {CONF} {port} prot POP3s tls shop")
        context = context_for(version)
        context.check_hostname = False
        with TlsClient(site.port, context) as client:
            session = finish(site, client)
        with TlsClient(port, context, "localhost", session) as client:
            assert client.socket.session_reused
            client.quit()


# Client certificates


class CertifiedSite(TlsSite):
    """With a port where they are optional and one where they are required, from the authority of PEOPLE."""

    def __init__(self, directory: Path) -> None:
        self.optional, self.required = free_port(), free_port()
        authorities = PEOPLE.write(directory)
        self.people = directory
        more = [
            f"vserv conf {how} {CONF} {port} prot POP3s clientca {authorities} clientcert {how}"
            for how, port in (("optional", self.optional), ("require", self.required))
        ]
        super().__init__(directory, more)

    def shown(self, leaf: Leaf, version: ssl.TLSVersion) -> ssl.SSLContext:
        """A client that shows this certificate."""
        context = context_for(version)
        context.load_cert_chain(leaf.write_in_one(self.people, "client"))
        return context

    def refused(self, port: int, context: ssl.SSLContext) -> str:
        """Why the log says that this client was refused."""
        before = len(self.log("tls_failed"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            TlsClient(port, context)
        wait_until(lambda: len(self.log("tls_failed")) > before, "the refusal is told")
        fields = self.log("tls_failed")[-1].fields
        assert fields["why"] == "certificate"
        self.wait_until_quiet()
        return fields["reason"]


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[CertifiedSite]:
    with CertifiedSite(tmp_path) as site:
        yield site


def test_required_and_optional(certified: CertifiedSite, version: ssl.TLSVersion) -> None:
    """A good certificate is let in at both, none at one; each bad one fails at both, and the log tells why."""
    good = certified.shown(PEOPLE.issue(email="joe@example.org", client=True), version)
    for port in (certified.optional, certified.required, certified.port):
        serial(port, good)
    serial(certified.optional, context_for(version))
    assert certified.refused(certified.required, context_for(version)) == "peer did not return a certificate"
    bad = {
        "certificate has expired": PEOPLE.issue("joe", client=True, days=-1, begins=-3),
        "certificate is not yet valid": PEOPLE.issue("joe", client=True, begins=1),
        "certificate purpose": PEOPLE.issue("joe"),
        "self-signed certificate in certificate chain": AUTHORITY.issue("joe", client=True),
    }
    for reason, leaf in bad.items():
        for port in (certified.optional, certified.required):
            assert reason in certified.refused(port, certified.shown(leaf, version))


def test_nothing_is_resumed(certified: CertifiedSite, version: ssl.TLSVersion) -> None:
    """Neither a session of its own nor one of another virtual server spares a client the verification."""
    with TlsClient(certified.port, context_for(version)) as client:
        elsewhere = finish(certified, client)
        plain = client.socket.context
    good = certified.shown(PEOPLE.issue("joe", client=True), version)
    with TlsClient(certified.required, good) as client:
        client.quit()
        own = client.socket.session
    with TlsClient(certified.required, good, session=own) as client:
        assert not client.socket.session_reused
        client.quit()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsClient(certified.required, plain, session=elsewhere)
    assert certified.count("tls_resumptions") == 0


def test_the_file_of_authorities(certified: CertifiedSite, tmp_path: Path) -> None:
    """`tls reload` reads it anew; one that is gone is reported, what was read stays in use, all else is taken."""
    version = VERSIONS[1]
    others = Authority("Others")
    stranger = certified.shown(others.issue("joe", client=True), version)
    certified.refused(certified.required, stranger)
    others.write(tmp_path)
    certified.said("tls reload")
    serial(certified.required, stranger)
    (tmp_path / "ca.pem").unlink()
    new = AUTHORITY.issue("localhost")
    new.write(certified.tlsdir, "default")
    assert "require: clientca stays as it was" in certified.said("tls reload").text
    assert serial(certified.required, stranger) == new.serial
    assert certified.log("certificate_fault")[-1].fields["file"] == str(tmp_path / "ca.pem")
    reply = certified.control('vserv conf require clientca ""')
    assert not reply.ok
    assert "say `clientca FILE` too" in reply.text


def test_the_name_is_for_the_modules(certified: CertifiedSite, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """The verified name goes to the modules, before and after a failed login; the login itself is still asked for."""
    (tmp_path / "libpdm_named.py").write_text(MODULE)
    with ScriptedBackend(pop3_server([])) as backend:
        for line in (
            f"set pdmdir {tmp_path}",
            f"backend conf b host {LOOPBACK} port {backend.port} state online",
            "pdm add named named",
            "vserv conf optional state online",
        ):
            certified.said(line)
        leaves = {
            "joe@example.org": PEOPLE.issue(email="joe@example.org", common_name="nobody", client=True),
            "host.example.org": PEOPLE.issue("host.example.org", common_name="nobody", client=True),
            "Joe Doe": PEOPLE.issue(common_name="Joe Doe", client=True),
        }
        for name, leaf in leaves.items():
            with TlsClient(certified.optional, certified.shown(leaf, version)) as client:
                assert client.ask("STAT").startswith(b"-ERR")
                assert client.ask("USER mallory").startswith(b"+OK")
                assert client.ask("PASS secret").startswith(b"-ERR [AUTH]")
                assert client.ask(f"USER {name}").startswith(b"+OK")
                assert client.ask("PASS secret").startswith(b"+OK")
                client.quit()
        with TlsClient(certified.optional, context_for(version)) as client:
            assert client.ask("USER joe@example.org").startswith(b"+OK")
            assert client.ask("PASS secret").startswith(b"-ERR [AUTH]")
            client.quit()
