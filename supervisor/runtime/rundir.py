"""The run directory: lock, pid file, control socket, state file.

    NAME.N.lock      the master's pid; held (flock) as long as the instance or any of its workers lives; N tells
                     instances apart
    NAME.PID.ctrl    the control socket; a second living instance with that pid (containers) gets NAME.PID-2.ctrl
    NAME.ctrl        link to the newest control socket
    NAME.PID.http    the exporter's socket, with the rights of the control socket beside it and the same number
    NAME.http        link to the newest one
    NAME.pid         link to the newest instance's lock
    NAME.state       link to the newest instance's session table
    NAME.N.table     link to the table of instance N, where somebody else had taken the name that it usually has

All links are set at one stroke (`publish`), and not while what the one before is to leave to this one is on its way to
the disk (`hold_back`): that holds octet 0 of its lock file, which the kernel frees with it.

When the newest instance ends, the links lead to the next one that lives; when its master was killed, that one takes
them (`look`).

What a dead instance left is replaced, and its shared memory removed; what a living one holds is never touched: a lock
that cannot be had and a socket that answers are alive.

Whoever the program runs as can write the directory, so root only makes and checks it; all else is done with the rights
of that user, and below the directory's descriptor (supervisor/runtime/directory.py).
"""

import errno
import fcntl
import os
import pwd
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from supervisor.runtime import rights, takeover
from supervisor.runtime.directory import Directory, FileOwner, Untrusted
from supervisor.runtime.instances import CONTROL, HTTP, Instances, Orphans
from supervisor.runtime.plural import count_of
from supervisor.table import segment
from supervisor.table.layout import Layout
from supervisor.table.segment import NameTaken, Segment

_MOST_INSTANCES = 64
LONGEST_SOCKET_PATH = 107
"""Octets (unix(7)); whoever connects names the whole path."""


class CannotStart(Exception):
    """The run directory cannot be used; the text is for people."""


