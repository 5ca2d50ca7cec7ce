"""pcheckd as a process, asked by pcheck and by raw sockets, on the loopback."""

import contextlib
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from popular.protocol.mailcheck import LONGEST_QUESTION, Mail, parse_mail_answer
from popular.store.maildir.maildir import Maildir
from popular.store.tools.pcheckd import Checker
from supervisor.runtime import signals
from supervisor.runtime.log import Log
from tests.patience import patient, within
from tests.system.site import wait_until

PCHECKD = (sys.executable, "-m", "popular.store.tools.pcheckd")
PCHECK = (sys.executable, "-m", "popular.store.tools.pcheck")


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Site:
    """A mail root, a run directory, a log, and the pcheckds that were started on them."""

    def __init__(self, place: Path) -> None:
        self.root = place / "pop"
        self.rundir = place / "run"
        self.logfile = place / "log"
        self.load_file = place / "loadavg"
        self.root.mkdir()
        self.load_file.write_text("1.50 0.00 0.00 1/100 4711\n")
        self.host = "127.0.0.1"
        self.port = free_port()

    @property
    def pid_file(self) -> Path:
        return self.rundir / "pcheckd.pid"

    @property
    def log(self) -> str:
        return self.logfile.read_text() if self.logfile.exists() else ""

    def arguments(self, *more: str) -> list[str]:
        places = ["-m", str(self.root), "-r", str(self.rundir), "-l", str(self.logfile)]
        return [*places, "--load-file", str(self.load_file), "-p", str(self.port), "-h", self.host, *more]

    @contextmanager
    def running(self, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        """pcheckd in the foreground, ready."""
        before = self.log.count(" start ")
        process = subprocess.Popen([*PCHECKD, *self.arguments("--nodeamon", *more)], stderr=subprocess.PIPE)
        try:
            wait_until(lambda: self.log.count(" start ") > before or process.poll() is not None, "pcheckd starts")
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=patient(10))

    def ask(
        self, packet: bytes, seconds: float = 10.0, host: str | None = None, source: str | None = None
    ) -> bytes | None:
        """The answer to a packet, on a socket of its own, that is bound to `source`."""
        family = socket.AF_INET6 if ":" in (host or self.host) else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(seconds)
            if source:
                asking.bind((source, 0))
            asking.connect((host or self.host, self.port))
            asking.send(packet)
            try:
                return asking.recv(1000)
            except TimeoutError:
                return None

    def pcheck(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*PCHECK, "-s", self.host, "-p", str(self.port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)

    def fill(self, mailbox: str, mail: Mail) -> None:
        maildir = Maildir(self.root, mailbox)
        if mail is not Mail.NONE:
            maildir.deliver([b"x\r\n"])
        if mail is Mail.ONLY_READ:
            maildir.update([], maildir.list().messages)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_pcheck_and_its_exit_codes(site: Site) -> None:
    """0 no mail, 1 mail, 2 trouble, 3 bad command line; the server's answer is printed."""
    site.fill("3/2d/joe", Mail.NEW)
    site.fill("ann", Mail.ONLY_READ)
    (site.root / "bad").touch()
    with site.running():
        for arguments, code, said in (
            (["-m", "3/2d/joe"], 1, "+OK 2 new mail\n"),
            (["--get-mailbox", "ann"], 1, "+OK 1 mail\n"),
            (["-m", "nobody"], 0, "+OK 0 no mail\n"),
            (["-m", "bad"], 2, "-ERR cannot look into the mailbox\n"),
            (["-l"], 0, "+OK 1.50\n"),
            ([], 0, "+OK 1.50\n"),
        ):
            ran = site.pcheck(*arguments)
            assert (ran.returncode, ran.stdout) == (code, said), arguments
    assert " ADM 0006 dir_access_failed peer='127.0.0.1' reason='cannot check mailbox bad: " in site.log


@pytest.mark.parametrize(
    "arguments",
    [
        ["-l", "-m", "joe"],
        ["-m", "../joe"],
        ["-m", ""],
        ["-p", "0"],
        ["-p", "x"],
        ["-t", "0"],
        ["-t", "nan"],
        ["-t", "1e300"],
        ["x"],
        ["-s", "127.0.0.010"],
    ],
)
def test_pchecks_bad_command_lines(site: Site, arguments: list[str]) -> None:
    """3, with the reason, and nothing is sent."""
    ran = site.pcheck(*arguments)
    assert ran.returncode == 3
    assert ran.stderr.count("\n") >= 2
    assert ran.stdout == ""


def test_pcheck_without_a_server(site: Site) -> None:
    """2 when nobody listens, when nobody answers in time, and when the host is unknown."""
    assert site.pcheck("-m", "joe").returncode == 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((site.host, site.port))
        with within(0.5):
            ran = site.pcheck("-m", "joe", "-t", "0.3")
        assert ran.returncode == 2
        assert "no answer" in ran.stderr
    assert site.pcheck("-s", "no-such-host.invalid", "-m", "joe").returncode == 2


def test_pcheck_takes_no_answer_from_others(site: Site) -> None:
    """A packet from another address than the one asked is not the answer."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger,
    ):
        server.bind((site.host, site.port))
        server.settimeout(patient(10))
        asking = subprocess.Popen([*PCHECK, "-p", str(site.port), "-m", "joe"], stdout=subprocess.PIPE, text=True)
        packet, address = server.recvfrom(1000)
        assert packet == b"*Mjoe\r\n"
        forger.sendto(b"+OK 2 forged\n", address)
        server.sendto(b"+OK 0 real\n", address)
        assert asking.communicate(timeout=patient(10))[0] == "+OK 0 real\n"
        assert asking.returncode == 0


def test_every_form_of_the_question(site: Site) -> None:
    """With CR, LF, both, neither, and the old form without a letter."""
    site.fill("joe", Mail.NEW)
    with site.running():
        for packet in (b"*Mjoe", b"*Mjoe\n", b"*Mjoe\r", b"*Mjoe\r\n", b"joe", b"joe\r\n"):
            assert site.ask(packet) == b"+OK 2 new mail\n", packet
        for packet in (b"*L", b"*L\r\n"):
            assert site.ask(packet) == b"+OK 1.50\n"


def test_bad_packets(site: Site) -> None:
    """Each gets a short -ERR, or silence where an answer would do harm; the next question is answered."""
    with site.running():
        for packet in (b"", b"*", b"*X", b"*M../../etc", b"*M/etc", b"joe doe", b"*M\xff", b"x" * 60_000):
            answer = site.ask(packet)
            assert answer is not None, packet
            assert answer.startswith(b"-ERR ")
            assert len(answer) < 100
        for packet in (b"*Mjoe\0", b"+OK 0 no mail\n", b"-ERR no\n"):
            assert site.ask(packet, 0.3) is None, packet
        assert site.ask(b"*Mjoe") == b"+OK 0 no mail\n"
    assert " ADM 0035 null_byte_in_input peer='127.0.0.1' len=6 data='*Mjoe\\\\x00'" in site.log
    assert " ERR 0420 bad_packet peer='127.0.0.1' " in site.log


def test_a_flood_of_bad_packets_does_not_fill_the_log(tmp_path: Path) -> None:
    """Ten lines a second tell of what others send, one a minute of an unknown load; each packet has its answer."""
    now, logfile = [100.0], tmp_path / "log"
    log = Log("pcheckd", str(logfile))
    checker = Checker(tmp_path, 2.5, tmp_path / "none", log=log, debug=False, clock=lambda: now[0])
    for second, lines in enumerate((11, 21, 31)):
        for number in range(500):
            now[0] = 100.0 + second + number / 500
            assert checker.answer(b"*Mjoe" if number % 100 == 99 else b"*X", "127.0.0.1") is not None
        assert len(logfile.read_text().splitlines()) == lines
    now[0] = 200.0
    checker.answer(b"*Mjoe", "127.0.0.1")
    assert logfile.read_text().splitlines()[-1].find(" load_unknown ") > 0, "after a rest the next is told"


def test_a_flood_has_its_answers(site: Site) -> None:
    """All of 500 bad packets are answered by the process, and not all are told in the log."""
    with site.running():
        answers = [site.ask(b"*X") for _ in range(500)]
    assert all(answer is not None and answer.startswith(b"-ERR") for answer in answers)
    assert site.log.count(" bad_packet ") >= 10


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=LONGEST_QUESTION + 10) | st.text("abc./*ML-+\r\n\0", max_size=12).map(str.encode))
def test_no_packet_raises(tmp_path: Path, packet: bytes) -> None:
    """Whatever a hostile network sends, there is a short answer of one line, or none."""
    checker = Checker(tmp_path, None, tmp_path / "none", log=Log("pcheckd", os.devnull), debug=True)
    answer = checker.answer(packet, "127.0.0.1")
    assert answer is None or re.fullmatch(rb"(\+OK|-ERR)[ -~]{1,100}\n", answer)
    assert checker.answer(packet, "192.0.2.1") is None, "a stranger gets nothing"


def test_load_too_high(site: Site) -> None:
    """From the given load on, mailboxes are not looked into; below it they are, at once."""
    site.fill("joe", Mail.NEW)
    with site.running("-e", "2.5"):
        assert site.ask(b"*Mjoe") == b"+OK 2 new mail\n"
        site.load_file.write_text("2.50 0 0 1/1 1\n")
        answer = site.ask(b"*Mjoe")
        assert answer is not None
        assert parse_mail_answer(answer) is Mail.LOAD_TOO_HIGH
        ran = site.pcheck("-m", "joe")
        assert (ran.returncode, ran.stdout) == (2, "+OK 3 load too high\n")
        assert site.ask(b"*M../x") != answer
        site.load_file.write_text("2.49 0 0 1/1 1\n")
        assert site.ask(b"*Mjoe") == b"+OK 2 new mail\n"


def test_a_load_that_cannot_be_read(site: Site) -> None:
    """*L is answered with -ERR; mailboxes are looked into, and the log says why."""
    site.load_file.unlink()
    with site.running("-e", "1"):
        assert site.ask(b"*L") == b"-ERR the load is not known\n"
        assert site.ask(b"*Mjoe") == b"+OK 0 no mail\n"
        assert site.ask(b"*Mann") == b"+OK 0 no mail\n"
    assert site.log.count(" ADM 0422 load_unknown ") == 1, "and not for every question"


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT, signal.SIGTERM, signal.SIGPWR])
def test_each_of_the_four_signals_ends_it(site: Site, number: signal.Signals) -> None:
    """With log line 0078, exit code 0, no process and no pid file left."""
    with site.running("-f", "1") as process:
        wait_until(lambda: children(process.pid), "the helper lives")
        helper = children(process.pid)[0]
        assert site.pid_file.read_text() == f"{process.pid}\n"
        process.send_signal(number)
        assert process.wait(patient(10)) == 0
        assert not is_alive(helper)
    assert list(site.rundir.iterdir()) == []
    assert f" pcheckd {process.pid} - INF 0078 shutdown signal='{number.name}'\n" in site.log


def test_debug_logs_every_packet(site: Site) -> None:
    """Those received and those sent, with the other side's address; without --debug there is none of it."""
    with site.running():
        site.ask(b"*Mjoe\r\n")
    assert " 0000 " not in site.log
    with site.running("--debug"):
        site.ask(b"*Mjoe\r\n")
    assert " DBG 0000 net_received peer='127.0.0.1' packet='*Mjoe'\n" in site.log
    assert " DBG 0000 net_sent peer='127.0.0.1' packet='+OK 0 no mail'\n" in site.log


def test_what_means_nothing_is_told(site: Site) -> None:
    """Other signals than these are no end of it: a line in the log, and it answers on."""
    with site.running("-f", "2") as process:
        for number in signals.IGNORED:
            process.send_signal(number)
            wait_until(
                lambda number=number: f" signal_ignored signal='{number.name}'" in site.log, f"{number.name} told"
            )
        for pid in children(process.pid):
            for number in (signal.SIGUSR1, *signals.IGNORED):
                os.kill(pid, number)
        assert site.ask(b"*Mjoe")
        assert process.poll() is None
        assert "helper_died" not in site.log


@pytest.mark.parametrize("number", signals.REOPENS)
def test_a_signal_reopens_the_log_in_all_processes(site: Site, number: signal.Signals) -> None:
    """After the log was moved away, everything goes to the new file."""
    with site.running("--debug", "-f", "2") as process:
        wait_until(lambda: len(children(process.pid)) == 2, "two helpers live")
        old = site.logfile.rename(site.logfile.with_suffix(".1"))
        process.send_signal(number)
        everybody = {process.pid, *children(process.pid)}
        wait_until(lambda: all(_log_of(pid) == str(site.logfile) for pid in everybody), "all have the new log")
        before = old.read_text()
        assert site.ask(b"*Mjoe")
        wait_until(lambda: "net_sent" in site.log, "the packet is logged")
        assert old.read_text() == before
        assert process.poll() is None


def _log_of(pid: int) -> str | None:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            if not entry.is_dir() and "log" in os.readlink(entry):
                return os.readlink(entry)
    return None


def test_all_processes_answer_and_a_dead_helper_is_replaced(site: Site) -> None:
    """`-f 2` makes three; one that is killed is told in the log and replaced, and the others go on answering."""
    with site.running("-f", "2", "--debug") as process:
        wait_until(lambda: len(children(process.pid)) == 2, "two helpers live")
        family = {process.pid, *children(process.pid)}

        def answered() -> set[int]:
            site.ask(b"*L")
            return {int(pid) for pid in re.findall(r"pcheckd (\d+) - DBG 0000 net_sent", site.log)}

        wait_until(lambda: answered() == family, "each process has answered")
        victim = children(process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        assert site.ask(b"*Mjoe") == b"+OK 0 no mail\n"
        wait_until(lambda: len(set(children(process.pid)) - {victim}) == 2, "there are two helpers again")
        assert f" ADM 0423 helper_died helper={victim} status=-9\n" in site.log


def test_helpers_leave_when_their_parent_is_killed(site: Site) -> None:
    """Nobody holds the port for ever."""
    with site.running("-f", "2") as process:
        wait_until(lambda: len(children(process.pid)) == 2, "two helpers live")
        helpers = children(process.pid)
        process.kill()
        process.wait(patient(10))
        wait_until(lambda: not any(map(is_alive, helpers)), "the helpers leave")


def test_in_the_background(site: Site) -> None:
    """The command returns when pcheckd answers; the pid file holds the living process, with relative paths too."""
    arguments = site.arguments("-f", "1", "-r", "run", "-m", "pop", "-l", "log")
    ran = subprocess.run(
        [*PCHECKD, *arguments],
        cwd=site.root.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        timeout=patient(30),
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    pid = int(site.pid_file.read_text())
    try:
        assert is_alive(pid)
        assert os.getsid(pid) != os.getsid(0)
        site.fill("joe", Mail.NEW)
        assert site.ask(b"*Mjoe") == b"+OK 2 new mail\n"
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "it ends")
    assert " INF 0078 shutdown " in site.log


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("-l", "/no/such/dir/log"), "/no/such/dir/log"),
        (("-m", "/no/such/dir"), "/no/such/dir"),
        (("-h", "no-such-host.invalid"), "no-such-host.invalid"),
        (("-h", "192.0.2.1"), "192.0.2.1 port"),
        (("-r", "/dev/null/run"), "/dev/null"),
    ],
)
def test_it_says_why_it_cannot_start(site: Site, arguments: tuple[str, str], complaint: str, foreground: bool) -> None:
    """Exit code 1 and one line, from the background too."""
    more = (*arguments, "--nodaemon") if foreground else arguments
    ran = subprocess.run(
        [*PCHECKD, *site.arguments(*more)], capture_output=True, text=True, timeout=patient(30), check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("pcheckd: ")
    assert complaint in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_port_in_use(site: Site) -> None:
    """The second pcheckd on a port does not start, and the first one keeps its pid file."""
    with site.running() as process:
        ran = subprocess.run(
            [*PCHECKD, *site.arguments("--nodeamon")], capture_output=True, text=True, timeout=patient(30), check=False
        )
        assert ran.returncode == 1
        assert f"127.0.0.1 port {site.port}: Address already in use" in ran.stderr
        assert site.pid_file.read_text() == f"{process.pid}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "0"],
        ["-p", "65536"],
        ["-e", "-1"],
        ["-e", "x"],
        ["-f", "-1"],
        ["-f", "1000"],
        ["joe"],
        ["-h"],
        ["--trusted", "10.0.0.1/8"],
        ["--trusted", "lan"],
        ["-h", "127.0.0.010"],
        ["-h", "2130706433"],
        ["-h", "0x7f.1"],
    ],
)
def test_bad_command_lines(arguments: list[str]) -> None:
    """2, with the reason."""
    ran = subprocess.run([*PCHECKD, *arguments], capture_output=True, text=True, timeout=patient(30), check=False)
    assert ran.returncode == 2
    assert "pcheckd: " in ran.stderr


