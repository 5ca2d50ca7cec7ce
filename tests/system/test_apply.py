"""`pcontrol check`, `apply`, `confirm` and `rollback` against a real pproxy: all of a file is in force, or nothing."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.pcontrol.connection import Connection
from tests.patience import MARGIN, patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

MODULE = """
import os, time
from pathlib import Path
from popular.pdm.contract import UNKNOWN, Module, ModuleFailed

HERE = Path(__file__).parent

class Noted(Module):
    blocking = False

    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, arguments
        if (HERE / "broken").exists():
            raise ModuleFailed("it is broken just now")
        if (HERE / "one only").exists():
            try:
                (HERE / "taken").mkdir()
            except FileExistsError:
                raise ModuleFailed("only one may have it") from None
        time.sleep(float(arguments[0]) if arguments else 0)
        with (HERE / "opened").open("a") as file:
            file.write(f"{os.getpid()} {ident}\\n")

    def check(self, question):
        return UNKNOWN

    def reload(self):
        return Noted(self.ident, self.arguments)

def open_module(ident, arguments):
    return Noted(ident, arguments)
"""


class Site:
    """A proxy that finds the module `noted` in its directory, and a file to apply."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.modules = directory / "modules"
        self.modules.mkdir()
        (self.modules / "libpdm_noted.py").write_text(MODULE)
        self.rc = directory / "my.rc"
        self.port = free_port()
        self.proxy = Proxy(directory, [f"set pdmdir {self.modules}", *self.vserv("old")])

    def vserv(self, banner: str, port: int | None = None) -> list[str]:
        return [f"vserv conf v iface {LOOPBACK} port {port or self.port} state online bannerok {banner}"]

    def write(self, *lines: str) -> None:
        """The whole configuration; its first lines are what the proxy needs in a test."""
        self.rc.write_text("\n".join([f"set pdmdir {self.modules}", *lines]) + "\n")

    def pcontrol(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [program("pcontrol"), "-r", self.proxy.rundir, *words]
        environment = {**os.environ, **more}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=patient(60), check=False, env=environment
        )

    def done(self, *words: str | Path) -> str:
        """Standard output of a pcontrol that succeeds."""
        done = self.pcontrol(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def config(self) -> list[str]:
        return [line for line in self.proxy.said("show config").lines if not line.startswith("#")]

    def greeting(self, port: int | None = None) -> bytes:
        with PopClient(port or self.port) as client:
            return client.line()

    def opened(self) -> list[str]:
        """`PID ID` for each module that was opened, in all workers."""
        noted = self.modules / "opened"
        return noted.read_text().splitlines() if noted.exists() else []

    def refused(self, *words: str | Path) -> str:
        """Standard error of a pcontrol that is refused; nothing has changed."""
        before = self.proxy.said("show config").lines
        done = self.pcontrol(*words)
        assert done.returncode == 1, done
        assert self.proxy.said("show config").lines == before
        return done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Running."""
    made = Site(tmp_path)
    with made.proxy:
        yield made


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def test_apply(site: Site) -> None:
    """The difference is printed, all is in force as one generation, what the file does not say is gone; a virtual
    server that is online moves to another port at once; the same again changes nothing.
    """
    site.proxy.said("backend conf gone")
    before = site.proxy.state().gauges()["generation"]
    port = free_port()
    site.write("# a comment", "", *site.vserv("new", port), "set idletimeout 20m")
    done = site.pcontrol("apply", site.rc)

    assert done.returncode == 0
    assert done.stderr == "pcontrol: in force: 1 gone, 2 changed\n"
    assert done.stdout.splitlines() == [
        "+ set idletimeout 20m",
        "- backend conf gone",
        f"- vserv conf v iface {LOOPBACK} port {site.port} state online bannerok old",
        f"+ vserv conf v iface {LOOPBACK} port {port} state online bannerok new",
        "# gone: backend gone",
        "# changed: variable idletimeout, vserv v",
    ]
    assert site.proxy.state().gauges()["generation"] == before + 1
    assert {site.greeting(port) for _ in range(8)} == {b"+OK new"}
    assert not _answers(site.port)
    assert "idletimeout 20m" in site.proxy.said("show").lines
    again = site.pcontrol("apply", site.rc)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing differs" in again.stderr
    assert site.proxy.state().gauges()["generation"] == before + 1
    (logged,) = site.proxy.log("config_in_force")
    assert logged.fields["gone"] == "backend gone"


def test_two_servers_change_places(site: Site) -> None:
    """Two virtual servers exchange their ports in one file; clients find the other one at each."""
    other = free_port()
    site.proxy.said(f"vserv conf w iface {LOOPBACK} port {other} state online bannerok W")
    site.write(
        f"vserv conf v iface {LOOPBACK} port {other} state online bannerok V",
        f"vserv conf w iface {LOOPBACK} port {site.port} state online bannerok W",
    )
    site.done("apply", site.rc)
    assert {site.greeting(site.port) for _ in range(6)} == {b"+OK W"}
    assert {site.greeting(other) for _ in range(6)} == {b"+OK V"}


def test_equal_modules_stay_open(site: Site) -> None:
    """Modules that the file says as they are go on, in every worker, also one that was reloaded; a changed one is
    opened anew.
    """
    site.proxy.said("pdm add a noted")
    site.proxy.said("pdm add b noted 0")
    site.proxy.said("pdm reload a")
    before = len(site.opened())
    site.write("pdm add b noted 0.01", "pdm add a noted", *site.vserv("new"))
    site.done("apply", site.rc)
    assert [line.split()[1] for line in site.opened()[before:]] == ["b", "b"]
    assert site.proxy.said("pdm list").lines == ["b", "a"]


@pytest.mark.parametrize(
    ("line", "column", "text"),
    [
        ("set grcae 5s", 5, 'did you mean "grace"'),
        ("  vserv conf v prt 1", 16, 'did you mean "prot"'),
        ('set grace "5s', 11, "a quote is not closed"),
        ("shutdown all", 1, "cannot stand in a configuration"),
        ("sessions", 1, "cannot stand in a configuration"),
        ("show config", 1, "cannot stand in a configuration"),
        ("draft apply", 1, "cannot stand in a configuration"),
        ("kill x", 1, "cannot stand in a configuration"),
        ("workers recycle", 1, "cannot stand in a configuration"),
        ("set maxsession 5", 16, "can only be increased"),
        ("backend conf b host no-such-host.invalid", 21, "has no address"),
        ("bogus", 1, '"bogus" is unknown'),
    ],
)
def test_errors_have_a_place(site: Site, line: str, column: int, text: str) -> None:
    """FILE:LINE:COLUMN, exit code 1, and nothing has changed; the same for check, apply and --dry-run."""
    site.write("# one", *site.vserv("new"), line, "set grace 1s")
    for words in (["check"], ["apply"], ["apply", "--dry-run"]):
        told = site.refused(*words, site.rc)
        assert told.startswith(f"pcontrol: {site.rc}:4:{column}: "), told
        assert text in told


def test_a_file_of_passwords_is_in_no_log(site: Site) -> None:
    """Given where a configuration belongs, by mistake."""
    users = site.directory / "users"
    users.write_text("example:joe:{PLAIN}canary:store1:\nann canary\n" + "bob:canary\n" * 3000)
    for words in (["check"], ["apply"], ["drift"]):
        told = site.pcontrol(*words, users).stderr
        assert '"example" is unknown' in told
        assert "canary" not in told
    text = site.proxy.logfile.read_text()
    assert ("draft say example…" in text, "draft say ann…" in text, "canary" in text) == (True, True, False)
    assert text.count("draft say bob") < 4000, "not each of a long file"


def test_all_faults_are_told_but_none_that_follows(site: Site) -> None:
    """Each fault with its place, in the order of the file; not that a thing, or a variable's value, is missing which a
    faulty line was to make; and a line whose fault is its own is told though it names such a thing.
    """
    site.write(
        f"set capadir {site.directory}/none",  # 2: no directory
        "capa load mine",  # follows
        f"vserv conf v iface {LOOPBACK} port {site.port} prt POP3",  # 4
        "vserv conf v proxyprotocol require",  # follows
        "vserv conf v stte online",  # 6: of form
        'backend conf b host "127.0.0.1',  # 7
        "backend conf b state online",  # follows
        "bakend conf c host 127.0.0.1",  # 9
        "backend del c",  # follows
        "backend del d",  # 11
        "set grcae 5s",  # 12
        "set grace 5s",
    )
    for words in (["check"], ["apply"]):
        told = site.refused(*words, site.rc).splitlines()
        places = [line.removeprefix(f"pcontrol: {site.rc}:").split(": ")[0] for line in told]
        assert places == ["2:13", "4:41", "6:14", "7:21", "9:1", "11:13", "12:5"], told
    done = site.pcontrol("--json", "check", site.rc)
    assert [json.loads(line)["line"] for line in done.stderr.splitlines()] == [2, 4, 6, 7, 9, 11, 12]


def test_a_file_that_includes_others(site: Site) -> None:
    """All of them are one configuration."""
    site.rc.with_name("more.rc").write_text("set grace 9s\n")
    site.write("include more.rc", *site.vserv("new"))
    site.done("apply", site.rc)
    assert "set grace 9s" in site.config()


def test_what_a_word_begins_with(site: Site) -> None:
    """A word that begins with # is shown in quotes, and so can be pasted; without quotes it begins a comment."""
    site.proxy.said("pdm add a noted 0 #note")
    site.proxy.said('pdm add c noted 0 "#note"')
    assert site.proxy.said("pdm show a").lines == ["pdm add a noted 0"]
    assert site.proxy.said("pdm show c").lines == ['pdm add c noted 0 "#note"']
    site.rc.write_text("\n".join(site.config()) + "\n")
    assert "nothing differs" in site.pcontrol("apply", site.rc).stderr


def test_what_a_worker_cannot_serve_is_refused_whole(site: Site) -> None:
    """A module that starts in one of two workers only, TLS without a certificate, a port of another program: refused
    with the reason, by check and by apply; nothing is left open.
    """
    port = free_port()
    with socket.create_server((LOOPBACK, 0)) as taken:
        foreign = taken.getsockname()[1]
        tls = f"vserv conf w iface {LOOPBACK} port {port} prot POP3s state online"
        for lines, text in {
            (f"set tlsdir {site.directory}", tls): "certificate",
            (f"vserv conf w iface {LOOPBACK} port {foreign} state online",): "in use by another program",
            (f"vserv conf w iface 192.0.2.1 port {port} state online",): "not an address of this host",
            ("pdm add m nosuch", f"vserv conf w iface {LOOPBACK} port {port} state online"): "nosuch",
        }.items():
            site.write(*site.vserv("new"), *lines)
            assert text in site.refused("check", site.rc)
            assert text in site.refused("apply", site.rc)
            dry = site.pcontrol("apply", "--dry-run", site.rc).stderr
            assert text in dry if text == "certificate" else "nothing tried" in dry
            assert not _answers(port)
    (site.modules / "one only").mkdir()
    site.write("pdm add m noted")
    assert "only one may have it" in site.refused("check", site.rc)
    assert "+ pdm add m noted" in site.pcontrol("check", site.rc).stdout.splitlines(), "what was tried is shown"
    assert site.greeting() == b"+OK old"


def test_check_tries_everything_and_changes_nothing(site: Site) -> None:
    """Modules are started in every worker; the port is free again, the generation is what it was, and the difference
    was shown.
    """
    port = free_port()
    before = site.config(), site.proxy.state().gauges()["generation"]
    site.write("pdm add m noted", *site.vserv("new", port), "set workers 4")
    done = site.pcontrol("check", site.rc)
    assert (done.returncode, done.stderr) == (0, "pcontrol: good, 1 new, 2 changed; nothing was changed\n")
    assert "+ pdm add m noted" in done.stdout.splitlines()
    assert sorted(line.split()[0] for line in site.opened()) == sorted(map(str, site.proxy.workers()))
    assert (site.config(), site.proxy.state().gauges()["generation"]) == before
    assert not _answers(port)
    assert site.greeting() == b"+OK old"
    assert len(site.proxy.workers()) == 2


def test_check_tries_what_runs_unchanged_too(site: Site) -> None:
    """A module that could not be opened again, and a certificate that is gone, are told though nothing differs; what
    runs goes on, and apply has nothing to do.
    """
    site.write("pdm add m noted", *site.vserv("new"))
    site.done("apply", site.rc)
    site.done("check", site.rc)
    (site.modules / "broken").touch()
    assert "module m: it is broken just now" in site.refused("check", site.rc)
    assert "nothing differs" in site.pcontrol("apply", site.rc).stderr
    assert site.greeting() == b"+OK new"


def test_a_start_configuration_is_tried_without_a_program(tmp_path: Path) -> None:
    """`pproxy --check -c FILE`: 0, 1 or 2, all faults, and neither a port nor a run directory is touched."""
    (tmp_path / "libpdm_noted.py").write_text(MODULE)
    rc, port = tmp_path / "my.rc", free_port()
    good = f"set pdmdir {tmp_path}\npdm add m noted\nvserv conf v iface {LOOPBACK} port {port} state online\n"

    def tried(text: str) -> subprocess.CompletedProcess[str]:
        rc.write_text(text)
        command = [program("pproxy"), "--check", "-c", str(rc), "-r", str(tmp_path / "run")]
        return subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)

    with socket.create_server((LOOPBACK, port)):
        done = tried(good)
    assert (done.returncode, done.stderr) == (0, "pproxy: good, 2 new, 1 changed; nothing was changed\n")
    assert len((tmp_path / "opened").read_text().splitlines()) == 1, "the module was opened"
    done = tried(good + "set grcae 1\nset fallback 'x\nbackend conf b host no-such-host.invalid\n")
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [f"{rc}:4:5", f"{rc}:5:14", f"{rc}:6:21"]
    tls = f"set tlsdir {tmp_path}\nvserv conf w iface {LOOPBACK} port {port + 1} prot POP3s state online\n"
    for text, reason in {good + tls: "default.pem is not there", good + "pdm add n nosuch\n": "module n: "}.items():
        done = tried(text)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{rc}: ")
        assert reason in done.stderr
    rc.unlink()
    gone = [program("pproxy"), "--check", "-c", str(rc)]
    assert subprocess.run(gone, capture_output=True, timeout=patient(30), check=False).returncode == 2
    assert not (tmp_path / "run").exists()


