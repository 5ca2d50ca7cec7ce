"""The master: puts the parts together and runs the loop.

Single-threaded; holds no user's data; never blocks (what may block is an errand). It owns the listening sockets, the
control socket, the table and the tokens, and it is the only one that gives birth to workers.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from supervisor import messages, signals
from supervisor.change import Changes
from supervisor.clerk import Answer, Clerk
from supervisor.config import Config
from supervisor.control.language import Language
from supervisor.control.outcome import Kill, Order, Shutdown
from supervisor.control.server import ControlServer
from supervisor.errands import Errands
from supervisor.lifeline import Accept, Born, Closed, Leave, Reopen
from supervisor.lifeline import Kill as KillOrder
from supervisor.listeners import Listeners
from supervisor.load import LOADAVG, Level, next_level, read_load
from supervisor.log import Log
from supervisor.loop import Loop
from supervisor.pool import Pool, Worker
from supervisor.program import Program
from supervisor.rundir import RunDirectory
from supervisor.table.layout import BASE_COLUMNS, Counter, Layout
from supervisor.table.segment import Segment, View
from supervisor.table.tokens import TokenPipe, lost
from supervisor.worker import Inheritance
from supervisor.workshop import BASE_ENDINGS

TICK_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""How long workers that were told to end may take before they are killed."""

GAUGES = ("maxsession", "session_state", "load_state", "load_hundredths", "generation", "draining", "workers")


def table_layout(program: Program, blocks: int, rows: int) -> Layout:
    """The table of a program: what the supervisor keeps of every session, and then the program's own."""
    endings = (*BASE_ENDINGS, *program.endings)
    counters = (
        Counter("sessions_started", "Sessions accepted."),
        Counter("sessions_ended", "Sessions over, by ending.", endings),
        *program.counters,
    )
    columns = (*BASE_COLUMNS, *program.columns)
    return Layout(program.magic, columns, counters, GAUGES, tuple(program.states), endings, blocks, rows)


