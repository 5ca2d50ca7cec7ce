"""`ringd`: opens listening sockets for a program that may not, and keeps them for its successor.

It listens on a Unix socket for one user's programs, opens TCP ports for them, also below 1024, keeps a copy of every
socket, and gives the same ones to whoever of that user claims the address again. So a program can be stopped, in any
way, and another version started: clients that come in between wait in the queue.

Started as root, it becomes the user for good and keeps the one right to bind ports below 1024. It never accepts a
connection, reads no client's data, and decides nothing but who holds what (`keeper.py`).

HUP reopens the log file; TERM, INT, QUIT and PWR end it. Its holders keep their copies then, and give them to the next
ringd, so that it can be replaced too.

Exit codes: 0 ended by a signal, 1 it could not start, 2 bad command line.
"""

import argparse
import errno
import grp
import os
import pwd
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from supervisor.commandline import CommandLine
from supervisor.ringd.keeper import Keeper, Ports
from supervisor.runtime import messages, rights, signals
from supervisor.runtime.daemon import BACKGROUND_WITHOUT_LOG, Daemon
from supervisor.runtime.directory import Directory, FileOwner
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.log import STANDARD_ERROR, Log
from supervisor.runtime.loop import Loop
from supervisor.runtime.rundir import LONGEST_SOCKET_PATH, CannotStart
from supervisor.runtime.standard import hold_standard_descriptors
from supervisor.sockets.systemd import Notifier
from supervisor.version import VERSION

EXIT_FAILED = 1
EXIT_USAGE = 2
DEFAULT_NAME = "ringd.ctrl"
DEFAULT_SOCKET = f"/var/run/popular/{DEFAULT_NAME}"
DEFAULT_KEEP_SECONDS = 3600
_ALIVE_SECONDS = 1.0
"""How often a service manager that watches is told that the loop turns."""


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = CommandLine(
        prog="ringd",
        description="Opens listening sockets for the programs of one user, and keeps them across their restarts.",
    )
    add = parser.add_argument
    add("-u", "--user", metavar="USER", help="user of the programs it is for; needed when started as root")
    add("-g", "--group", metavar="GROUP", help="group of the socket (default: the primary group of USER)")
    add("-s", "--socket", metavar="SOCKET", default=DEFAULT_SOCKET, help="default: %(default)s")
    add(
        "-p",
        "--ports",
        metavar="PORTS",
        type=ports,
        default="1-65535",
        help="what may be opened, as in 110,995,8000-8099",
    )
    add(
        "-k",
        "--keep",
        metavar="SECONDS",
        type=_keep,
        default=DEFAULT_KEEP_SECONDS,
        help="close what nobody has claimed for so long; 0: never (default: %(default)s)",
    )
    add(
        "-l",
        "--logfile",
        metavar="FILE",
        default="/var/log/popular/ringd",
        help="log file, - for standard error (default: %(default)s)",
    )
    add("-d", "--daemon", action="store_true", help="go to the background once it can be asked")
    add("--log-format", choices=("text", "json"), default="text", help="form of the log lines (default: %(default)s)")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser


def ports(text: str) -> Ports:
    """`110,995,8000-8099`. Raises argparse.ArgumentTypeError."""
    found = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        bounds = [int(word) if word.isdecimal() and len(word) <= 5 else 0 for word in (first, last if dash else first)]
        if not 1 <= bounds[0] <= bounds[1] <= 65535:
            raise argparse.ArgumentTypeError(f"'{part}' is not a port or a range of ports from 1 to 65535")
        found.append(range(bounds[0], bounds[1] + 1))
    return found


def _keep(text: str) -> int:
    if not text.isdecimal() or int(text) > 30 * 86_400:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0 to {30 * 86_400}")
    return int(text)


def account(name: str | None, group: str | None) -> pwd.struct_passwd:
    """Who the programs are, with the group that the socket gets. Raises CannotStart, UnknownUser."""
    if name is None and os.getuid() == 0:
        raise CannotStart("started as root it needs --user: whose programs may claim sockets")
    user = rights.find_user(name) if name is not None else pwd.getpwuid(os.getuid())
    if os.getuid() not in (0, user.pw_uid):
        raise CannotStart("only root can open sockets for another user")
    if group is None:
        return user
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise CannotStart(f"there is no group '{group}' on this host") from None
    return pwd.struct_passwd((*user[:3], number, *user[4:]))


