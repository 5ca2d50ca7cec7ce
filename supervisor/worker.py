"""A worker: accepts connections on the sockets that its slot is lent, as long as it gets tokens, and lets the program
serve them.

It takes its config and orders from the lifeline. When the lifeline ends, the master is gone: the worker accepts
nothing more, finishes its sessions and leaves. It never opens a listening socket and never writes another process's
row or block.
"""

import asyncio
import functools
import gc
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from supervisor import lifeline, messages, rights
from supervisor.config import Config
from supervisor.control.language import Refused
from supervisor.eventloop import READ, EventLoop
from supervisor.fault import place_of
from supervisor.heartbeat import HEARTBEAT_SECONDS, Heartbeat
from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.log import Log
from supervisor.program import Listener, Program, Service
from supervisor.sources import HALF_OPEN_SECONDS, hear_all, silence
from supervisor.table.segment import Segment
from supervisor.table.tokens import TokenPipe
from supervisor.workshop import Standing, Workshop

MAPPED_IPV4 = "::ffff:"
"""How an IPv4 client looks on a dual-stack socket; everybody else wants to see its IPv4 address."""
ACCEPT_PAUSE_SECONDS = 1.0
ENDING_STEP_SECONDS = 0.5
PATIENCE_SECONDS = {
    Standing.NOT_LOGGED_IN: 0.0,
    Standing.IDLE: 0.0,
    Standing.IN_TRANSFER: 10.0,
    Standing.COMMITTING: 60.0,
}
"""What a session may still take when the deadline of a shutdown has come, by what it would lose."""
EXIT_BY_ERROR = 3
GC_THRESHOLDS = (20_000, 20, 50)
_STREAM = int(socket.SOCK_STREAM)


@dataclass(frozen=True)
class Inheritance:
    """Exactly what a worker receives at birth, and nothing else."""

    program: Program
    config: Config
    log: Log
    segment: Segment
    tokens: TokenPipe
    block: int
    slot: int
    lifeline: socket.socket
    listeners: dict[Listener, socket.socket]
    shared: bool
    """Whether the sockets outlive this program, so that it must not silence them."""
    accepting: bool


def live(inheritance: Inheritance) -> None:
    """The whole life of a worker process; does not return."""
    rights.renounce()
    # Sessions let go of each other when they end, so the collector has little to find; what was inherited never goes.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    inheritance.log.after_fork()
    loop = EventLoop()
    asyncio.set_event_loop(loop)
    worker = Worker(inheritance, loop)
    try:
        worker.begin()
        loop.run_forever()
        code = 0
    except Exception as error:
        worker.say_last_words(error)
        code = EXIT_BY_ERROR
    # Not by `return`: the interpreter would wait for threads of the pool, and one may hang in a module for ever.
    os._exit(code)


