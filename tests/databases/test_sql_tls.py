"""Databases that are asked in TLS: only by whom they are believed, and never in clear where that was said."""

from collections.abc import Iterator, Sequence

import pytest

from popular.pdm.contract import CannotTell
from popular.pdm.decision import Admitted, Decision
from tests.databases.servers import Mariadb
from tests.databases.test_conformance import Ask, asked
from tests.pdm.test_arguments import QUERY, refused
from tests.system.certificates import Authority
from tests.system.wire import LOOPBACK


class MariadbInTls(Mariadb):
    """With a certificate for its name; its user `secured` comes in in TLS only."""

    def prepare(self) -> None:
        super().prepare()
        authority = Authority()
        authority.issue("localhost").write(self.home, "server")
        authority.write(self.home)
        Authority("Another one").write(self.home, "other.pem")
        with (self.home / "install.sql").open("a") as script:
            script.write("CREATE USER 'secured'@'127.0.0.1' IDENTIFIED BY 'server-secret' REQUIRE SSL;\n")
            script.write("GRANT SELECT ON mail.* TO 'secured'@'127.0.0.1';\n")

    def command(self) -> Sequence[str]:
        return [*super().command(), f"--ssl-cert={self.home}/server.pem", f"--ssl-key={self.home}/server.key"]

    def words(self, *tls: str, host: str = "localhost") -> list[str]:
        """What a module is opened with that asks as `secured`."""
        url, *words = self.arguments()
        return [url.replace("popular@", "secured@").replace(LOOPBACK, host), *words, *tls]


@pytest.fixture(scope="module")
def server() -> Iterator[MariadbInTls]:
    with MariadbInTls() as started:
        assert isinstance(started, MariadbInTls)
        yield started


def decided(server: MariadbInTls, words: list[str]) -> Decision:
    """What becomes of joe."""
    found: list[Decision] = []

    async def dialogue(ask: Ask) -> None:
        found.append(await ask("joe"))

    asked(server, dialogue, words=words)
    return found[0]


def test_a_user_that_has_to_come_in_tls_does(server: MariadbInTls) -> None:
    """And is turned away in clear, which is told by its number."""
    tls = ("tls", "on", "cafile", str(server.home / "ca.pem"))
    assert isinstance(decided(server, server.words(*tls)), Admitted)
    assert decided(server, server.words()) == CannotTell("m: the database: OperationalError 1045")


def test_a_server_that_is_not_believed_is_told_nothing(server: MariadbInTls) -> None:
    """By another authority, under another name, or by the system's authorities."""
    ours = ("cafile", str(server.home / "ca.pem"))
    for words in (
        server.words("tls", "on", "cafile", str(server.home / "other.pem")),
        server.words("tls", "on", *ours, host=LOOPBACK),
        server.words("tls", "on"),
    ):
        answer = decided(server, words)
        assert isinstance(answer, CannotTell)
        assert "CERTIFICATE_VERIFY_FAILED" in answer.reason


def test_words_of_tls_that_mean_nothing_are_refused() -> None:
    """And where they belong is told."""
    mysql, postgresql = "mysql://u@h/mail", "postgresql://u@h/mail"
    assert "only `on`" in refused("sql", mysql, *QUERY, "tls", "off")
    assert "wants it" in refused("sql", mysql, *QUERY, "cafile", "/x")
    assert "sslmode=verify-full" in refused("sql", postgresql, *QUERY, "tls", "on")
