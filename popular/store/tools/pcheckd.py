"""`pcheckd`: tells proxies by UDP whether a mailbox has mail.

It answers one packet with one packet, reads directories only, and never writes into a mailbox. Who is not in --trusted
gets no answer: so nobody learns from it who has mail, and nobody can have it send more to a forged address than he
sends himself. To the others' packets that are no question it answers `-ERR`, or nothing if one holds a NUL or is itself
an answer, and goes on. QUIT, INT, TERM and PWR end it; HUP reopens its log file.

Exit codes: 0 ended by a signal, 1 it could not start, 2 bad command line.
"""

import argparse
import os
import pwd
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from popular.messages import NULL_BYTE_IN_INPUT, SHUTDOWN
from popular.net.networks import LOOPBACK, NetworkList, Networks
from popular.protocol.lines import NullByte
from popular.protocol.mailcheck import (
    DEFAULT_PORT,
    LONGEST_QUESTION,
    BadPacket,
    Mail,
    NotAQuestion,
    error_answer,
    load_answer,
    mail_answer,
    parse_question,
    printable,
)
from popular.protocol.xpop import BadMailboxName
from popular.store.maildir.maildir import MailboxError, Maildir
from popular.store.messages import BAD_PACKET, DIR_ACCESS_FAILED, LOAD_UNKNOWN, UNTRUSTED_PEER
from popular.store.tools.commandline import Parser, positive, whole
from popular.store.tools.datagrams import DatagramServer, bind
from popular.store.tools.hosts import host_or_address
from supervisor.commandline import not_empty
from supervisor.control.language.lookups import Lookups, Unfit
from supervisor.runtime import rights
from supervisor.runtime.daemon import Daemon
from supervisor.runtime.directory import Directory, FileOwner
from supervisor.runtime.load import LOADAVG, read_load
from supervisor.runtime.log import Log
from supervisor.runtime.messages import DIRECTORY_SHARED, START, Message
from supervisor.runtime.sparingly import Sparingly
from supervisor.runtime.standard import hold_standard_descriptors
from supervisor.sockets.systemd import Notifier

EXIT_FAILED = 1
EXIT_USAGE = 2

_SECONDS_BETWEEN_LINES = 60
"""About strangers, and about a load that cannot be read: both come with every question."""
_MOST_COMPLAINTS = 10
"""Log lines a second about what others send: a flood of bad packets must not fill the disk."""


