"""The control language of `pserv`: its variables, `server`, `capa`, and what it shares with every program.

The tables here are written by hand, not derived from the program's own: a row taken out of the program fails here.
"""

import socket
from pathlib import Path

import pytest

from popular.protocol.capabilities import DEFAULT
from popular.store.pserv.program import PROGRAM, listeners
from supervisor.config import Config
from supervisor.control.difference import config_lines
from supervisor.control.language import Language, Refused
from supervisor.control.outcome import Change, Kill
from supervisor.control.variables import initial_values, processors
from tests.proxy.desk import Desk

SESSIONS = [
    {"sid": "p.1.1", "mailbox": "3/joe", "client": "10.0.0.1", "state": "waiting for a command"},
    {"sid": "p.1.2", "mailbox": "a/ann", "client": "10.0.0.1", "state": "sending a message"},
    {"sid": "p.1.3", "mailbox": "3/joe", "client": "10.0.0.2", "state": "sending a message"},
]


class StoreDesk(Desk):
    """A desk of `pserv`."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config(
            0, initial_values(PROGRAM.variables, self.limits), things={sort: {} for sort in PROGRAM.sorts}
        )
        self.first = self.config
        self.language = Language(PROGRAM.sentences)
        self.program = PROGRAM


@pytest.fixture
def desk() -> StoreDesk:
    return StoreDesk()


def refused(desk: Desk, line: str) -> str:
    """The text with which a sentence is refused; the config must not have changed."""
    before = desk.config
    with pytest.raises(Refused) as refusal:
        desk.say(line)
    assert desk.config is before
    return str(refusal.value)


# Variables

READ_ONLY = [
    ("id", "Id", "pserv"),
    ("metrics", "String", "127.0.0.1:9110"),
    ("pid", "Int", "4711"),
    ("rundir", "Dir", "/run/popular"),
    ("sessionlimit", "Int", "10000"),
    ("version", "String", PROGRAM.version),
]

# name, type as the manual writes it, default, good values, bad values
READ_WRITE = [
    ("backlog", "Int (5-1024)", "512", ["5", "1024"], ["4", "1025"]),
    ("grace", "Time (0s-1d)", "0s", ["0s", "10s", "1d"], ["1d1s", "x"]),
    ("idletimeout", "Time (10m-1d)", "10m", ["10m", "1d"], ["9m59s", "1d1s", "0"]),
    ("logfile", "File", "/var/log/popular/pserv", ["/tmp/x.log", "-"], ["x.log", "/tmp/"]),
    ("mailboxdir", "Dir", "/pop", ["/", "/tmp"], ["/no/such/dir", "tmp", "/etc/passwd"]),
    ("maxlocalload", "Int (0-9999)", "0", ["0", "9999"], ["-1", "10000"]),
    ("maxpressure", "Int (0-100)", "0", ["0", "100"], ["-1", "101"]),
    ("maxsession", "Int", "1000", ["1000", "10000"], ["0", "999", "10001"]),
    ("requesttimeout", "Time (1s-1h)", "30s", ["1s", "1h"], ["0", "1h1s"]),
    ("sessiontimeout", "Time (0s-1d)", "0s", ["0s", "1d"], ["25h", "x"]),
    ("workers", "Int (1-1024)", str(processors()), ["1", "1024"], ["0", "1025", "x"]),
    ("workertimeout", "Time (0s-1h)", "30s", ["0", "5s", "1h"], ["2h"]),
]


@pytest.mark.parametrize(("name", "kind", "value"), READ_ONLY)
def test_read_only_variables(desk: Desk, name: str, kind: str, value: str) -> None:
    """A read-only variable is shown, explained, and cannot be set."""
    assert desk.lines(f"show {name}") == [f"{name} {value}"]
    assert refused(desk, f"set {name} {value}") == f"column 5: {name} is read-only"
    assert desk.lines(f"help {name}")[0].startswith(f"{name}  {kind}")


@pytest.mark.parametrize(("name", "kind", "default", "good", "bad"), READ_WRITE)
def test_read_write_variables(desk: Desk, name: str, kind: str, default: str, good: list[str], bad: list[str]) -> None:
    """A read-write variable has its default and type, takes its whole range, and nothing outside."""
    assert desk.lines(f"show {name}") == [f"{name} {default}"]
    assert desk.lines(f"help {name}")[0].startswith(f"{name}  {kind}")
    for value in bad:
        assert name in refused(desk, f"set {name} {value}")
    for value in good:
        before = desk.config
        desk.say(f"set {name} {value}")
        shown = desk.lines(f"show {name}")
        desk.config = before
        desk.say(f"set {shown[0]}")
        assert desk.lines(f"show {name}") == shown
        desk.config = before


def test_show_without_a_name_shows_all(desk: Desk) -> None:
    """`show` lists every variable, read-only ones first, and no other."""
    names = [line.split(" ")[0] for line in desk.lines("show")]

    assert names == [row[0] for row in READ_ONLY] + [row[0] for row in READ_WRITE]


# The server

PARAMETERS = [
    ("iface", "ANY", ["127.0.0.1", "::1", "any"], ["no host", "1.2.3.4.5x!"]),
    ("port", "110", ["1", "65535"], ["0", "65536", "pop3"]),
    ("state", "offline", ["online", "offline"], ["disabled", "fake"]),
]


@pytest.mark.parametrize(("name", "default", "good", "bad"), PARAMETERS)
def test_parameters_of_the_server(desk: Desk, name: str, default: str, good: list[str], bad: list[str]) -> None:
    """Each parameter has its default, takes what it should, nothing else, and is explained."""
    assert any(line.startswith(f"    {name}  ") for line in desk.lines("help server conf"))
    for value in bad:
        assert name in refused(desk, f'server conf {name} "{value}"')
    desk.say("server conf")
    assert f" {name} {default}" in desk.lines("server show")[1]
    for value in good:
        desk.say(f"server conf {name} {value}")
        assert f" {name} {value if value != 'any' else 'ANY'}" in desk.lines("server show")[0]


def test_there_is_one_server_without_a_name(desk: Desk) -> None:
    """`server conf` makes it, changes it afterwards, and `server show` prints what makes it anew; no other sentence."""
    assert refused(desk, "server show") == "no server is configured; make it with: server conf"
    assert desk.say("server conf port 1110").text == "server is made"
    assert desk.say("server conf state online").text == "server is changed"
    line, *comments = desk.lines("server show")
    assert (line, comments) == ("server conf port 1110 state online", ["# defaults: iface ANY"])

    again = StoreDesk()
    again.say(line)
    assert again.lines("server show") == [line, *comments]
    assert refused(desk, "server list").startswith("column 8: ")
    assert refused(desk, "server conf s1 5").startswith("column 13: ")


def test_what_is_wrong_with_a_parameter_is_told(desk: Desk) -> None:
    """Unknown, doubled and half-said parameters are refused by name."""
    assert refused(desk, "server conf prot 110") == (
        'column 13: "prot" is unknown; did you mean "port"?; allowed: iface, port, state'
    )
    assert "given twice" in refused(desk, "server conf port 110 port 111")
    assert "<value> is missing" in refused(desk, "server conf port")


def test_address_and_port_change_only_offline(desk: Desk) -> None:
    """While the server is online iface and port stay; going offline in the same sentence will do."""
    desk.say("server conf iface 127.0.0.1 port 1110 state online")

    assert refused(desk, "server conf port 1111") == (
        "column 13: port can only be changed while it is offline; take it offline first: server conf state offline"
    )
    assert "offline" in refused(desk, "server conf iface ::1")
    desk.say("server conf port 1111 state offline")
    desk.say("server conf iface ::1")
    assert desk.lines("server show") == ["server conf iface ::1 port 1111 state offline"]


def test_listeners_follow_the_server(desk: Desk) -> None:
    """Nobody listens until the server is online; then at its address, ANY at all of IPv4 and IPv6."""
    assert listeners(desk.config) == []
    desk.say("server conf iface 127.0.0.1 port 1110")
    assert listeners(desk.config) == []
    desk.say("server conf state online")
    assert [listener.address for listener in listeners(desk.config)] == [("127.0.0.1", 1110)]
    desk.say("server conf state offline iface ANY")
    desk.say("server conf state online")
    (listener,) = listeners(desk.config)
    assert listener.address[1] == 1110
    assert listener.dual_stack == socket.has_dualstack_ipv6()


# Capabilities


def test_the_built_in_capability_list(desk: Desk) -> None:
    """Without any loaded list the built-in one is shown, and there is nothing to forget."""
    assert desk.lines("capa show") == list(DEFAULT)
    assert refused(desk, "capa del") == "no capability list is loaded"


def test_a_capability_list_from_a_file(desk: Desk, tmp_path: Path) -> None:
    """A loaded list takes the place of the one before, stays when its file goes, and can be forgotten."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("TOP\nUIDL\n")
    second.write_text("UIDL\nEXPIRE NEVER\n")
    assert desk.say(f"capa load {first}").text == f"{first}: 2 capabilities"
    desk.say(f"capa load {second}")
    second.unlink()

    assert desk.lines("capa show") == ["UIDL", "EXPIRE NEVER"]
    assert desk.say("capa show").text == f"from {second}"
    desk.say("capa del")
    assert desk.lines("capa show") == list(DEFAULT)


