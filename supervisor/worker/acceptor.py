"""The accepting of a worker: on the sockets that its slot is lent, as long as it gets tokens and the master allows it.

Each connection goes to the current service; on a socket that the config wants no more, to the service that was
in force while it did. A socket that is given back is closed when nobody waits in its queue.
"""

import functools
import socket
from collections.abc import Callable, Iterable, Mapping, Set

from supervisor.program import Service
from supervisor.runtime import messages
from supervisor.runtime.loop import READ
from supervisor.serving.context import TOKEN_CELL, WorkerContext
from supervisor.sockets.listener import Listener
from supervisor.sockets.silence import silence
from supervisor.system import accept

MAPPED_IPV4 = "::ffff:"
"""How an IPv4 client looks on a dual-stack socket; everybody else wants to see its IPv4 address."""
PAUSE_SECONDS = 1.0
"""Without descriptors or memory."""


class Acceptor:
    """A worker's listening sockets, which are the master's too."""

    __slots__ = (
        "_allowed",
        "_armed",
        "_context",
        "_emptied",
        "_emptying",
        "_fed",
        "_listeners",
        "_loop",
        "_over",
        "_pausing",
        "_retired",
        "_service",
        "_starved",
        "_tokens",
    )

    def __init__(
        self,
        context: WorkerContext,
        tokens: int,
        listeners: Mapping[Listener, socket.socket],
        allowed: bool,
        fed: Callable[[], None],
        emptied: Callable[[], None],
    ) -> None:
        """`tokens`: the descriptor they are read from, into the token cell of our block.

        `fed` is called when there are tokens again, before one is taken; `emptied` whenever no queue is left to be
        emptied.
        """
        self._context = context
        self._loop = context.loop
        self._tokens = tokens
        self._listeners = dict(listeners)
        self._retired: dict[socket.socket, Service] = {}
        """Sockets that the config wants no more, with the service for those who still wait in their queues."""
        self._emptying: list[tuple[Listener, socket.socket]] = []
        """Sockets that are given back, and closed when nobody waits in their queues."""
        self._fed = fed
        self._emptied = emptied
        self._service: Service
        self._allowed = allowed
        self._over = False
        self._starved = False
        self._pausing = False
        self._armed = False

    def begin(self, service: Service) -> None:
        """Starts to accept."""
        self._service = service
        self._tell_lent(self._listeners)
        self._arm()

    def exchange(self, service: Service, wanted: Set[Listener], lent: Mapping[Listener, socket.socket]) -> None:
        """Serves by another config, and takes the new sockets; those that are not wanted are served on, as they were,
        until the master's Close.
        """
        old, self._service = self._service, service
        retired = [listener for listener in self._listeners if listener._replace(spare=0) not in wanted]
        self._retired |= {self._listeners[listener]: old for listener in retired}
        if not retired:
            old.retire()
        self._listeners |= lent
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
        """Whether somebody may still wait at a socket that is given back."""
        return bool(self._emptying)

    def give_up_queues(self) -> None:
        """Who still waits is not accepted any more."""
        for _listener, listening in self._emptying:
            self._shut(listening)
        self._emptying = []

    # Listening

    def _arm(self) -> None:
        """Listens, or not, as the load, the tokens and the master's orders say."""
        wanted = self._allowed and not self._over and not self._starved and not self._pausing
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

    def _obstacle(self) -> str:
        """Why nobody is accepted."""
        if self._over:
            return "leaving"
        return "no session is free" if self._starved else "out of descriptors" if self._pausing else "load"

    def _watch(self, listener: Listener, listening: socket.socket) -> None:
        self._loop.watch(listening.fileno(), READ, functools.partial(self._accept, listener, listening))

    def _accept(self, listener: Listener, listening: socket.socket, _events: int = READ) -> bool:
        """Accepts one connection if there is a token for it. Says whether there was one."""
        shared = self._context.shared
        if not shared.fill(TOKEN_CELL, self._tokens):
            self._starve()
            return False
        token = shared.read(TOKEN_CELL) - 1
        try:
            fd, host, port = accept(listening)
        except OSError as error:
            self._context.decline(token)
            if not isinstance(error, BlockingIOError | ConnectionAbortedError):
                self._pause(error)
            return False
        service = self._retired.get(listening, self._service)
        service.serve(token, fd, (host.removeprefix(MAPPED_IPV4), port), listener.name)
        shared.write(TOKEN_CELL, 0)
        return True

    # Pauses

    def _starve(self) -> None:
        """No token is free: clients wait in the backlog until one is."""
        if self._starved:
            return
        self._starved = True
        self._context.counters.count("accept_pauses", "sessions")
        self._arm()
        self._loop.watch(self._tokens, READ, self._feed)

    def _feed(self, _events: int) -> None:
        self._loop.unwatch(self._tokens)
        self._starved = False
        self._fed()
        self._resume()

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: to try again at once would only burn the processor."""
        self._context.log(messages.ACCEPT_FAILED, error=error.strerror or type(error).__name__)
        self._pausing = True
        self._context.counters.count("accept_pauses", "descriptors")
        self._arm()
        self._loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pausing = False
        self._resume()

    def _resume(self) -> None:
        self._arm()
        self._empty_queues()

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
        """Accepts who waits at the sockets that are given back, then closes them.

        Without a token, or at too high a load, that has to wait; our copy keeps the queue, whatever the master closes.
        """
        for listener, listening in list(self._emptying):
            while self._allowed and not self._pausing and self._accept(listener, listening):
                pass
            if self._starved or self._pausing or not self._allowed:
                return
            self._emptying.remove((listener, listening))
            self._shut(listening)
        self._emptied()

    def _tell_lent(self, lent: Mapping[Listener, socket.socket]) -> None:
        for listener, listening in lent.items():
            host, port = listener.address[:2]
            self._context.log.debug(
                "NET", "listens", listener=listener.name, address=host, port=port, fd=listening.fileno()
            )

    def _shut(self, listening: socket.socket) -> None:
        self._context.log.debug("NET", "listens_no_more", fd=listening.fileno())
        listening.close()
        old = self._retired.pop(listening, None)
        if old is not None and old not in self._retired.values():
            old.retire()
