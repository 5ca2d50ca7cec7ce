"""`explain` against what then happens: in each situation the reply that it predicts is the one that a client gets.

One proxy, whose configuration changes in between; each user says the right password.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from popular.pdm.loader import OWN_DIRECTORY
from popular.protocol.scram import ScramClient
from popular.proxy.session.limits.refusal_times import AT_FIRST_SECONDS
from tests.system.certificates import Authority
from tests.system.site import (
    LOOPBACK,
    PATIENCE,
    CheckServer,
    Peer,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    pop3_server,
    program,
    wait_until,
    xpop_server,
)

MODULES = Path(__file__).parents[1] / "pdm" / "modules"
PASSWORD = "right"
NONE = b"+OK 0 no mail\r\n"
MAILS = (b"Subject: a\r\n\r\n", b"Subject: b\r\n\r\n")
PROXY, BACKEND, NO_MAIL, FAILS = "proxy", "backend", "there is no mail", "the backend cannot be reached"
"""Whose reply it is: the proxy's, as it is predicted; the backend's; or the proxy's, if it turns out so."""

USERS = """\
default:ann:{PLAIN}right:pop:
default:bob:{PLAIN}right:xpop:
default:cat:{PLAIN}right:cxpop:full
default:dan:{PLAIN}right:cxpop:empty
default:eve:{PLAIN}right:off:
default:fay:{PLAIN}right:fake:
default:gus:{PLAIN}right:gone:
default:hal:!:pop:
default:ida:{PLAIN}right:xpop:../../etc
default:jim:{PLAIN}right:dead:
default:kim:{PLAIN}right:pop:other:hers
default:lea:{PLAIN}right:slow:
default:mia:{PLAIN}right:deadx:full
other:ann:{PLAIN}right:fake:
"""
_KEYS = (
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
    "qDXT1EyKlmMQyNQQU9ALc0T4qFqjeqLBMFKXIfPtF+M=,a0V6MIqm3Ap4nE4cpFIb0dciW9KeUXUj3oOqowQSxx8="
)
KEYS = f"default:pam:{_KEYS}:fake:\ndefault:pia:{_KEYS}:pop:\n"
"""Two users more, with keys of the password `right`."""


class Situation(NamedTuple):
    """`says`: commands in front; `whose`: the reply, in the end; `text`: what is in it."""

    name: str
    user: str
    whose: str
    text: str
    vserv: str = "v"
    says: tuple[str, ...] = ()
    mechanism: str = "USER"


