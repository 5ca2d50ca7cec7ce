"""Who holds which socket: ringd's own part, without its start.

A group is all sockets of one address. Whoever claims the address holds all of the group, so that no client waits in a
socket from which nobody accepts, also when one of two holders ends:

    claimed      somebody holds it; opened anew only by a holder that is alone; denied to another program
    unclaimed    its holders ended without giving it up: it waits for the next one, for a time, then it is closed
    given up     closed as soon as nobody holds it; a holder says so before (Quiet), and empties the queue in between

A holder that talks nonsense is cut off, and loses nothing but its connection: the sockets then are unclaimed.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from functools import partial

from supervisor.ringd import wire as ringwire
from supervisor.ringd.link import Link, require_room
from supervisor.ringd.wire import Claim, Denied, Granted, Quiet, Release, Restore, WireFault
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import READ, Loop, Timer
from supervisor.sockets.listener import Address
from supervisor.sockets.silence import silence, unsilence
from supervisor.sockets.sources import listen

SETTLING_SECONDS = 0.5
"""So long after its start it opens nothing new: holders of the one before come back first, with their sockets."""
PAUSE_SECONDS = 1.0
"""So long nobody is accepted when there are no descriptors."""
MOST_HOLDERS = 64
MOST_ADDRESSES = 512

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CREDENTIALS = struct.Struct("3i")

Ports = Sequence[range]


class Group:
    """The sockets of one address, by inode number."""

    def __init__(self, backlog: int) -> None:
        self.sockets: dict[int, socket.socket] = {}
        self.backlog = backlog
        self.quiet: set[int] = set()
        self.expiry: Timer | None = None

    def add(self, listening: socket.socket) -> int:
        """Takes a socket, or closes it if it is another copy of a known one; gives its name."""
        name = name_of(listening)
        if name in self.sockets:
            listening.close()
        else:
            self.sockets[name] = listening
        return name

    def close(self, names: Iterable[int]) -> None:
        for name in names:
            self.sockets.pop(name).close()
            self.quiet.discard(name)

    def wake(self, backlog: int) -> None:
        """Somebody holds all of them again."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        for name in self.quiet:
            unsilence(self.sockets[name])
        self.quiet = set()
        if backlog != self.backlog:
            self.backlog = backlog
            for listening in self.sockets.values():
                listening.listen(backlog)


class Holder:
    """A program that is connected, and what it holds."""

    def __init__(self, pid: int, uid: int, program: str) -> None:
        self.pid = pid
        self.uid = uid
        self.program = program
        """ "": it does not say."""
        self.names: set[int] = set()
        self.link: Link


