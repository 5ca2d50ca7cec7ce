"""systemd's side of a service: sockets that it passes, its store of descriptors, and what it wants to be told.

`inherited` gives the listening sockets of sd_listen_fds(3), from socket units and from the store alike. `Activated` is
a `Source` in front of another one: a listener whose address was passed gets those sockets, the others come from
behind, and are put into the store where there is one (FileDescriptorStoreMax=): they come back at the next start, and
clients wait in them meanwhile. `Notifier` says sd_notify(3)'s words; it never blocks and never raises, and where there
is no systemd it is silent.
"""

import array
import errno
import os
import socket
from collections.abc import Iterable, MutableMapping, Sequence
from typing import NamedTuple

from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop
from supervisor.sockets.listener import Address, ListenerCopy
from supervisor.sockets.silence import silence, unsilence
from supervisor.sockets.sources import Opened, Source, deal, duplicate, keep_alive

UNCLAIMED_SECONDS = 60.0
"""So long after the start, stored sockets that no listener wanted are closed: clients wait there in vain."""
OUR_PREFIX = "listener-"
"""Names of sockets that we put into the store begin so; a socket unit's names do not."""

_FIRST_FD = 3
_MOST_FDS = 200


class Notifier:
    """Tells the service manager. Each call says whether it was told."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.stores = _number(environment, "FDSTORE") > 0
        """Whether there is a store of descriptors ($FDSTORE, systemd 254)."""
        for_us = _number(environment, "WATCHDOG_PID") in (0, os.getpid())
        self.watched = for_us and _number(environment, "WATCHDOG_USEC") > 0
        """Whether `alive` is waited for ($WATCHDOG_USEC)."""

    def notify(self, *assignments: str, sockets: Sequence[socket.socket] = ()) -> bool:
        """Sends assignments such as `READY=1` in one datagram."""
        if not self._address.startswith(("/", "@")):
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        rights = array.array("i", [one.fileno() for one in sockets])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        text = "\n".join(one.replace("\n", " ") for one in assignments).encode(errors="replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendmsg([text], ancillary, 0, address)
        except (OSError, ValueError):
            return False
        return True

    def ready(self) -> bool:
        """The start configuration is in force."""
        return self.notify("READY=1", f"MAINPID={os.getpid()}")

    def stopping(self) -> bool:
        """A shutdown has begun."""
        return self.notify("STOPPING=1")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self.notify(f"STATUS={text}")

    def patience(self, seconds: float) -> bool:
        """The shutdown goes on, and within so many seconds this is said again: TimeoutStopSec= waits so long."""
        return self.notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self) -> bool:
        """The master's loop turns; to be called about once a second (WatchdogSec= of three seconds or more)."""
        return self.watched and self.notify("WATCHDOG=1")

    def store(self, name: str, sockets: Sequence[socket.socket]) -> bool:
        """Puts sockets into the store; they come back under this name."""
        batches = [sockets[start : start + _MOST_FDS] for start in range(0, len(sockets), _MOST_FDS)]
        return self.stores and all([self.notify("FDSTORE=1", f"FDNAME={name}", sockets=batch) for batch in batches])

    def unstore(self, name: str) -> bool:
        """Takes everything of that name out of the store."""
        return self.stores and self.notify("FDSTOREREMOVE=1", f"FDNAME={name}")


class Passed(NamedTuple):
    """A listening socket that was passed, and its name."""

    name: str
    socket: socket.socket


def inherited(environment: MutableMapping[str, str]) -> list[Passed]:
    """The listening TCP sockets that were passed to this process; what else was passed is closed.

    Afterwards the environment does not name them any more.
    """
    count = _number(environment, "LISTEN_FDS") if _number(environment, "LISTEN_PID") == os.getpid() else 0
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    passed = []
    known: set[int] = set()
    for position in range(min(count, 4096)):
        try:
            one = socket.socket(fileno=_FIRST_FD + position)
        except OSError as error:
            if error.errno == errno.ENOTSOCK:
                os.close(_FIRST_FD + position)
            continue
        inode = _inode(one)
        if inode in known or not _listens(one):  # a socket may come from its unit and from the store
            one.close()
            continue
        known.add(inode)
        one.set_inheritable(False)
        passed.append(Passed(names[position] if position < len(names) else "", one))
    return passed


