"""A directory in TLS: who is not believed is told nothing, and one that is silent holds nobody for ever."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from popular.pdm.contract import Answer, Authenticated, ModuleFailed, Question, Refused, Secret
from popular.pdm.libpdm_ldap import Ldap
from tests.databases.servers import PASSWORD, Slapd
from tests.patience import patient
from tests.system.certificates import Authority
from tests.system.wire import LOOPBACK, free_port

AGREED = bytes.fromhex("300c02010178070a010004000400")
AGREED_AS_ACTIVE_DIRECTORY_DOES = bytes.fromhex("3084000000100201017884000000070a010004000400")
REFUSED = bytes.fromhex("300c02010178070a013404000400")
"""Answers to StartTLS: twice success, and unavailable (52)."""


class SlapdInTls(Slapd):
    """With a certificate for its name, at a port for ldaps://, and for StartTLS at the other one."""

    def prepare(self) -> None:
        super().prepare()
        self.tls_port = free_port()
        authority = Authority()
        authority.issue("localhost").write(self.home, "server")
        authority.write(self.home)
        Authority("Another one").write(self.home, "other.pem")
        conf = self.home / "slapd.conf"
        tls = f"TLSCertificateFile {self.home}/server.pem\nTLSCertificateKeyFile {self.home}/server.key\n"
        conf.write_text(tls + conf.read_text())

    def command(self) -> Sequence[str]:
        words = list(super().command())
        words[words.index("-h") + 1] += f" ldaps://{LOOPBACK}:{self.tls_port}"
        return words

    def words(self, *more: str, ca: str = "ca.pem") -> list[str]:
        """What a module is opened with, after the URL."""
        return [*self.arguments()[1:], "cafile", str(self.home / ca), *more]


@pytest.fixture(scope="module")
def server() -> Iterator[SlapdInTls]:
    with SlapdInTls() as started:
        assert isinstance(started, SlapdInTls)
        yield started


def question(password: str = PASSWORD) -> Question:
    return Question("192.0.2.1", "POP3", "default", "joe", Secret(password.encode()), "v")


def ways(server: SlapdInTls, host: str = "localhost") -> list[tuple[str, list[str]]]:
    """URL and words of both ways into TLS."""
    return [(f"ldaps://{host}:{server.tls_port}", []), (f"ldap://{host}:{server.port}", ["starttls", "on"])]


def asked(words: list[str]) -> Answer | str:
    """What becomes of joe, or why the directory cannot be asked; within a bound time."""
    found: list[Answer | str] = []

    def ask() -> None:
        try:
            found.append(Ldap("m", words).check(question()))
        except ModuleFailed as error:
            found.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patient(20))
    assert not asking.is_alive(), "a thread hangs"
    return found[0]


def reason(words: list[str]) -> str:
    """Why the directory cannot be asked."""
    found = asked(words)
    assert isinstance(found, str)
    return found


def test_a_directory_is_asked_in_tls(server: SlapdInTls) -> None:
    """By both ways."""
    for url, more in ways(server):
        module = Ldap("m", [url, *server.words(*more)])
        assert isinstance(module.check(question()), Authenticated)
        assert isinstance(module.check(question("wrong")), Refused)
        assert list(module.files) == [str(server.home / "ca.pem"), str(server.home / "secret")]


def test_a_directory_that_is_not_believed_is_told_nothing(server: SlapdInTls) -> None:
    """By another authority, or under another name; and which of the two it is is said."""
    for url, more in ways(server):
        assert "CERTIFICATE_VERIFY_FAILED unable to get" in reason([url, *server.words(*more, ca="other.pem")])
    for url, more in ways(server, LOOPBACK):
        assert "IP address mismatch" in reason([url, *server.words(*more)])
    assert "SSLEOFError" in reason([f"ldaps://{LOOPBACK}:{server.port}", *server.words()])
    assert "ECONNREFUSED" in reason([f"ldaps://{LOOPBACK}:{free_port()}", *server.words()])
    assert "gaierror" in reason(["ldap://no.such.host.invalid", *server.words()])


@contextlib.contextmanager
def answering(octets: bytes) -> Iterator[int]:
    """The port of one that says this to whoever speaks to it, once, and nothing more."""
    kept: list[socket.socket] = []
    with socket.create_server((LOOPBACK, 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _peer = listening.accept()
                    kept.append(connection)
                    connection.recv(1000)
                    connection.sendall(octets)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(patient(5))
    for connection in kept:
        connection.close()


STARTTLS = ["starttls", "on"]
SILENT = {
    "ldaps": (b"", "ldaps", []),
    "starttls": (b"", "ldap", STARTTLS),
    "agrees": (AGREED, "ldap", STARTTLS),
    "agrees at length": (AGREED_AS_ACTIVE_DIRECTORY_DOES, "ldap", STARTTLS),
}


@pytest.mark.parametrize(("said", "scheme", "more"), SILENT.values(), ids=SILENT)
def test_one_that_is_silent_on_the_way_into_tls_is_given_up(
    server: SlapdInTls, said: bytes, scheme: str, more: list[str]
) -> None:
    """And the next one is asked."""
    user = ["binduser", "uid=%u,ou=people,dc=example,dc=org", "backend", "store1"]
    with answering(said) as port:
        urls = f"{scheme}://{LOOPBACK}:{port},{ways(server)[0][0]}"
        assert isinstance(asked([urls, *user, "cafile", str(server.home / "ca.pem"), *more]), Authenticated)


@pytest.mark.parametrize(
    ("said", "told"),
    [(REFUSED, "refuses StartTLS (result 52)"), (b"+OK hello\r\n", "is no LDAP"), (b"\x30\x02\x02\x7f", "no answer")],
    ids=["refuses", "other protocol", "broken"],
)
def test_one_that_does_not_go_into_tls_is_told_nothing(server: SlapdInTls, said: bytes, told: str) -> None:
    """Whatever it says instead."""
    with answering(said) as port:
        assert told in reason([f"ldap://{LOOPBACK}:{port}", *server.words("starttls", "on")])


def test_words_of_tls_that_cannot_be_are_refused(server: SlapdInTls) -> None:
    """When the module is opened."""
    url, *words = server.arguments()
    for more, told in ((["cafile", "/nonexistent.pem"], "/nonexistent.pem"), (["cafile", "/dev/null"], "regular file")):
        with pytest.raises(ModuleFailed, match=told):
            Ldap("m", [url, *words, "starttls", "on", *more])
    with pytest.raises(ModuleFailed, match="no certificates"):
        Ldap("m", [url, *words, "cafile", str(server.home / "slapd.conf")])
    with pytest.raises(ModuleFailed, match="names no host"):
        Ldap("m", ["ldapi://%2Frun%2Fldapi", *words, "starttls", "on"])
