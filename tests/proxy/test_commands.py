"""The chapter "Runtime configuration", walked through: every variable, command, parameter and state.

The tables here are written by hand from the specification, not derived from the program's own: a row taken out of the
program fails here.
"""

import json
import socket
from pathlib import Path

import pytest

from popular.proxy.program import PROGRAM
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.vserv import Vserv
from supervisor.control.commands.variables import processors
from supervisor.control.language.lookups import ResolveHost, Result
from supervisor.control.language.outcome import Change, EndSession, Shutdown
from tests.proxy.console import Console, refused
from tests.system.certificates import Authority

HOST = socket.gethostname()


@pytest.fixture
def console() -> Console:
    return Console()


# Variables

READ_ONLY = [
    ("id", "Id", "pproxy"),
    ("limitreached", "String", '""'),
    ("metrics", "String", "127.0.0.1:9110"),
    ("pid", "Int", "4711"),
    ("rundir", "Dir", "/run/popular"),
    ("sessionlimit", "Int", "10000"),
    ("version", "String", "2.0"),
]

# name, type as the manual writes it, default, good values, bad values
READ_WRITE = [
    ("allowsslv2", "Bool", "off", ["off", "0", "false", "no"], ["on", "maybe"]),
    (
        "authdelay",
        "off or [report:]Time (1s-1m)",
        "off",
        ["off", "1s", "report:1m", "enforce:2s"],
        ["0", "report:", "x:1s"],
    ),
    ("authdelaymax", "Time (1s-2m)", "15s", ["1s", "2m"], ["0", "121s"]),
    ("authtimeout", "Time (0s-1h)", "2m", ["0", "1h", "30s"], ["1h1s", "-1s", "x"]),
    ("backlog", "Int (5-1024)", "512", ["5", "1024"], ["4", "1025"]),
    ("breakernetworks", "Int (0-8)", "3", ["0", "1", "8"], ["9", "-1", "x"]),
    ("breakerwindow", "Time (1s-10m)", "10s", ["1s", "10m"], ["0", "601s", "x"]),
    ("capadir", "Dir", "/etc/popular/capa", ["/", "/tmp"], ["/no/such/dir", "tmp", "/etc/passwd"]),
    ("checkport", "Int (1-65535)", "50110", ["1", "65535"], ["0", "65536"]),
    ("checktimeout", "Time (1s-1m)", "3s", ["1s", "1m"], ["0", "61s"]),
    ("cluster", "String", '""', ["redis://h/1", "unix:/run/r", '""'], ["x", "http://h", "redis://u:secret@h"]),
    ("clusterpasswordfile", "File", '""', ["/etc/popular/secret", '""'], ["secret"]),
    ("connecttimeout", "Time (1s-10m)", "5s", ["1s", "10m"], ["0", "601s", "x"]),
    ("defaultns", "Id", "default", ["example.org", "a_b-c.d"], ["a b", "a/b", "USER", '""']),
    ("displace", "Bool", "on", ["on", "off"], ["2"]),
    ("exemptnetworks", "Networks", '""', ["192.0.2.0/24,2001:db8::/32", '""'], ["192.0.2.1/24", "x"]),
    ("fallback", "Id", '""', ["b1", '""'], ["a/b"]),
    ("grace", "Time (0s-1d)", "0s", ["0s", "10s", "1d"], ["1d1s", "x"]),
    ("guessrate", "off or [report:]Int (2-1000000)", "off", ["off", "2", "report:30"], ["1", "off:3", "x"]),
    ("hostwatch", "Time (0s-1d)", "5m", ["0", "1s", "1d"], ["1d1s", "x"]),
    ("idletimeout", "Time (10m-1d)", "10m", ["10m", "1d"], ["9m59s", "1d1s", "0"]),
    ("lastlogins", "Bool", "off", ["on", "off"], ["maybe"]),
    ("lastloginusers", "Int (1-100000000)", "1000000", ["1", "100000000"], ["0", "100000001", "x"]),
    ("logfile", "File", "/var/log/popular/pproxy", ["/tmp/x.log", "-"], ["x.log", "/tmp/"]),
    ("logindelay", "off or [report:]Time (1s-1d)", "off", ["off", "1d", "report:30s"], ["0", "25h"]),
    ("logintimeout", "Time (1s-10m)", "30s", ["1s", "10m"], ["0", "601s", "x"]),
    ("maxcommands", "Int (0-10000)", "50", ["0", "10000"], ["-1", "10001"]),
    ("maxerrors", "Int (0-10000)", "10", ["0", "10000"], ["-1", "10001"]),
    ("maxfailures", "Int (1-1000)", "3", ["1", "1000"], ["0", "1001"]),
    ("maxlocalload", "Int (0-9999)", "0", ["0", "9999"], ["-1", "10000"]),
    ("maxpressure", "Int (0-100)", "0", ["0", "100"], ["-1", "101"]),
    ("maxsession", "Int", "1000", ["1000", "10000"], ["0", "999", "10001", "x"]),
    ("networkbits4", "Int (8-32)", "32", ["8", "32"], ["7", "33"]),
    ("networkbits6", "Int (16-128)", "64", ["16", "128"], ["15", "129"]),
    ("networksessions", "off or [report:]Int (1-1000000)", "off", ["off", "9"], ["0", "x"]),
    ("pdmdir", "Dir", None, ["/", "/tmp"], ["/no/such/dir", ""]),
    ("pdmwatch", "Time (0s-1h)", "10s", ["0", "1s", "1h"], ["1h1s", "x"]),
    ("proxytimeout", "Time (10m-1d)", "10m", ["10m", "1d"], ["9m59s", "1d1s", "0"]),
    ("reports", "off, or of cleartext, tls", "off", ["off", "tls", "tls,cleartext"], ["on", "tls,off", "tls,x", ""]),
    ("saltfile", "File", '""', ["/etc/popular/salts", '""'], ["salts"]),
    ("sessiontimeout", "Time (0s-1d)", "0s", ["0s", "1d"], ["25h", "x"]),
    ("sidprefix", "Id", HOST.partition(".")[0], ["p02"], ["p 02", "p/2"]),
    ("softfail", "Bool", "off", ["on", "off", "yes"], ["2"]),
    (
        "tlsciphers",
        "String",
        "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20",
        ["ECDHE+AESGCM", "EECDH+CHACHA20"],
        ["", "no such", "RC4", "HIGH:!aNULL", "RSA"],
    ),
    ("tlsdir", "Dir", "/etc/popular/tls", ["/", "/tmp"], ["/no/such/dir"]),
    ("tlsminversion", "1.2|1.3", "1.2", ["1.3", "1.2"], ["1.1", "1.0", "3"]),
    ("tlswatch", "Time (0s-1h)", "10s", ["0", "1s", "1h"], ["1h1s", "x"]),
    ("tracespace", "Int (0-65536)", "64", ["0", "65536"], ["65537", "64M"]),
    ("usersessions", "off or [report:]Int (1-1000000)", "off", ["OFF", "9", "REPORT:3"], ["0", "x"]),
    ("vservlogins", "off or [report:]Int (1-1000000)", "off", ["off", "9"], ["0", "x"]),
    ("vservsessions", "off or [report:]Int (1-1000000)", "off", ["off", "9"], ["0", "x"]),
    ("workers", "Int (1-1024)", str(processors()), ["1", "1024"], ["0", "1025", "x"]),
    ("workertimeout", "Time (0s-1h)", "30s", ["0", "5s", "1h"], ["2h"]),
]


