"""Answers UDP packets in several processes that share one socket, until a signal ends them.

The process that calls `run` answers too. Helpers are forked from it; one that dies is replaced, and all leave when
the lifeline, a pipe that only the parent can write to, closes: also when the parent is killed. HUP and USR1 reopen
the log in all of them. An answer leaves from the very address that was asked: a server with several addresses must
not answer from another one, since whoever asked listens to that one only.
"""

import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, NoReturn

from popular.store.messages import CHECK_FAILED, HELPER_DIED
from supervisor.runtime import signals
from supervisor.runtime.log import Log
from supervisor.runtime.messages import SIGNAL_IGNORED
from supervisor.sockets.listener import MAPPED_IPV4

ENDS = (signal.SIGQUIT, signal.SIGINT, signal.SIGTERM, signal.SIGPWR)
"""The signals that end the server."""

_AT_ONE_GO = 64
_SECONDS_TO_REBIRTH = 1.0
_SECONDS_TO_LEAVE = 2.0
_IP_PKTINFO = 8  # <linux/in.h>; Python has no name for it before 3.14
_PKTINFO = struct.Struct("=i4s4s")  # struct in_pktinfo: interface, local address, address in the packet's header
_ROOM = socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(20)

Answer = Callable[[bytes, str], bytes | None]
"""What to send back for a packet from that address; None = nothing. Must not raise."""


def bind(host: str, port: int) -> socket.socket:
    """A UDP socket that learns to which address each packet was sent. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        made.bind(address)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


class DatagramServer:
    """The socket, the helpers, and what wakes them."""

    def __init__(self, bound: socket.socket, answer: Answer, longest: int, *, helpers: int, log: Log) -> None:
        """`longest`: octets of a packet that can be a question; of a longer one, `longest + 1` are read."""
        self._socket = bound
        self._answer = answer
        self._longest = longest
        self._log = log
        self._wanted = helpers
        self._helpers: set[int] = set()
        self._births_from = 0.0
        self._ended_by: signal.Signals | None = None
        self._lifeline, self._held = os.pipe()

    def run(self, caught: Callable[[], object]) -> signal.Signals:
        """Serves; gives back the signal that ended it, after the last helper has left.

        `caught` is called as soon as a signal ends it in order.
        """
        pending = _catch((*ENDS, *signals.REOPENS, *signals.IGNORED, signal.SIGCHLD))
        caught()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ, self._answer_some)
                selector.register(pending, selectors.EVENT_READ, lambda: self._on_signal(pending))
                while self._ended_by is None:
                    self._bear_helpers()
                    for key, _ in selector.select(self._pause()):
                        key.data()
        finally:
            self._dismiss_helpers()
        return self._ended_by

    def _on_signal(self, pending: int) -> None:
        for number in os.read(pending, 512):
            if number in ENDS:
                self._ended_by = signal.Signals(number)
            elif number in signals.IGNORED:
                self._log(SIGNAL_IGNORED, signal=signal.Signals(number).name)
            elif number in signals.REOPENS:
                self._reopen_log()
                for pid in self._helpers:
                    os.kill(pid, signal.SIGHUP)
            elif number == signal.SIGCHLD:
                self._reap()

    def _reopen_when_asked(self, pending: int) -> None:
        os.read(pending, 512)
        self._reopen_log()

    def _reopen_log(self) -> None:
        try:
            self._log.reopen()
        except OSError as error:
            self._log(CHECK_FAILED, reason=f"cannot reopen the log file: {error.strerror}")

    def _pause(self) -> float | None:
        missing = self._wanted - len(self._helpers)
        return max(0.0, self._births_from - time.monotonic()) if missing else None

    def _bear_helpers(self) -> None:
        if time.monotonic() >= self._births_from:
            while len(self._helpers) < self._wanted:
                pid = os.fork()
                if pid == 0:
                    self._help()
                self._helpers.add(pid)

    def _reap(self) -> None:
        for pid, status in self._departed():
            self._log(HELPER_DIED, helper=pid, status=os.waitstatus_to_exitcode(status))
            # Not at once: a helper that cannot live must not make us fork without end.
            self._births_from = time.monotonic() + _SECONDS_TO_REBIRTH

    def _departed(self) -> list[tuple[int, int]]:
        """Helpers that have ended since the last look, with their wait status."""
        looks = [os.waitpid(pid, os.WNOHANG) for pid in self._helpers]
        departed = [look for look in looks if look[0]]
        self._helpers.difference_update(pid for pid, _ in departed)
        return departed

    def _dismiss_helpers(self) -> None:
        """Lets them finish what they do. They only read, so one that does not leave can be killed without harm."""
        os.close(self._held)
        os.close(self._lifeline)
        patience = time.monotonic() + _SECONDS_TO_LEAVE
        while self._helpers and time.monotonic() < patience:
            self._departed()
            time.sleep(0.01)
        for pid in self._helpers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        signal.set_wakeup_fd(-1)

    def _help(self) -> NoReturn:
        """The life of a helper. The terminal's signals are the parent's matter; TERM and PWR kill."""
        try:
            os.close(self._held)
            self._log.after_fork()
            for number in (signal.SIGTERM, signal.SIGPWR, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            signals.ignore(signal.SIGUSR1, *signals.IGNORED)
            pending = _catch((signal.SIGHUP,))
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ, self._answer_some)
                selector.register(pending, selectors.EVENT_READ, lambda: self._reopen_when_asked(pending))
                selector.register(self._lifeline, selectors.EVENT_READ, lambda: os._exit(0))
                while True:
                    for key, _ in selector.select():
                        key.data()
        finally:
            os._exit(1)

    def _answer_some(self) -> None:
        """Answers what has come, but not without end: signals want to be seen too."""
        for _ in range(_AT_ONE_GO):
            try:
                packet, ancillary, _flags, peer = self._socket.recvmsg(self._longest + 1, _ROOM)
            except BlockingIOError:
                return
            except OSError as error:
                self._log(CHECK_FAILED, reason=f"receiving: {error.strerror}")
                return
            answer = self._answer(packet, peer[0].removeprefix(MAPPED_IPV4))
            if answer is not None:
                self._send(answer, ancillary, peer)

    def _send(self, answer: bytes, ancillary: list[tuple[int, int, bytes]], peer: Any) -> None:
        try:
            self._socket.sendmsg([answer], _from_where_it_was_asked(ancillary), 0, peer)
        except OSError:
            # A full buffer, a forged address: the question counts as lost, and asking again is the other side's matter.
            pass


def _from_where_it_was_asked(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The control message that makes an answer leave from the address that the question was sent to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return [(level, kind, data)]
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _interface, local, _ = _PKTINFO.unpack(data)
            return [(level, kind, _PKTINFO.pack(0, local, bytes(4)))]
    return []


def _catch(numbers: tuple[signal.Signals, ...]) -> int:
    """Makes these signals readable, octet by octet, at the descriptor that is given back."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda _number, _frame: None)
    return readable