class Worker:
    """The loop's end of the lifeline, and the accepting."""

    def __init__(self, inheritance: Inheritance, loop: EventLoop) -> None:
        self._loop = loop
        self._program = inheritance.program
        self._config = inheritance.config
        self._log = inheritance.log
        self._log.options = inheritance.config.debug
        self._lifeline: Lifeline | None = Lifeline(inheritance.lifeline)
        self._token_pipe = inheritance.tokens
        self._hand_bytes = inheritance.segment.hand(inheritance.block)
        self._hand = self._hand_bytes.cast("I")
        self._shop = Workshop(loop, inheritance.log, inheritance.segment, inheritance.block, inheritance.tokens)
        self._beats = Heartbeat(self._shop.counters)
        self._listeners = dict(inheritance.listeners)
        self._retired: dict[socket.socket, Service] = {}
        """Sockets that the config wants no more, with the service for those who still wait in their queues."""
        self._emptying: list[tuple[Listener, socket.socket]] = []
        """Sockets that are given back, and closed when nobody waits in their queues."""
        self._prepared: tuple[Config, Service] | None = None
        self._preparing = 0
        self._service: Service
        self._shared = inheritance.shared
        self._allowed = inheritance.accepting
        self._leaving = False
        self._starved = False
        self._pausing = False
        self._armed = False
        self._ending_since = 0.0

    def begin(self) -> None:
        """Makes the first service and starts to accept. Raises Refused if the config cannot be served."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._end_at_once)
        self._service = self._program.make_service(self._shop, self._config, None)
        assert self._lifeline is not None
        self._loop.add_reader(self._lifeline.socket, self._hear)
        self._beat()
        self._arm()
        self._tell(lifeline.Born(self._config.generation))

    def say_last_words(self, error: Exception) -> None:
        """Tells the master what this worker dies of: the kind of error and its place, no values."""
        text = str(error) if isinstance(error, Refused) else type(error).__name__
        self._tell(lifeline.LastWords(f"{text} at {place_of(error)}"))

    # Accepting

    def _arm(self) -> None:
        """Listens, or not, as the load, the tokens and the master's orders say."""
        wanted = self._allowed and not self._leaving and not self._starved and not self._pausing
        if wanted == self._armed:
            return
        self._armed = wanted
        for listener, listening in self._listeners.items():
            if wanted:
                self._watch(listener, listening)
            else:
                self._loop.unwatch(listening.fileno())

    def _watch(self, listener: Listener, listening: socket.socket) -> None:
        family = int(listening.family)
        self._loop.watch(listening.fileno(), READ, functools.partial(self._accept, listener, listening, family))

    def _accept(self, listener: Listener, listening: socket.socket, family: int, _events: int = READ) -> bool:
        """Accepts one connection if there is a token for it. Says whether there was one.

        Beneath the socket's own `accept`, which looks up two enums each time (1.3 of 4.6 µs).
        """
        try:
            os.readv(self._token_pipe.read_end, [self._hand_bytes])
        except BlockingIOError:
            self._starve()
            return False
        token = self._hand[0] - 1
        try:
            fd, peer = listening._accept()  # type: ignore[attr-defined]
        except OSError as error:
            self._shop.decline(token)
            if not isinstance(error, BlockingIOError | ConnectionAbortedError):
                self._pause(error)
            return False
        connection = socket.SocketType(family, _STREAM, 0, fd)
        connection.setblocking(False)
        hear_all(connection)
        if peer[0].startswith(MAPPED_IPV4):
            peer = (peer[0].removeprefix(MAPPED_IPV4), peer[1])
        self._retired.get(listening, self._service).serve(token, connection, peer, listener.name)
        self._hand[0] = 0
        return True

    def _starve(self) -> None:
        """No token is free: clients wait in the backlog until one is."""
        if self._starved:
            return
        self._starved = True
        self._shop.ledger.count("accept_pauses", "sessions")
        self._arm()
        self._loop.watch(self._token_pipe.read_end, READ, self._feed)

    def _feed(self, _events: int) -> None:
        self._loop.unwatch(self._token_pipe.read_end)
        self._starved = False
        if self._leaving and self._lifeline is not None:
            self._hear()  # the token may be of a session that another worker has ended because the time is up
        self._resume()

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: to try again at once would only burn the processor."""
        self._log(messages.ACCEPT_FAILED, error=error.strerror or type(error).__name__)
        self._pausing = True
        self._shop.ledger.count("accept_pauses", "descriptors")
        self._arm()
        self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pausing = False
        self._resume()

    def _allow(self, allowed: bool) -> None:
        if self._allowed and not allowed:
            self._shop.ledger.count("accept_pauses", "load")
        self._allowed = allowed
        self._resume()

    def _resume(self) -> None:
        self._arm()
        self._empty_queues()

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
            family = int(listening.family)
            while self._allowed and not self._pausing and self._accept(listener, listening, family):
                pass
            if self._starved or self._pausing or not self._allowed:
                return
            self._emptying.remove((listener, listening))
            self._shut(listening)
        if self._leaving:
            self._go_if_done()

    def _shut(self, listening: socket.socket) -> None:
        listening.close()
        old = self._retired.pop(listening, None)
        if old is not None and old not in self._retired.values():
            old.retire()

    # The lifeline

    def _tell(self, message: object) -> None:
        if self._lifeline is None:
            return
        try:
            self._lifeline.send(message)
        except LifelineLost:
            self._orphaned()
            return
        if self._lifeline.wants_write:
            self._loop.add_writer(self._lifeline.socket, self._flush)

    def _flush(self) -> None:
        assert self._lifeline is not None
        try:
            self._lifeline.flush()
        except LifelineLost:
            self._orphaned()
            return
        if not self._lifeline.wants_write:
            self._loop.remove_writer(self._lifeline.socket)

    def _hear(self) -> None:
        assert self._lifeline is not None
        try:
            heard = self._lifeline.receive()
        except LifelineLost:
            self._orphaned()
            return
        for message, fds in heard:
            self._obey(message, fds)

    def _obey(self, message: Any, fds: list[int]) -> None:
        match message:
            case lifeline.Prepare(config):
                self._prepare(config)
            case lifeline.Commit(generation, listeners, seed):
                lent = {key: socket.socket(fileno=fd) for key, fd in zip(listeners, fds, strict=True)}
                self._commit(generation, lent, seed)
            case lifeline.Abort():
                self._abort()
            case lifeline.Accept(allowed):
                self._allow(allowed)
            case lifeline.Reopen(path):
                self._reopen(path)
            case lifeline.Kill(token, sid):
                session = self._shop.sessions.get(token)
                if session is not None and session.sid == sid:
                    session.end("killed")
            case lifeline.Close(generation, listeners):
                self._close(generation, listeners)
            case lifeline.Leave(empty):
                self._leave(empty)
            case lifeline.CloseQueues():
                self._close_queues()
            case lifeline.EndSessions():
                self._end_sessions()

    def _prepare(self, config: Config) -> None:
        """Makes the new service in a thread, because a module may read a large file; the sessions go on meanwhile."""
        self._preparing = config.generation
        made = self._loop.run_in_executor(
            self._shop.pool, self._program.make_service, self._shop, config, self._service
        )

        def finished(future: "asyncio.Future[Service]") -> None:
            error = future.exception()
            if self._preparing != config.generation:
                if error is None:
                    future.result().retire()
            elif error is None:
                self._prepared = (config, future.result())
                self._tell(lifeline.Ready(config.generation))
            else:
                reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
                self._tell(lifeline.Unable(config.generation, reason))

        made.add_done_callback(finished)

    def _commit(self, generation: int, lent: dict[Listener, socket.socket], seed: bytes) -> None:
        if self._prepared is None or self._prepared[0].generation != generation:
            return
        old = self._service
        self._config, self._service = self._prepared
        self._prepared = None
        self._exchange_listeners(old, lent)
        if seed:
            ssl.RAND_add(seed, float(len(seed)))
        self._log.options = self._config.debug
        self._tell(lifeline.InForce(generation))

    def _exchange_listeners(self, old: Service, lent: dict[Listener, socket.socket]) -> None:
        """Takes the new ones; those that are wanted no more are served on, as they were, until the master's Close."""
        wanted = set(self._program.listeners(self._config))
        retired = [listener for listener in self._listeners if listener._replace(spare=0) not in wanted]
        self._retired |= {self._listeners[listener]: old for listener in retired}
        if not retired:
            old.retire()
        self._listeners |= lent
        if self._armed:
            for listener, listening in lent.items():
                self._watch(listener, listening)

    def _close(self, generation: int, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            if listener in self._listeners:
                self._let_go(listener, empty=True)
        self._empty_queues()
        self._tell(lifeline.ListenersClosed(generation))

    def _abort(self) -> None:
        self._preparing = 0
        if self._prepared is not None:
            self._prepared[1].retire()
            self._prepared = None

    def _reopen(self, path: str) -> None:
        try:
            self._log.reopen(path)
        except OSError as error:
            self._log(messages.LOG_FAILED, file=path, error=error.strerror or "")

    # Leaving

    def _leave(self, empty: bool) -> None:
        """Accepts nobody but who waits, finishes the sessions, then goes."""
        for listener in list(self._listeners):
            self._let_go(listener, empty)
        self._empty_queues()
        self._leaving = True
        self._arm()
        self._tell(lifeline.Closed())
        self._shop.on_release = self._go_if_done
        self._go_if_done()

    def _close_queues(self) -> None:
        """Who waits is cut off."""
        for _listener, listening in self._emptying:
            self._shut(listening)
        self._emptying = []

    def _end_sessions(self) -> None:
        """Ends who loses least at once, leaves transfers a little time, and lets a QUIT have its reply."""
        waited = time.monotonic() - self._ending_since if self._ending_since else 0.0
        self._ending_since = self._ending_since or time.monotonic()
        for session in sorted(self._shop.sessions.values(), key=lambda session: session.standing()):
            if waited >= PATIENCE_SECONDS[session.standing()]:
                session.end("shutdown")
        if self._shop.sessions:
            self._loop.call_later(ENDING_STEP_SECONDS, self._end_sessions)
        elif self._leaving:
            self._go_if_done()

    def _go_if_done(self) -> None:
        if not self._shop.sessions and not self._emptying:
            self._loop.call_soon(self._loop.stop)

    def _orphaned(self) -> None:
        """The master is gone: nobody lends us sockets any more."""
        if self._lifeline is not None:
            self._loop.remove_reader(self._lifeline.socket)
            self._loop.remove_writer(self._lifeline.socket)
            self._lifeline.close()
            self._lifeline = None
            self._allowed = True  # nobody would tell us that the load has gone down
            if self._shared:
                self._leave(empty=False)  # who waits is the next program's client
                return
            for listening in self._listeners.values():
                silence(listening)
            self._loop.call_later(HALF_OPEN_SECONDS, self._leave, True)

    def _end_at_once(self) -> None:
        """A signal: the sessions end now, in an orderly way, and the worker goes."""
        self._leaving = True
        for listener in list(self._listeners):
            self._let_go(listener, empty=False)
        for session in list(self._shop.sessions.values()):
            session.end("shutdown")
        self._loop.call_soon(self._loop.stop)

    def _beat(self) -> None:
        """Shows that the loop turns, and how far the sessions have come."""
        self._beats.beat()
        for session in self._shop.sessions.values():
            session.refresh()
        self._loop.call_later(HEARTBEAT_SECONDS, self._beat)