class Keeper:
    """Who holds what."""

    def __init__(self, loop: Loop, log: Log, control: socket.socket, *, uid: int, ports: Ports, keep: float) -> None:
        """`control` listens; root and `uid` may connect; `keep` seconds, 0 for ever."""
        self._loop = loop
        self._log = log
        self._control = control
        self._uids = {0, uid}
        self._ports = ports
        self._keep = keep
        self._groups: dict[Address, Group] = {}
        self._holders: list[Holder] = []
        self._settled_at = loop.now + SETTLING_SECONDS
        self._paused = False
        self._watch_control()

    def _watch_control(self) -> None:
        self._loop.watch(self._control, READ, self._accept)

    def close(self) -> None:
        """Lets go of everything; holders keep their copies."""
        self._loop.unwatch(self._control)
        for holder in self._holders:
            holder.link.close()
        for group in self._groups.values():
            group.close(list(group.sockets))

    # Connections

    def _accept(self, _events: int) -> None:
        try:
            end, name = self._control.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._pause(error)
            return  # else gone already
        self._paused = False
        try:
            raw = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            end.close()
            return
        pid, uid, _gid = _CREDENTIALS.unpack(raw)
        holder = Holder(pid, uid, ringwire.program_of(name))
        holder.link = Link(self._loop, end, partial(self._hear, holder=holder), lost=partial(self._lose, holder))
        self._holders.append(holder)
        if uid not in self._uids:
            self._log(messages.RING_STRANGER, peer=pid, uid=uid)
            self._dismiss(holder, "this ringd is for another user")
        elif len(self._holders) > MOST_HOLDERS:
            self._dismiss(holder, "too many programs are connected")

    def _pause(self, error: OSError) -> None:
        """Who waits would wake the loop again at once, and for ever."""
        self._loop.unwatch(self._control)
        self._loop.after(PAUSE_SECONDS, self._watch_control)
        if not self._paused:
            self._paused = True
            self._log(messages.RING_PAUSED, reason=os.strerror(error.errno or 0))

    def _dismiss(self, holder: Holder, why: str) -> None:
        holder.link.send(Denied(0, why))
        if holder in self._holders:
            self._forget(holder)

    def _lose(self, holder: Holder, reason: str) -> None:
        if reason:
            self._log(messages.RING_PEER_FAULT, peer=holder.pid, uid=holder.uid, reason=reason)
        self._forget(holder)

    def _forget(self, holder: Holder) -> None:
        """A holder is gone without giving up: what it alone held waits for the next one."""
        holder.link.close()
        self._holders.remove(holder)
        for address, group in list(self._groups.items()):
            mine = holder.names & group.sockets.keys()
            if not mine:
                continue
            if not self._held(group.sockets):
                self._leave_unclaimed(address, group)
            else:
                # Others accept on this address, but not from these: nobody would ever come for who waits there.
                self._close(address, group, mine - self._held(group.sockets))

    def _leave_unclaimed(self, address: Address, group: Group) -> None:
        self._log(messages.RING_UNCLAIMED, address=_shown(address), sockets=len(group.sockets), keep=self._keep)
        if self._keep:
            group.expiry = self._loop.after(self._keep, partial(self._expire, address, group))

    def _expire(self, address: Address, group: Group) -> None:
        self._log(messages.RING_EXPIRED, address=_shown(address), sockets=len(group.sockets))
        group.close(list(group.sockets))
        del self._groups[address]

    def _held(self, names: Iterable[int], but: Holder | None = None) -> set[int]:
        """Which of these somebody (else) holds."""
        return {name for name in names if any(name in one.names for one in self._holders if one is not but)}

    # What holders say

    def _hear(self, message: ringwire.Message, sequence: int, sockets: list[socket.socket], *, holder: Holder) -> None:
        if sockets and not isinstance(message, Restore):
            for one in sockets:
                one.close()
            raise WireFault("descriptors where there should be none")
        match message:
            case Claim():
                self._claim(holder, message, sequence)
            case Restore():
                self._restore(holder, message, sockets)
            case Quiet(names):
                self._silence(holder, names)
            case Release(names):
                self._release(holder, names)
            case _:
                raise WireFault("a message that only ringd sends")

    def _claim(self, holder: Holder, claim: Claim, sequence: int) -> None:
        if holder not in self._holders:  # it was gone before SETTLING_SECONDS were over
            return
        if claim.address not in self._groups and self._loop.now < self._settled_at:
            self._loop.after(self._settled_at - self._loop.now, partial(self._claim, holder, claim, sequence))
            return
        reason = self._why_not(claim.address) or self._whose(claim.address, holder)
        try:
            names = self._opened(holder, claim) if not reason else set()
        except OSError as error:
            self._deny(holder, claim.address, sequence, denied=ringwire.denied(error))
            return
        if reason:
            self._deny(holder, claim.address, sequence, denied=Denied(0, reason))
            return
        group = self._groups[claim.address]
        group.wake(claim.backlog)
        holder.names |= names
        self._log(
            messages.RING_LENT, address=_shown(claim.address), sockets=len(names), peer=holder.pid, uid=holder.uid
        )
        self._lend(holder, sequence, list(group.sockets.values()))

    def _deny(self, holder: Holder, address: Address, sequence: int, *, denied: Denied) -> None:
        reason = denied.text or os.strerror(denied.number)
        self._log(messages.RING_DENIED, address=_shown(address), reason=reason, peer=holder.pid, uid=holder.uid)
        holder.link.send(denied, sequence)

    def _why_not(self, address: Address) -> str:
        """Why an address is refused whoever claims it, or nothing."""
        if not any(address.address[1] in ports for ports in self._ports):
            return f"port {address.address[1]} is not among those that ringd may open"
        if address not in self._groups and len(self._groups) >= MOST_ADDRESSES:
            return "ringd has too many addresses already"
        return ""

    def _whose(self, address: Address, asking: Holder) -> str:
        """Which other program accepts there, or nothing: two instances of one program are an upgrade."""
        group = self._groups.get(address)
        holders = [one for one in self._holders if group is not None and one.names & group.sockets.keys()]
        others = {one.program for one in holders} - {asking.program, ""}
        if not others or not asking.program or asking in holders:
            return ""
        return (
            f"port {address.address[1]} is lent to {', '.join(sorted(others))}, and clients would come to either of you"
        )

    def _opened(self, holder: Holder, claim: Claim) -> set[int]:
        """The names of all sockets of an address; opens those that are missing, all or none. Raises OSError.

        While somebody else holds it none is added: all holders hold all sockets, so that none is left without anybody
        who accepts from it when one of them ends.
        """
        group = self._groups.get(claim.address) or Group(claim.backlog)
        there = len(group.sockets)
        shared = bool(self._held(group.sockets, but=holder))
        fresh: list[socket.socket] = []
        try:
            while not shared and there + len(fresh) < claim.wanted:
                fresh.append(listen(claim.address, claim.backlog))
            # All of them are copied when they are lent: whoever cannot get all gets none.
            require_room([*group.sockets.values(), *fresh])
        except OSError:
            for one in fresh:
                one.close()
            raise
        if fresh:
            self._log(messages.RING_OPENED, address=_shown(claim.address), sockets=there + len(fresh))
        for one in fresh:
            group.add(one)
        self._groups[claim.address] = group
        return set(group.sockets)

    def _lend(self, holder: Holder, sequence: int, sockets: list[socket.socket]) -> None:
        """Hands out sockets, in as many messages as they need."""
        while sockets:
            batch, sockets = sockets[: ringwire.MOST_FDS], sockets[ringwire.MOST_FDS :]
            holder.link.send(Granted(len(sockets)), sequence, batch)

    def _restore(self, holder: Holder, message: Restore, sockets: list[socket.socket]) -> None:
        """Takes back what this or another ringd has lent."""
        address = message.address
        reason = self._why_not(address) or next((f for f in (_fault(one, address) for one in sockets) if f), "")
        if reason or not sockets:
            for one in sockets:
                one.close()
            raise WireFault(reason or "no sockets to restore")
        group = self._groups.setdefault(address, Group(message.backlog))
        if len(group.sockets) + len(sockets) > ringwire.MOST_SOCKETS:
            for one in sockets:
                one.close()
            raise WireFault("too many sockets")
        holder.names |= {group.add(one) for one in sockets}
        group.wake(group.backlog)
        self._log(
            messages.RING_RESTORED, address=_shown(address), sockets=len(sockets), peer=holder.pid, uid=holder.uid
        )

    def _silence(self, holder: Holder, names: tuple[int, ...]) -> None:
        mine = holder.names & set(names)
        mine -= self._held(mine, but=holder)
        for group in self._groups.values():
            for name in mine & group.sockets.keys():
                silence(group.sockets[name])
                group.quiet.add(name)

    def _release(self, holder: Holder, names: tuple[int, ...]) -> None:
        mine = holder.names & set(names)
        holder.names -= mine
        for address, group in list(self._groups.items()):
            self._close(address, group, (mine & group.sockets.keys()) - self._held(mine))

    def _close(self, address: Address, group: Group, names: set[int]) -> None:
        if not names:
            return
        group.close(names)
        self._log(messages.RING_CLOSED, address=_shown(address), sockets=len(names), left=len(group.sockets))
        if not group.sockets:
            del self._groups[address]


def name_of(listening: socket.socket) -> int:
    """What both sides call a socket: the inode number, which all copies of it share."""
    return os.fstat(listening.fileno()).st_ino


def _fault(listening: socket.socket, address: Address) -> str:
    """Why a socket cannot be restored as one of this address, or nothing."""
    try:
        if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return "a socket that does not listen"
        found = Address.found(listening) if listening.family in (socket.AF_INET, socket.AF_INET6) else None
    except OSError as error:
        return error.strerror or type(error).__name__
    return "" if found == address else "a socket of another address"


def _shown(address: Address) -> str:
    host, port = address.address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
