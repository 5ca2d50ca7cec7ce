"""`popular-demo`: a whole small mail site in the foreground, on loopback, in a directory of its own.

    pserv and pcheckd keep the mail, pproxy stands in front of them, pdeliver has put a few mails in. Two users: joe
    (password joe) has mail; ann (password ann) has none, and is answered by the proxy alone.

Ctrl-C (or TERM, or HUP) ends everything in order and removes what was made; a directory that was there before stays,
empty. It works in an empty directory, or in one that it makes itself, and touches no other; needs no root, and listens
on 127.0.0.1 only.

Exit codes: 0 ended by a signal; 1 it could not start, or one of its programs ended unexpectedly; 2 bad command line.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

import argon2

from popular.messages import LOGIN_FAILED, SESSION_END
from popular.version import VERSION
from supervisor.control.connection import Connection, NoConnection, TimedOut
from supervisor.control.language import phrase
from supervisor.table import segment

EXIT_ENDED = 0
EXIT_FAILED = 1

HOST = "127.0.0.1"
DEFAULT_DIRECTORY = "popular-demo"
DEFAULT_PORT = 1110
NAMESPACE = "demo"
START_SECONDS = 30.0
END_SECONDS = 15.0
_GLANCE_SECONDS = 0.1
_MARK = ".popular-demo"
_PR_SET_PDEATHSIG = 1

MAILS = (
    ("Welcome", "This mail lay in a Maildir.\npserv read it there, and pproxy passed it on to you.\n"),
    ("The other user", "ann has no mail.\nThe proxy asks pcheckd by UDP, and then answers her alone.\n"),
    ("A sentence", "pcontrol changes the proxy while it runs. Say: help\n\n.This line begins with a dot.\n"),
)
"""What joe finds: subject and text."""

libc = ctypes.CDLL(None)


class CannotRun(Exception):
    """The demo cannot start, or not go on; the text is for people."""


class Ports(NamedTuple):
    """Where everything listens. `check` is UDP."""

    pop3: int
    store: int
    check: int


# --- what the site is like: pure --------------------------------------------------------------------------------------


def storage_sentences(directory: Path, ports: Ports) -> list[str]:
    """The start configuration of pserv."""
    return [
        phrase(["set", "mailboxdir", str(directory / "mail")]),
        f"server conf iface {HOST} port {ports.store} state online",
    ]


def proxy_sentences(directory: Path, ports: Ports) -> list[str]:
    """The start configuration of pproxy."""
    return [
        "set sidprefix demo",
        f"set checkport {ports.check}",
        f"backend conf store host {HOST} port {ports.store} prot CXPOP state online",
        phrase(["pdm", "add", "users", "passwd", str(directory / "passwd")]),
        f"vserv conf pop3 iface {HOST} port {ports.pop3} namespace {NAMESPACE} state online",
    ]


def users() -> str:
    """The file of the module `passwd`: each user's password is the name."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)
    return "".join(f"{NAMESPACE}:{name}:{hasher.hash(name)}:store:{name}\n" for name in ("joe", "ann"))


def mail(subject: str, text: str) -> bytes:
    """A mail as a mail server would hand it to pdeliver."""
    made = EmailMessage()
    made["From"] = "postmaster@example.org"
    made["To"] = "joe@example.org"
    made["Subject"] = subject
    made.set_content(text)
    return bytes(made)


def announcement(directory: Path, ports: Ports) -> str:
    """What runs where, and what to try."""
    here = _program("")
    run = directory / "run"
    return f"""\
A small mail site is running in {directory}. Ctrl-C ends it and removes everything.

  pproxy    the proxy              {HOST} port {ports.pop3}
  pserv     the storage server     {HOST} port {ports.store}
  pcheckd   "is there mail?"       {HOST} port {ports.check} (UDP)

  user joe, password joe           {len(MAILS)} mails
  user ann, password ann           no mail: answered by the proxy alone

Try, in another shell:

  curl pop3://joe:joe@{HOST}:{ports.pop3}/1
  curl pop3://ann:ann@{HOST}:{ports.pop3}/
  {here / "pstatus"} --rundir {run}
  {here / "pcontrol"} -r {run} -c 'show config'

The logs are in {directory / "log"}. Sessions and failed logins of pproxy:
"""