@pytest.mark.parametrize(("name", "kind", "value"), READ_ONLY)
def test_read_only_variables(console: Console, name: str, kind: str, value: str) -> None:
    """A read-only variable is shown, explained, and cannot be set."""
    assert console.lines(f"show {name}") == [f"{name} {value}"]
    assert refused(console, f"set {name} {value}") == f"column 5: {name} is read-only"
    assert console.lines(f"help {name}")[0].startswith(f"{name}  {kind}")
    assert console.lines(f"help {name}")[0].endswith("read-only")


@pytest.mark.parametrize(("name", "kind", "default", "good", "bad"), READ_WRITE)
def test_read_write_variables(
    console: Console, name: str, kind: str, default: str | None, good: list[str], bad: list[str]
) -> None:
    """A read-write variable has its default and type, takes its whole range, and nothing outside."""
    if default is not None:
        assert console.lines(f"show {name}") == [f"{name} {default}"]
    assert console.lines(f"help {name}")[0].startswith(f"{name}  {kind}")
    assert any(line.startswith("Default: ") for line in console.lines(f"help {name}"))
    for value in bad:
        assert name in refused(console, f'set {name} "{value}"' if '"' not in value else f"set {name} {value}")
    for value in good:
        before = console.config
        console.say(f"set {name} {value}")
        shown = console.lines(f"show {name}")
        console.config = before
        console.say(f"set {shown[0]}")
        assert shown == console.lines(f"show {name}")
        console.config = before


def test_the_default_pdmdir_holds_the_modules(console: Console) -> None:
    """Without any setting, modules are looked for in the package itself."""
    directory = Path(console.config.variables["pdmdir"])

    assert list(directory.glob("libpdm_*.py"))


def test_show_without_a_name_shows_all(console: Console) -> None:
    """`show` lists every variable of the chapter, read-only ones first, and no other."""
    names = [line.split(" ")[0] for line in console.lines("show")]

    assert names == [row[0] for row in READ_ONLY] + [row[0] for row in READ_WRITE]


def test_unknown_variables(console: Console) -> None:
    """A typo in a variable's name is refused with the nearest one."""
    assert refused(console, "show authtimeuot") == 'column 6: no variable "authtimeuot"; did you mean "authtimeout"?'
    assert refused(console, "show confg") == 'column 6: no variable "confg"; did you mean "config"?'
    assert refused(console, "set confg 5") == 'column 5: no variable "confg"'
    assert refused(console, "set nonsense 5") == 'column 5: no variable "nonsense"'


def test_maxsession_only_grows(console: Console) -> None:
    """maxsession is raised up to sessionlimit and never lowered; the error says so."""
    console.say("set maxsession 2000")
    assert "can only be increased; allowed: 2000 to 10000" in refused(console, "set maxsession 1999")
    assert "cannot be more than sessionlimit" in refused(console, "set maxsession 10001")
    assert Console({"sessionlimit": 50}).config.variables["maxsession"] == 50


def test_sslv2_is_refused_with_the_reason(console: Console) -> None:
    """SSLv2 cannot be switched on, and the reply says why."""
    assert "no TLS library speaks it" in refused(console, "set allowsslv2 on")


def test_fallback_may_be_named_before_it_is_made(console: Console) -> None:
    """A fallback that is no backend yet is accepted, and the reply says so."""
    assert 'no backend "b1" is configured yet' in console.say("set fallback b1").text
    console.say("backend conf b1")
    assert "configured yet" not in console.say("set fallback b1").text
    assert "fallback" in console.say("backend del b1").text
    console.say('set fallback ""')
    assert console.config.variables["fallback"] == ""


def test_set_says_when_it_counts(console: Console) -> None:
    """The reply to `set` tells when the new value takes effect."""
    assert "new sessions" in console.say("set idletimeout 1h").text
    assert "offline and online" in console.say("set backlog 5").text
    assert "reopened" in console.say("set logfile -").text


# shutdown, debug


@pytest.mark.parametrize("how", ["parent", "children", "all", "delayed"])
def test_shutdown(console: Console, how: str) -> None:
    """Each of the four variants becomes the master's order."""
    outcome = console.say(f"shutdown {how}")

    assert isinstance(outcome, Shutdown)
    assert outcome.how == how


def test_other_shutdowns_are_refused(console: Console) -> None:
    """Anything else names the four."""
    assert "allowed: parent, children, all, delayed" in refused(console, "shutdown now")
    assert "usage: shutdown parent|children|all|delayed" in refused(console, "shutdown")


DEBUG_OPTIONS = ["AUTH", "CTRL", "IO", "MAIN", "NET", "PASS", "POP", "RINGD", "TLS"]


@pytest.mark.parametrize("option", DEBUG_OPTIONS)
def test_each_debug_option(console: Console, option: str) -> None:
    """Every option is set, shown and removed by its name, in any case."""
    console.say(f"debug +{option.lower()}")
    assert console.config.debug == {option}
    assert console.lines("debug") == [option]
    console.say(f"debug -{option}")
    assert console.lines("debug") == ["NONE"]


