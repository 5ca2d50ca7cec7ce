"""Traces over real workers: whom they concern is in them, all that was said and when, and neither password nor mail."""

import base64
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, PATIENCE, Proxy, ScriptedBackend, free_port, wait_until
from tests.system.wire import Conversation, Peer, commands

SECRET, TOKEN, BODY = b"canary-password", b"canary-token", b"canary-body"
MAIL = b"From: ann\r\n\r\n%s\r\n" % BODY


def parrot(peer: Peer) -> None:
    """A backend that repeats whatever it hears."""
    peer.say(b"+OK ready\r\n")
    for line in commands(peer):
        verb = line[:4].upper()
        if verb == b"CAPA":
            peer.say(b"+OK\r\nUSER\r\n.\r\n")
        elif verb == b"PASS" and SECRET not in line:
            peer.say(b"-ERR [AUTH] %s is wrong\r\n" % line)
        elif verb == b"STAT":
            peer.say(b"+OK 1 %d\r\n" % len(MAIL))
        elif verb == b"UIDL":
            peer.say(b"+OK\r\n1 uid-of-it\r\n.\r\n")
        elif verb == b"RETR":
            peer.say(b"+OK " + BODY + b"\r\n" + MAIL + b".\r\n")
        else:
            peer.say(b"+OK %s\r\n" % line)
        if verb == b"QUIT":
            return


class Site:
    """Two virtual servers before two backends, and one without; users say which one theirs is by their names."""

    def __init__(self, directory: Path, backend: ScriptedBackend) -> None:
        self.ports = {"v1": free_port(), "v2": free_port(), "v3": free_port(), "v4": free_port()}
        users = directory / "users"
        names = ("joe", "ann")
        there = [("default", name) for name in names] + [("other", "joe")]
        users.write_text("".join(f"{of}:{name}:{{PLAIN}}{SECRET.decode()}:b{name[0]}:\n" for of, name in there))
        rc = [
            f"pdm add users passwd {users}",
            *(f"backend conf b{one[0]} host {LOOPBACK} port {backend.port} state online" for one in names),
            *(
                f"vserv conf {ident} iface {LOOPBACK} port {port} mechanisms user,plain,cram-md5 apop on state online"
                for ident, port in self.ports.items()
            ),
            "vserv conf v3 state fake",
            "vserv conf v4 namespace other",
        ]
        self.proxy = Proxy(directory, rc, workers=2, metrics="127.0.0.1:0")

    def starts(self, target: str) -> str:
        return re.findall(r"trace (\d+)", self.proxy.said(f"trace start {target}").text)[0]

    def session(self, user: str, vserv: str = "v1", *said: str, source: str = LOOPBACK) -> str:
        """A whole one; the session id."""
        connection = socket.create_connection((LOOPBACK, self.ports[vserv]), PATIENCE, (source, 0))
        with Conversation(connection) as client:
            for line in said or (f"USER {user}", f"PASS {SECRET.decode()}"):
                client.ask(line)
            (sid,) = [row["sid"] for row in self.proxy.sessions() if row["port"] == connection.getsockname()[1]]
            for line in ("STAT", f"XTND {TOKEN.decode()}"):
                client.ask(line)
            client.say(b"UIDL\r\nRETR 1\r\nQUIT\r\n")
            client.rest()
        return str(sid)

    def shown(self, ident: str, *sids: str) -> list[str]:
        """What a trace has, when the last of these sessions is in it to its end."""

        def whole() -> list[str]:
            lines: list[str] = self.proxy.said(f"trace show {ident}").lines
            there = [line.split()[0] for line in lines if " -- the end: " in line]
            return lines if set(there) >= set(sids) else []

        lines: list[str] = wait_until(whole, f"trace {ident} has {sids}")
        return lines


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ScriptedBackend(parrot) as backend:
        made = Site(tmp_path_factory.mktemp("trace"), backend)
        with made.proxy:
            yield made