def test_faulty_capability_files(desk: Desk, tmp_path: Path) -> None:
    """A file that is not there, or that is no list, is refused with file and line."""
    faulty = tmp_path / "faulty"
    faulty.write_text("TOP\n.\n")

    assert "No such file" in refused(desk, f"capa load {tmp_path}/none")
    assert refused(desk, f"capa load {faulty}").startswith(f"{faulty}: line 2 ")
    assert "absolute path" in refused(desk, "capa load faulty")


# What it shares with every program


def test_show_config_recreates(desk: Desk, tmp_path: Path) -> None:
    """The lines of `show config`, said to a fresh server, make the same configuration."""
    (tmp_path / "capa with blank").write_text("TOP\nUIDL\n")
    for line in (
        f"set mailboxdir {tmp_path}",
        "set idletimeout 20m",
        f'capa load "{tmp_path}/capa with blank"',
        "server conf iface 127.0.0.1 port 1110 state online",
        "debug =POP,MAIL",
    ):
        desk.say(line)
    again = StoreDesk()
    for line in config_lines(desk):
        again.say(line)

    assert config_lines(again) == config_lines(desk)
    assert (again.config.variables, again.config.things) == (desk.config.variables, desk.config.things)
    assert len(config_lines(desk)) == 5


def test_debug_options(desk: Desk) -> None:
    """The debug options are those of a storage server."""
    desk.say("debug =ALL")
    assert desk.lines("debug") == ["CTRL MAIL NET PASS POP"]
    assert "allowed: CTRL" in refused(desk, "debug +TLS")


def test_sessions_by_mailbox(desk: Desk) -> None:
    """Sessions are found by mailbox, client and state, and ended by their id."""

    class Status:
        pid, rundir, metrics = 4711, "/run/popular", "127.0.0.1:9111"
        sessions = staticmethod(lambda: SESSIONS)
        workers = staticmethod(list)

    desk.status = Status()  # type: ignore[assignment]
    assert [row["sid"] for row in desk.say("sessions mailbox 3/joe").data] == ["p.1.1", "p.1.3"]
    assert [row["sid"] for row in desk.say('sessions client 10.0.0.1 state "sending a message"').data] == ["p.1.2"]
    assert refused(desk, "sessions vserv v1").startswith("column 10: ")
    outcome = desk.say("kill p.1.2")
    assert isinstance(outcome, Kill)
    assert not isinstance(outcome, Change)
