"""Whole configurations and certificates: the renewal goes on while a confirmation is awaited, and going back does not
bring back an old certificate.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.pcontrol.connection import Connection
from tests.system.site import free_port, wait_until
from tests.system.tlssite import AUTHORITY, CONF, TlsSite, serial


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TlsSite]:
    """Renewed certificates are taken up within about a second."""
    with TlsSite(tmp_path, watch="1") as running:
        yield running


def _lines(site: TlsSite, *more: str) -> list[str]:
    """What is running, and more, as a file."""
    return [line for line in site.said("show config").lines if not line.startswith("#")] + list(more)


def _apply(site: TlsSite, lines: list[str], how: str = "draft apply") -> str:
    connection = Connection(site.rundir / "pproxy.ctrl", 20)
    try:
        for line in ("draft begin", *(f"draft say {line}" for line in lines)):
            assert connection.say(line).ok, line
        answer = connection.say(how)
        assert answer.ok, answer.text
        return answer.text
    finally:
        connection.close()


def test_a_renewal_while_a_confirmation_is_awaited(site: TlsSite) -> None:
    """The new certificate is taken up all the same; after going back it is still the one that is shown."""
    port = free_port()
    _apply(site, _lines(site, f"vserv conf more {CONF} {port} prot POP3s"), "draft apply confirm 60")
    new = AUTHORITY.issue("localhost")
    new.write(site.tlsdir, "default")
    wait_until(lambda: serial(site.port) == new.serial, "the new one is taken up")
    assert serial(port) == new.serial
    assert not site.control("set grace 1s").ok
    site.said("rollback")
    assert serial(site.port) == new.serial
    assert not site.log("routine_failed")


def test_what_was_read_stays_known(site: TlsSite) -> None:
    """A certificate whose file broke meanwhile goes on being used by a configuration that is applied as a whole, with a
    note, also where nothing differs: the directory is no difference. A start would find the file as it is, so `check`
    refuses.
    """
    (site.tlsdir / "default.pem").write_text("broken")
    wait_until(lambda: site.log("certificate_fault"), "it is noticed")
    port = free_port()
    lines = _lines(site, f"vserv conf more {CONF} {port} prot POP3s")
    with pytest.raises(AssertionError, match=r"needs the certificate default\.pem .* it holds no certificate"):
        _apply(site, lines, "draft check")
    note = "note: default.pem, of which an earlier reading is in use: it holds no certificate"
    assert _apply(site, lines, "draft apply") == f"in force: 1 new; {note}"
    assert _apply(site, lines, "draft apply").endswith(f" stays in force; {note}")
    assert serial(port) == site.default.serial


def test_a_first_server_with_tls(tmp_path: Path) -> None:
    """A file that needs a directory of certificates which nobody needed before: it is read, and said to be new; without
    the certificate the file is refused, by check too.
    """
    with TlsSite(tmp_path) as site:
        lines = _lines(site)
        _apply(site, [line for line in lines if not line.startswith("vserv")])
        wait_until(lambda: not site.said("vserv list").lines, "no virtual server is left")
        site.said(f"set tlsdir {tmp_path}")
        text = _apply(site, lines)
        assert text.startswith("in force: ")
        assert serial(site.port) == site.default.serial
        connection = Connection(site.rundir / "pproxy.ctrl", 20)
        connection.say("draft begin")
        assert connection.say(f"draft say set tlsdir {tmp_path}").ok
        assert connection.say(f"draft say vserv conf w {CONF} {free_port()} prot POP3s").ok
        for how in ("draft check", "draft apply", "draft show"):
            answer = connection.say(how)
            assert not answer.ok
            assert "certificate" in answer.text
        connection.close()
        assert serial(site.port) == site.default.serial