def test_debug_forms(console: Console) -> None:
    """'=' sets, '+' adds, '-' removes; commas and blanks separate; ALL includes PASS; NONE is none."""
    steps = [
        ("debug =NET,POP", "NET POP"),
        ("debug +AUTH IO", "AUTH IO NET POP"),
        ("debug - NET,IO POP", "AUTH"),
        ("debug =TLS", "TLS"),
        ("debug +ALL", " ".join(DEBUG_OPTIONS)),
        ("debug -PASS", " ".join(option for option in DEBUG_OPTIONS if option != "PASS")),
        ("debug +NONE", " ".join(option for option in DEBUG_OPTIONS if option != "PASS")),
        ("debug -ALL", "NONE"),
        ("debug =ALL", " ".join(DEBUG_OPTIONS)),
        ("debug =NONE", "NONE"),
    ]
    for line, shown in steps:
        console.say(line)
        assert console.lines("debug") == [shown], line
    assert "passwords are logged" in console.say("debug =ALL").text


@pytest.mark.parametrize("line", ["debug NET", "debug =FOO", "debug +NET,FOO", "debug =", "debug + ,"])
def test_faulty_debug(console: Console, line: str) -> None:
    """No sign, an unknown option or no option at all is refused."""
    assert refused(console, line).startswith("column ")


# vserv

VSERV_PARAMETERS = [
    ("iface", "ANY", ["127.0.0.1", "::1", "any", "localhost"], ["a b", "no-such-host.invalid", "1.2.3.4.5/6"]),
    ("port", "110", ["1", "65535"], ["0", "65536", "x"]),
    ("prot", "POP3", ["POP3", "POP3s", "pop3S"], ["IMAP"]),
    ("starttls", "off", ["off", "optional", "force"], ["on"]),
    ("capa", "", ["std", ""], ["nothere", "a/b"]),
    ("state", "offline", ["offline", "disabled", "fake", "online"], ["up"]),
    ("namespace", "default", ["example.org", "USER"], ["a b", ""]),
    ("bannerok", f"{HOST} POP3 server ready", ["mail.example.org POP3 server ready"], ["é", "x" * 507, "hi <1.2@x>"]),
    ("bannererr", f"{HOST} POP3 server currently disabled", ["gone until noon"], ["é", "x" * 506]),
    ("tls", "", ["context", "mail.example.org", ""], ["a/b", "a b"]),
    ("clientcert", "off", ["off"], ["optional", "require", "on"]),
    ("clientca", "", [""], ["ca.pem", "/no/such/file", "/etc/passwd"]),
    ("proxyprotocol", "off", ["off"], ["on", "optional", "require"]),
    (
        "trusted",
        "",
        ["10.0.0.0/8,::1", "192.0.2.7", "0.0.0.0/0", ""],
        ["10.0.0.1/8", "lb1", "10.0.0.0/8, ::1", ",", "::/129"],
    ),
]


@pytest.mark.parametrize(("name", "default", "good", "bad"), VSERV_PARAMETERS)
def test_vserv_parameters(
    console: Console, tmp_path: Path, name: str, default: str, good: list[str], bad: list[str]
) -> None:
    """Every parameter of a vserv has its default, takes good values, and refuses bad ones with its name."""
    (tmp_path / "std").write_text("TOP\nUIDL\n")
    console.say(f"set capadir {tmp_path}")
    console.say("capa load std")
    console.say("vserv conf v1")
    assert str(getattr(vserv(console), name)) == default
    for value in bad:
        assert f"{name}: " in refused(console, f'vserv conf v1 {name} "{value}"')
    for value in good:
        console.say(f'vserv conf v1 {name} "{value}"')
        assert console.say("vserv show v1").data[name] == getattr(vserv(console), name)


def vserv(console: Console, ident: str = "v1") -> Vserv:
    thing = console.config.things["vserv"][ident]
    assert isinstance(thing, Vserv)
    return thing


def backend(console: Console, ident: str = "b1") -> Backend:
    thing = console.config.things["backend"][ident]
    assert isinstance(thing, Backend)
    return thing


def test_vserv_is_listed_deleted_flushed(console: Console) -> None:
    """list, del and flush do what the chapter says."""
    for ident in ("v1", "v.2", "v-3_x"):
        console.say(f"vserv conf {ident}")
    assert console.lines("vserv list") == ["v1", "v.2", "v-3_x"]
    console.say("vserv del v.2")
    assert console.lines("vserv list") == ["v1", "v-3_x"]
    console.say("vserv flush")
    assert console.lines("vserv list") == []


@pytest.mark.parametrize("sort", ["vserv", "backend"])
def test_things_that_are_not_there(console: Console, sort: str) -> None:
    """show and del of an unknown id are refused with what there is; ids are checked."""
    console.say(f"{sort} conf one")
    for verb in ("show", "del"):
        text = refused(console, f"{sort} {verb} oen")
        assert f'no {sort} "oen"; did you mean "one"?; there are: one' in text
    assert "not an Id" in refused(console, f"{sort} conf a/b")


@pytest.mark.parametrize("sort", ["vserv", "backend"])
def test_conf_is_all_or_nothing(console: Console, sort: str) -> None:
    """One faulty pair refuses the whole command; unknown and repeated parameters are named."""
    assert "port" in refused(console, f"{sort} conf x prot POP3 port 99999")
    assert console.lines(f"{sort} list") == []
    assert refused(console, f"{sort} conf x poort 1").startswith(
        f'column {len(sort) + 9}: "poort" is unknown; did you mean "port"?'
    )
    assert '"port" is given twice' in refused(console, f"{sort} conf x port 1 port 2")
    assert "<value> is missing" in refused(console, f"{sort} conf x port")


@pytest.mark.parametrize("sort", ["vserv", "backend"])
def test_the_33rd_is_refused(console: Console, sort: str) -> None:
    """There are at most 32; changing one of them still works; a start option raises the limit."""
    for number in range(32):
        console.say(f"{sort} conf x{number}")
    told = refused(console, f"{sort} conf x32")
    assert "there are 32" in told
    assert f"--max-{sort}s raises it" in told
    console.say(f"{sort} conf x31 state offline")
    roomy = Console({sort: 33})
    for number in range(33):
        roomy.say(f"{sort} conf x{number}")
    assert "there are 33" in refused(roomy, f"{sort} conf x33")


