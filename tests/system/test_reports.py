"""Report before enforce, over real workers: who would be refused is listed, and nobody is refused."""

import json
import socket
import ssl
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from popular.proxy.last_login_store import FILE, recall
from tests.patience import patient
from tests.system.site import LOOPBACK, PATIENCE, wait_until
from tests.system.tlssite import TlsClient, TlsSite, client_context
from tests.system.wire import Conversation


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsSite]:
    with TlsSite(tmp_path_factory.mktemp("reports"), workers=2) as made:
        yield made


def in_clear(site: TlsSite, *commands: str) -> None:
    with Conversation(socket.create_connection((LOOPBACK, site.stls), PATIENCE)) as client:
        client.say("".join(f"{command}\r\n" for command in (*commands, "QUIT")).encode())
        assert client.rest().endswith(b"+OK bye\r\n")


def in_tls(site: TlsSite, user: str, version: ssl.TLSVersion, *alpn: str) -> None:
    context = client_context(maximum_version=version)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    with TlsClient(site.port, context) as client:
        client.ask(f"USER {user}")
        assert client.ask("PASS x").startswith(b"+OK")
        client.quit()


def listed(site: TlsSite, report: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = site.json(f"report {report}")
    return rows


def test_who_would_be_refused(site: TlsSite) -> None:
    """Each user once, with what he came by; not those who would come in, and none while it is off."""
    in_clear(site, "USER before", "PASS x")
    in_tls(site, "before", ssl.TLSVersion.TLSv1_2)
    assert site.said("report tls").lines == ["it is off: `set reports tls` begins it"]
    site.said("set reports tls,cleartext")
    assert site.said("report tls").lines == ["nobody was concerned"]
    for _ in range(3):
        in_clear(site, "USER joe", "PASS x")
        in_tls(site, "old", ssl.TLSVersion.TLSv1_2)
    in_tls(site, "named", ssl.TLSVersion.TLSv1_2, "imap", "pop3")
    in_tls(site, "new", ssl.TLSVersion.TLSv1_3)
    in_clear(site, "CAPA", "USER ann", "PASS x")
    in_clear(site, "USER nobody")
    ann, joe = listed(site, "cleartext")
    assert (ann["user"], ann["how"], ann["logins"]) == ("ann", "in clear, USER, with CAPA", 1)
    assert {"user": "joe", "how": "in clear, USER, without CAPA", "vserv": "stls", "logins": 3}.items() <= joe.items()
    assert joe["client"] == LOOPBACK
    named, old = listed(site, "tls")
    assert (named["user"], named["how"].partition("CAPA, ")[2]) == ("named", "ALPN imap/pop3")
    assert old["how"].endswith("without CAPA, no ALPN")
    assert (old["user"], old["logins"], old["vserv"]) == ("old", 3, "implicit")
    assert old["how"].startswith("TLSv1.2, ECDHE-")
    assert [site.count("logins_reported", word) for word in ("cleartext", "tls")] == [4, 4]


def test_at_the_highest_version_nobody_is_concerned(site: TlsSite) -> None:
    """There is no next one."""
    site.said("set reports tls")
    site.said("set tlsminversion 1.3")
    in_tls(site, "high", ssl.TLSVersion.TLSv1_3)
    assert "high" not in [row["user"] for row in listed(site, "tls")]
    site.said("set tlsminversion 1.2")
    site.said("set reports off")


def whole(site: TlsSite, logins: int) -> list[dict[str, Any]] | None:
    """What is remembered, as soon as it is so many logins."""
    rows: list[dict[str, Any]] = site.json("users last")
    return rows if sum(row["logins"] for row in rows) == logins else None


def test_the_last_login_of_each_user(site: TlsSite) -> None:
    """Who came last stands first, once, with when, from where and by what; nobody while it is off."""
    in_clear(site, "USER early", "PASS x")
    assert site.said("users last").lines == ["it is off: `set lastlogins on` begins it"]
    site.said("set lastlogins on")
    assert site.said("users last").lines == ["no such login is known"]
    for _ in range(2):
        in_clear(site, "USER joe", "PASS x")
        in_tls(site, "eve", ssl.TLSVersion.TLSv1_3)
    in_clear(site, "USER nobody")
    eve, joe = wait_until(lambda: whole(site, 4), "all is written")
    assert (eve["user"], eve["how"], eve["logins"]) == ("eve", "implicit, TLSv1.3, USER", 2)
    assert (joe["user"], joe["how"], joe["client"]) == ("joe", "stls, in clear, USER", LOOPBACK)
    assert [json.loads(line)["user"] for line in site.said("users export").lines] == ["eve", "joe"]
    assert [row["user"] for row in site.json("users export since 1h")] == ["eve", "joe"]
    assert [row["user"] for row in site.json("users last joe")] == ["joe"]
    assert "joe" in site.said("users last").lines[2]
    site.said("vserv conf stls namespace corp")
    in_clear(site, "USER ann", "PASS x")
    site.said("vserv conf stls namespace default")
    wait_until(lambda: whole(site, 5), "ann is written")
    assert [row["user"] for row in site.json("users last corp:ann")] == ["ann"], "no virtual server has it any more"
    assert stat.S_IMODE((site.rundir.parent / "state" / FILE).stat().st_mode) == 0o600
    site.said("set lastlogins off")
    in_clear(site, "USER late", "PASS x")
    site.said("set lastlogins on")
    in_clear(site, "USER last", "PASS x")
    site.said("shutdown all")
    site.process.wait(patient(20))
    known = recall(site.rundir.parent / "state" / FILE, most=10)[1]
    assert [one.user for one in known] == ["last", "ann", "eve", "joe"], "also what was not written yet"