def _number(environment: MutableMapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _listens(one: socket.socket) -> bool:
    if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
        return False
    try:
        return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


class Activated:
    """A `Source`, where each method is explained: what systemd passed, and after it another source."""

    def __init__(self, passed: Iterable[Passed], behind: Source, notifier: Notifier, *, log: Log) -> None:
        self._behind = behind
        self._notifier = notifier
        self._log = log
        # What another holder keeps needs no second keeper.
        self._stores = notifier.stores and not behind.shared
        self.shared = self._stores or behind.shared
        self._passed: dict[Address, list[Passed]] = {}
        self._ours: set[ListenerCopy] = set()
        self._names: dict[ListenerCopy, list[str]] = {}
        """What we have in the store, or have got from it."""
        for one in passed:
            _prepare(one.socket)
            self._passed.setdefault(Address.found(one.socket), []).append(one)

    def attach(self, loop: Loop) -> None:
        self._behind.attach(loop)
        if self._passed:
            loop.after(UNCLAIMED_SECONDS, self.close_unclaimed)

    def close_unclaimed(self) -> None:
        """Closes stored sockets that no listener has wanted; those of a socket unit are the unit's."""
        wanted = {Address.of(listener) for listener, _slot in self._ours}
        for address in [address for address in self._passed if address not in wanted]:
            for name, one in self._passed[address]:
                self._log(messages.SYSTEMD_UNCLAIMED, address=address.address[0], port=address.address[1], unit=name)
                if name.startswith(OUR_PREFIX):
                    one.close()
                    self._notifier.unstore(name)
            self._keep_units(address)

    def _keep_units(self, address: Address) -> None:
        """A unit's sockets may be wanted again; stored ones are gone when they were given up."""
        units = [one for one in self._passed.pop(address) if not one.name.startswith(OUR_PREFIX)]
        if units:
            self._passed[address] = units

    def open(self, copies: Sequence[ListenerCopy], backlog: int, opened: Opened) -> None:
        others = [copy for copy in copies if Address.of(copy[0]) not in self._passed]

        def came(sockets: list[list[socket.socket]] | None, reason: str) -> None:
            if sockets is None:
                opened(None, reason)
                return
            found = dict(zip(others, sockets, strict=True))
            for copy, ours in found.items():
                self._store(copy, ours)
            for address in dict.fromkeys(Address.of(copy[0]) for copy in copies if copy not in found):
                found |= self._lend(address, [copy for copy in copies if Address.of(copy[0]) == address], backlog)
            opened([found[copy] for copy in copies], "")

        if others:
            self._behind.open(others, backlog, came)
        else:
            came([], "")

    def _lend(
        self, address: Address, copies: Sequence[ListenerCopy], backlog: int
    ) -> dict[ListenerCopy, list[socket.socket]]:
        self._ours |= set(copies)
        passed = self._passed[address]
        for one in passed:
            one.socket.listen(backlog)
        lent: dict[ListenerCopy, list[socket.socket]] = {}
        for copy, hand in zip(copies, deal(passed, len(copies)), strict=True):
            lent[copy] = [duplicate(one.socket) for one in hand]
            self._names[copy] = [one.name for one in hand if one.name.startswith(OUR_PREFIX)]
        return lent

    def _store(self, copy: ListenerCopy, sockets: Sequence[socket.socket]) -> None:
        if not self._stores:
            return
        self._names[copy] = []
        for one in sockets:
            name = f"{OUR_PREFIX}{copy[0].address[1]}-{_inode(one)}"
            self._notifier.store(name, [one])
            self._names[copy].append(name)

    def silence(self, copies: Sequence[ListenerCopy], sockets: Sequence[socket.socket]) -> None:
        """See Source. A filter would stay on the sockets of a unit for ever: those are left alone."""
        passed = {_inode(one.socket): one.name for group in self._passed.values() for one in group}
        for one in sockets:
            if passed.get(_inode(one), "").startswith(OUR_PREFIX):
                silence(one)
        others = [copy for copy in copies if copy not in self._ours]
        self._behind.silence(others, [one for one in sockets if _inode(one) not in passed])

    def give_up(self, copies: Sequence[ListenerCopy]) -> None:
        others = [copy for copy in copies if copy not in self._ours]
        for copy in copies:
            for name in self._names.pop(copy, ()):
                if not any(name in names for names in self._names.values()):
                    self._notifier.unstore(name)
        for address in {Address.of(copy[0]) for copy in self._ours.intersection(copies)}:
            self._ours -= set(copies)
            if not any(Address.of(listener) == address for listener, _slot in self._ours):
                self._close_stored(address)
        self._behind.give_up(others)

    def _close_stored(self, address: Address) -> None:
        for one in self._passed[address]:
            if one.name.startswith(OUR_PREFIX):
                one.socket.close()
        self._keep_units(address)

    def let_go(self) -> None:
        for group in self._passed.values():
            for one in group:
                one.socket.close()
        self._passed = {}
        self._behind.let_go()


def _prepare(listening: socket.socket) -> None:
    """What the master would have done at bind time."""
    listening.setblocking(False)
    keep_alive(listening)
    unsilence(listening)


def _inode(one: socket.socket) -> int:
    return os.fstat(one.fileno()).st_ino
