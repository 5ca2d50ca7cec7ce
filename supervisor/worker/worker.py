"""A worker: lets the program serve the connections that it accepts (`acceptor.py`).

What it is to do, and its config, come over the lifeline. When the lifeline ends, the master is gone: the worker
accepts nothing more, finishes its sessions and leaves. It never opens a listening socket and never writes another
process's row or block.
"""

import asyncio
import gc
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from supervisor import workerline
from supervisor.config import Config
from supervisor.control.words import CommandRefused
from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.operatorstate import OperatorState
from supervisor.program import Program, Service
from supervisor.runtime import messages, rights
from supervisor.runtime.fault import kind_and_location_of, location_of
from supervisor.runtime.log import Log
from supervisor.runtime.logroom import LogRoom
from supervisor.serving.context import WorkerContext
from supervisor.serving.eventloop import EventLoop
from supervisor.serving.session import COMMITTING_SECONDS, CutCost
from supervisor.serving.threadpool import NoThread, ThreadPool
from supervisor.sockets.listener import Listener
from supervisor.sockets.sources import HALF_OPEN_SECONDS
from supervisor.table.segment import Segment
from supervisor.table.tokens import TokenPipe
from supervisor.worker.acceptor import Acceptor
from supervisor.worker.displacer import LOOK_SECONDS, Displacer
from supervisor.worker.heartbeat import HEARTBEAT_SECONDS, Heartbeat, refresh_all
from supervisor.worker.sweeper import sweep

CLOSING_SECONDS = 1.0
"""What a service has open may take so long to be closed."""
ENDING_STEP_SECONDS = 0.5
TOKENLESS_SECONDS = 3.0
"""So long an orphan waits for a token before it sends away who waits at its sockets; again while it has sessions."""
PATIENCE_SECONDS = {
    CutCost.NOT_LOGGED_IN: 0.0,
    CutCost.IDLE: 0.0,
    CutCost.COMING_IN: 0.0,
    CutCost.IN_TRANSFER: 10.0,
    CutCost.UNCOMMITTED: 10.0,
    CutCost.COMMITTING: COMMITTING_SECONDS,
}
"""What a session may still take when the deadline of a shutdown has come, by what it would lose."""
EXIT_BY_ERROR = 3
GC_THRESHOLDS = (20_000, 20, 50)


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
    tolerant: bool
    """Whether it does without what it cannot open. Else it dies: the one whom it follows has it still."""
    lifeline: socket.socket
    listeners: dict[Listener, socket.socket]
    shared: bool
    """Whether the sockets outlive this program, so that it must not silence them."""
    accepting: bool
    operator: OperatorState
    """What the operator has ordered; the fork makes a copy."""
    statedir: str
    withdraw_if_last: Callable[[], None]
    """Clears up in the run directory, if the master is gone and no other worker is left."""


def live(inheritance: Inheritance) -> None:
    """The whole life of a worker process; does not return."""
    rights.renounce()
    # Sessions let go of each other when they end, so the collector has little to find; what was inherited never goes.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    inheritance.log.after_fork(LogRoom(inheritance.segment.log_room(inheritance.block)))
    loop = EventLoop()
    asyncio.set_event_loop(loop)
    worker = Worker(inheritance, loop)
    try:
        worker.begin()
        loop.run_forever()
        worker.finish()
        code = worker.exit_code
        if worker.is_orphan:
            inheritance.withdraw_if_last()
    except Exception as error:
        worker.say_last_words(error)
        code = EXIT_BY_ERROR
    inheritance.log.write_out()
    # Not by `return`: the interpreter would wait for threads of the pool, and one may hang in a module for ever.
    os._exit(code)


