"""The control language of `pserv`: its variables, `server`, `capa`, and what it shares with every program.

The tables here are written by hand, not derived from the program's own: a row taken out of the program fails here.
"""

import socket
from pathlib import Path

import pytest

from popular.store.pserv.capabilities import BUILT_IN
from popular.store.pserv.program import PROGRAM
from supervisor.config import Config
from supervisor.control.commands.difference import config_lines
from supervisor.control.commands.variables import initial_values, processors
from supervisor.control.language.language import Language
from supervisor.control.language.outcome import Change, EndSession
from tests.proxy.console import Console, refused

SESSIONS = [
    {"sid": "p.1.1", "mailbox": "3/joe", "client": "10.0.0.1", "state": "waiting for a command"},
    {"sid": "p.1.2", "mailbox": "a/ann", "client": "10.0.0.1", "state": "sending a message"},
    {"sid": "p.1.3", "mailbox": "3/joe", "client": "10.0.0.2", "state": "sending a message"},
]


class StoreConsole(Console):
    """A console of `pserv`."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config(
            0, initial_values(PROGRAM.variables, self.ceilings), things={sort: {} for sort in PROGRAM.sorts}
        )
        self.first = self.config
        self.language = Language(PROGRAM.commands)
        self.program = PROGRAM


@pytest.fixture
def console() -> StoreConsole:
    return StoreConsole()


# Variables

READ_ONLY = [
    ("id", "Id", "pserv"),
    ("limitreached", "String", '""'),
    ("metrics", "String", "127.0.0.1:9110"),
    ("pid", "Int", "4711"),
    ("rundir", "Dir", "/run/popular"),
    ("sessionlimit", "Int", "10000"),
    ("version", "String", PROGRAM.version),
]

# name, type as the manual writes it, default, good values, bad values
READ_WRITE = [
    ("backlog", "Int (5-1024)", "512", ["5", "1024"], ["4", "1025"]),
    ("displace", "Bool", "on", ["on", "off"], ["2"]),
    ("grace", "Time (0s-1d)", "0s", ["0s", "10s", "1d"], ["1d1s", "x"]),
    ("idletimeout", "Time (10m-1d)", "10m", ["10m", "1d"], ["9m59s", "1d1s", "0"]),
    ("logfile", "File", "/var/log/popular/pserv", ["/tmp/x.log", "-"], ["x.log", "/tmp/"]),
    ("mailboxdir", "Dir", "/pop", ["/", "/tmp"], ["/no/such/dir", "tmp", "/etc/passwd"]),
    ("maxlocalload", "Int (0-9999)", "0", ["0", "9999"], ["-1", "10000"]),
    ("maxpressure", "Int (0-100)", "0", ["0", "100"], ["-1", "101"]),
    ("maxsession", "Int", "1000", ["1000", "10000"], ["0", "999", "10001"]),
    ("requesttimeout", "Time (1s-1h)", "30s", ["1s", "1h"], ["0", "1h1s"]),
    ("sessiontimeout", "Time (0s-1d)", "0s", ["0s", "1d"], ["25h", "x"]),
    ("tlsciphers", "String", "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20", ["ECDHE+AESGCM"], ["RSA"]),
    ("tlsdir", "Dir", "/etc/popular/tls", ["/", "/tmp"], ["/no/such/dir", "tmp"]),
    ("tlsminversion", "1.2|1.3", "1.2", ["1.2", "1.3"], ["1.1", "tls"]),
    ("tlswatch", "Time (0s-1h)", "10s", ["0", "1h"], ["2h"]),
    ("tracespace", "Int (0-65536)", "64", ["0", "65536"], ["65537", "64M"]),
    ("workers", "Int (1-1024)", str(processors()), ["1", "1024"], ["0", "1025", "x"]),
    ("workertimeout", "Time (0s-1h)", "30s", ["0", "5s", "1h"], ["2h"]),
]


@pytest.mark.parametrize(("name", "kind", "value"), READ_ONLY)
def test_read_only_variables(console: Console, name: str, kind: str, value: str) -> None:
    """A read-only variable is shown, explained, and cannot be set."""
    assert console.lines(f"show {name}") == [f"{name} {value}"]
    assert refused(console, f"set {name} {value}") == f"column 5: {name} is read-only"
    assert console.lines(f"help {name}")[0].startswith(f"{name}  {kind}")


@pytest.mark.parametrize(("name", "kind", "default", "good", "bad"), READ_WRITE)
def test_read_write_variables(
    console: Console, name: str, kind: str, default: str, good: list[str], bad: list[str]
) -> None:
    """A read-write variable has its default and type, takes its whole range, and nothing outside."""
    assert console.lines(f"show {name}") == [f"{name} {default}"]
    assert console.lines(f"help {name}")[0].startswith(f"{name}  {kind}")
    for value in bad:
        assert name in refused(console, f"set {name} {value}")
    for value in good:
        before = console.config
        console.say(f"set {name} {value}")
        shown = console.lines(f"show {name}")
        console.config = before
        console.say(f"set {shown[0]}")
        assert console.lines(f"show {name}") == shown
        console.config = before


def test_show_without_a_name_shows_all(console: Console) -> None:
    """`show` lists every variable, read-only ones first, and no other."""
    names = [line.split(" ")[0] for line in console.lines("show")]

    assert names == [row[0] for row in READ_ONLY] + [row[0] for row in READ_WRITE]


# The server

PARAMETERS = [
    ("iface", "ANY", ["127.0.0.1", "::1", "any"], ["no host", "1.2.3.4.5x!"]),
    ("port", "110", ["1", "65535"], ["0", "65536", "pop3"]),
    ("prot", "XPOP", ["XPOP", "XPOPs clientcert off"], ["POP3"]),
    ("state", "offline", ["online", "offline"], ["disabled", "fake"]),
    ("tls", '""', ["default", "store1"], ["a/b"]),
    ("clientcert", "require", ["off", "require"], ["optional"]),
    ("clientca", '""', [], ["/etc/passwd", "/no/such"]),
    ("trusted", "127.0.0.0/8,::1", ["10.0.0.0/8", "192.0.2.7,2001:db8::/32"], ["10.0.0.1/8", "lan", "10.0.0.0/8, ::1"]),
]


@pytest.mark.parametrize(("name", "default", "good", "bad"), PARAMETERS)
def test_parameters_of_the_server(console: Console, name: str, default: str, good: list[str], bad: list[str]) -> None:
    """Each parameter has its default, takes what it should, nothing else, and is explained."""
    assert any(line.startswith(f"    {name}  ") for line in console.lines("help server conf"))
    for value in bad:
        assert name in refused(console, f'server conf {name} "{value}"')
    console.say("server conf")
    assert f" {name} {default}" in console.lines("server show")[1]
    for value in good:
        console.say(f"server conf {name} {value}")
        assert f" {name} {value if value != 'any' else 'ANY'}" in console.lines("server show")[0]


def test_there_is_one_server_without_a_name(console: Console) -> None:
    """`server conf` makes it, changes it afterwards, and `server show` prints what makes it anew; no other command."""
    assert refused(console, "server show") == "no server is configured; make it with: server conf"
    assert console.say("server conf port 1110 trusted ::1").text == "server is made"
    assert console.say("server conf state online").text == "server is changed"
    line, *comments = console.lines("server show")
    assert (line, comments) == (
        "server conf port 1110 state online trusted ::1",
        ['# defaults: iface ANY prot XPOP tls "" clientcert require clientca ""'],
    )

    again = StoreConsole()
    again.say(line)
    assert again.lines("server show") == [line, *comments]
    assert refused(console, "server list").startswith("column 8: ")
    assert refused(console, "server conf s1 5").startswith("column 13: ")


def test_what_is_wrong_with_a_parameter_is_told(console: Console) -> None:
    """Unknown, doubled and half-said parameters are refused by name."""
    assert refused(console, "server conf poort 110") == (
        'column 13: "poort" is unknown; did you mean "port"?; '
        "allowed: iface, port, prot, state, trusted, tls, clientcert, clientca"
    )
    assert "given twice" in refused(console, "server conf port 110 port 111")
    assert "<value> is missing" in refused(console, "server conf port")


def test_address_and_port_change_only_offline(console: Console) -> None:
    """While the server is online iface and port stay; going offline in the same command will do."""
    console.say("server conf iface 127.0.0.1 port 1110 state online")

    assert refused(console, "server conf port 1111") == (
        "column 13: port can only be changed while it is offline; take it offline first: server conf state offline"
    )
    assert "offline" in refused(console, "server conf iface ::1")
    console.say("server conf port 1111 state offline")
    console.say("server conf iface ::1")
    assert console.lines("server show")[0] == "server conf iface ::1 port 1111 state offline"


def test_listeners_follow_the_server(console: Console) -> None:
    """Nobody listens until the server is online; then at its address, ANY at all of IPv4 and IPv6."""
    assert PROGRAM.listeners(console.config) == []
    console.say("server conf iface 127.0.0.1 port 1110")
    assert PROGRAM.listeners(console.config) == []
    console.say("server conf state online")
    assert [listener.address for listener in PROGRAM.listeners(console.config)] == [("127.0.0.1", 1110)]
    console.say("server conf state offline iface ANY")
    console.say("server conf state online")
    (listener,) = PROGRAM.listeners(console.config)
    assert listener.address[1] == 1110
    assert listener.dual_stack == socket.has_dualstack_ipv6()


# Capabilities


def test_the_built_in_capability_list(console: Console) -> None:
    """Without any loaded list the built-in one is shown, and there is nothing to forget."""
    assert console.lines("capa show") == list(BUILT_IN)
    assert refused(console, "capa del") == "no capability list is loaded"


def test_a_capability_list_from_a_file(console: Console, tmp_path: Path) -> None:
    """A loaded list takes the place of the one before, stays when its file goes, and can be forgotten."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("TOP\nUIDL\n")
    second.write_text("UIDL\nEXPIRE NEVER\n")
    assert console.say(f"capa load {first}").text == f"{first}: 2 capabilities"
    console.say(f"capa load {second}")
    second.unlink()

    assert console.lines("capa show") == ["UIDL", "EXPIRE NEVER"]
    assert console.say("capa show").text == f"from {second}"
    console.say("capa del")
    assert console.lines("capa show") == list(BUILT_IN)