def test_the_port_follows_the_protocol_until_it_is_set(console: Console) -> None:
    """A port that nobody set is the protocol's own; a port that was set stays, even if it was the same number."""
    console.say("vserv conf v1")
    assert vserv(console).port == 110
    console.say("vserv conf v1 prot POP3s")
    assert vserv(console).port == 995
    assert " port 995 " in console.lines("vserv show v1")[1]
    console.say("vserv conf v1 port 995")
    console.say("vserv conf v1 prot POP3")
    assert vserv(console).port == 995


@pytest.mark.parametrize("change", ["iface 127.0.0.2", "port 1111", "prot POP3s"])
@pytest.mark.parametrize("state", ["disabled", "fake", "online"])
def test_addresses_change_only_offline(console: Console, tmp_path: Path, change: str, state: str) -> None:
    """iface, port and prot of a vserv that is not offline stay; in one command with `state offline` they change."""
    Authority().issue("localhost").write(tmp_path, "default")
    console.say(f"set tlsdir {tmp_path}")
    console.say(f"vserv conf v1 iface 127.0.0.1 port 1110 state {state}")
    text = refused(console, f"vserv conf v1 {change}")
    assert text.startswith("column 15: ")
    assert "take it offline first: vserv conf v1 state offline" in text
    console.say(f"vserv conf v1 state offline {change}")
    console.say(f"vserv conf v1 state {state}")
    assert vserv(console).state == state


def test_capital_and_small_letters(console: Console) -> None:
    """A value that is one of a few words is taken in either, what names something is not."""
    console.say("vserv conf v1 prot pop3S state OFFLINE")
    assert (vserv(console).prot, vserv(console).state) == ("POP3s", "offline")
    assert console.say("shutdown DELAYED")
    console.say("set allowsslv2 OFF")
    console.say("debug +io")
    for line in ("VSERV list", "vserv LIST", "set GRACE 5s", "vserv conf v1 PORT 110", "vserv show V1"):
        assert refused(console, line), line


def test_a_vserv_keeps_the_host_name_that_was_typed(console: Console) -> None:
    """`show` has the name and its address, as of a backend; another name of the address is no other place."""
    console.say("vserv conf v1 iface localhost port 1110 state online")
    there = vserv(console).iface.address
    assert there in ("127.0.0.1", "::1")
    line, _defaults, comment = console.lines("vserv show v1")
    assert (line, comment) == (
        "vserv conf v1 iface localhost port 1110 state online",
        f"# iface localhost is {there}",
    )
    assert console.lines("show config") == [line]
    shown = json.loads(console.lines("json vserv show v1")[0])
    assert (shown["iface"], shown["iface_address"]) == ("localhost", there)
    assert [one.address for one in PROGRAM.listeners(console.config)] == [(there, 1110)]
    assert f"v1 listens on {there} port 1110" in refused(console, f"vserv conf v2 iface {there} port 1110 state online")
    assert "would call itself" in refused(console, "backend conf b host localhost port 1110")
    console.say(f"vserv conf v1 iface {there}")
    assert console.lines("vserv show v1")[0] == f"vserv conf v1 iface {there} port 1110 state online"


def test_a_refusal_names_what_was_said(console: Console) -> None:
    """A port that was never said would follow the protocol: it is the protocol that cannot be changed."""
    console.say("vserv conf v1 state online")
    text = refused(console, "vserv conf v1 namespace other prot POP3s")
    assert text.startswith("column 31: prot can only be changed while it is offline;")


def test_what_does_not_change_may_be_said(console: Console, tmp_path: Path) -> None:
    """A vserv that is online accepts its own port again, so that an rc file can be applied twice, and all else."""
    Authority().issue("localhost").write(tmp_path, "default")
    console.say(f"set tlsdir {tmp_path}")
    line = "vserv conf v1 iface 127.0.0.1 port 1110 prot POP3 state online"
    console.say(line)
    console.say(line)
    console.say("vserv conf v1 namespace other bannerok hello starttls optional state fake")
    assert vserv(console).namespace == "other"


def test_two_vservs_cannot_listen_on_the_same_port(console: Console) -> None:
    """Two vservs on one iface and port are refused, unless one of them is offline."""
    console.say("vserv conf v1 port 1110 state online")
    console.say("vserv conf v2 port 1110")
    assert "vserv v1 listens on ANY port 1110 already" in refused(console, "vserv conf v2 state disabled")
    console.say("vserv conf v3 iface 127.0.0.1 port 1110 state online")
    console.say("vserv conf v1 state offline")
    console.say("vserv conf v2 state online")


def test_pop3s_has_no_starttls(console: Console) -> None:
    """STLS inside TLS makes no sense and is refused."""
    assert "POP3s server has TLS from the start" in refused(console, "vserv conf v1 prot POP3s starttls force")


# backend

COLONS = ":".join(["AB"] * 32)

BACKEND_PARAMETERS = [
    ("host", "", ["127.0.0.1", "::1", "localhost"], ["a b", "no-such-host.invalid", "ANY?"]),
    ("port", "110", ["1", "65535"], ["0", "65536"]),
    ("prot", "POP3", ["POP3", "XPOP", "CXPOP", "cxpop"], ["POP3s", "IMAP"]),
    ("state", "offline", ["offline", "fake", "online"], ["disabled", "up"]),
    ("tls", "off", ["off", "starttls", "implicit"], ["on", "stls", "force"]),
    ("verify", "True", ["on", "off"], ["maybe"]),
    ("tlsname", "", ["mail.example.org", "192.0.2.1", "::1", ""], ["a b", "a..b", "*.example.org"]),
    ("tlsca", "", [""], ["ca.pem", "/no/such/ca.pem", "/etc/passwd", "/tmp"]),
    ("pin", "", ["ab" * 32, COLONS, f"sha256 Fingerprint={COLONS}", ""], ["ab", "xy" * 32, "=", "ab:" * 33]),
    ("sendproxy", "off", ["off", "v1", "v2"], ["on", "v3"]),
    ("xclient", "False", ["on", "off"], ["force"]),
]


@pytest.mark.parametrize(("name", "default", "good", "bad"), BACKEND_PARAMETERS)
def test_backend_parameters(console: Console, name: str, default: str, good: list[str], bad: list[str]) -> None:
    """Every parameter of a backend has its default, takes good values, and refuses bad ones with its name."""
    console.say("backend conf b1")
    assert str(getattr(backend(console), name)) == default
    console.say("backend conf b1 host 127.0.0.1")
    for value in bad:
        assert f"{name}: " in refused(console, f'backend conf b1 {name} "{value}"')
    for value in good:
        console.say(f'backend conf b1 {name} "{value}"')
        assert console.say("backend show b1").data[name] == getattr(backend(console), name)