class Worker:
    """Obeys the master, and tells it what came of them."""

    def __init__(self, inheritance: Inheritance, loop: EventLoop) -> None:
        self._loop = loop
        self._program = inheritance.program
        self._config = inheritance.config
        self._log = inheritance.log
        self._log.options = inheritance.config.debug
        self._lifeline: Lifeline | None = Lifeline(inheritance.lifeline)
        self._context = WorkerContext(
            loop,
            inheritance.log,
            inheritance.segment,
            block=inheritance.block,
            tokens=inheritance.tokens,
            released=self._released,
            request=self._request,
            operator=inheritance.operator,
            statedir=inheritance.statedir,
        )
        self._beats = Heartbeat(self._context.cells)
        self._acceptor = Acceptor(
            self._context,
            inheritance.tokens.read_end,
            listeners=inheritance.listeners,
            allowed=inheritance.accepting,
            on_tokens=self._tokens_are_back,
            on_queues_empty=self._released,
        )
        self._displacer = Displacer(self._context)
        self._tolerant = inheritance.tolerant
        self._prepared: tuple[Config, Service] | None = None
        self._preparing = 0
        self._answering: set[asyncio.Task[None]] = set()
        self._service: Service
        self._shared = inheritance.shared
        self._ending_since = 0.0
        self.exit_code = 0

    @property
    def is_orphan(self) -> bool:
        """Whether the master is gone."""
        return self._lifeline is None

    def finish(self) -> None:
        """Its sessions are over, and it goes: what its service still has to write is written, what it has open closed.
        In a thread, because a module may hang in that, too; without one the kernel closes it.
        """
        self._program.finish(self._service)
        closing = threading.Thread(target=self._close, daemon=True)
        with suppress(RuntimeError):
            closing.start()
            closing.join(CLOSING_SECONDS)

    def _close(self) -> None:
        closing = self._loop.create_task(self._program.close(self._service))
        closing.add_done_callback(lambda _closed: self._loop.stop())
        while not closing.done():  # the loop may have been told twice to stop
            self._loop.run_forever()

    def begin(self) -> None:
        """Makes the first service and starts to accept. Raises CommandRefused if the config cannot be served."""
        for number in workerline.ENDING_SIGNALS:
            self._loop.add_signal_handler(number, self._end_at_once, number)
        self._service = self._program.service_at_birth(self._context, self._config, tolerant=self._tolerant)
        assert self._lifeline is not None
        self._loop.add_reader(self._lifeline.socket, self._hear)
        self._beat()
        self._make_room()
        self._acceptor.begin(self._service)
        self._debug("begins", generation=self._config.generation)
        self._tell(workerline.Born(self._config.generation, tuple(self._program.reports(self._service))))

    def say_last_words(self, error: Exception) -> None:
        """Tells the master what this worker dies of: the kind of error and its place, no values."""
        text = str(error) if isinstance(error, CommandRefused) else type(error).__name__
        self._tell(workerline.LastWords(f"{text} at {location_of(error)}"))

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

    def _request(self, action: object) -> None:
        self._tell(workerline.WorkerRequest(action))

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
            try:
                self._obey(message, fds)
            except Exception as error:  # ours; the other messages, which may bring sockets, are obeyed all the same
                text = f"{type(message).__name__} is not obeyed"
                self._loop.call_exception_handler({"message": text, "exception": error})

    def _obey(self, message: Any, fds: list[int]) -> None:
        match message:
            case workerline.Prepare(config, anew):
                self._prepare(config, None if anew else self._service)
            case workerline.Commit(generation, listeners, seed):
                self._commit(generation, _lent(listeners, fds), seed)
            case workerline.Abort():
                self._abort()
            case workerline.Accept(allowed):
                self._acceptor.allow(allowed)
            case workerline.Reopen(path):
                self._reopen(path)
            case workerline.Kill(token, sid):
                session = self._context.sessions.get(token)
                if session is not None and session.sid == sid:
                    session.end("killed")
            case workerline.PutQuestion(number, question):
                self._answer(number, question)
            case workerline.ChangeState(number, entries):
                self._context.operator.change(entries)
                self._program.ordered(self._service, entries)
                self._tell(workerline.StateChanged(number))
            case workerline.Sweep(number, aims):
                self._tell(workerline.Swept(number, sweep(self._context.sessions.values(), aims)))
            case workerline.Close(generation, listeners):
                self._acceptor.close(listeners)
                self._tell(workerline.ListenersClosed(generation))
            case workerline.Lend(listeners):
                self._acceptor.lend(_lent(listeners, fds))
            case workerline.TakeBack(listeners):
                self._acceptor.take_back(listeners)
            case workerline.Leave(empty):
                self._leave(empty)
            case workerline.CloseQueues():
                self._acceptor.give_up_queues(shared=self._shared)
            case workerline.EndSessions():
                self._end_sessions()

    def _prepare(self, config: Config, before: Service | None) -> None:
        """Makes the new service in a thread, because a module may read a large file; the sessions go on meanwhile. The
        thread is no longer there afterwards: a worker with one thread only need not let go of the interpreter's lock.
        """
        self._preparing = config.generation
        began = time.monotonic()
        thread = ThreadPool(1, "service")
        try:
            made = self._loop.run_in_executor(thread, self._program.make_service, self._context, config, before)
        except NoThread as error:
            self._tell(workerline.Unable(config.generation, str(error)))
            return
        thread.shutdown()

        def finished(future: "asyncio.Future[Service]") -> None:
            error = future.exception()
            self._debug("prepared", generation=config.generation, seconds=round(time.monotonic() - began, 3))
            if self._preparing != config.generation:
                if error is None:
                    future.result().retire()
            elif error is None:
                self._prepared = (config, future.result())
                self._tell(workerline.Ready(config.generation, tuple(self._program.reports(future.result()))))
            else:
                reason = str(error) if isinstance(error, CommandRefused) else f"{type(error).__name__}: {error}"
                self._tell(workerline.Unable(config.generation, reason))

        made.add_done_callback(finished)

    def _commit(self, generation: int, lent: dict[Listener, socket.socket], seed: bytes) -> None:
        if self._prepared is None or self._prepared[0].generation != generation:
            return
        self._config, self._service = self._prepared
        self._prepared = None
        self._context.look_for_blocks()  # a limit that comes into force counts what all others have
        self._acceptor.exchange(self._service, set(self._program.listeners(self._config)), lent)
        if seed:
            ssl.RAND_add(seed, float(len(seed)))
        self._log.options = self._config.debug
        self._debug("committed", generation=generation, lent=len(lent))
        self._tell(workerline.InForce(generation))

    def _abort(self) -> None:
        self._debug("aborted", generation=self._preparing)
        self._preparing = 0
        if self._prepared is not None:
            self._prepared[1].retire()
            self._prepared = None

    def _reopen(self, path: str) -> None:
        try:
            self._log.reopen(path)
        except OSError as error:
            self._log(messages.LOG_FAILED, file=path, error=error.strerror or "")

    def _answer(self, number: int, question: object) -> None:
        """Has the service find out what a command wants to know: on the loop, since it may have to wait."""

        async def answer() -> None:
            try:
                answered = workerline.QuestionAnswered(number, await self._program.answer(self._service, question))
            except CommandRefused as refused:
                answered = workerline.QuestionAnswered(number, failure=str(refused))
            except Exception as error:  # its text could hold a secret
                answered = workerline.QuestionAnswered(number, failure=kind_and_location_of(error))
            self._tell(answered)

        task = self._loop.create_task(answer())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    # Leaving

    def _leave(self, empty: bool) -> None:
        """Accepts nobody but who waits, finishes the sessions, then goes."""
        self._debug("leaves", accepts_who_waits=str(empty).lower())
        self._acceptor.finish(empty)
        self._context.leaving = True
        self._tell(workerline.Leaving())
        self._go_if_done()

    def _end_sessions(self) -> None:
        """Ends who loses least at once, leaves transfers a little time, and lets a QUIT have its reply."""
        waited = time.monotonic() - self._ending_since if self._ending_since else 0.0
        self._ending_since = self._ending_since or time.monotonic()
        for session in sorted(self._context.sessions.values(), key=lambda session: session.cut_cost()):
            if waited >= PATIENCE_SECONDS[session.cut_cost()]:
                session.end("shutdown")
        if self._context.sessions:
            self._loop.call_later(ENDING_STEP_SECONDS, self._end_sessions)
        elif self._context.leaving:
            self._go_if_done()

    def _tokens_are_back(self) -> None:
        """There are tokens again. While leaving, what the master says comes first: a token may be free because the time
        is up for everybody.
        """
        if self._context.leaving and self._lifeline is not None:
            self._hear()

    def _released(self) -> None:
        """A session is over, or a queue empty: perhaps it was the last thing to do."""
        if self._context.leaving:
            self._go_if_done()

    def _go_if_done(self) -> None:
        if not self._context.sessions and not self._acceptor.has_queues:
            self._loop.call_soon(self._loop.stop)

    def _orphaned(self) -> None:
        """The master is gone: nobody lends us sockets any more."""
        if self._lifeline is not None:
            self._debug("orphaned")
            self._loop.remove_reader(self._lifeline.socket)
            self._loop.remove_writer(self._lifeline.socket)
            self._lifeline.close()
            self._lifeline = None
            self._acceptor.allow(True)  # nobody would tell us that the load has gone down
            if self._shared:
                self._leave(empty=False)  # who waits is the next program's client
                return
            self._acceptor.silence()
            self._loop.call_later(HALF_OPEN_SECONDS, self._leave, True)
            self._loop.call_later(TOKENLESS_SECONDS, self._give_up_queues)

    def _give_up_queues(self) -> None:
        """Who waits needs a token. The others' sessions and ours give theirs back when they end; but a master that dies
        while it looks for lost ones takes those with it that were free.
        """
        if self._context.sessions:
            self._loop.call_later(TOKENLESS_SECONDS, self._give_up_queues)
            return
        self._acceptor.give_up_queues(shared=False)
        self._go_if_done()

    def _end_at_once(self, number: int) -> None:
        """A signal: the sessions end now, in an orderly way, and the worker goes. The master is told how many they are,
        for it finds nothing of them.
        """
        self._debug("ends_at_once")
        if not self.exit_code:
            self.exit_code = workerline.code_of_end(number)
            self._tell(workerline.LastWords("", len(self._context.sessions)))
        self._context.leaving = True
        self._acceptor.give_up_queues(shared=self._shared)
        self._acceptor.finish(empty=False)
        for session in list(self._context.sessions.values()):
            session.end("shutdown")
        self._loop.call_soon(self._loop.stop)

    def _debug(self, step: str, **fields: object) -> None:
        """A step of this worker's life, for the debug option MAIN."""
        self._log.debug("MAIN", f"worker_{step}", "-", sessions=len(self._context.sessions), **fields)

    def _make_room(self) -> None:
        """Looks whether silent sessions must end for those who wait because no session is free; and has the log write
        what it has gathered.
        """
        self._loop.call_later(LOOK_SECONDS, self._make_room)  # first: an error in here must not be the last of it
        self._log.write_out()
        self._displacer.look(self._acceptor.waiting() if self._config.variables["displace"] else 0)

    def _beat(self) -> None:
        """Shows that the loop turns, and how far the sessions have come."""
        self._loop.call_later(HEARTBEAT_SECONDS, self._beat)  # first: an error in here must not be the last of it
        self._beats.beat()
        self._context.look_for_blocks()
        self._log.tell_left_out()
        self._context.count("log_lines_lost", amount=self._log.newly_lost())
        refresh_all(self._context.sessions.values())


def _lent(listeners: Sequence[Listener], fds: Sequence[int]) -> dict[Listener, socket.socket]:
    """Listening sockets that have come with a message."""
    return {listener: socket.socket(fileno=fd) for listener, fd in zip(listeners, fds, strict=True)}
