"""Empty polls, absorbed, over real workers and a backend that counts who comes."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patient
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, program
from tests.system.wire import pop3_server

MAIL = b"From: ann\r\n\r\n" + b"0123456789abcdef\r\n" * 100_000
EMPTY, FULL = "empty", "full"


class Site:
    """A proxy with two backends that look at the password themselves: one without mail, one with a large one."""

    def __init__(self, directory: Path, empty: ScriptedBackend, full: ScriptedBackend) -> None:
        self.backends = {EMPTY: empty, FULL: full}
        self.port = free_port()
        rc = ["set maxfailures 100", "pdm add all any empty"]
        for ident, backend in self.backends.items():
            more = f"port {backend.port} pipelining off absorb 1h state online"
            rc.append(f"backend conf {ident} host {LOOPBACK} {more}")
        rc.append(f"vserv conf v1 iface {LOOPBACK} port {self.port} state online")
        self.proxy = Proxy(directory, rc, workers=2, metrics="127.0.0.1:0")

    def polls(self, password: str = "secret", *commands: str) -> list[bytes]:
        """One session: the replies to PASS and to each command."""
        with PopClient(self.port) as client:
            replies = [client.log_in("joe", password)]
            replies += [client.ask(command) for command in (*commands, "QUIT")]
        return replies


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        ScriptedBackend(pop3_server([], b"secret")) as empty,
        ScriptedBackend(pop3_server([MAIL], b"secret")) as full,
    ):
        made = Site(tmp_path_factory.mktemp("absorb"), empty, full)
        with made.proxy:
            yield made


def test_who_polls_an_empty_mailbox_again(site: Site) -> None:
    """Any worker answers it, as the backend did; a wrong password goes there, and so does who comes in a new config."""
    backend = site.backends[EMPTY]
    assert site.polls("secret", "STAT")[1] == b"+OK 0 0"
    came = backend.connections
    for _ in range(12):
        assert site.polls("secret", "STAT", "NOOP")[1:] == [b"+OK 0 0", b"+OK", b"+OK bye"]
    assert backend.connections == came
    assert scrape(site.proxy).value("popular_absorbed_polls_total", backend=EMPTY) == 12
    # The workers write what they gathered one after the other, in any order.
    assert sorted(site.proxy.wait_for_endings(13)) == [*["absorbed"] * 12, "quit"]
    assert site.polls("wrong")[0].startswith(b"-ERR [AUTH]")
    assert backend.connections == came + 1
    site.proxy.said("set checktimeout 4")
    site.polls("secret", "STAT")
    assert backend.connections == came + 2
    site.polls("secret", "STAT")
    assert backend.connections == came + 2
    site.proxy.said("cache flush")
    site.polls("secret", "STAT")
    assert backend.connections == came + 3


def test_what_explain_foretells(site: Site, tmp_path: Path) -> None:
    """With the password: that it is absorbed, which then counts as no poll; without, that it may be. And so it is."""
    site.polls("secret", "STAT")
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "wrong").write_text("wrong\n")

    def explained(*options: str) -> dict[str, Any]:
        command = [program("pcontrol"), "-r", str(site.proxy.rundir), *options, "--json", "explain", "joe"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=patient(30))
        return dict(json.loads(done.stdout))

    before = scrape(site.proxy).value("popular_absorbed_polls_total", backend=EMPTY)
    told, supposed = explained("--secretfile", str(tmp_path / "secret")), explained()
    other = explained("--secretfile", str(tmp_path / "wrong"))
    assert scrape(site.proxy).value("popular_absorbed_polls_total", backend=EMPTY) == before
    came = site.backends[EMPTY].connections
    reply = site.polls("secret")[0].decode()
    assert site.backends[EMPTY].connections == came
    assert (told["absorbed"], told["reply"], told["otherwise"]) == (True, reply, [])
    assert (other["absorbed"], other["reply"]) == (False, None)
    assert (supposed["absorbed"], supposed["reply"]) == (False, None)
    assert supposed["otherwise"][0] == {"if": "by this password the mailbox was empty a moment ago", "reply": reply}


def test_who_has_mail_always_gets_it(site: Site) -> None:
    """All of it, however large, and every time; STAT told that there is some."""
    site.proxy.said("pdm del all")
    site.proxy.said("pdm add all any full")
    backend = site.backends[FULL]
    for number in range(3):
        with PopClient(site.port) as client:
            client.log_in("joe", "secret")
            if number:
                assert client.ask("STAT") == b"+OK 1 %d" % len(MAIL)
            assert hashlib.sha256(client.retrieve(1)).digest() == hashlib.sha256(MAIL).digest()
            client.ask("QUIT")
    assert backend.connections >= 3