# --- the directory ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def own_directory(path: Path) -> Iterator[None]:
    """Takes an empty or new directory, and leaves it as it was. What a killed demo left is swept away.

    A lock on a mark in it tells a demo that runs from one that was killed. Raises CannotRun.
    """
    made = not path.exists()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / _MARK).exists() and any(path.iterdir()):
            raise CannotRun(f"{path} is not empty; give another one with --dir")
        mark = _lock(path / _MARK)
    except BlockingIOError:
        raise CannotRun(f"a demo is running in {path} already") from None
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from None
    try:
        _sweep(path)
        for name in ("run", "log", "mail"):
            (path / name).mkdir(mode=0o700)
        yield
    finally:
        _sweep(path)
        (path / _MARK).unlink()
        os.close(mark)
        if made:
            path.rmdir()


def _lock(mark: Path) -> int:
    """The descriptor that holds the lock. Raises OSError; BlockingIOError if another demo holds it."""
    fd = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _sweep(path: Path) -> None:
    """Removes everything but the mark, and the session tables of programs that had no chance to do so."""
    for link in path.glob("run/*.state"):
        if link.is_symlink():
            segment.remove(f"/{os.path.basename(os.readlink(link))}")
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARK:
            entry.unlink()


# --- ports ------------------------------------------------------------------------------------------------------------