SITUATIONS = (
    Situation("a POP3 backend", "ann", BACKEND, "+OK logged in"),
    Situation("a POP3 backend, with a password of the file's", "kim", BACKEND, "+OK logged in"),
    Situation("an XPOP backend", "bob", BACKEND, "+OK 2 messages"),
    Situation("mail, by the mail check", "cat", BACKEND, "+OK 2 messages"),
    Situation("no mail, by the mail check", "dan", NO_MAIL, "+OK 0 messages"),
    Situation("a backend that is offline", "eve", PROXY, "-ERR [SYS/TEMP]"),
    Situation("a backend that is fake", "fay", PROXY, "+OK 0 messages"),
    Situation("a backend that is not configured", "gus", PROXY, "-ERR [SYS/TEMP]"),
    Situation("a password that fits nothing", "hal", PROXY, "-ERR [AUTH]"),
    Situation("a mailbox that cannot be", "ida", PROXY, "-ERR [SYS/PERM]"),
    Situation("a backend that refuses connections", "jim", FAILS, "-ERR [SYS/TEMP]"),
    Situation("the same behind a mail check", "mia", FAILS, "-ERR [SYS/TEMP]"),
    Situation("a backend for which too many wait", "lea", PROXY, "-ERR [SYS/TEMP]"),
    Situation("nobody", "nobody", PROXY, "-ERR [AUTH]"),
    Situation("a name that is too long for a line", "x" * 900, PROXY, "-ERR the line is too long"),
    Situation("a name with a blank in it", "two words", PROXY, "-ERR [AUTH]"),
    Situation("a name in another script", "\u0436\u0443\u043a", PROXY, "-ERR [AUTH]"),
    Situation("a virtual server that is fake", "nobody", PROXY, "+OK 0 messages", vserv="fake"),
    Situation("a virtual server that is disabled", "ann", PROXY, "-ERR closed", vserv="disabled"),
    Situation("TLS is wanted", "ann", BACKEND, "+OK logged in", vserv="force"),
    Situation("TLS from the start", "fay", PROXY, "+OK 0 messages", vserv="tls"),
    Situation("a namespace that the client says", "ann=other", PROXY, "+OK 0 messages", vserv="named"),
    Situation("a namespace that there is not", "ann=else", PROXY, "-ERR [AUTH]", vserv="named"),
    Situation("no namespace, where it may say one", "fay", PROXY, "+OK 0 messages", vserv="named"),
    Situation("AUTH PLAIN", "fay", PROXY, "+OK 0 messages", mechanism="PLAIN"),
    Situation("AUTH LOGIN", "ann", BACKEND, "+OK logged in", mechanism="LOGIN"),
    Situation("AUTH CRAM-MD5", "fay", PROXY, "+OK 0 messages", vserv="proof", mechanism="CRAM-MD5"),
    Situation("the same, and there is a password for the backend", "kim", BACKEND, "+OK logged in", vserv="proof",
              mechanism="CRAM-MD5"),
    Situation("the same, by his own password, which the module has", "ann", BACKEND, "+OK logged in", vserv="proof",
              mechanism="CRAM-MD5"),
    Situation("AUTH SCRAM-SHA-256, by keys", "pam", PROXY, "+OK 0 messages", vserv="proof", mechanism="SCRAM-SHA-256"),
    Situation("the same, by a password that is there in clear", "ann", BACKEND, "+OK logged in", vserv="proof",
              mechanism="SCRAM-SHA-256"),
    Situation("the same, for a backend that wants the password", "pia", PROXY, "-ERR [SYS/PERM]", vserv="proof",
              mechanism="SCRAM-SHA-256"),
    Situation("the same, and no password fits", "hal", PROXY, "-ERR [AUTH]", vserv="proof",
              mechanism="SCRAM-SHA-256"),
    Situation("the same, and nobody knows him", "nobody", PROXY, "-ERR [AUTH]", vserv="proof",
              mechanism="SCRAM-SHA-256"),
    Situation("a mechanism that this virtual server has not", "ann", PROXY, "-ERR this mechanism is not offered",
              vserv="proof", mechanism="PLAIN"),
    Situation("one that no module takes", "ann", PROXY, "-ERR this mechanism is not offered", vserv="tls",
              mechanism="XOAUTH2"),
    Situation("USER where it is switched off", "ann", PROXY, "-ERR this way to log in", vserv="proof"),
    Situation("a module that blocks", "front-joe", PROXY, "+OK 0 messages"),
    Situation("one on the loop", "back-joe", PROXY, "+OK 0 messages"),
    Situation("it has locked him", "front-joe", PROXY, "-ERR [AUTH]", says=("front locked",)),
    Situation("a module that is down", "nobody", PROXY, "-ERR [SYS/TEMP]", says=("front down",)),
    Situation("… and the next one knows him", "back-joe", PROXY, "+OK 0 messages"),
    Situation("… and the one in front knows him", "ann", BACKEND, "+OK logged in"),
    Situation("a user whose entry is faulty", "front-joe", PROXY, "-ERR [SYS/TEMP]", says=("front cannot",)),
    Situation("a module with an error in it", "nobody", PROXY, "-ERR [SYS/TEMP]", says=("front error",)),
    Situation("a module that breaks the contract", "nobody", PROXY, "-ERR [SYS/TEMP]", says=("front wrong",)),
    Situation("it names a server that it must not", "front-joe", PROXY, "-ERR [SYS/TEMP]",
              says=("front elsewhere {pop}",)),
    Situation("it names a server that is allowed", "front-joe", BACKEND, "+OK logged in",
              says=("pdm conf front allow 127.0.0.0/8:{popport} like pop",)),
    Situation("its breaker is open", "nobody", PROXY, "-ERR [SYS/TEMP]",
              says=("front fine", "pdm conf back breaker 1 pause 1h", "back down")),
    Situation("fallback, while something cannot tell", "nobody", PROXY, "-ERR [SYS/TEMP]", says=("set fallback pop",)),
    Situation("fallback, for those whom nobody knows", "nobody", BACKEND, "+OK logged in",
              says=("back fine", "pdm del back")),
    Situation("fallback, which is offline", "nobody", PROXY, "-ERR [SYS/TEMP]",
              says=("backend conf pop state offline",)),
    Situation("a backend that is not configured, and softfail", "gus", PROXY, "+OK 0 messages",
              says=("set softfail on",)),
    Situation("a backend that refuses connections, and softfail", "jim", FAILS, "+OK 0 messages"),
    Situation("a backend that has come back, in another way", "ann", NO_MAIL, "+OK 0 messages",
              says=('set fallback ""', "backend conf pop prot CXPOP state online")),
    Situation("an address that is blocked", "fay", PROXY, "", says=("block 127.0.0.0/8",)),
    Situation("as many sessions as the user may have", "fay", PROXY, "-ERR [IN-USE]",
              says=("unblock 127.0.0.0/8", "set usersessions 1", "stay fay")),
    Situation("another one has none yet", "ann", NO_MAIL, "+OK 0 messages"),
    Situation("the same, and it would be told behind the login at the backend", "bob", PROXY, "-ERR [IN-USE]",
              says=("stay bob",)),
    Situation("as many sessions as a network may have", "cat", PROXY, "-ERR [SYS/TEMP]",
              says=("set usersessions off", "set networksessions 1", "stay fay")),
    Situation("the same, on trial only", "cat", BACKEND, "+OK 2 messages", says=("set networksessions report:1",)),
    Situation("too soon after the last time", "fay", PROXY, "-ERR [LOGIN-DELAY]",
              says=("set networksessions off", "set logindelay 1h", "stay fay")),
    Situation("no module at all", "ann", PROXY, "-ERR [AUTH]", says=("pdm flush",)),
    Situation("a module that lets everyone in", "whoever", PROXY, "+OK 0 messages",
              says=("set pdmdir {own}", "pdm add all any fake")),
)  # fmt: skip