def test_backend_is_listed_deleted_flushed(console: Console) -> None:
    """list, del and flush do what the chapter says; a change leaves the order."""
    for ident in ("b1", "b2", "b3"):
        console.say(f"backend conf {ident}")
    console.say("backend conf b1 port 2110")
    assert console.lines("backend list") == ["b1", "b2", "b3"]
    console.say("backend del b2")
    assert console.lines("backend list") == ["b1", "b3"]
    console.say("backend flush")
    assert console.lines("backend list") == []


def test_a_backend_goes_online_with_a_host_only(console: Console) -> None:
    """A backend without a host cannot be online."""
    assert "host" in refused(console, "backend conf b1 state online")
    console.say("backend conf b1 host 127.0.0.1 state online")


def test_a_backend_remembers_its_host_as_it_was_typed(console: Console) -> None:
    """`show` prints the name, so that it can be pasted back, and not the address it had then."""
    console.say("backend conf b1 host localhost")
    assert backend(console).address in ("127.0.0.1", "::1")
    assert console.lines("backend show b1")[0] == "backend conf b1 host localhost"
    assert console.lines("backend show b1")[2] == f"# host localhost is {backend(console).address}"
    shown = json.loads(console.lines("json backend show b1")[0])
    assert (shown["host"], shown["host_address"]) == ("localhost", backend(console).address)
    assert backend(console).certified_names == ("localhost",)
    console.say("backend conf b1 tlsname mail.example.org")
    assert backend(console).certified_names == ("mail.example.org",)


@pytest.mark.parametrize(
    ("said", "port"),
    [
        ("prot POP3", 110),
        ("prot POP3 tls starttls", 110),
        ("prot POP3 tls implicit", 995),
        ("prot XPOP tls implicit", 110),
        ("tls implicit port 110", 110),
    ],
)
def test_the_port_of_a_backend_follows_prot_and_tls(console: Console, said: str, port: int) -> None:
    """POP3 in TLS from the start has a port of its own; a port that was set stays."""
    console.say(f"backend conf b1 {said}")
    assert backend(console).port == port


@pytest.mark.parametrize("prot", ["XPOP", "CXPOP"])
def test_what_only_pop3_has(console: Console, prot: str) -> None:
    """XPOP has neither STLS nor XCLIENT; TLS from the start is a matter of the connection."""
    assert "has no command that starts TLS; allowed there: off, implicit" in refused(
        console, f"backend conf b1 prot {prot} tls starttls"
    )
    assert "has no XCLIENT" in refused(console, f"backend conf b1 prot {prot} xclient on")
    console.say(f"backend conf b1 prot {prot} tls implicit sendproxy v2")


def test_a_fingerprint_is_kept_in_one_form(console: Console) -> None:
    """As openssl prints it, with or without colons: it is shown in lower case without them."""
    console.say(f'backend conf b1 pin "sha256 Fingerprint={COLONS}"')
    assert backend(console).pin == "ab" * 32
    assert console.lines("backend show b1")[0] == f"backend conf b1 pin {'ab' * 32}"


def test_the_content_of_tlsca_is_part_of_the_config(console: Console, tmp_path: Path) -> None:
    """It is read when it is said, and again by `tls reload` only; the reply to `show` has the path."""
    path = Authority("one").write(tmp_path)
    first = path.read_text()
    console.say(f"set tlsdir {tmp_path}")
    console.say(f"backend conf b1 tlsca {path}")
    assert console.lines("backend show b1")[0].count(str(path)) == 1
    assert json.loads(console.lines("json backend show b1")[0])["tlsca"] == str(path)
    second = Authority("two").write(tmp_path).read_text()
    console.say("backend conf b1 verify off")
    assert backend(console).tlsca.pem == first != second
    assert "BEGIN" not in repr(backend(console))
    console.say("tls reload")
    assert backend(console).tlsca.pem == second
    path.write_text("no certificate")
    assert "b1: tlsca stays as it was: " in console.say("tls reload").text
    assert backend(console).tlsca.pem == second


def test_proxyprotocol_needs_trusted_networks(console: Console) -> None:
    """A header from anybody would let anybody claim any address: `require` alone is refused with that reason."""
    assert "anybody could claim any address" in refused(console, "vserv conf v1 proxyprotocol require")
    console.say("vserv conf v1 proxyprotocol require trusted 10.0.0.0/8,2001:db8::/32,192.0.2.7")
    assert vserv(console).trusted.typed == "10.0.0.0/8,2001:db8::/32,192.0.2.7"
    for address in ("10.255.0.1", "2001:db8::1", "192.0.2.7", "::ffff:10.0.0.1"):
        assert address in vserv(console).trusted
    for address in ("11.0.0.1", "2001:db9::1", "192.0.2.8", "::ffff:11.0.0.1", "fe80::1%eth0"):
        assert address not in vserv(console).trusted
    assert "anybody could claim" in refused(console, 'vserv conf v1 trusted ""')
    assert 'did you mean "10.0.0.0/8"?' in refused(console, "vserv conf v1 trusted 10.1.2.3/8")


@pytest.mark.parametrize(
    ("iface", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("ANY", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "::1"),
        ("ANY", "::1"),
    ],
)
def test_the_proxy_cannot_call_itself(iface: str, host: str) -> None:
    """A backend that is one of our own vservs is refused, whichever of the two is configured last."""
    first, last = f"vserv conf v1 iface {iface} port 1110 state online", f"backend conf b1 host {host} port 1110"
    for one, other in ((first, last), (last, first)):
        console = Console()
        console.say(one)
        assert "the proxy would call itself" in refused(console, other)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0", "192.0.2.1,0.0.0.0"])
def test_every_address_of_this_host_is_no_server(console: Console, host: str) -> None:
    """Who connects there reaches himself."""
    assert "is every address of this host" in refused(console, f"backend conf b1 host {host}")


def test_a_backend_elsewhere_is_no_loop(console: Console) -> None:
    """Our port on another host, another port on this one, or a vserv that is offline: no loop."""
    console.say("vserv conf v1 port 1110 state online")
    console.say("vserv conf v2 port 1112")
    console.say("backend conf b1 host 192.0.2.1 port 1110")
    console.say("backend conf b2 host 127.0.0.1 port 1111")
    console.say("backend conf b3 host 127.0.0.1 port 1112")