def test_faulty_capability_files(console: Console, tmp_path: Path) -> None:
    """A file that is not there, or that is no list, is refused with file and line."""
    faulty = tmp_path / "faulty"
    faulty.write_text("TOP\n.\n")

    assert "No such file" in refused(console, f"capa load {tmp_path}/none")
    assert refused(console, f"capa load {faulty}").startswith(f"{faulty}: line 2 ")
    assert "absolute path" in refused(console, "capa load faulty")


# What it shares with every program


def test_show_config_recreates(console: Console, tmp_path: Path) -> None:
    """The lines of `show config`, said to a fresh server, make the same configuration."""
    (tmp_path / "capa with blank").write_text("TOP\nUIDL\n")
    for line in (
        f"set mailboxdir {tmp_path}",
        "set idletimeout 20m",
        f'capa load "{tmp_path}/capa with blank"',
        "server conf iface 127.0.0.1 port 1110 state online",
        "debug =POP,MAIL",
    ):
        console.say(line)
    again = StoreConsole()
    for line in config_lines(console):
        again.say(line)

    assert config_lines(again) == config_lines(console)
    assert (again.config.variables, again.config.things) == (console.config.variables, console.config.things)
    assert len(config_lines(console)) == 5


def test_debug_options(console: Console) -> None:
    """The debug options are those of a storage server."""
    console.say("debug =ALL")
    assert console.lines("debug") == ["CTRL IO MAIL MAIN NET PASS POP RINGD TLS"]
    assert "allowed: RINGD, CTRL, IO" in refused(console, "debug +AUTH")


def test_sessions_by_mailbox(console: Console) -> None:
    """Sessions are found by mailbox, client and state, and ended by their id."""

    class Status:
        pid, rundir, metrics = 4711, "/run/popular", "127.0.0.1:9111"
        sessions = staticmethod(lambda: SESSIONS)
        workers = staticmethod(lambda: list[str]())

    console.status = Status()  # type: ignore[assignment]
    assert [row["sid"] for row in console.say("sessions mailbox 3/joe").data] == ["p.1.1", "p.1.3"]
    assert [row["sid"] for row in console.say('sessions client 10.0.0.1 state "sending a message"').data] == ["p.1.2"]
    assert refused(console, "sessions vserv v1").startswith("column 10: ")
    outcome = console.say("kill p.1.2")
    assert isinstance(outcome, EndSession)
    assert not isinstance(outcome, Change)