CRAM = "the answer to a challenge"
SCRAM = "the same, by SCRAM"


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def lines_of(mechanism: str, user: str, password: str) -> list[str]:
    """What a client says."""
    return {
        "USER": [f"USER {user}", f"PASS {password}"],
        "PLAIN": [f"AUTH PLAIN {_in_base64(chr(0) + user + chr(0) + password)}"],
        "LOGIN": ["AUTH LOGIN", _in_base64(user), _in_base64(password)],
        "CRAM-MD5": ["AUTH CRAM-MD5", CRAM],
        "SCRAM-SHA-256": ["AUTH SCRAM-SHA-256", SCRAM, SCRAM, SCRAM],
        "XOAUTH2": [f"AUTH XOAUTH2 {_in_base64(f'user={user}{chr(1)}auth=Bearer x{chr(1)}{chr(1)}')}"],
    }[mechanism]


def cram_md5(user: str, password: str, challenge: bytes) -> str:
    shown = hmac.new(password.encode(), base64.b64decode(challenge.removeprefix(b"+ ")), hashlib.md5)
    return _in_base64(f"{user} {shown.hexdigest()}")


def scram(user: str, password: str) -> Callable[[bytes], str]:
    """What the client says next, after a reply of the server; at the end only if that has proven who it is."""
    client = ScramClient(user, password, nonce="nonce")
    steps = iter([lambda _said: client.first(), client.final, lambda said: b"" if client.trusts(said) else b"*"])

    def answer(reply: bytes) -> str:
        return base64.b64encode(next(steps)(base64.b64decode(reply.removeprefix(b"+ ")))).decode()

    return answer