# pdm


def test_pdm(console: Console) -> None:
    """add, list, show, reload, del and flush; the order is kept, arguments are passed on as they are."""
    console.say('pdm add one any b1 "%u@x y" -z')
    console.say("pdm add two passwd /etc/popular/passwd")
    assert console.lines("pdm list") == ["one", "two"]
    assert console.lines("pdm show one") == ['pdm add one any b1 "%u@x y" -z']
    assert console.config.things["pdm"]["one"].args == ("b1", "%u@x y", "-z")
    console.say("pdm reload one")
    console.say("pdm reload one")
    assert console.config.things["pdm"]["one"].reloads == 2
    assert console.lines("pdm list") == ["one", "two"]
    console.say("pdm del one")
    assert console.lines("pdm list") == ["two"]
    console.say("pdm flush")
    assert console.lines("pdm list") == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("pdm add one any b9", 'module "one" is there already, as: pdm add one any b1'),
        ("pdm add a/b any", "not an Id"),
        ("pdm add two ../any", 'column 13: "../any" is not a module name'),
        ("pdm add two", "<mod> is missing; usage: pdm add <id> <mod> [<arg>]…"),
        ("pdm del two", 'no pdm "two"; there are: one'),
        ("pdm reload two", 'no pdm "two"'),
        ("pdm show two", 'no pdm "two"'),
    ],
)
def test_faulty_pdm(console: Console, line: str, text: str) -> None:
    """An id twice, ids and names with forbidden letters, missing arguments and unknown modules are refused."""
    console.say("pdm add one any b1")

    assert text in refused(console, line)


# capa


@pytest.fixture
def capadir(console: Console, tmp_path: Path) -> Path:
    console.say(f"set capadir {tmp_path}")
    return tmp_path


def test_capa(console: Console, capadir: Path) -> None:
    """load, list, show, del; a vserv names a set that is loaded; a set in use is not deleted."""
    (capadir / "std").write_text("TOP\nUIDL\r\nEXPIRE 5 USER\n\n")
    console.say("capa load std")
    assert console.lines("capa list") == ["std"]
    assert console.lines("capa show std") == ["TOP", "UIDL", "EXPIRE 5 USER"]
    assert 'no capability set "sdt" is loaded; did you mean "std"?' in refused(console, "vserv conf v1 capa sdt")
    console.say("vserv conf v1 capa std")
    assert "is in use by vserv v1" in refused(console, "capa del std")
    console.say('vserv conf v1 capa ""')
    console.say("capa del std")
    assert console.lines("capa list") == []
    assert 'no capa "std"' in refused(console, "capa show std")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no capability"),
        (b"\n\n", "no capability"),
        (b"TOP\n.\n", "line 2 is not a capability"),
        (b"TOP\n UIDL\n", "line 2"),
        (b"T\xe9P\n", "line 1"),
        (b"TOP\x00\n", "line 1"),
        (b"X " + b"y" * 509 + b"\n", "line 1"),
        (b"TOP\ntop\n", "line 2: TOP is there twice"),
        (b"".join(b"X%d\n" % number for number in range(1000)), "too long"),
    ],
)
def test_faulty_capability_files(console: Console, capadir: Path, content: bytes, text: str) -> None:
    """A file that would not make a CAPA answer is refused, with the faulty line."""
    (capadir / "bad").write_bytes(content)

    assert text in refused(console, "capa load bad")


@pytest.mark.parametrize("name", ["../passwd", "/etc/passwd", ".", "..", "nothere", "a b", ""])
def test_capability_files_are_in_capadir(console: Console, capadir: Path, name: str) -> None:
    """A name that leads out of capadir, or to nothing, is refused."""
    assert refused(console, f'capa load "{name}"')
    assert capadir.exists()


# prng


def test_prng(console: Console, tmp_path: Path) -> None:
    """The seed is as many octets of the file as were asked for, 1024 by default, and does not show anywhere."""
    seed = tmp_path / "seed"
    seed.write_bytes(bytes(range(256)) * 8)
    outcome = console.say(f"prng {seed}")
    assert isinstance(outcome, Change)
    assert outcome.seed == bytes(range(256)) * 4
    assert "seed=" not in repr(outcome)
    few = console.say(f"prng {seed} 16")
    assert isinstance(few, Change)
    assert few.seed == bytes(range(16))
    random = console.say("prng /dev/urandom 32")
    assert isinstance(random, Change)
    assert len(random.seed) == 32


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("prng", "<filename> is missing; usage: prng <filename> [<bytes>]"),
        ("prng seed", "absolute path"),
        ("prng /no/such/file", "No such file"),
        ("prng /dev/urandom 0", "allowed: a whole number from 1 to 1048576"),
        ("prng /dev/urandom 1048577", "allowed: a whole number from 1 to 1048576"),
        ("prng /dev/null", "holds only 0 octets; 1024 are wanted"),
    ],
)
def test_faulty_prng(console: Console, line: str, text: str) -> None:
    """Missing files, too few octets and numbers out of range are refused."""
    assert text in refused(console, line)


# Beside the chapter


def test_sessions(console: Console) -> None:
    """`sessions` lists them; filters narrow the list."""
    assert len(console.say("sessions").data) == 3
    assert [row["sid"] for row in console.say("sessions user joe").data] == ["p.1.1", "p.1.3"]
    assert [row["sid"] for row in console.say("sessions user joe vserv v2").data] == ["p.1.3"]
    assert [row["sid"] for row in console.say("sessions backend b1 backend b2").data] == ["p.1.1", "p.1.3"]
    assert [row["sid"] for row in console.say('sessions state "waiting for a password"').data] == ["p.1.2"]
    assert console.lines("sessions user nobody") == ["no session"]
    assert console.say("sessions user nobody").data == []
    assert console.lines("sessions user ann") == [
        "sid    user  vserv  backend  state",
        "p.1.2  ann   v1     -        waiting for a password",
    ]
    assert "allowed: user, vserv, backend, state" in refused(console, "sessions colour red")