class Checker:
    """Answers one packet after the other."""

    def __init__(
        self,
        root: Path,
        full_load: float | None,
        load_file: Path,
        *,
        log: Log,
        debug: bool,
        trusted: Networks = LOOPBACK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`full_load`: from this 1-minute load on, mailboxes are not looked into; None = always look."""
        self._clock = clock
        self._root = root
        self._full_load = full_load
        self._load_file = load_file
        self._log = log
        self._debug = debug
        self._second = 0
        self._complaints = 0
        self._trusted = trusted
        self._strangers = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Refused packets since the last line about them: all processes count here."""
        self._tells = Sparingly(_SECONDS_BETWEEN_LINES, clock)
        self._tells_load = Sparingly(_SECONDS_BETWEEN_LINES, clock)

    def answer(self, packet: bytes, peer: str) -> bytes | None:
        """The answer to a packet, or None where there must be none. Never raises."""
        if self._debug:
            self._log.debug("NET", "received", peer=peer, packet=printable(packet))
        reply = self._reply(packet, peer)
        if self._debug:
            self._log.debug("NET", "sent", peer=peer, packet=printable(reply or b""))
        return reply

    def _reply(self, packet: bytes, peer: str) -> bytes | None:
        if peer not in self._trusted:
            self._refuse(peer)
            return None
        try:
            mailbox = parse_question(packet).mailbox
            return self._load() if mailbox is None else self._mail(mailbox, peer)
        except NullByte:
            self._complain(NULL_BYTE_IN_INPUT, peer=peer, len=len(packet), data=printable(packet))
            return None
        except NotAQuestion as fault:
            self._complain(BAD_PACKET, peer=peer, reason=fault, data=printable(packet))
            return None
        except (BadPacket, BadMailboxName) as fault:
            self._complain(BAD_PACKET, peer=peer, reason=fault, data=printable(packet))
            return error_answer(str(fault))

    def _refuse(self, peer: str) -> None:
        os.eventfd_write(self._strangers, 1)
        if not self._tells():
            return
        try:
            packets = os.eventfd_read(self._strangers)
        except BlockingIOError:  # another process of ours has told it just now
            return
        self._log(UNTRUSTED_PEER, "-", peer=peer, packets=packets, trusted=self._trusted)

    def _load(self) -> bytes:
        load = read_load(self._load_file)
        return error_answer("the load is not known") if load is None else load_answer(load)

    def _mail(self, mailbox: str, peer: str) -> bytes:
        try:
            maildir = Maildir(self._root, mailbox)
            return mail_answer(Mail.LOAD_TOO_HIGH if self._is_loaded() else maildir.has_mail())
        except MailboxError as error:
            self._complain(DIR_ACCESS_FAILED, peer=peer, reason=error)
            return error_answer("cannot look into the mailbox")

    def _is_loaded(self) -> bool:
        if self._full_load is None:
            return False
        load = read_load(self._load_file)
        if load is None:
            if self._tells_load():
                self._log(LOAD_UNKNOWN, "-", file=self._load_file)
            return False
        return load >= self._full_load

    def _complain(self, message: Message, **fields: object) -> None:
        """Logs, but only so often in one second."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._complaints = second, 0
        self._complaints += 1
        if self._complaints <= _MOST_COMPLAINTS:
            self._log(message, "-", **fields)


def options() -> Parser:
    """The command line. `-h` is the host, as it always was: help is `--help` only."""
    parser = Parser("pcheckd", "Tells by UDP whether a mailbox has mail.", EXIT_USAGE, add_help=False)
    add = parser.add_argument
    add("--help", action="help", help="show this help and exit")
    add(
        "-l",
        "--logfile",
        metavar="FILE",
        default="/var/log/popular/pcheckd",
        help="log file, - for standard error (default: %(default)s)",
    )
    add("-m", "--mailboxdir", metavar="DIR", default="/pop", help="root of the mailboxes (default: %(default)s)")
    add("-p", "--port", metavar="PORT", type=whole(1, 65535), default=DEFAULT_PORT, help="default: %(default)s")
    add(
        "-e",
        "--emptyload",
        metavar="LOAD",
        type=positive,
        help="from this 1-minute load on, answer that the load is too high: proxies then show an empty mailbox",
    )
    add(
        "-f",
        "--fork",
        metavar="NUM",
        type=whole(0, 256),
        default=0,
        help="processes besides the first one (default: 0)",
    )
    add(
        "-r",
        "--rundir",
        metavar="DIR",
        default="/var/run/popular",
        help="directory of the pid file (default: %(default)s)",
    )
    add(
        "--trusted",
        metavar="NETS",
        type=_networks,
        default=LOOPBACK,
        help="networks and addresses of the proxies, with commas; others get no answer (default: %(default)s)",
    )
    add("-u", "--user", metavar="USER", help="run as this user when started as root, once the port is bound")
    add(
        "-h",
        "--host",
        metavar="HOST",
        type=host_or_address,
        default="0.0.0.0",
        help="address to listen on (default: %(default)s)",
    )
    add("--nodeamon", "--nodaemon", action="store_true", dest="foreground", help="stay in the foreground")
    add("--debug", action="store_true", help="log every packet received and sent")
    add("--load-file", metavar="FILE", type=Path, default=LOADAVG, help=argparse.SUPPRESS)
    return parser


def _networks(text: str) -> Networks:
    try:
        return NetworkList().parse(not_empty(text), Lookups())
    except Unfit as unfit:
        raise argparse.ArgumentTypeError(str(unfit)) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs pcheckd; returns its exit code."""
    hold_standard_descriptors()
    chosen = options().parse_args(argv)
    root = Path(chosen.mailboxdir).absolute()
    try:
        if not root.is_dir():
            raise NotADirectoryError(0, "not a directory", str(root))
        user = rights.find_user(chosen.user) if chosen.user and os.getuid() == 0 else None
        bound = _bind(chosen.host, chosen.port)
        log = Log("pcheckd", chosen.logfile, user=user)
        directory = _run_directory(Path(chosen.rundir).absolute(), user)
        if user is not None:
            rights.become(user)
            rights.renounce()
        if chosen.debug:
            log.options = frozenset({"NET"})
        daemon = None if chosen.foreground else Daemon.part()
        log.after_fork()
        for kind, where, doubt in (("run", chosen.rundir, directory.doubt), ("log", chosen.logfile, log.doubt)):
            if doubt:
                log(DIRECTORY_SHARED, kind=kind, directory=where, reason=doubt)
        pid_file = _PidFile(directory)
    except rights.UnknownUser as error:
        print(f"pcheckd: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        print(f"pcheckd: {error.filename or 'cannot start'}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    log(START, host=chosen.host, port=chosen.port, mailboxdir=root, trusted=chosen.trusted)
    checker = Checker(root, chosen.emptyload, chosen.load_file, log=log, debug=chosen.debug, trusted=chosen.trusted)
    server = DatagramServer(bound, checker.answer, LONGEST_QUESTION, helpers=chosen.fork, log=log)
    if daemon is not None:
        daemon.report(0)
    notifier = Notifier(os.environ)
    ended_by = server.run(notifier.ready)
    notifier.stopping()
    log(SHUTDOWN, signal=ended_by.name)
    pid_file.remove()
    return 0


def _bind(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host} port {port}") from error


def _run_directory(path: Path, user: pwd.struct_passwd | None) -> Directory:
    """The directory of the pid file; one that is made now is the user's. Raises OSError."""
    directory = Directory.open(path, FileOwner.of(user), make=True)
    if user is not None and directory.made:
        os.chown(".", user.pw_uid, user.pw_gid, dir_fd=directory.fd)
    return directory


class _PidFile:
    """RUNDIR/pcheckd.pid: one line with the pid of the first process."""

    _NAME = "pcheckd.pid"

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._line = f"{os.getpid()}\n".encode()
        directory.put(self._NAME, self._line)

    def remove(self) -> None:
        """Removes the file, unless it has become another instance's."""
        try:
            fd = self._directory.open_file(self._NAME, os.O_RDONLY)
        except OSError:
            return
        with open(fd, "rb") as file:
            is_ours = file.read(32) == self._line
        if is_ours:
            self._directory.remove(self._NAME)


if __name__ == "__main__":
    sys.exit(main())