def _never_greets(peer: Peer) -> None:
    peer.connection.settimeout(None)
    peer.rest()


class Site:
    """The proxy, and all that it needs."""

    def __init__(
        self, directory: Path, pop: ScriptedBackend, xpop: ScriptedBackend, slow: ScriptedBackend, check: CheckServer
    ) -> None:
        self.directory = directory
        self.pop = pop
        self.staying = contextlib.ExitStack()
        """Sessions that last until the end."""
        (directory / "users").write_text(USERS)
        (directory / "users").chmod(0o600)
        (directory / "keys").write_text(KEYS)
        self.authority = Authority()
        self.authority.issue("localhost").write(directory, "default")
        for name in ("front", "back"):
            self.let(name, "fine")
        dead = free_port()
        self.ports = {name: free_port() for name in ("v", "fake", "disabled", "force", "tls", "named", "off", "proof")}
        words = {"fake": "state fake", "disabled": "state disabled bannererr closed", "off": "state offline"}
        words |= {"force": "starttls force state online", "tls": "prot POP3s state online"}
        words |= {"named": "namespace USER state online", "v": "state online"}
        words |= {"proof": "mechanisms scram-sha-256,cram-md5 state online"}
        self.proxy = Proxy(
            directory,
            [
                f"set tlsdir {directory}",
                f"set checkport {check.port}",
                "set checktimeout 1s",
                "set authtimeout 10m",
                "set idletimeout 10m",
                f"backend conf pop host {LOOPBACK} port {pop.port} prot POP3 state online pipelining off",
                f"backend conf xpop host {LOOPBACK} port {xpop.port} prot XPOP state online",
                f"backend conf cxpop host {LOOPBACK} port {xpop.port} prot CXPOP state online",
                f"backend conf dead host {LOOPBACK} port {dead} prot POP3 state online",
                f"backend conf deadx host {LOOPBACK} port {dead} prot CXPOP state online",
                f"backend conf slow host {LOOPBACK} port {slow.port} prot POP3 state online",
                "backend conf slow maxwaiting 1 connecttimeout 10m",
                "backend conf off state offline",
                "backend conf fake state fake",
                f"pdm add users passwd {directory}/users",
                f"pdm add keys passwd {directory}/keys",
                f"set pdmdir {MODULES}",
                f"pdm add front odd {directory}/front fake blocking",
                f"pdm add back odd {directory}/back fake async",
                "pdm conf front breaker 0",
                *(f"vserv conf {name} iface {LOOPBACK} port {port} {words[name]}" for name, port in self.ports.items()),
            ],
            workers=1,
        )

    def let(self, name: str, how: str) -> None:
        """This module does so from now on."""
        (self.directory / name).write_text(how)
        (self.directory / f"{name}.asked").touch()

    def say(self, command: str) -> None:
        """To the proxy, or to a module of the test."""
        words = {"popport": self.pop.port, "pop": f"{LOOPBACK}:{self.pop.port}", "own": OWN_DIRECTORY}
        command = command.format(**words)
        name, _, rest = command.partition(" ")
        if name == "stay":
            client = self.staying.enter_context(PopClient(self.ports["v"]))
            assert client.log_in(rest, PASSWORD).startswith(b"+OK")
        elif name in ("front", "back"):
            self.let(name, rest)
        else:
            self.proxy.said(command)

    def explained(self, user: str, vserv: str = "v", mechanism: str = "USER") -> dict[str, Any]:
        answer: dict[str, Any] = self.proxy.json(f'explain "{user}" on {vserv} mechanism {mechanism}')
        return answer

    def log_in(self, user: str, vserv: str = "v", password: str = PASSWORD, *, mechanism: str = "USER") -> str:
        """The last reply to a client that says STLS where it must, and then what its mechanism wants."""
        context = self.authority.trusting()
        with socket.create_connection((LOOPBACK, self.ports[vserv]), PATIENCE) as connection:
            if vserv == "tls":
                connection = context.wrap_socket(connection, server_hostname="localhost")
            reader = connection.makefile("rb")
            reply = reader.readline()
            lines = lines_of(mechanism, user, password)
            answer = scram(user, password)
            for line in ["STLS", *lines] if vserv == "force" else lines:
                if not reply.startswith(b"+"):
                    break
                if line == CRAM:
                    line = cram_md5(user, password, reply)
                elif line == SCRAM:
                    line = answer(reply)
                connection.sendall(line.encode() + b"\r\n")
                reply = reader.readline()
                if line == "STLS":
                    connection = context.wrap_socket(connection, server_hostname="localhost")
                    reader = connection.makefile("rb")
            connection.close()
            return reply.decode().rstrip("\r\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("explain")
    answers = {b"*Mfull\r\n": b"+OK 2 new mail\r\n", b"*Mempty\r\n": NONE, b"*Mann\r\n": NONE}
    with (
        ScriptedBackend(pop3_server(MAILS)) as pop,
        ScriptedBackend(xpop_server(MAILS)) as xpop,
        ScriptedBackend(_never_greets) as slow,
        CheckServer(answers) as check,
    ):
        made = Site(directory, pop, xpop, slow, check)
        with made.proxy, made.staying, PopClient(made.ports["v"]) as waiting:
            waiting.ask("USER lea")
            waiting.say(b"PASS right\r\n")
            wait_until(lambda: slow.connections, "somebody waits for the backend slow")
            yield made


def with_password(site: Site, command: str, password: bytes) -> Any:
    """What pcontrol does for `--secret`: `secret`, and then the command, on one connection."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(PATIENCE)
        control.connect(str(site.proxy.rundir / "pproxy.ctrl"))
        reader = control.makefile("rb")
        replies: list[Any] = []
        for line in (f"secret {base64.b64encode(password).decode()}", f"json {command}"):
            control.sendall(line.encode() + b"\n")
            replies.append([])
            while (heard := reader.readline()) != b".\n":
                replies[-1].append(heard)
    assert replies[0][0].startswith(b"+OK"), replies
    assert replies[1][0].startswith(b"+OK"), replies
    return json.loads(replies[1][1])


def test_with_a_password_each_module_says_what_it_makes_of_it(site: Site) -> None:
    """It is an attempt: what fails is counted and logged as a failed login is, of the client that was named."""
    before = site.proxy.state().counters()["login_failures"]["password"]
    told = with_password(site, "explain ann on v from 192.0.2.7", b"wrong-word")
    assert told["reply"] == site.log_in("ann", password="wrong")
    assert [(row["module"], row["answer"]) for row in told["modules"]] == [
        ("users", "refused"),
        ("users", "does_not_vouch"),
        ("keys", "does_not_vouch"),
        ("front", "does_not_vouch"),
        ("back", "does_not_vouch"),
    ]
    failed = site.proxy.log("login_failed")[-2]
    assert (failed.fields["client"], failed.fields["user"], failed.fields["why"]) == ("192.0.2.7", "ann", "password")
    assert told["refusal_seconds"] >= AT_FIRST_SECONDS, "several modules are asked"
    wait_until(lambda: site.proxy.state().counters()["login_failures"]["password"] == before + 2, "both are counted")
    told = with_password(site, "explain ann on v", b"right")
    assert (told["reply"], told["modules"][0]["answer"], told["backend"]["id"]) == (None, "authenticated", "pop")


def test_a_module_says_why_it_refuses(site: Site) -> None:
    """What else only the log has."""
    site.let("front", "fine")
    told = with_password(site, "explain front-joe on v", b"wrong-word")
    assert [row["reason"] for row in told["modules"] if row["answer"] == "refused"] == ["it is not his word"]


def test_without_a_password_nothing_is_counted(site: Site) -> None:
    """No login, no failure; and a password counts for one command only."""
    before = site.proxy.state().counters()
    assert site.explained("nobody")["reply"].startswith("-ERR [AUTH]")
    site.explained("ann")
    after = site.proxy.state().counters()
    names = ("logins", "login_failures", "sessions_started", "simulated", "backend_failures")
    assert {name: after[name] for name in names} == {name: before[name] for name in names}


@pytest.mark.parametrize(("terms", "how"), [("cache 1s stale 1h", "down"), ("cache 5m", "locked")])
def test_what_is_remembered_may_let_him_in_all_the_same(site: Site, terms: str, how: str) -> None:
    """That depends on the password, so without one nothing is certain."""
    site.proxy.said(f"pdm conf front {terms}")
    site.let("front", "fine")
    try:
        assert site.log_in("front-user").startswith("+OK")
        assert site.explained("front-user")["certain"]
        site.let("front", how)
        if "stale" in terms:
            time.sleep(1.1)  # until it is no longer fresh
        told = site.explained("front-user")
        assert (told["reply"][:4], told["certain"]) == ("-ERR", False)
        row = next(row for row in told["modules"] if row["module"] == "front")
        assert row["cache"] == "1 of 1 answers that are remembered of him let him in"
        assert site.log_in("front-user").startswith("+OK")
        site.proxy.said("cache flush front-user")
        assert site.explained("front-user")["certain"]
    finally:
        site.let("front", "fine")
        site.proxy.said("pdm conf front cache 0 stale 0")


def test_pcontrol_asks_for_the_password_at_the_terminal(site: Site) -> None:
    """By an option in front of the command, or by a word of the prompt; it is not shown, and counts once."""
    pcontrol = [program("pcontrol"), "-r", str(site.proxy.rundir)]
    with Terminal([*pcontrol, "--secret", "explain", "ann", "on", "v"]) as terminal:
        terminal.types(b"Secret: ", b"wrong-word")
        assert b"users: refuses him" in terminal.rest()
    with Terminal(pcontrol) as terminal:
        terminal.types(b"pproxy> ", b"secret")
        terminal.types(b"Secret: ", b"right")
        terminal.types(b"pproxy> ", b"explain ann on v")
        terminal.types(b"users: lets him in", b"explain ann on v from 192.0.2.7")
        terminal.types(b"front: does not know him", b"quit")
        assert b"right" not in terminal.seen
        assert b"target own, " in terminal.seen


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self.seen = b""

    def __enter__(self) -> "Terminal":
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.environ["TERM"] = "dumb"
            os.execv(self._command[0], self._command)
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)
        os.waitpid(self._pid, 0)

    def types(self, behind: bytes, line: bytes) -> None:
        """A line, when this has been shown."""
        before = len(self.seen)
        while behind not in self.seen[before:]:
            assert select.select([self._fd], [], [], PATIENCE)[0], self.seen
            self.seen += os.read(self._fd, 4096)
        os.write(self._fd, line + b"\n")

    def rest(self) -> bytes:
        """All that is shown until the program ends."""
        with contextlib.suppress(OSError):
            while piece := os.read(self._fd, 4096):
                self.seen += piece
        return self.seen


FAULTY_SECRETS = (
    "secret {0} {0}",
    "secret {0}!",
    ' "secret" {0} x',
    "json secret {0} x",
    "draft say secret {0}",
    'complete "secret {0}"',
    "secret\t{0} x",
)


def test_pcontrol_takes_the_password_from_a_file(site: Site) -> None:
    """And shows the explanation in lines; nothing of the password is in the log, whatever is logged."""
    site.proxy.said("debug =ALL")
    site.proxy.said("debug -PASS")
    secret = site.directory / "secret"
    secret.write_text("kanarie-7b1f\n")
    command = [
        program("pcontrol"),
        "-r",
        str(site.proxy.rundir),
        "--secretfile",
        str(secret),
        "explain",
        "ann",
        "on",
        "v",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "module     users: refuses him" in done.stdout
    assert "reply      -ERR [AUTH]" in done.stdout
    encoded = base64.b64encode(b"kanarie-7b1f").decode()
    for faulty in FAULTY_SECRETS:
        assert not site.proxy.control(faulty.format(encoded)).ok or faulty.startswith("complete"), faulty
    site.proxy.said("debug =NONE")
    text = site.proxy.logfile.read_text()
    assert "secret ****" in text
    assert [trace for trace in ("kanarie", encoded, encoded[:12]) if trace in text] == []


FAULTY = {
    "explain": "<user> is missing",
    "explain joe": "say which virtual server: `on VSERV`; there are: v, fake, disabled",
    "explain joe on vv": 'no vserv "vv"',
    "explain joe on v from example.org": "is no address",
    "explain joe on v mechanism MAGIC": 'mechanism: "MAGIC" is unknown; allowed: USER, APOP, PLAIN',
    "explain joe on v on v": 'column 18: "on" is given twice',
    "explain joe on": "<value> is missing",
    "explain joe at v": '"at" is unknown',
}


@pytest.mark.parametrize("command", FAULTY)
def test_what_is_wrong_with_it_is_told(site: Site, command: str) -> None:
    answer = site.proxy.control(command)
    assert not answer.ok
    assert FAULTY[command] in answer.text


def test_if_who_is_asked_dies_his_successor_is_asked(tmp_path: Path) -> None:
    """The command is refused if that one dies too, not before; and where there is one virtual server none is named."""
    front, asked = tmp_path / "front", tmp_path / "front.asked"
    front.write_text("hang")
    lines = [
        "backend conf fake state fake",
        f"set pdmdir {MODULES}",
        f"pdm add front odd {front} fake async",
        "pdm conf front timeout 30s",
        f"vserv conf v iface {LOOPBACK} port {free_port()} state online",
    ]

    def questions() -> int:
        return len(asked.read_text()) if asked.exists() else 0

    with Proxy(tmp_path, lines, workers=1) as proxy, ThreadPoolExecutor(1) as asking:

        def dies(before: int) -> int:
            """Who is asked after so many questions, with its question."""
            wait_until(lambda: questions() > before, "the module is asked")
            (worker,) = proxy.workers()
            os.kill(worker, signal.SIGKILL)
            return worker

        answered = asking.submit(proxy.control, "explain front-joe")
        dies(0)
        front.write_text("fine")
        assert answered.result(PATIENCE).ok
        front.write_text("hang")
        before = questions()
        answered = asking.submit(proxy.control, "explain front-joe")
        dies(before)
        last = dies(questions())
        answer = answered.result(PATIENCE)
        assert not answer.ok
        assert f"worker {last}, which was asked, is gone, as the one before" in answer.text


def test_what_it_predicts_is_what_happens(site: Site) -> None:
    """In every situation, and as exactly as the client hears it."""
    for situation in SITUATIONS:
        for command in situation.says:
            site.say(command)
        told = site.explained(situation.user, situation.vserv, situation.mechanism)
        heard = site.log_in(situation.user, situation.vserv, mechanism=situation.mechanism)
        predicted = {PROXY: told["reply"]} if told["reply"] is not None else {BACKEND: heard}
        predicted |= {row["if"]: row["reply"] for row in told["otherwise"] if told["reply"] is None}
        assert situation.text in heard, (situation.name, heard, told)
        assert predicted.get(situation.whose) == heard, (situation.name, heard, told)
        assert (told["reply"] is None) == (situation.whose != PROXY), (situation.name, told)
        assert told["certain"], situation.name