def open_control(directory: Directory, name: str) -> socket.socket:
    """Binds the socket, mode 0600, in place of one that nobody serves. Raises CannotStart, OSError."""
    path = directory.path / name
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            raise CannotStart(f"{path} is too long for a socket, {LONGEST_SOCKET_PATH} octets are allowed")
        if directory.is_socket(name):
            if _is_served(directory.reached(name)):
                raise CannotStart(f"another ringd serves {path}")
            directory.remove(name)
        elif path.is_dir():
            raise CannotStart(f"{path} is a directory; name the socket in it, as {path / DEFAULT_NAME}")
        control.bind(directory.reached(name))
        control.listen(64)
    except OSError as error:
        control.close()
        raise CannotStart(f"{path}: {error.strerror or error}") from None
    except CannotStart:
        control.close()
        raise
    finally:
        os.umask(before)
    return control


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(path) in (0, errno.EAGAIN)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    hold_standard_descriptors()
    chosen = options().parse_args(argv)
    try:
        return _run(chosen)
    except (CannotStart, rights.UnknownUser, OSError) as error:
        print(f"ringd: {error}", file=sys.stderr)
        return EXIT_FAILED


def _run(chosen: argparse.Namespace) -> int:
    user = account(chosen.user, chosen.group)
    if chosen.daemon and chosen.logfile == STANDARD_ERROR:
        raise CannotStart(BACKGROUND_WITHOUT_LOG)
    daemon = Daemon.part() if chosen.daemon else None
    path = Path(chosen.socket).absolute()
    become = user if os.getuid() == 0 else None
    directory = Directory.open(path.parent, FileOwner.of(user), make=True)
    if become is not None and directory.made:
        os.chown(".", user.pw_uid, user.pw_gid, dir_fd=directory.fd)
    log = Log(
        "ringd",
        chosen.logfile if chosen.logfile == STANDARD_ERROR else os.path.abspath(chosen.logfile),
        form=chosen.log_format,
        user=become,
    )
    # From here on as the user: whatever the user may have put at that path, it is not touched with root's rights.
    if become is not None:
        rights.become(become)
    for kind, where, doubt in (("run", path.parent, directory.doubt), ("log", Path(log.path).parent, log.doubt)):
        if doubt:
            log(messages.DIRECTORY_SHARED, kind=kind, directory=where, reason=doubt)
    loop = Loop()
    ending: list[signal.Signals] = []
    # Before anybody can see that we are there: a signal that came earlier would end us without a word.
    pending = signals.PendingSignals(loop, lambda number: _on_signal(number, log, ending))
    control = open_control(directory, path.name)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        keeper = Keeper(loop, log, control, uid=user.pw_uid, ports=chosen.ports, keep=chosen.keep)
        _serve(loop, keeper, log, uid=user.pw_uid, ending=ending, chosen=chosen, daemon=daemon)
    finally:
        control.close()
        directory.remove(path.name)
    del pending
    return 0


def _on_signal(number: signal.Signals, log: Log, ending: list[signal.Signals]) -> None:
    if number in signals.REOPENS:
        _reopen(log)
    elif number in signals.IGNORED:
        log(messages.SIGNAL_IGNORED, signal=number.name)
    else:
        ending.append(number)


def _serve(
    loop: Loop,
    keeper: Keeper,
    log: Log,
    *,
    uid: int,
    ending: list[signal.Signals],
    chosen: argparse.Namespace,
    daemon: Daemon | None,
) -> None:
    """Runs until a signal ends it."""
    log(messages.START, version=VERSION, pid=os.getpid(), socket=chosen.socket, uid=uid)
    if daemon is not None:
        daemon.report(0)
    notifier = Notifier(os.environ)
    notifier.ready()
    if notifier.watched:
        _tell_alive(loop, notifier)
    try:
        while not ending:
            loop.run_once()
    except Exception as error:
        log(messages.RING_BUG, error=kind_and_location_of(error))
        raise
    notifier.stopping()
    log(messages.GOT_TERM_SIGNAL, signal=ending[0].name)
    keeper.close()
    log(messages.FINISHED, how="signal")


def _tell_alive(loop: Loop, notifier: Notifier) -> None:
    notifier.alive()
    loop.after(_ALIVE_SECONDS, lambda: _tell_alive(loop, notifier))


def _reopen(log: Log) -> None:
    try:
        log.reopen()
    except OSError as error:
        log(messages.LOG_FAILED, file=log.path, error=error.strerror or "")
        return
    log(messages.LOG_REOPENED, file=log.path)


if __name__ == "__main__":
    sys.exit(main())