class RunDirectory:
    """One instance's place in a run directory."""

    def __init__(
        self, path: Path, name: str, user: pwd.struct_passwd | None = None, *, readers: int | None = None
    ) -> None:
        """Makes the directory (0700) if it is missing, and takes the first free lock. Raises CannotStart.

        `user`: whom root is going to become; the directory is this user's from now on. `readers`: the group that may
        connect to the control socket.
        """
        self._readers = readers
        self.path = path
        self.name = name
        self.control_path: Path | None = None
        self._http_name = ""
        self._user = user
        self._published: tuple[int, int] | None = None
        """Which link leads here: its inode, and when it was made."""
        self._returns = 0
        try:
            self._directory = Directory.open(path, FileOwner.of(user), make=True)
            self._instances = Instances(self._directory, path, name)
            if user is not None:
                self._give_to(user)
            with rights.acting_as(user), self._directory.alone():
                self.lock_fd, self.instance = self._take_lock()
                self._begin()
        except OSError as error:
            raise CannotStart(f"run directory {path}: {error.strerror or error}") from None

    def _begin(self) -> None:
        """With the lock of its own: it says who has it, and clears away what the dead have left. Raises OSError, and
        leaves no lock behind then: the disk may be full.
        """
        try:
            os.ftruncate(self.lock_fd, 0)
            os.write(self.lock_fd, f"{os.getpid()}\n".encode())
            self._remove_table_of(self.instance)
            self._remove_orphans()
        except OSError:
            self._directory.remove(self._instances.lock_name(self.instance))
            os.close(self.lock_fd)
            raise

    @property
    def doubt(self) -> str:
        """Why others can write the directory; empty if they cannot."""
        return self._directory.doubt

    @property
    def descriptors(self) -> set[int]:
        """For every child to keep: a held lock shows that the instance lives, and who is the last to go clears up."""
        return {self.lock_fd, self._directory.fd}

    @property
    def segment_name(self) -> str:
        return self._instances.segment_of(self.instance)

    def make_table(self, layout: Layout) -> Segment:
        """This instance's table. Where somebody else has taken the name, as any user of the host can, another one that
        nobody can guess; it is noted first, so that it is found and removed whatever happens. Raises NoSharedMemory.
        """
        try:
            return Segment.create(self.segment_name, layout)
        except NameTaken:
            other = f"{self._instances.usual_segment_of(self.instance)}-{os.urandom(8).hex()}"
            self._directory.link(self._instances.table_name(self.instance), str(segment.path_of(other)))
            return Segment.create(other, layout)

    def _remove_table_of(self, instance: int) -> None:
        """Removes the table of an instance that is dead, or that goes; its lock is ours."""
        segment.remove(self._instances.segment_of(instance))
        _ignoring_strangers(self._directory.remove, self._instances.table_name(instance))

    def _take_lock(self) -> tuple[int, int]:
        for instance in range(1, _MOST_INSTANCES + 1):
            fd = self._try_lock(instance)
            if fd is not None:
                return fd, instance
        theirs = sum(
            self._instances.is_a_strangers(self._instances.lock_name(one)) for one in range(1, _MOST_INSTANCES + 1)
        )
        held = f"{_MOST_INSTANCES - theirs} running instances of {self.name}"
        others = f", and {count_of(theirs, 'lock')} of other users" if theirs else ""
        raise CannotStart(f"{self.path} already holds {held}{others}")

    def _try_lock(self, instance: int) -> int | None:
        name = self._instances.lock_name(instance)
        while True:
            try:
                fd = self._directory.open_file(name, os.O_RDWR | os.O_CREAT)
            except Untrusted:
                raise
            except PermissionError:
                if self._directory.status(name) is None:
                    raise PermissionError(errno.EACCES, f"{self._who()} may not make files in it") from None
                return None  # another user's, in a directory that several can write
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            # Between open and flock the file may have been removed by an instance that left: then the lock is worth
            # nothing.
            there = self._directory.status(name)
            if there is not None and os.fstat(fd).st_ino == there.st_ino:
                return fd
            os.close(fd)

    def _who(self) -> str:
        return self._user.pw_name if self._user is not None else f"the user {os.geteuid()}"

    def _remove_orphans(self) -> None:
        """Removes the shared memory, locks and sockets of instances that died without a chance to do so."""
        for name in self._directory.names():
            if name.startswith(f"{self.name}.") and name.endswith((CONTROL, HTTP)) and self._instances.is_dead(name):
                _ignoring_strangers(self._directory.remove, name)
        for number in self._instances.numbers(besides=self.instance):
            try:
                fd = self._try_lock(number)
            except Untrusted:  # not ours to clear away
                continue
            if fd is not None:
                self._remove_table_of(number)
                self._directory.remove(self._instances.lock_name(number))
                os.close(fd)

    def open_control_socket(self) -> socket.socket:
        """Binds the control socket, mode 0600. Raises CannotStart."""
        try:
            return self._open(CONTROL)
        except OSError as error:
            raise CannotStart(f"control socket in {self.path}: {error.strerror or error}") from None

    def open_http_socket(self) -> socket.socket:
        """Binds the exporter's socket; whoever may connect to the control socket may connect to it too.

        To be called when there is a control socket. Raises CannotStart.
        """
        try:
            return self._open(HTTP)
        except OSError as error:
            raise CannotStart(f"the exporter's socket in {self.path}: {error.strerror or error}") from None

    def _open(self, kind: str) -> socket.socket:
        listening = _unbound()
        try:
            with self._directory.alone():
                self._bind(kind, listening)
        except OSError:
            listening.close()
            raise
        return listening

    def open_again(self, kind: str) -> socket.socket | None:
        """Binds a socket (CONTROL, HTTP) that somebody has deleted; None if it is there, or somebody is just changing
        names here. To whom the link leads, `look` decides. Raises OSError.
        """
        name = self.control_path.name if kind == CONTROL and self.control_path is not None else ""
        name = self._http_name if kind == HTTP else name
        if not name or self._directory.is_socket(name):
            return None
        listening = _unbound()
        try:
            with self._directory.alone(wait=False):
                self._bind(kind, listening)
        except OSError as error:
            listening.close()
            if isinstance(error, BlockingIOError):
                return None
            raise
        return listening

    def _bind(self, kind: str, listening: socket.socket) -> None:
        """Gives the socket its name, and the readers their right to it."""
        if kind == CONTROL:
            self.control_path = self._bind_first_free(listening)
            name = self.control_path.name
        else:
            assert self.control_path is not None
            self._http_name = name = self.control_path.with_suffix(HTTP).name
            self._directory.remove(name)
            _bind_private(listening, self._directory.reached(name))
        if self._readers is not None:
            self._let_in(self._readers, name)

    def _let_in(self, group: int, socket_name: str) -> None:
        """The group may go through the directory, without seeing what is in it, and connect to this socket."""
        here = self._directory.fd
        found = os.fstat(here)
        # What another group could do there, such as writing, this one has no right to.
        mode = stat.S_IMODE(found.st_mode) & (0o7777 if found.st_gid == group else 0o7707)
        os.chown(".", -1, group, dir_fd=here)
        os.chmod(".", mode | stat.S_IXGRP, dir_fd=here)
        os.chown(socket_name, -1, group, dir_fd=here, follow_symlinks=False)
        os.chmod(socket_name, 0o660, dir_fd=here)

    def _bind_first_free(self, control: socket.socket) -> Path:
        for suffix in ("", *(f"-{number}" for number in range(2, _MOST_INSTANCES + 2))):
            path = self.path / f"{self.name}.{os.getpid()}{suffix}{CONTROL}"
            if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
                raise OSError(f"{path} is too long for a socket, {LONGEST_SOCKET_PATH} octets are allowed")
            there = self._directory.status(path.name)
            if there is None or self._instances.is_dead(path.name):
                self._directory.remove(path.name)
                _bind_private(control, self._directory.reached(path.name))
                return path
        raise OSError("no free name")

    def _give_to(self, user: pwd.struct_passwd) -> None:
        """Makes the directory the user's, before root is given up. Raises CannotStart, Untrusted.

        Not while another user's instance lives in it: that one could not use its own directory any more. One that
        several write stays root's, and so does one that somebody else could have moved here.
        """
        found = os.fstat(self._directory.fd)
        if found.st_uid == user.pw_uid:
            return
        self.instance = 0
        if self._instances.neighbours(self.instance, self.control_path):
            raise CannotStart(f"run directory {self.path} is in use by an instance of another user than {user.pw_name}")
        if not self._directory.made and not self._directory.is_exclusive:
            return
        if not self._directory.made and not self._directory.safe_above:
            raise Untrusted(f"it is root's, below a directory that others can write; chown {user.pw_name} {self.path}")
        os.chown(".", user.pw_uid, user.pw_gid, dir_fd=self._directory.fd)

    def publish(self) -> None:
        """Leads everybody here: to the sockets, then to the pid, and last to the table: who sees that has all there is.
        Only then is read what is kept (tenure.py). Where two start at the same moment, all links lead to one of them.
        Raises CannotStart.
        """
        try:
            with self._directory.alone():
                self._publish()
        except OSError as error:
            raise CannotStart(f"run directory {self.path}: {error.strerror or error}") from None

    def _publish(self) -> None:
        for end in (CONTROL, HTTP):
            if target := self._targets()[end]:
                self._directory.link(f"{self.name}{end}", target)
        with takeover.held_back_by_none(self._directory, self._others_locks()):
            self._directory.link(f"{self.name}.pid", self._instances.lock_name(self.instance))
            self._published = self._link_to_here()
        self._directory.link(f"{self.name}.state", self._targets()[".state"])

    def _others_locks(self) -> list[str]:
        return [self._instances.lock_name(number) for number in self._instances.numbers(besides=self.instance)]

    def hold_back(self) -> None:
        """What a newer instance is to read is on its way to the disk: none takes over before `let_come`, or for
        HELD_BACK_SECONDS. Where one takes over just now it is too late for that.
        """
        takeover.hold_back(self.lock_fd)

    def let_come(self) -> None:
        """What a newer instance is to read is there."""
        takeover.let_come(self.lock_fd)

    @property
    def identity(self) -> str:
        """The directory itself, whatever path leads to it from where; after that, for people, the path."""
        found = os.fstat(self._directory.fd)
        return f"{found.st_dev}:{found.st_ino} {self.path}"

    def others(self) -> list[tuple[int, Path]]:
        """The pid and the control socket of each other instance whose master lives."""
        neighbours = self._instances.neighbours(self.instance, self.control_path)
        return [(one.pid, self.path / one.control) for one in neighbours if one.control is not None]

    def orphans(self) -> list[Orphans]:
        """The workers of the other instances whose masters are gone, as far as their tables tell of them."""
        alone = (one for one in self._instances.neighbours(self.instance, self.control_path) if one.control is None)
        return [found for one in alone if (found := self._instances.orphans_of(one)) is not None]

    def has_company(self) -> bool:
        """Whether another instance lives, or workers of one whose master is gone; or nobody can tell."""
        try:
            return bool(self._instances.neighbours(self.instance, self.control_path))
        except OSError:  # such as no descriptor left
            return True

    def company(self) -> str:
        """Who they are, for people, and how each is talked to."""
        try:
            return self._company()
        except OSError as error:
            return f"perhaps, it cannot be found out now ({error.strerror})"

    def _company(self) -> str:
        masters = (f"process {pid} (`pcontrol -s {control}`)" for pid, control in self.others())
        workers = (
            f"{count_of(len(one.pids), 'worker')} without a master, with {count_of(one.sessions, 'session')} "
            f"(`{one.command}` ends them)"
            for one in self.orphans()
        )
        return ", ".join((*masters, *workers))

    def has_successor(self) -> bool:
        """Whether the links lead to a newer instance."""
        target = self._directory.target(f"{self.name}.pid")
        return target is not None and target != self._instances.lock_name(self.instance)

    def look(self) -> None:
        """Each second: if the newest instance was killed, the newest that lives takes the links."""
        with suppress(OSError):  # such as no descriptor left, or somebody just starts: a second later it may go
            if self._links_elsewhere():
                self._take_links()

    def _take_links(self) -> None:
        """Not known as published by us, so that `returns` counts it: what the dead one has kept is to be read."""
        with self._directory.alone(wait=False):
            elsewhere, started = self._links_elsewhere(), os.fstat(self.lock_fd).st_mtime
            leads_to = {self._directory.target(name) for name in elsewhere}
            for one in self._instances.neighbours(self.instance, self.control_path):
                if one.control is not None and (one.started > started or leads_to & {one.control, one.lock}):
                    return
            for name, here in elsewhere.items():
                self._directory.link(name, here)

    def _targets(self) -> dict[str, str]:
        """Where each link would lead, if it led to this instance; "": it has none."""
        return {
            CONTROL: self.control_path.name if self.control_path is not None else "",
            HTTP: self._http_name,
            ".state": str(segment.path_of(self.segment_name)),
            ".pid": self._instances.lock_name(self.instance),
        }

    def _links_elsewhere(self) -> dict[str, str]:
        """Those that do not lead to this instance, and where to they would."""
        here = {f"{self.name}{end}": target for end, target in self._targets().items() if target}
        return {name: target for name, target in here.items() if self._directory.target(name) != target}

    def returns(self) -> int:
        """How often a newer instance has had the links and they came back, be it between two looks: then it is another
        link than the one that was published.
        """
        link = self._link_to_here()
        if link is not None and link != self._published:
            self._published = link
            self._returns += 1
        return self._returns

    def _link_to_here(self) -> tuple[int, int] | None:
        name = f"{self.name}.pid"
        found = self._directory.status(name)
        if found is None or self._directory.target(name) != self._instances.lock_name(self.instance):
            return None
        return found.st_ino, found.st_ctime_ns

    def withdraw_control(self) -> None:
        """Removes the control socket; the links lead to another living instance, if there is one."""
        heir = self._instances.heir(self.instance, self.control_path)
        if self.control_path is not None:
            self._directory.remove(self.control_path.name)
            self._hand_on(f"{self.name}{CONTROL}", self.control_path.name, heir.control if heir else None)
            self.control_path = None
        self.withdraw_http()
        self._hand_on(f"{self.name}.pid", self._instances.lock_name(self.instance), heir.lock if heir else None)

    def withdraw_http(self) -> None:
        """Removes the exporter's socket, if there is one; the link leads to that of another living instance."""
        if not self._http_name:
            return
        heir = self._instances.heir(self.instance, self.control_path)
        self._directory.remove(self._http_name)
        self._hand_on(f"{self.name}{HTTP}", self._http_name, heir.http if heir else None)
        self._http_name = ""

    def withdraw_all(self) -> None:
        """No process of this instance is left: removes the table and the lock too."""
        with rights.acting_as(self._user):
            heir = self._instances.heir(self.instance, self.control_path)
            self.withdraw_control()
            self._hand_on(
                f"{self.name}.state",
                str(segment.path_of(self.segment_name)),
                str(heir.table) if heir is not None else None,
            )
            self._remove_table_of(self.instance)
            self._directory.remove(self._instances.lock_name(self.instance))
            os.close(self.lock_fd)
            with suppress(BlockingIOError), self._directory.alone():  # else the next one that starts or ends does it
                self._remove_orphans()
            self._directory.close()

    def withdraw_if_last(self) -> None:
        """A process that outlived the master ends: if no other is left, all of this instance goes."""
        os.close(self.lock_fd)
        fd = None
        with suppress(BlockingIOError), self._directory.alone():
            fd = self._try_lock(self.instance)
        if fd is not None:
            self.lock_fd = fd
            self.withdraw_all()

    def _hand_on(self, name: str, own_target: str, target: str | None) -> None:
        """A link of this instance leads to the heir from now on, or goes; another instance's link stays."""
        if self._directory.target(name) != own_target:
            return
        if target is not None:
            self._directory.link(name, target)
        else:
            self._directory.remove(name)


def _ignoring_strangers(remove: Callable[[str], None], name: str) -> None:
    """In a sticky directory another user's file stays where it is."""
    try:
        remove(name)
    except PermissionError:
        pass


def _unbound() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


def _bind_private(control: socket.socket, path: str) -> None:
    old = os.umask(0o177)
    try:
        control.bind(path)
    finally:
        os.umask(old)
    control.listen(64)