def test_a_start_may_have_few_sessions(tmp_path: Path) -> None:
    """Any number up to sessionlimit, also below the default; then it can only grow, in a file as well."""
    site = Site(tmp_path)
    site.write("set maxsession 3", *site.vserv("new"))
    site.proxy = Proxy(tmp_path, options=["-c", str(site.rc)])
    with site.proxy:
        wait_until(lambda: _answers(site.port), "it serves")
        clients = [PopClient(site.port) for _ in range(3)]
        assert [client.line() for client in clients] == [b"+OK new"] * 3
        with PopClient(site.port) as waiting:
            assert select.select([waiting.connection], [], [], 0.5)[0] == [], "there are only three tokens"
            site.done("check", site.rc)
            assert "nothing differs" in site.pcontrol("apply", site.rc).stderr
            site.write("set maxsession 2", *site.vserv("new"))
            assert "it is 3 and can only be increased" in site.refused("apply", site.rc)
            site.write("set maxsession 4", *site.vserv("new"))
            done = site.pcontrol("apply", "--confirm", "1m", site.rc)
            assert "note: all but maxsession: it is 4 and can only be increased" in done.stderr, done
            assert waiting.line() == b"+OK new"
        for client in clients:
            client.close()
        site.done("rollback")
        assert "maxsession 4" in site.proxy.said("show").lines


