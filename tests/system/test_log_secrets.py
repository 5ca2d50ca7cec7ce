"""What a client types shows in the log only as far as it is a command that is known: never a password, in whatever way
it is typed.
"""

import base64
import hashlib
import time
from contextlib import suppress
from pathlib import Path

from tests.store.test_pserv import Store
from tests.system.site import LOOPBACK, Peer, PopClient, Proxy, ScriptedBackend, free_port, pop3_server

CANARY = "kanarie-7b1f"
DIGEST = hashlib.md5(f"<1.2@x>{CANARY}".encode()).hexdigest()
PLAIN = base64.b64encode(f"\0ann\0{CANARY}".encode()).decode()
CODED = base64.b64encode(CANARY.encode()).decode()

WAYS: dict[str, list[str]] = {
    "in two segments": ["USER ann\r\nPA", f"SS {CANARY}\r\n"],
    "the rest of a line": [f"USER ann\r\nPASS {CANARY[:3]}", f"{CANARY}\r\n"],
    "a rest that looks like a command": ["USER ann\r\nPASS ", f"USER {CANARY}\r\n"],
    "octet by octet": [*f"USER ann\r\nPASS {CANARY}\r\n"],
    "bare LF": [f"USER ann\nPASS {CANARY}\n"],
    "bare CR": [f"USER ann\rPASS {CANARY}\r\r\n"],
    "a blank in front": [f"USER ann\r\n PASS {CANARY}\r\n"],
    "no blank": [f"USER ann\r\nPASS{CANARY}\r\n"],
    "a tab": [f"USER ann\r\nPASS\t{CANARY}\r\n"],
    "small letters": [f"uSer ann\r\npass {CANARY}\r\n"],
    "SASL": [f"AUTH PLAIN {PLAIN}\r\n"],
    "SASL in two lines": [f"AUTH PLAIN\r\n{PLAIN}\r\n"],
    "LOGIN": ["AUTH LOGIN\r\n", "YW5u\r\n", f"{CODED[:5]}", f"{CODED[5:]}\r\n"],
    "LOGIN in one segment": [f"CAPA\r\nAUTH LOGIN\r\nYW5u\r\n{CODED}\r\n"],
    "a password for a mechanism": [f"AUTH {CANARY}\r\n", f"AUTH PLAIN {CANARY}\r\n", f"AUTH LOGIN = {CANARY}\r\n"],
    "APOP": [f"APOP ann {DIGEST}\r\n"],
    "behind another command": [f"NOOP {CANARY}\r\nCAPA PASS {CANARY}\r\n"],
    "never ended": [f"USER ann\r\nPASS {CANARY}"],
    "too long": ["USER ann\r\n" + f"PASS {CANARY}" * 40],
}
IN_EXCHANGES: dict[str, list[str]] = {"a response like a command": ["AUTH LOGIN\r\n", "YW5u\r\n", f"USER {CANARY}\r\n"]}
"""To a proxy, which waits for a response there; to others that is a user name."""
TRACES = [CANARY, CANARY[3:], DIGEST, PLAIN[:12], PLAIN[-12:], CODED[:8], CODED[-8:]]


def _play(port: int, ways: dict[str, list[str]], greeting: str = "") -> None:
    for segments in ways.values():
        with PopClient(port) as client, suppress(ConnectionError):
            client.say(greeting.encode())
            client.line()
            for segment in segments:
                client.say(segment.encode())
                if len(segment) > 1:
                    time.sleep(0.02)  # so that it is a segment of its own
            client.half_close()
            client.rest()


def _backend(peer: Peer) -> None:
    """It may be left without a word: a client that goes after PASS is not waited for."""
    with suppress(AssertionError):
        pop3_server([], CANARY.encode())(peer)


