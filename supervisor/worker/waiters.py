"""Clients who have come while no session was free, to a socket that had to be closed: accepted, and not greeted.

A socket that is silenced (`supervisor/sockets/silence.py`) must not stay open until sessions are free. As long as it
is, it stays in the port's group, and the kernel gives it new clients, who are not let in: their first packet is
dropped there, and again each time they ask. So who waits in its queue is accepted and waits here, and gets the next
session that is free, before anybody at a socket does, under the config that let him in.

Each has the descriptors of a session reserved, as if he had one: without them he is left in the queue. What he sends
stays in the kernel.
"""

import socket
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from supervisor.program import Service
from supervisor.serving.context import WorkerContext
from supervisor.sockets.listener import MAPPED_IPV4, queue_of
from supervisor.sockets.silence import is_silenced, send_away
from supervisor.system import accept, close
from supervisor.table.contents import BASE_CELLS

_WAITERS = BASE_CELLS.index("waiters")


class Waiter(NamedTuple):
    """A client who waits."""

    fd: int
    peer: tuple[str, int]
    listener_name: str
    service: Service


class Waiters:
    """The waiters of one worker, in the order in which they were accepted."""

    def __init__(self, context: WorkerContext, unused: Callable[[Service], None]) -> None:
        """`unused` is told when nobody waits for a service any more; its sessions may still run."""
        self._context = context
        self._unused = unused
        self._line: deque[Waiter] = deque()
        self._at: Counter[Service] = Counter()
        """How many wait for each service."""

    def __len__(self) -> int:
        return len(self._line)

    def take_up(self, listening: socket.socket, listener_name: str, service: Service, *, most: int) -> bool:
        """Accepts who waits in the queue of a silenced socket, until we have `most`. Says whether it is empty now.

        A socket that was not silenced is somebody else's too, who may serve them earlier.
        """
        length, limit = queue_of(listening)
        if not is_silenced(listening):
            return length == 0
        room = min(most - len(self._line), limit + 1)  # the kernel lets in one more than the backlog
        taken = 0
        while taken < room:
            try:
                fd, host, port = accept(listening.fileno())
            except OSError:  # nobody is left, or no descriptor
                break
            peer = host.removeprefix(MAPPED_IPV4), port
            self._line.append(Waiter(fd=fd, peer=peer, listener_name=listener_name, service=service))
            taken += 1
        if taken:
            self._at[service] += taken
            self._context.log.debug("NET", "taken_up", listener=listener_name, clients=taken)
            self._show()
        return queue_of(listening)[0] == 0

    def wait_for(self, service: Service) -> bool:
        """Whether somebody does."""
        return self._at[service] > 0

    def is_anybody_there(self) -> bool:
        """Whether there is a first one; who has hung up before his turn is let go of, and costs no token."""
        while self._line and _has_hung_up(self._line[0].fd):
            waiter = self._line.popleft()
            close(waiter.fd)
            self._leave(waiter.service)
        return bool(self._line)

    def serve_first(self, row_number: int) -> None:
        """Begins the session of the first one."""
        waiter = self._line.popleft()
        waiter.service.serve(row_number, waiter.fd, waiter.peer, listener_name=waiter.listener_name)
        self._leave(waiter.service)

    def send_away(self) -> Counter[str]:
        """Nobody is served any more: closes all; how many they were, by listener."""
        told = Counter(waiter.listener_name for waiter in self._line)
        while self._line:
            waiter = self._line.popleft()
            send_away(waiter.fd)
            self._leave(waiter.service)
        return told

    def _leave(self, service: Service) -> None:
        """Somebody waits for this service no longer."""
        self._show()
        self._at[service] -= 1
        if not self._at[service]:
            del self._at[service]
            self._unused(service)

    def _show(self) -> None:
        self._context.cells[_WAITERS] = len(self._line)


def _has_hung_up(fd: int) -> bool:
    """Whether nothing can come of a connection: it is at its end, or broken, and the client has said nothing."""
    connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.detach()