def test_check_loses_nobody(site: Site) -> None:
    """Clients come without a pause while a configuration with more workers, and another name for the port in use, is
    checked thirty times, and refused by a worker ten times: each of them is greeted by the old one.
    """
    greeted: list[bytes] = []
    over = threading.Event()

    def connect() -> None:
        while not over.is_set():
            greeted.append(site.greeting())

    threads = [threading.Thread(target=connect) for _ in range(3)]
    for thread in threads:
        thread.start()
    line = f"vserv conf other iface {LOOPBACK} port {site.port} state online bannerok new"
    site.write(line, "set workers 5")
    for _ in range(10):
        site.done("check", site.rc)
    site.write(line, "set workers 5", "pdm add m nosuch")
    for _ in range(10):
        site.refused("apply", site.rc)
    over.set()
    for thread in threads:
        thread.join()
    assert set(greeted) == {b"+OK old"}
    assert len(greeted) > 100


def test_maxsession_is_not_lowered(site: Site) -> None:
    """A file that leaves it at its default while it was raised is refused, with the reason."""
    site.proxy.said("set maxsession 2000")
    site.write(*site.vserv("new"))
    assert "maxsession: it is 2000 and can only be increased" in site.refused("apply", site.rc)


def test_nobody_confirms(site: Site) -> None:
    """The configuration before comes back by itself, though pcontrol is gone and both workers are killed meanwhile;
    until then other changes are refused, and everything else is answered.
    """
    before = site.config()
    site.write(*site.vserv("new"), "set maxsession 3000")
    done = site.pcontrol("apply", site.rc, "--confirm", "3s")
    assert "say `confirm` within 3 s" in done.stderr
    assert site.greeting() == b"+OK new"
    assert site.proxy.said("show config").lines[0].startswith("# awaits `confirm`: 3 s left")
    for command in ("set grace 1s", "vserv del v", "pdm add m any b"):
        assert "awaits `confirm`" in site.proxy.control(command).text
    site.write(*site.vserv("third"), "set maxsession 3000")
    assert "awaits `confirm`" in site.pcontrol("apply", site.rc).stderr
    site.done("check", site.rc)
    site.proxy.said("sessions")
    for pid in site.proxy.workers():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: site.proxy.log("sentence")[-1].fields["line"] == "rollback", "it is back")
    assert {site.greeting() for _ in range(6)} == {b"+OK old"}
    assert sorted(site.config()) == sorted(["set maxsession 3000", *before])
    assert site.proxy.log("not_confirmed")
    site.proxy.said("set grace 1s")
    assert "no confirmation is awaited" in site.proxy.control("confirm").text