def _assert_no_trace(program: Proxy) -> None:
    text = program.logfile.read_text() + program.stderr.read_text()
    assert [trace for trace in TRACES if trace in text] == []
    lines = {entry.fields["line"] for entry in program.log("pop_client") if "line" in entry.fields}
    assert {"USER ann", "PASS ****"} <= lines, "the commands are shown all the same"
    assert any("octets" in entry.fields for entry in program.log("pop_client")), "and of others their length"


def test_no_way_to_type_a_password_shows_it(tmp_path: Path) -> None:
    """`debug POP` on a proxy: split, with bare LF, misspelt, as SASL and APOP, cut off."""
    port = free_port()
    with (
        ScriptedBackend(_backend) as backend,
        Proxy(
            tmp_path,
            [
                f"backend conf b host {LOOPBACK} port {backend.port} state online",
                "pdm add all any b",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
                "debug =POP AUTH NET IO MAIN TLS CTRL RINGD",
            ],
        ) as proxy,
    ):
        _play(port, WAYS | IN_EXCHANGES)
        proxy.wait_for_endings(len(WAYS | IN_EXCHANGES))
        _assert_no_trace(proxy)


def _parrot(peer: Peer) -> None:
    """A backend that repeats what it is told, in words and in response codes."""
    peer.say(b"+OK hello\r\n")
    with suppress(AssertionError):
        while line := peer.line():
            word = line.partition(b" ")[2]
            peer.say((b"-ERR [auth/%b] %b\r\n" if line.startswith(b"PASS") else b"+OK [%b] %b\r\n") % (word, word))


def test_a_backend_that_repeats_the_password(tmp_path: Path) -> None:
    """`debug POP` shows the status and the code of what a backend says, and how long it is."""
    port = free_port()
    with ScriptedBackend(_parrot) as backend:
        rc = [
            f"backend conf b host {LOOPBACK} port {backend.port} state online",
            "pdm add all any b",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
            "debug =POP AUTH NET IO MAIN",
        ]
        with Proxy(tmp_path, rc) as proxy:
            _play(port, {"plain": [f"USER ann\r\nPASS {CANARY}\r\nQUIT\r\n"]})
            proxy.wait_for_endings(1)
            said = [entry.fields["line"] for entry in proxy.log("pop_backend")]
            assert CANARY not in proxy.logfile.read_text()
    assert said == ["+OK", "+OK", "-ERR [AUTH]"]


def test_nor_on_a_storage_server(tmp_path: Path) -> None:
    """Nor if they are said to `pserv`, which knows no passwords, with a request in front or without."""
    store = Store(tmp_path)
    with store:
        store.put("joe", b"Subject: one\r\n\r\nhello\r\n")
        store.said("debug =POP,MAIL,NET,CTRL")
        _play(store.port, WAYS, "joe\r\np.1.1\r\n\r\n")
        for segments in WAYS.values():
            with PopClient(store.port) as client, suppress(ConnectionError):
                client.say("".join(segments).encode())
                client.half_close()
                client.rest()
        store.wait_for_endings(2 * len(WAYS))
        _assert_no_trace(store)


def test_debugging_that_begins_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """The option POP is turned on, or off and on, while a client is between PASS and its password."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake"]) as proxy:
        with PopClient(port) as client:
            client.greeted()
            client.say(b"USER ann\r\nPASS ")
            client.line()
            proxy.said("debug =POP")
            client.say(f"USER {CANARY}\r\n".encode())
            client.line()
            client.ask("QUIT")
        with PopClient(port) as client:
            client.greeted()
            client.ask("USER ann")
            proxy.said("debug =NONE")
            client.ask("USER bob")
            client.say(b"PASS ")
            time.sleep(0.1)
            proxy.said("debug =POP,PASS")
            client.say(f"USER {CANARY}\r\n".encode())
            client.line()
            client.ask("QUIT")
        proxy.wait_for_endings(2)
        assert CANARY not in proxy.logfile.read_text()
        assert [entry.fields["octets"] for entry in proxy.log("pop_client") if "octets" in entry.fields] == ["17", "17"]
