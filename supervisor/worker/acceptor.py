"""The accepting of a worker: on the sockets that its slot is lent, as long as it gets tokens and the master allows it.

Each connection goes to the current service; on a socket that the config wants no more, to the service that was
in force while it did. A socket that is given back is closed when nobody waits in its queue; for whom no session is free
waits with the worker then (`waiters.py`).
"""

import socket
from collections.abc import Callable, Iterable, Mapping, Set

from supervisor.program import Service
from supervisor.runtime import messages
from supervisor.runtime.loop import READ
from supervisor.serving.context import WorkerContext
from supervisor.sockets.listener import MAPPED_IPV4, Listener, queue_of
from supervisor.sockets.silence import silence, turn_away
from supervisor.system import EventTaker, accept
from supervisor.table.contents import TOKEN_CELL
from supervisor.worker.room import NO_LIMIT, PAUSE_SECONDS, ROOM_SECONDS, descriptors_left, sessions_with
from supervisor.worker.waiters import Waiters


class Entrance(EventTaker):
    """A listening socket as the event loop calls it when somebody has come."""

    __slots__ = ("_acceptor", "_listening", "_name")

    def __init__(self, acceptor: "Acceptor", listener: Listener, listening: socket.socket) -> None:
        self._acceptor = acceptor
        self._name = listener.name
        self._listening = listening

    def ready(self, fd: int, _events: int) -> None:
        self._acceptor.accept_from(self._listening, fd, self._name)