def test_confirm_and_rollback(site: Site) -> None:
    """What is confirmed stays, beyond the time; rollback goes back, before the time and after it, once."""
    before = site.config()
    site.write(*site.vserv("new"))
    site.done("apply", site.rc, "--confirm", "1")
    assert site.pcontrol("confirm").stderr == "pcontrol: the configuration stays\n"
    time.sleep(1.3)
    assert site.greeting() == b"+OK new"
    site.done("rollback")
    assert site.config() == before
    assert site.greeting() == b"+OK old"
    assert "nothing to go back to" in site.refused("rollback")
    assert "no confirmation is awaited" in site.refused("confirm")
    site.done("apply", site.rc, "--confirm", "60")
    site.done("rollback")
    assert site.config() == before
    site.proxy.said("set grace 0s")


def test_a_way_back_that_is_blocked(site: Site) -> None:
    """The configuration before cannot be served at the time (its module is broken): that is logged as critical, what
    runs goes on, and it comes back as soon as it can.
    """
    site.proxy.said("pdm add m noted")
    site.write(*site.vserv("new"))
    site.done("apply", site.rc, "--confirm", "1")
    (site.modules / "broken").mkdir()
    wait_until(lambda: bool(site.proxy.log("cannot_go_back")), "the rollback point is blocked")
    assert site.proxy.log("cannot_go_back")[0].level == "SOS"
    assert "broken just now" in site.proxy.log("cannot_go_back")[0].fields["reason"]
    assert site.greeting() == b"+OK new"
    assert "awaits `confirm`" in site.proxy.control("set grace 1s").text
    time.sleep(4.5)  # two more attempts
    assert len(site.proxy.log("cannot_go_back")) == len(site.proxy.log("not_confirmed")) == 1, "each is told once"
    (site.modules / "broken").rmdir()
    wait_until(lambda: site.greeting() == b"+OK old", "it is back")
    assert site.proxy.said("pdm list").lines == ["m"]