def choose_ports(pop3: int) -> Ports:
    """The wanted port, if nobody has it, and two free ones. Raises CannotRun."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Without SO_REUSEPORT, which pproxy sets: two demos would share the port, and each get half of the clients.
        try:
            probe.bind((HOST, pop3))
            probe.listen(1)
        except OSError as error:
            raise CannotRun(f"{HOST} port {pop3}: {error.strerror}; give another one with --port") from None
    with socket.socket() as store, socket.socket(type=socket.SOCK_DGRAM) as check:
        store.bind((HOST, 0))
        check.bind((HOST, 0))
        return Ports(pop3, store.getsockname()[1], check.getsockname()[1])


# --- its programs -----------------------------------------------------------------------------------------------------


def _program(name: str) -> Path:
    """A command that was installed together with us."""
    return Path(sys.executable).parent / name


def _die_with_parent() -> None:
    """In a child: if the demo is killed, this program is told to end (prctl(2))."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Site:
    """The programs that run, in the order in which they were started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.wanted = True
        """False as soon as a signal asks for the end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._leave)

    def _leave(self, _number: int, _frame: object) -> None:
        self.wanted = False

    def start(self, name: str, *options: object) -> None:
        """Starts a program. It gets a process group of its own: Ctrl-C is for us, who end them in order."""
        words = [str(_program(name)), "-l", str(self._directory / "log" / name), "-r", str(self._directory / "run")]
        try:
            child = subprocess.Popen(
                [*words, *map(str, options)],
                stdin=subprocess.DEVNULL,
                process_group=0,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise CannotRun(f"{words[0]}: {error.strerror}") from None
        self._children.append((name, child))

    def start_configured(self, name: str, sentences: Sequence[str], *options: object) -> None:
        """Starts a program with a start configuration, and waits until all of it is in force."""
        rc = self._directory / f"{name}.rc"
        rc.write_text("".join(f"{sentence}\n" for sentence in sentences))
        self.start(name, "-c", rc, *options)
        control = self._directory / "run" / f"{name}.ctrl"
        self.wait_until(lambda: _is_in_force(sentences[-1], control), f"{name} did not get ready")

    def wait_until(self, ready: Callable[[], bool], complaint: str) -> None:
        """Waits for a program to be ready. Returns early if a signal comes; raises CannotRun if one ends."""
        deadline = time.monotonic() + START_SECONDS
        while self.wanted and not ready():
            self.check()
            if time.monotonic() > deadline:
                raise CannotRun(complaint)
            time.sleep(_GLANCE_SECONDS)

    def check(self) -> None:
        """Raises CannotRun if a program has ended."""
        for name, child in self._children:
            if child.poll() is not None:
                raise CannotRun(f"{name} ended ({_cause(child.returncode)}); its log was {self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        log = self._directory / "log" / name
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n  ".join(["", *lines[-5:]]) if lines else "empty"

    def deliver(self, mailbox: str, content: bytes) -> None:
        """Has pdeliver put a mail into a mailbox. Raises CannotRun."""
        words = [_program("pdeliver"), "-m", self._directory / "mail", "-l", self._directory / "log" / "pdeliver"]
        done = subprocess.run([*map(str, words), mailbox], input=content, check=False, timeout=START_SECONDS)
        if done.returncode != 0:
            raise CannotRun(f"pdeliver ended ({_cause(done.returncode)})")

    def end(self) -> None:
        """Ends all programs, the last one first, so that nobody is sent to a program that is gone."""
        for _name, child in reversed(self._children):
            child.terminate()
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children = []


def _is_in_force(sentence: str, control: Path) -> bool:
    """Whether the program behind a control socket has carried out the last sentence of its start configuration."""
    try:
        connection = Connection(control, START_SECONDS)
    except NoConnection:
        return False
    try:
        words = sentence.split()[:2]
        return any(line.split()[:2] == words for line in connection.say("show config").lines)
    except (NoConnection, TimedOut):
        return False
    finally:
        connection.close()


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


# --- the command ------------------------------------------------------------------------------------------------------


def follow(log: Path, site: Site) -> None:
    """Prints the sessions and failed logins of a log file until a signal comes. Raises CannotRun if a program ends."""
    names = {SESSION_END.name, LOGIN_FAILED.name}
    with log.open(errors="replace") as file:
        part = ""
        while site.wanted:
            part += file.readline()
            if not part.endswith("\n"):
                site.check()
                time.sleep(_GLANCE_SECONDS)
                continue
            if names.intersection(part.split(" ", 9)[8:9]):
                print(f"  {part}", end="", flush=True)
            part = ""


def run(directory: Path, port: int) -> None:
    """The demo, from start to end. Raises CannotRun."""
    ports = choose_ports(port)
    with own_directory(directory):
        site = Site(directory)
        try:
            _set_up(site, directory, ports)
            if site.wanted:
                print(announcement(directory, ports), flush=True)
                follow(directory / "log" / "pproxy", site)
        finally:
            site.end()


def _set_up(site: Site, directory: Path, ports: Ports) -> None:
    passwd = directory / "passwd"
    passwd.touch(mode=0o600)
    passwd.write_text(users())
    for subject, text in MAILS:
        site.deliver("joe", mail(subject, text))
    small = ("-w", 1, "-n", 200)
    site.start("pcheckd", "--nodaemon", "-h", HOST, "-p", ports.check, "-m", directory / "mail")
    site.start_configured("pserv", storage_sentences(directory, ports), *small)
    site.start_configured("pproxy", proxy_sentences(directory, ports), *small)


def options() -> argparse.ArgumentParser:
    """The command line; the manual page is made from it."""
    parser = argparse.ArgumentParser(
        prog="popular-demo", description="Runs a whole small mail site in the foreground.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--dir", metavar="DIR", default=DEFAULT_DIRECTORY, help="empty or new directory (default: ./%(default)s)")
    add("--port", metavar="N", type=_port, default=DEFAULT_PORT, help="port of the proxy (default: %(default)s)")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port from 1 to 65535")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    chosen = options().parse_args(argv)
    try:
        run(Path(chosen.dir).absolute(), chosen.port)
    except CannotRun as error:
        print(f"popular-demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    print("The site has ended.")
    return EXIT_ENDED


if __name__ == "__main__":
    sys.exit(main())