PROXY, STRANGER = "127.0.0.2", "127.0.0.3"
"""Linux has all of 127.0.0.0/8 on the loopback."""


def test_a_stranger_gets_no_answer(site: Site) -> None:
    """Whatever he asks: so nothing is sent to an address that he forges. It is told once, with the trusted networks."""
    site.fill("joe", Mail.NEW)
    with site.running("-f", "2", "--trusted", f"{PROXY}/32,192.0.2.0/24"):
        for packet in (b"*Mjoe\r\n", b"*L", b"*X", b"", b"joe", b"*M../x", b"x" * 1000):
            assert site.ask(packet, 0.2, source=STRANGER) is None, packet
        assert site.ask(b"*Mjoe", 0.2, source="127.0.0.1") is None, "loopback is not trusted unless it is said"
        assert site.ask(b"*Mjoe", source=PROXY) == b"+OK 2 new mail\n"
    assert f" trusted='{PROXY}/32,192.0.2.0/24'\n" in site.log
    (line,) = re.findall(r"ADM 0408 untrusted_peer .*", site.log)
    assert line == f"ADM 0408 untrusted_peer peer='{STRANGER}' packets=1 trusted='{PROXY}/32,192.0.2.0/24'"


def test_strangers_are_told_once_a_minute(tmp_path: Path) -> None:
    """With how many packets there were since the line before, whichever process received them."""
    now, logfile = [100.0], tmp_path / "log"
    checker = Checker(
        tmp_path, None, tmp_path / "none", log=Log("pcheckd", str(logfile)), debug=False, clock=lambda: now[0]
    )

    def told() -> list[int]:
        return [int(packets) for packets in re.findall(r" untrusted_peer .* packets=(\d+) ", logfile.read_text())]

    for number in range(1000):
        now[0] = 100.0 + number * 0.0599
        assert checker.answer(b"*Mjoe", STRANGER.replace("127", "10")) is None
    assert told() == [1]
    helper = multiprocessing.get_context("fork").Process(target=checker.answer, args=(b"*L", "192.0.2.7"))
    helper.start()
    helper.join(patient(10))
    now[0] = 160.0
    assert checker.answer(b"*Mjoe", "2001:db8::1%eth0") is None
    assert told() == [1, 1001]