def test_a_draft_goes_with_its_connection(site: Site) -> None:
    """A connection that is lost in the middle of a draft leaves nothing; two connections have a draft each."""
    before = site.config()
    path = site.proxy.rundir / "pproxy.ctrl"
    lost, one, other = (Connection(path, 20) for _ in range(3))
    for connection in (lost, one, other):
        assert connection.say("draft begin").ok
        assert connection.say(f"draft say set pdmdir {site.modules}").ok
    assert lost.say("draft say backend conf lost").ok
    lost._socket.sendall(b"draft say vserv conf v po")
    lost.close()
    assert one.say("draft say backend conf one").ok
    assert other.say("draft say backend conf other").ok
    assert site.config() == before
    assert one.say("draft apply").ok
    assert not one.say("draft show").ok, "an applied draft is no draft any more"
    assert "backend conf one" in site.config()
    assert "- backend conf one" in other.say("draft show").lines
    assert other.say("draft apply").ok
    assert site.config()[-1] == "backend conf other"
    assert one.say("draft drop").text.startswith("no draft is begun")
    for connection in (one, other):
        connection.close()


def test_a_file_waits_for_the_start(tmp_path: Path) -> None:
    """A file that is applied while the start configuration is still being carried out waits, and the start does not
    fail of it: its commands are not mixed with those of the file.
    """
    site = Site(tmp_path)
    site.write("pdm add m noted 0.7", "pdm add n noted", *site.vserv("start"))
    first = site.rc.rename(tmp_path / "start.rc")
    site.proxy = Proxy(tmp_path, options=["-c", str(first)])
    waiting = subprocess.Popen(
        [program("pcontrol"), "-r", site.proxy.rundir, "apply", "--watch=0.1", site.rc],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    site.write("pdm add n noted", *site.vserv("applied"))
    try:
        with site.proxy:
            wait_until(lambda: _answers(site.port) and site.greeting() == b"+OK applied", "the file is in force")
            assert site.proxy.said("pdm list").lines == ["n"]
            lines = [entry.fields["line"] for entry in site.proxy.log("sentence")]
            assert lines[-1] == "draft apply"
            assert "pdm add n noted" in lines
    finally:
        waiting.terminate()
        assert waiting.wait(patient(20)) == 0
        assert waiting.stderr is not None
        waiting.stderr.close()


def test_json_and_standard_input(site: Site) -> None:
    """--json gives the difference as one line of JSON; the file may come from standard input."""
    site.write(*site.vserv("new"))
    done = site.pcontrol("--json", "check", site.rc)
    assert done.stdout.startswith('{"lines": ["- vserv')
    with site.rc.open() as rc:
        command = [program("pcontrol"), "-r", str(site.proxy.rundir), "apply", "-"]
        subprocess.run(command, stdin=rc, check=True, timeout=patient(30), capture_output=True)
    assert site.greeting() == b"+OK new"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("variable", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours(site: Site, variable: dict[str, str], coloured: bool) -> None:
    """On a terminal what goes is red and what comes is green, unless NO_COLOR is set; elsewhere it is plain."""
    site.write(*site.vserv("new"))
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | variable
    command = [program("pcontrol"), "-r", str(site.proxy.rundir), "apply", "--dry-run", str(site.rc)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as shown:
        os.close(theirs)
        assert shown.wait(patient(20)) == 0
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert ("\033[31m- vserv" in seen, "\033[32m+ vserv" in seen) == (coloured, coloured)
    assert ("\033" in seen) == coloured
    assert "\033" not in site.done("apply", "--dry-run", site.rc)


def test_a_long_file(site: Site) -> None:
    """10,000 lines are applied in one go, and others are answered meanwhile without a noticeable wait."""
    lines = [f"pdm add m{number} noted" for number in range(100)]
    lines += [f"set grace {number % 60}s" for number in range(9_800)]
    site.write(*lines, *site.vserv("new"))
    longest = 0.0
    over = threading.Event()

    def ask() -> None:
        nonlocal longest
        while not over.is_set():
            began = time.monotonic()
            site.proxy.said("show pid")
            longest = max(longest, time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    began = time.monotonic()
    site.done("apply", site.rc)
    took = time.monotonic() - began
    over.set()
    asking.join()
    print(f"10,000 lines: {took:.2f} s, longest wait of another {longest * 1000:.0f} ms")
    assert site.greeting() == b"+OK new"
    assert len(site.proxy.said("pdm list").lines) == 100
    assert longest < patient(MARGIN * 0.1)
    site.rc.write_text(site.rc.read_text() + "bogus\n")
    assert f"{site.rc}:9903:1: " in site.refused("apply", site.rc)