def test_kill(console: Console) -> None:
    """A living session can be killed, another one is refused."""
    outcome = console.say("kill p.1.2")
    assert isinstance(outcome, EndSession)
    assert outcome.sid == "p.1.2"
    assert 'no session "p.9.9"' in refused(console, "kill p.9.9")


def test_workers(console: Console) -> None:
    """`workers` lists them. People read of births, as in the log; the key in JSON stays."""
    assert console.say("workers").data == [{"slot": 0, "pid": 4712, "generation": 3}]
    assert console.lines("workers") == ["slot  pid   birth", "0     4712  3"]


def test_json(console: Console) -> None:
    """`json COMMAND` gives the data as one JSON line, typed, for what changes something too."""
    console.say("vserv conf v1 port 1110")
    shown = json.loads(console.lines("json vserv show v1")[0])
    assert (shown["id"], shown["port"], shown["starttls"]) == ("v1", 1110, "off")
    assert json.loads(console.lines("json show authtimeout")[0]) == {"authtimeout": 120}
    assert json.loads(console.lines("json sessions user ann")[0])[0]["sid"] == "p.1.2"
    assert console.lines("json vserv conf v1 port 1111") == ["null"]
    assert vserv(console).port == 1111
    assert refused(console, "json vserv shwo v1").startswith('column 12: "shwo" is unknown')


def test_help(console: Console) -> None:
    """`help` lists every command of the chapter; `help WORD` explains one; a typo gets the nearest."""
    usages = " | ".join(console.lines("help"))
    for usage in CHAPTER_USAGES:
        assert usage in usages
    assert any("bannererr" in line for line in console.lines("help vserv conf"))
    assert len(console.lines("help vserv")) == 7
    assert 'did you mean "vserv"?' in refused(console, "help vserw")
    command, *_, of_vserv, _, of_backend, _ = console.lines("help state")
    assert [line.split()[0] for line in (command, of_vserv, of_backend)] == ["state", "vserv", "backend"]
    assert [line.split()[0] for line in console.lines("help backend state")] == ["backend", "state"]
    assert console.lines("help starttls") == console.lines("help vserv starttls")
    assert 'no help about "vserv stat"' in refused(console, "help vserv stat")


def test_help_of_single_words(console: Console) -> None:
    """Every row of a command's help is told where one asks for its word."""
    for command in PROGRAM.commands:
        rows = [line for line in command.help.split("\n") if line.startswith("    ")]
        assert [row.split()[0] for row in rows] == list(command.explained), command.usage
        for word, row in zip(command.explained, rows, strict=True):
            assert row in console.lines(f"help {command.shape.head[0]} {word}"), command.usage


CHAPTER_USAGES = [
    "show [<variable>]",
    "show config",
    "set <variable> <content>",
    "shutdown parent|children|all|delayed",
    "capa list",
    "capa load <name>",
    "capa del <name>",
    "capa show <name>",
    "debug [<options>]…",
    "vserv list",
    "vserv flush",
    "vserv show <id>",
    "vserv conf <id> [<parameter> <value>]…",
    "vserv del <id>",
    "backend list",
    "backend flush",
    "backend show <id>",
    "backend conf <id> [<parameter> <value>]…",
    "backend del <id>",
    "pdm list",
    "pdm flush",
    "pdm add <id> <mod> [<arg>]…",
    "pdm del <id>",
    "pdm reload <id>",
    "pdm show <id>",
    "tls list",
    "tls reload",
    "tls check",
    "prng <filename> [<bytes>]",
    "sessions [user|vserv|backend|state <value>]…",
    "kill <sid>",
    "draft begin",
    "draft say <command>…",
    "draft show",
    "draft check",
    "draft apply [confirm <time>]",
    "draft drop",
    "confirm",
    "rollback",
    "help [<word>]…",
]


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("vs", ["vserv"]),
        ("vserv conf v1 st", ["starttls", "state"]),
        ("vserv conf v1 state ", ["offline", "disabled", "fake", "online"]),
        ("vserv conf v1 state online st", ["starttls"]),
        ("vserv del ", ["v1"]),
        ("set soft", ["softfail"]),
        ("set pi", []),
        ("show pi", ["pid"]),
        ("set softfail ", ["off", "on"]),
        ("debug +N", ["+NET", "+NONE"]),
        ("debug +NET P", ["PASS", "POP"]),
        ("shutdown ", ["parent", "children", "all", "delayed"]),
        ("sessions user ", ["joe", "ann"]),
        ("sessions state w", ['"waiting for a password"']),
        ("kill p", ["p.1.1", "p.1.2", "p.1.3"]),
        ("json vserv sh", ["show"]),
        ("help vserv f", ["flush"]),
    ],
)
def test_completion(console: Console, text: str, candidates: list[str]) -> None:
    """`complete` lists what can stand next, from the tables and from what is configured."""
    console.say("vserv conf v1")
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')

    assert console.lines(f'complete "{quoted}"') == candidates


# The whole configuration

EVERYTHING = """\
set sidprefix p01
set authtimeout 1m30s
set softfail on
set fallback b2
set logfile /tmp/popular.log
set maxsession 4000
prng /dev/urandom 64
set tlsdir {two}
set capadir {one}
capa load std
set capadir {two}
capa load more
backend conf b1 host 127.0.0.1 port 2110 prot CXPOP state online
backend conf b2 host ::1 state fake
backend conf b3
pdm add main any b1 "%n of %d"
set pdmdir {one}
pdm add other any b2
vserv conf v1 iface 127.0.0.1 port 1110 capa std namespace example state online bannerok "a \\"quoted\\" \\\\ banner"
vserv conf v2 prot POP3s namespace USER
vserv conf v3 starttls force state disabled port 1111 bannererr "gone fishing"
debug =NET,POP
"""


@pytest.fixture
def everything(console: Console, tmp_path: Path) -> Console:
    """A console on which everything was configured that can be."""
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
    (one / "std").write_text("TOP\nUIDL\n")
    (two / "more").write_text("USER\n")
    Authority().issue("localhost").write(two, "default")
    for line in EVERYTHING.format(one=one, two=two).splitlines():
        console.say(line)
    return console


def test_show_config_recreates_the_configuration(everything: Console) -> None:
    """What `show config` prints, said to a fresh program, makes the same configuration, and prints the same again."""
    rc = everything.lines("show config")
    fresh = Console()
    for line in rc:
        fresh.say(line)

    assert fresh.config == everything.config
    assert fresh.lines("show config") == rc
    assert all(thing in " ".join(rc) for thing in ("b1", "b2", "b3", "main", "other", "std", "more", "v1", "v2", "v3"))