def test_all_that_a_user_said(site: Site) -> None:
    """In order, on both legs, with times; nothing of others, and neither what he showed nor his mail."""
    ident = site.starts("user default:joe for 1h max 100K")
    path = Path(site.proxy.json("state list")[0]["what"].partition("file ")[2].partition(",")[0])
    sids = [site.session("joe", "v1"), site.session("joe", "v2")]
    other = site.session("ann"), site.session("joe", "v4")
    lines = site.shown(ident, *sids)
    assert {line.split()[0] for line in lines} == set(sids), other
    said = [line.split(" ", 2)[2] for line in lines if line.startswith(sids[0] + " ")]
    assert [line for line in said if line[:3] in ("C>P", "C>B")] == [
        "C>P USER joe",
        "C>P PASS ****",
        "C>B STAT",
        "C>B XTND **** (12 octets)",
        "C>B UIDL",
        "C>B RETR 1",
        "C>B QUIT",
    ]
    assert [line for line in said if line[:3] in ("P>B", "B>P")] == [
        "B>P +OK ready",
        "P>B USER joe",
        "B>P +OK USER joe",
        "P>B PASS ****",
        "B>P +OK (24 octets)",
    ]
    assert [line for line in said if line[:3] == "B>C"][1:] == [
        f"B>C +OK 1 {len(MAIL)}",
        "B>C +OK (21 octets)",
        "B>C +OK",
        "B>C 1 uid-of-it",
        "B>C .",
        "B>C +OK (15 octets)",
        f"B>C (3 lines, {len(MAIL)} octets) .",
        "B>C +OK QUIT",
    ]
    steps = ("session of 127.0.0.1", "asking the modules", "the modules have answered", "connecting to bj", "logged in")
    found = [line for line in said if line.startswith("--")]
    assert [any(step in line for line in found) for step in steps] == [True] * len(steps), found
    moments = [float(line.split()[1]) for line in lines if line.startswith(sids[0] + " ")]
    assert moments == sorted(moments)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not any(canary in path.read_bytes() for canary in (SECRET, TOKEN, BODY))


PASS = f"PASS {SECRET.decode()}"


@pytest.mark.parametrize(
    "said",
    [
        ("CAPA", "USER joe", PASS),
        (f"NOOP\r\nUSER joe\r\n{PASS}", "", ""),
        ("USER eve", "USER joe", PASS),
        ("USER eve", f"PASS {TOKEN.decode()}", "USER joe", PASS),
        ("USER joe", f"PASS {TOKEN.decode()}", "USER joe", PASS),
    ],
    ids=["asks", "pipelines", "names another", "another was refused", "was refused"],
)
@pytest.mark.parametrize(("user", "target"), [("joe", "user default:joe"), ("ann", "backend ba")])
def test_what_was_said_before_it_was_known(site: Site, user: str, target: str, said: tuple[str, ...]) -> None:
    """However the session has begun: all of the login is there, and each thing when it was said."""
    ident = site.starts(target)
    lines = site.shown(ident, site.session(user, "v1", *(line.replace("joe", user) for line in said)))
    site.proxy.said(f"trace stop {ident}")
    text = [line.split(" ", 2)[2] for line in lines]
    assert text[0].startswith("-- session of")
    assert text[1].startswith("P>C +OK")
    login = [f"C>P USER {user}", "P>C +OK send PASS", "C>P PASS ****"]
    places = [max(number for number, line in enumerate(text) if line == one) for one in login]
    asked = max(number for number, line in enumerate(text) if line.startswith(f"-- asking the modules for {user!r}"))
    steps = places if "\r" not in said[0] else sorted(places)  # what has come together is heard together
    assert steps == sorted(steps)
    assert max(places) < asked < text.index("-- logged in")
    names = "\r\n".join(said).replace("joe", user).split("\r\n")
    assert [line[4:] for line in text if line.startswith("C>P USER ")] == [one for one in names if one[:4] == "USER"]
    moments = [float(line.split()[1]) for line in lines]
    assert moments == sorted(moments)


def test_whom_it_concerns(site: Site) -> None:
    """By the backend, the network or the virtual server; from before anybody said who he is."""
    there = {
        "backend ba": ("ann", "v1", LOOPBACK),
        "network 127.0.0.6/31": ("joe", "v1", "127.0.0.7"),
        "vserv v2": ("joe", "v2", LOOPBACK),
    }
    idents = {target: site.starts(target) for target in there}
    sids = {target: site.session(user, vserv, source=source) for target, (user, vserv, source) in there.items()}
    site.session("joe", "v1")
    for target, ident in idents.items():
        lines = site.shown(ident, sids[target])
        assert {line.split()[0] for line in lines} == {sids[target]}
        assert " C>P USER " in "".join(lines)
        site.proxy.said(f"trace stop {ident}")


def test_a_login_that_no_module_is_asked_about(site: Site) -> None:
    """Where everybody sees an empty mailbox; and where too many from there have guessed wrong of late."""
    ident = site.starts("user default:joe")
    shown = site.session("joe", "v3")
    site.proxy.said("set authdelaymax 1")
    site.proxy.said("set guessrate 2")
    for user in ("eve", "joe"):
        with Conversation(socket.create_connection((LOOPBACK, site.ports["v1"]), PATIENCE, ("127.0.0.9", 0))) as client:
            client.ask(f"USER {user}")
            assert client.ask(f"PASS {TOKEN.decode()}").startswith(b"-ERR")
    site.proxy.said("set guessrate off")
    lines = wait_until(lambda: whole_of(site, ident, 2), "both are there")
    assert [line.split(" ", 2)[2] for line in lines if line.startswith(f"{shown} ") and " C>P " in line][:2] == [
        "C>P USER joe",
        "C>P PASS ****",
    ]
    assert any("login_limited" in line for line in lines), lines
    site.proxy.said(f"trace stop {ident}")


