"""The test site itself: a proxy that starts, serves and leaves nothing; a Dovecot; backends that are played."""

import os
import signal
from pathlib import Path

import pytest

from tests.system.dovecot import Dovecot
from tests.system.site import (
    LOOPBACK,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    log_entries,
    need,
    pop3_server,
)


def test_a_mail_comes_through(tmp_path: Path) -> None:
    """A client logs in through the proxy, reads a mail of a played backend and quits; then the proxy leaves nothing."""
    port, mail = free_port(), b"Subject: x\r\n\r\n.dot\r\n"
    with ScriptedBackend(pop3_server([mail], b"secret")) as backend:
        rc = [
            f"backend conf b1 host {LOOPBACK} port {backend.port} state online",
            "pdm add all any b1",
            f"vserv conf v1 iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, rc) as proxy:
            with PopClient(port) as client:
                assert client.log_in() == b"+OK logged in"
                assert client.retrieve(1) == mail
                assert [row["user"] for row in proxy.sessions()] == ["ann"]
                assert client.ask("QUIT") == b"+OK bye"

            assert proxy.wait_for_endings(1) == ["quit"]
            assert len(proxy.workers()) == 2
            assert proxy.state().counters()["logins"] == 1


def test_a_line_that_is_no_log_line_is_noticed(tmp_path: Path) -> None:
    """The reader of logs does not pass over what it does not understand."""
    path = tmp_path / "log"
    path.write_text("20260101 120000 host pproxy 1 - INF 0001 start workers=2 text='it\\'s' and more\n")

    with pytest.raises(AssertionError, match="not only fields"):
        log_entries(path)


@pytest.mark.clients
def test_dovecot_serves_mails_in_order() -> None:
    """The real backend has the mails under the numbers in which they were put in."""
    with Dovecot() as dovecot:
        dovecot.add_user("joe", "secret", [b"Subject: one\n\n1\n", b"Subject: two\n\n2\n"])
        with PopClient(dovecot.port) as client:
            assert client.log_in("joe") == b"+OK Logged in."
            assert client.retrieve(2) == b"Subject: two\r\n\r\n2\r\n"


def test_a_missing_program_skips_a_test_but_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a user's machine a missing mail client is no fault; where CI is set it is."""
    assert Path(need("sh")).name == "sh"
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        need("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program must be installed"):
        need("no-such-program")


def test_what_is_left_is_noticed(tmp_path: Path) -> None:
    """A proxy that was killed leaves a socket and shared memory, and that is said."""
    proxy = Proxy(tmp_path).__enter__()
    for pid in (proxy.pid, *proxy.workers()):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(AssertionError, match="exit code"):
        proxy.stop()
    with pytest.raises(AssertionError, match="left in the run directory"):
        proxy.assert_nothing_is_left()

    with Proxy(tmp_path):
        pass