def test_an_rc_file_can_be_said_again(everything: Console) -> None:
    """The rc file of a running program, said to it line by line, is carried out whole and changes nothing."""
    before = everything.config
    for line in everything.lines("show config"):
        everything.say(line)

    assert everything.config == before
    assert "there already, as: pdm add" in refused(everything, "pdm add main passwd /elsewhere")


@pytest.mark.parametrize("host", ["127.0.0.010", "1.2.3", "2130706433", "0x7f.1", "0x7F000001", "127.1", "1.2.3.4.5"])
def test_a_host_of_numbers_is_an_address_or_none(console: Console, host: str) -> None:
    """What inet_aton(3) would read as some other address is refused, as a backend's host and as an interface."""
    assert "numbers that are no address" in refused(console, f"backend conf b1 host {host}")
    assert "numbers that are no address" in refused(console, f"vserv conf v1 iface {host}")


def test_a_name_that_moved_is_told(console: Console) -> None:
    """A host name that stands for another address than the one in force: by a command, and by a draft's difference."""
    job = ResolveHost("store.example")
    console.known[job] = Result("192.0.2.1")
    console.say("backend conf b1 host store.example")
    assert "# host store.example is 192.0.2.1" in console.lines("backend show b1")
    console.known[job] = Result("192.0.2.2")
    console.say("draft begin")
    console.say("draft say backend conf b1 host store.example")
    moved = "backend b1: host store.example is 192.0.2.2 now, it was 192.0.2.1"
    assert console.lines("draft show")[-1] == f"# {moved}"
    assert json.loads(console.lines("json draft show")[0])["moved"] == [moved]
    console.say("draft drop")
    assert console.say("backend conf b1 host store.example").text == f"backend b1 is changed; note: {moved}"
    assert console.say("backend conf b1 host store.example").text == "backend b1 is changed"


def test_the_fallback_speaks_pop3(console: Console) -> None:
    """Another one is refused, and so is another protocol for the one that is it."""
    console.say("backend conf b1 prot XPOP")
    assert "backend b1 speaks XPOP; the fallback is asked by POP3" in refused(console, "set fallback b1")
    console.say("backend conf b1 prot POP3")
    console.say("set fallback b1")
    assert "it is the fallback, which is asked by POP3" in refused(console, "backend conf b1 prot CXPOP")
    console.say("backend flush")
    assert "it is the fallback" in refused(console, "backend conf b1 prot CXPOP"), "also before it is made"


def test_what_cannot_be_measured_has_no_limit(console: Console) -> None:
    """A limit that would never count is refused; 0 is not."""
    console.status.readable = False
    assert "the load cannot be read on this host" in refused(console, "set maxlocalload 5")
    assert "the pressure cannot be read on this host" in refused(console, "set maxpressure 5")
    console.say("set maxlocalload 0")


def test_a_flush_notes_what_a_del_does(console: Console) -> None:
    """That a backend which goes is still named as fallback."""
    console.say("backend conf b1")
    console.say("set fallback b1")
    assert console.say("backend flush").text == "1 backend deleted; note: it is still named as fallback: b1"


def test_a_fresh_program_has_an_empty_rc_file(console: Console) -> None:
    """What follows its default is left out."""
    assert console.lines("show config") == []


@pytest.mark.parametrize(
    "what", ["vserv show v1", "vserv show v2", "vserv show v3", "backend show b1", "backend show b3"]
)
def test_show_can_be_pasted_back(everything: Console, what: str) -> None:
    """What `show` prints is accepted as it is and changes nothing: what follows its default goes on to follow it."""
    before = everything.config
    line, *comments = everything.lines(what)
    everything.say(line)

    assert everything.lines(what) == [line, *comments]
    assert everything.config == before
    assert all(comment.startswith("# ") for comment in comments)


def test_pdm_show_can_be_pasted_back(everything: Console) -> None:
    """Deleted and pasted back, a module is the same, at the end of the list."""
    (line,) = everything.lines("pdm show other")
    module = everything.config.things["pdm"]["other"]
    everything.say("pdm del other")
    everything.say(line)

    assert everything.config.things["pdm"]["other"] == module


def test_commands_know_whether_they_change_something(console: Console) -> None:
    """Commands that only show are not logged as changes, all others are."""
    only_show = {"show", "sessions", "workers", "help", "json", "complete", "cluster", "explain", "secret", "sign"}
    only_show |= {"history", "diff", "generations", "last", "export"}
    for command in console.language.commands:
        head = command.shape.head
        shows = head[-1] in (*only_show, "list") or head == ("show", "config")
        shows = shows or (head[0] == "draft" and head[1] != "apply") or head[0] == "report"
        assert command.changes != shows, command.pattern


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("workers recyle", 'did you mean "recycle"?'),
        ("vserv conf v bannerok My POP server", "if it belongs to bannerok, put quotes around all of that"),
        ("vserv conf v bannerok My server", "a value with blanks stands in quotes"),
        ("set sidprefix a b", "a value with blanks stands in quotes"),
        ("set logfile /no/such/dir/x", 'logfile: "/no/such/dir" is not a directory'),
        ("set logfile /", "names a directory"),
    ],
)
def test_hints(console: Console, line: str, hint: str) -> None:
    """What is probably meant is said."""
    assert hint in refused(console, line)


def test_a_host_that_is_unknown_is_named_once(console: Console) -> None:
    """The name, and why it has no address."""
    text = refused(console, "backend conf b host no-such-host.invalid")
    assert text.count("no-such-host.invalid") == 1
    assert "has no address" in text


def test_maxsession_at_its_end(console: Console) -> None:
    """Where it can go nowhere, no range is named."""
    console.say("set maxsession 10000")
    assert "cannot be changed any more" in refused(console, "set maxsession 9999")
    assert "cannot be changed any more" in refused(console, "set maxsession 10001")
    console.say("set maxsession 10000")


def test_a_module_for_a_backend_that_is_not_there_yet(console: Console) -> None:
    """It is allowed, with a note."""
    console.say("backend conf store")
    assert "note" not in console.say("pdm add m any store").text
    text = console.say("pdm add n any sotre").text
    assert 'note: no backend "sotre" is configured yet; did you mean "store"?' in text