class Master:
    """One running program."""

    def __init__(
        self,
        program: Program,
        first: Config,
        language: Language,
        rundir: RunDirectory,
        log: Log,
        limits: Mapping[str, int],
        workers: int,
        load_file: Path = LOADAVG,
    ) -> None:
        """`limits["sessionlimit"]` rows are made. Raises OSError, CannotStart."""
        self.pid = os.getpid()
        self._program = program
        self._rundir = rundir
        self._log = log
        self._load_file = load_file
        self._load_level = Level.OK
        self._session_level = Level.OK
        self._started_wall = time.time()
        self._over = False
        self._leaving: str | None = None
        self._on_all_closed: Callable[[], None] | None = None
        self._not_closed: set[Worker | None] = set()
        self.exit_code = 0

        self._loop = Loop()
        blocks = max(64, 4 * workers) + 1
        layout = table_layout(program, blocks, limits["sessionlimit"])
        self._segment = Segment.create(rundir.segment_name, layout)
        self._view = View(self._segment.map)
        self._tokens = TokenPipe(limits["sessionlimit"])
        self._tokens.put(range(first.variables["maxsession"]))
        self._listeners = Listeners(workers)
        self._pool = Pool(self._loop, log, self._segment, workers)
        self._pool.inherit = self._inherit
        self._pool.in_child = self._in_child
        self._pool.on_born = self._on_born
        self._pool.on_message = self._on_message
        self._pool.on_death = self._on_death
        self._changes = Changes(program, first, self._loop, self._pool, self._listeners)
        self._changes.on_commit = self._on_commit
        self._errands = Errands(self._loop, self._in_child)
        self.clerk = Clerk(program, language, limits, self, self._changes, self._errands, log, self._perform)
        self._server = ControlServer(self._loop, rundir.open_control_socket(), self.clerk.conduct)
        self._wishes = signals.Wishes(self._loop, self._grant)
        rundir.publish_state()
        self._set_gauges()

    # What the control language may see (control/outcome.py, Status)

    @property
    def rundir(self) -> str:
        return str(self._rundir.path)

    def sessions(self) -> list[dict[str, Any]]:
        return self._view.sessions()

    def workers(self) -> list[dict[str, Any]]:
        now = time.monotonic_ns()
        return [
            {
                "slot": row["slot"],
                "pid": row["pid"],
                "generation": row["generation"],
                "heartbeat_seconds": round((now - row["heartbeat_ns"]) / 1e9, 1) if row["heartbeat_ns"] else None,
            }
            for row in self._view.workers()
        ]

    # The loop

    def run(self, start: Callable[["Master"], None] = lambda _master: None) -> int:
        """Fills the slots, calls `start`, and runs until a shutdown is complete. Returns the exit code."""
        self._log(messages.START, version=self._program.version, workers=self._listeners.slots, pid=self.pid)
        self._pool.fill()
        self._tick()
        start(self)
        try:
            while not self._over:
                self._loop.run_once()
        except Exception as error:
            self._log(messages.LEFT_MAIN_LOOP, error=f"{type(error).__name__}: {error}")
            raise
        return self.exit_code

    def _tick(self) -> None:
        """Once a second: the two warning machines."""
        self._loop.after(TICK_SECONDS, self._tick)
        self._check_load()
        self._check_sessions()

    def _check_load(self) -> None:
        limit = self._changes.running.variables["maxlocalload"]
        load = read_load(self._load_file)
        before = self._load_level
        self._load_level = next_level(before, load or 0.0, limit)
        self._segment.set_gauge("load_hundredths", int((load or 0.0) * 100))
        if self._load_level is before:
            return
        self._log(messages.LOAD_STATE, state=self._load_level.name, load=load or 0.0, maxlocalload=limit)
        self._segment.set_gauge("load_state", self._load_level)
        if Level.MAX in (before, self._load_level):
            self._pool.tell_all(Accept(self._accepting))

    def _check_sessions(self) -> None:
        limit = self._changes.running.variables["maxsession"]
        sessions = limit - self._tokens.count()
        before = self._session_level
        self._session_level = next_level(before, sessions, limit)
        if self._session_level is not before:
            self._log(messages.SESSION_STATE, state=self._session_level.name, sessions=sessions, maxsession=limit)
            self._segment.set_gauge("session_state", self._session_level)

    @property
    def _accepting(self) -> bool:
        return self._load_level is not Level.MAX

    # The workers

    def _inherit(self, slot: int, block: int, lifeline: Any) -> Inheritance:
        return Inheritance(
            self._program,
            self._changes.running,
            self._log,
            self._segment,
            self._tokens,
            block,
            slot,
            lifeline,
            self._listeners.of_slot(slot),
            self._accepting,
        )

    def _in_child(self, keep: set[int]) -> None:
        """In a fresh child: lets go of everything of the master's. The lock stays: it tells that the instance lives."""
        signals.forget_in_child()
        keep = keep | {0, 1, 2, self._rundir.lock_fd}
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in keep:
                try:
                    os.close(int(name))
                except OSError:  # the descriptor of this very listing
                    pass

    def _on_born(self, worker: Worker) -> None:
        self._changes.include(worker)
        if self._leaving == "delayed":
            self._pool.tell(worker, Leave())

    def _on_message(self, worker: Worker, message: Any) -> None:
        match message:
            case Closed():
                self._on_closed(worker)
            case Born():
                self._log(messages.WORKER_BORN, slot=worker.slot, worker=worker.pid)
                self._set_gauges()
            case _:
                self._changes.hear(worker, message)

    def _on_death(self, worker: Worker, code: int) -> None:
        sessions = self._recover_tokens(worker)
        message = messages.WORKER_LEFT if worker.dismissed and not sessions else messages.WORKER_DIED
        self._log(message, slot=worker.slot, worker=worker.pid, cause=_cause(code), sessions=sessions)
        self._set_gauges()
        self._on_closed(worker)
        self._changes.forget(worker)
        if self._leaving and not self._pool.workers:
            self._finish()

    def _recover_tokens(self, dead: Worker) -> int:
        """Frees the dead worker's rows, counts their ending, and puts back every token that died with it."""
        pids = {worker.pid for worker in self._pool.workers}
        issued = range(self._changes.running.variables["maxsession"])
        in_pipe = self._tokens.drain()
        hands = {row["hand"] - 1 for row in self._view.workers() if row["pid"] in pids}
        reader = self._segment.reader
        owners = {token: reader.owner(token) for token in issued}
        missing = lost(issued, in_pipe, hands, owners, pids)
        sessions = [row for row in map(reader.read, missing) if row is not None and row.columns["pid"] == dead.pid]
        for row in sessions:
            self._segment.free_row(row.number, self.pid)
        cell = self._segment.counter_cells["sessions_ended"] + self._segment.layout.endings.index("worker_died")
        self._segment.block(dead.block)[cell] += len(sessions)
        self._tokens.put([*in_pipe, *missing])
        if missing:
            self._log(messages.TOKENS_RECOVERED, tokens=len(missing), sessions=len(sessions))
        return len(sessions)

    # Config

    def _on_commit(self, old: Config, new: Config) -> None:
        """What the master itself takes from a new config."""
        self._log.options = new.debug
        before, after = old.variables["maxsession"], new.variables["maxsession"]
        self._tokens.put(range(before, after))
        self._set_gauges()
        self._check_load()

    def _set_gauges(self) -> None:
        running = self._changes.running
        self._segment.set_gauge("maxsession", running.variables["maxsession"])
        self._segment.set_gauge("generation", running.generation)
        self._segment.set_gauge("workers", len(self._pool.workers))
        self._segment.set_gauge("draining", int(self._leaving == "delayed"))

    # Orders and shutdowns

    def _perform(self, order: Order, answer: Answer) -> None:
        match order:
            case Shutdown(how=how):
                self.shut_down(how, answer)
            case Kill(sid=sid):
                self._kill(sid, answer)

    def _kill(self, sid: str, answer: Answer) -> None:
        for session in self._view.sessions():
            if session.get("sid") == sid:
                for worker in self._pool.workers:
                    if worker.pid == session["pid"]:
                        self._pool.tell(worker, KillOrder(session["row"], sid))
                        answer(True, f"session {sid} is ended", ())
                        return
        answer(False, f"there is no session {sid}; `sessions` lists them", ())

    def _grant(self, number: signal.Signals) -> None:
        if number == signals.REOPEN:
            self.reopen_log()
            return
        self._log(messages.GOT_TERM_SIGNAL, signal=number.name)
        self.shut_down(signals.SHUTDOWNS[number], lambda _done, _text, _lines: None)

    def reopen_log(self) -> None:
        path = self._changes.running.variables["logfile"]
        try:
            self._log.reopen(path)
        except OSError as error:
            self._log(messages.LOG_FAILED, file=path, error=error.strerror or "")
            return
        self._pool.tell_all(Reopen(path))
        self._log(messages.LOG_REOPENED, file=path)

    def shut_down(self, how: str, answer: Answer) -> None:
        """One of the manual's four shutdowns; answers when its first half is done."""
        self._log(messages.SHUTDOWN_SERVER, how=how)
        sessions = len(self._view.sessions())
        match how:
            case "children":
                self._pool.signal_all()
                answer(True, f"{sessions} sessions are ended; fresh workers follow", ())
            case "parent":
                answer(True, f"the parent is gone; its children finish {sessions} sessions", ())
                self._loop.after(0.0, self._abdicate)
            case "all":
                self._leave_with("all")
                self._pool.signal_all()
                self._loop.after(PATIENCE_SECONDS, lambda: self._pool.signal_all(signal.SIGKILL))
                answer(True, f"{sessions} sessions are ended", ())
            case "delayed":
                self._drain(lambda: answer(True, f"no new sessions; {len(self._view.sessions())} are still there", ()))

    def _leave_with(self, how: str) -> None:
        self._leaving = how
        self._pool.refilling = False
        self._set_gauges()
        if not self._pool.workers:
            self._loop.after(0.0, self._finish)

    def _drain(self, all_closed: Callable[[], None]) -> None:
        """Every worker empties its queues and closes; then the master closes too; the process ends with the last
        session.
        """
        self._leave_with("delayed")
        self._not_closed = set(self._pool.workers)

        def close() -> None:
            self._listeners.keep_only(())
            all_closed()

        self._on_all_closed = close
        for worker in self._pool.workers:
            worker.dismissed = True
            self._pool.tell(worker, Leave())
        if not self._not_closed:
            self._on_closed(None)

    def _on_closed(self, worker: Worker | None) -> None:
        self._not_closed.discard(worker)
        if not self._not_closed and self._on_all_closed is not None:
            call, self._on_all_closed = self._on_all_closed, None
            call()

    def _abdicate(self) -> None:
        """Shutdown parent: the master goes, its workers see the end of the lifeline and finish their sessions."""
        self._server.flush()
        self._rundir.withdraw_control()
        self._log(messages.FINISHED, how="parent")
        self._over = True

    def _finish(self) -> None:
        """No worker is left."""
        if self._over:
            return
        self._errands.stop()
        self._server.flush()
        self._rundir.withdraw_all()
        self._log(messages.FINISHED, how=self._leaving or "")
        self._over = True


def _cause(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit {code}"