def test_trusted_networks_of_both_families(site: Site) -> None:
    """On the any-address of IPv6, an IPv4 proxy is told by its IPv4 address."""
    site.host, site.port = "::", free_port("::1")
    with site.running("--trusted", f"{PROXY}/32,::1"):
        assert site.ask(b"*Mjoe", host="127.0.0.1", source=PROXY) == b"+OK 0 no mail\n"
        assert site.ask(b"*Mjoe", host="::1") == b"+OK 0 no mail\n"
        assert site.ask(b"*Mjoe", 0.3, host="127.0.0.1", source=STRANGER) is None


def test_answers_leave_from_the_address_that_was_asked(site: Site) -> None:
    """On a host with several addresses (a fail-over address) a connected socket gets its answer."""
    site.host = "0.0.0.0"
    with site.running():
        for host in ("127.0.0.1", "127.0.0.2", "127.7.7.7"):
            assert site.ask(b"*Mjoe", host=host) == b"+OK 0 no mail\n", host


def test_ipv6(site: Site) -> None:
    """On the IPv6 loopback, by its address and by the any-address."""
    for host in ("::1", "::"):
        site.host, site.port = host, free_port("::1")
        with site.running():
            assert site.ask(b"*Mjoe", host="::1") == b"+OK 0 no mail\n"


def test_two_pcheckds_do_not_talk_to_each_other_for_ever(site: Site) -> None:
    """A packet forged to come from one to the other is answered once at most."""
    with site.running():
        first = (site.host, site.port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            second.bind((site.host, 0))
            second.settimeout(patient(10))
            second.sendto(b"*X", first)
            complaint = second.recv(1000)
            second.sendto(complaint, first)
            second.settimeout(0.3)
            with pytest.raises(TimeoutError):
                second.recv(1000)