def whole_of(site: Site, ident: str, sessions: int) -> list[str]:
    lines: list[str] = site.proxy.said(f"trace show {ident}").lines
    return lines if sum(" -- the end: " in line for line in lines) >= sessions else []


def every_login() -> list[tuple[str, ...]]:
    plain = base64.b64encode(b"\0joe\0" + SECRET).decode()
    wrong = base64.b64encode(b"joe " + TOKEN).decode()
    good = ("USER joe", f"PASS {SECRET.decode()}")
    return [
        (f"AUTH PLAIN {plain}",),
        ("AUTH PLAIN", plain),
        ("AUTH CRAM-MD5", wrong, *good),
        (f"APOP joe {TOKEN.decode()}", *good),
        ("USER joe", f"PASS {TOKEN.decode()}", *good),
        (SECRET.decode(), f"AUTH {TOKEN.decode()}", *good),
        ("AUTH PLAIN", "*", *good),
    ]


def test_no_secret_by_whatever_it_is_shown(site: Site) -> None:
    """Right or wrong, in its place or not; also one that only the backend can refuse, which repeats it."""
    joe, eve = site.starts("user default:joe"), site.starts("user default:eve")
    site.proxy.said("set fallback bj")
    logins = every_login()
    sids = [site.session("joe", "v1", *login) for login in logins]
    wrong = site.session("eve", "v1", "USER eve", f"PASS {TOKEN.decode()}")
    site.proxy.said('set fallback ""')
    lines = [*site.shown(joe, *sids), *site.shown(eve, wrong)]
    for ident in (joe, eve):
        site.proxy.said(f"trace stop {ident}")
    shown = {word for login in logins for line in login for word in line.split()[1:]} - {
        "joe",
        "PLAIN",
        "CRAM-MD5",
        "*",
    }
    text = "\n".join(lines)
    assert [word for word in {*shown, SECRET.decode(), TOKEN.decode(), BODY.decode()} if word in text] == []
    assert [sum(line.startswith(f"{sid} ") and " C>P " in line for line in lines) for sid in sids] == [
        len(login) for login in logins
    ]
    assert "why='backend'" in text


def test_it_ends_by_itself(site: Site) -> None:
    """When its time is over, or its room; what was recorded stays until there is need for its room."""
    ident = site.starts("user joe max 4K namespace default")
    sids = [site.session("joe") for _ in range(6)]
    wait_until(lambda: int(row(site, ident)["octets"]) > 3000, "it is full")
    lines = site.proxy.said(f"trace show {ident}").lines
    assert sum(len(line) + 1 for line in lines) <= 4096
    full = row(site, ident)
    assert full is not None
    assert (full["full"], full["max"], full["sessions"]) == (True, 4096, sum(" -- the end: " in line for line in lines))
    wait_until(lambda: scrape(site.proxy).value("popular_traces_filled_total") == 1, "it is counted, once")
    assert [entry.fields["trace"] for entry in site.proxy.log("trace_full")] == [ident]
    assert scrape(site.proxy).value("popular_trace_bytes_total", result="dropped") > 0
    wait_until(lambda: scrape(site.proxy).value("popular_orders_by_sort", order="trace") >= 1, "it is told")
    assert lines[0].startswith(sids[0])
    short = site.starts("user default:joe for 1s")
    wait_until(lambda: row(site, short) is None, "it is over")
    site.session("joe")
    assert site.proxy.control(f"trace stop {short}").text.endswith("`trace list` lists them")
    assert scrape(site.proxy).value("popular_sessions_recorded_total") > 0
    site.proxy.said("set tracespace 2")
    for number in site.proxy.json("trace list"):
        site.proxy.control(f"trace stop {number['id']}")
    site.starts("user default:joe max 2M")
    assert site.proxy.control("trace start user default:ann").text.startswith(
        "the traces that are there could come to 3 MiB"
    )
    assert [one["id"] for one in site.proxy.json("trace list") if one["octets"]] == [1], "the newest file"


def row(site: Site, ident: str) -> dict[str, Any] | None:
    rows = site.proxy.json("trace list")
    return next((one for one in rows if one["id"] == int(ident)), None)