class Acceptor:
    """A worker's listening sockets, which are the master's too."""

    __slots__ = (
        "_allowed",
        "_armed",
        "_context",
        "_emptying",
        "_full",
        "_listeners",
        "_loop",
        "_most",
        "_on_queues_empty",
        "_on_tokens",
        "_over",
        "_pausing",
        "_retired",
        "_room",
        "_service",
        "_starved",
        "_tokens",
        "_waiters",
    )

    def __init__(
        self,
        context: WorkerContext,
        tokens: int,
        *,
        listeners: Mapping[Listener, socket.socket],
        allowed: bool,
        on_tokens: Callable[[], None],
        on_queues_empty: Callable[[], None],
    ) -> None:
        """`tokens`: the descriptor they are read from, into the token cell of our block.

        `on_tokens` is called when there are tokens again, before one is taken; `on_queues_empty` whenever no queue is
        left to be emptied.
        """
        self._context = context
        self._loop = context.loop
        self._tokens = tokens
        self._listeners = dict(listeners)
        self._retired: dict[socket.socket, Service] = {}
        """Sockets that the config wants no more, with the service for those who still wait in their queues."""
        self._emptying: list[tuple[Listener, socket.socket]] = []
        """Sockets that are given back, and closed when nobody waits in their queues."""
        self._waiters = Waiters(context, self._retire_unused)
        self._on_tokens = on_tokens
        self._on_queues_empty = on_queues_empty
        self._service: Service
        self._allowed = allowed
        self._over = False
        self._starved = False
        self._pausing = False
        self._full = False
        self._room = NO_LIMIT
        """Descriptors for listening sockets and sessions."""
        self._most = NO_LIMIT
        """Sessions for which there are descriptors."""
        self._armed = False

    def begin(self, service: Service) -> None:
        """Starts to accept."""
        self._service = service
        self._room = descriptors_left(len(self._listeners))
        self._reserve()
        self._tell_lent(self._listeners)
        self._arm()

    def _reserve(self) -> None:
        """Descriptors for all that a session may need, before its client is accepted."""
        self._most = sessions_with(self._room - len(self._listeners) - len(self._emptying))

    def exchange(self, service: Service, wanted: Set[Listener], lent: Mapping[Listener, socket.socket]) -> None:
        """Serves by another config, and takes the new sockets; those that are not wanted are served on, as they were,
        until the master's Close.
        """
        old, self._service = self._service, service
        retired = [listener for listener in self._listeners if listener._replace(spare=0) not in wanted]
        self._retired |= {self._listeners[listener]: old for listener in retired}
        self._retire_unused(old)
        self.lend(lent)

    def lend(self, lent: Mapping[Listener, socket.socket]) -> None:
        """These too are accepted from, from now on."""
        self._listeners |= lent
        self._reserve()
        self._tell_lent(lent)
        if self._armed:
            for listener, listening in lent.items():
                self._watch(listener, listening)

    def allow(self, allowed: bool) -> None:
        """The master's word: whether the load lets us accept."""
        if self._allowed and not allowed:
            self._context.counters.count("accept_pauses", "load")
        self._allowed = allowed
        self._resume()

    def close(self, listeners: Iterable[Listener]) -> None:
        """Gives these back, when those who wait have been accepted."""
        for listener in listeners:
            if listener in self._listeners:
                self._let_go(listener, empty=True)
        self._empty_queues()

    def take_back(self, listeners: Iterable[Listener]) -> None:
        """Closes our copies of these at once: another one accepts who waits."""
        for listener in listeners:
            if listener in self._listeners:
                self._let_go(listener, empty=False)
        self._reserve()

    def finish(self, empty: bool) -> None:
        """Gives all back for good; `empty`: but first accepts who waits."""
        for listener in list(self._listeners):
            self._let_go(listener, empty)
        self._empty_queues()
        self._over = True
        self._arm()

    def silence(self) -> None:
        """Nobody else has these sockets: lets nobody new in, who would be lost when we go."""
        for listening in self._listeners.values():
            silence(listening)

    @property
    def has_queues(self) -> bool:
        """Whether somebody still waits who has come to a socket that is given back."""
        return bool(self._emptying or self._waiters)

    def give_up_queues(self, *, shared: bool) -> None:
        """Who still waits is not served any more: is left to those who share the socket, or sent away."""
        away = self._waiters.send_away()
        for listener, listening in self._emptying:
            away[listener.name] += 0 if shared else turn_away(listening)
            self._shut(listening)
        self._emptying = []
        for name, clients in (+away).items():
            self._context.count("turned_away", amount=clients)
            self._context.log(messages.TURNED_AWAY, listener=name, clients=clients)

    # Listening

    def _arm(self) -> None:
        """Listens, or not, as the load, the tokens and the master say."""
        wanted = self._may_serve() and not self._over
        if wanted == self._armed:
            return
        self._armed = wanted
        self._context.log.debug(
            "NET",
            "accepting" if wanted else "not_accepting",
            listeners=len(self._listeners),
            reason="" if wanted else self._obstacle(),
        )
        for listener, listening in self._listeners.items():
            if wanted:
                self._watch(listener, listening)
            else:
                self._loop.unwatch(listening.fileno())

    def _may_serve(self) -> bool:
        return self._allowed and not self._starved and not self._pausing

    def _obstacle(self) -> str:
        """Why nobody is accepted."""
        if self._over:
            return "leaving"
        return "no session is free" if self._starved else "out of descriptors" if self._pausing else "load"

    def _watch(self, listener: Listener, listening: socket.socket) -> None:
        self._loop.watch(listening.fileno(), READ, Entrance(self, listener, listening))

    def accept_from(self, listening: socket.socket, listening_fd: int, listener_name: str) -> bool:
        """Accepts one connection if there is a token for it. Says whether there was one."""
        if len(self._context.sessions) >= self._most:
            self._wait_for_room()
            return False
        shared = self._context.shared
        if not shared.fill(TOKEN_CELL, self._tokens):
            self._starve()
            return False
        row_number = shared.read(TOKEN_CELL) - 1  # as tokens.wire has it
        try:
            fd, host, port = accept(listening_fd)
        except OSError as error:
            self._context.decline(row_number)
            if not isinstance(error, BlockingIOError | ConnectionAbortedError):
                self._tell_pause(error.strerror or type(error).__name__)
                self._pause(PAUSE_SECONDS)
            return False
        service = self._retired.get(listening, self._service) if self._retired else self._service
        if host.startswith(MAPPED_IPV4):
            host = host.removeprefix(MAPPED_IPV4)
        service.serve(row_number, fd, (host, port), listener_name=listener_name)
        shared.write(TOKEN_CELL, 0)
        self._full = False
        return True

    # Pauses

    def waiting(self) -> int:
        """How many clients wait for nothing but a session."""
        if not self._starved or not self._allowed or self._pausing:
            return 0
        return len(self._waiters) + sum(queue_of(listening)[0] for listening in self._listeners.values())

    def _starve(self) -> None:
        """No token is free: clients wait in the backlog until one is."""
        if self._starved:
            return
        self._starved = True
        self._context.counters.count("accept_pauses", "sessions")
        self._arm()
        self._loop.watch(self._tokens, READ, self._tokens_ready)

    def _tokens_ready(self, _events: int) -> None:
        self._loop.unwatch(self._tokens)
        self._starved = False
        self._on_tokens()
        self._resume()

    def _wait_for_room(self) -> None:
        """All descriptors are taken or reserved: clients wait in the backlog until a session has ended."""
        if not self._full:
            self._full = True
            self._tell_pause(f"the descriptors reach for {self._most} sessions, and so many are there")
        self._pause(ROOM_SECONDS)

    def _tell_pause(self, error: str) -> None:
        self._context.log(messages.ACCEPT_FAILED, error=error)
        self._context.counters.count("accept_pauses", "descriptors")

    def _pause(self, seconds: float) -> None:
        """Out of descriptors or memory: to try again at once would only burn the processor."""
        self._pausing = True
        self._arm()
        self._loop.call_later(seconds, self._end_pause)

    def _end_pause(self) -> None:
        self._pausing = False
        self._resume()

    def _resume(self) -> None:
        self._empty_queues()  # first: who waits there has come before
        self._arm()

    # Giving back

    def _let_go(self, listener: Listener, empty: bool) -> None:
        """Gives a listening socket back; `empty`: but first accept who waits in its queue (`_empty_queues`)."""
        listening = self._listeners.pop(listener)
        if self._armed:
            self._loop.unwatch(listening.fileno())
        if empty:
            self._emptying.append((listener, listening))
        else:
            self._shut(listening)

    def _empty_queues(self) -> None:
        """Serves who has waited longest; accepts who waits at the sockets that are given back, then closes them."""
        self._serve_waiters()
        for listener, listening in list(self._emptying):
            listening_fd = listening.fileno()
            while self._may_serve() and self.accept_from(listening, listening_fd, listener.name):
                pass
            if self._may_serve() or self._take_up(listener, listening):
                self._emptying.remove((listener, listening))
                self._shut(listening)
        self._on_queues_empty()

    def _take_up(self, listener: Listener, listening: socket.socket) -> bool:
        """Nobody can be served: who waits there waits with us, as far as we have descriptors. Says whether nobody is
        left there; otherwise our copy keeps the queue, whatever the master closes.
        """
        service = self._retired.get(listening, self._service)
        return self._waiters.take_up(listening, listener.name, service, most=self._most - len(self._context.sessions))

    def _serve_waiters(self) -> None:
        """Begins their sessions, as long as there are tokens."""
        shared = self._context.shared
        while self._allowed and not self._pausing and self._waiters.is_anybody_there():
            if not shared.fill(TOKEN_CELL, self._tokens):
                self._starve()
                return
            self._waiters.serve_first(shared.read(TOKEN_CELL) - 1)
            shared.write(TOKEN_CELL, 0)

    def _tell_lent(self, lent: Mapping[Listener, socket.socket]) -> None:
        for listener, listening in lent.items():
            host, port = listener.address[:2]
            self._context.log.debug(
                "NET", "listens", listener=listener.name, address=host, port=port, fd=listening.fileno()
            )

    def _shut(self, listening: socket.socket) -> None:
        self._context.log.debug("NET", "listens_no_more", fd=listening.fileno())
        listening.close()
        if listening in self._retired:
            self._retire_unused(self._retired.pop(listening))

    def _retire_unused(self, service: Service) -> None:
        """A socket or a client less is there for this service: perhaps it was the last, and the service an old one."""
        if service not in (self._service, *self._retired.values()) and not self._waiters.wait_for(service):
            service.retire()
