"""The master: puts the parts together and runs the loop.

Single-threaded; holds no user's data; never blocks (what may block is an errand). It owns the listening sockets, the
control socket, the table and the tokens, and it is the only one that gives birth to workers.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from supervisor import messages, signals
from supervisor.change import Changes
from supervisor.clerk import Answer, Clerk
from supervisor.config import Config
from supervisor.control.language import Language
from supervisor.control.outcome import Kill, Order, Recycle, Shutdown
from supervisor.control.server import ControlServer
from supervisor.departure import Departure, Means
from supervisor.errands import Errands
from supervisor.lifeline import Accept, Born, Closed, Reopen
from supervisor.lifeline import Kill as KillOrder
from supervisor.listeners import Listeners
from supervisor.load import Level, LoadFiles, next_level, read_load, read_pressure
from supervisor.log import Log
from supervisor.loop import Loop
from supervisor.pool import Pool, Worker
from supervisor.program import Program
from supervisor.recycling import Recycling
from supervisor.rundir import RunDirectory
from supervisor.sources import Place, Source
from supervisor.table.layout import BASE_COLUMNS, Counter, Layout
from supervisor.table.segment import Segment, View
from supervisor.table.tokens import TokenPipe, lost
from supervisor.worker import Inheritance
from supervisor.workshop import BASE_ENDINGS

TICK_SECONDS = 1.0
LIMITS = {"load": "maxlocalload", "pressure": "maxpressure"}
"""What is measured, and the variable that limits it."""
GAUGES = (
    "maxsession",
    "session_state",
    "load_state",
    "load_hundredths",
    "pressure_hundredths",
    "generation",
    "draining",
    "workers",
)


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
        gauges: LoadFiles,
        source: Source,
    ) -> None:
        """`limits["sessionlimit"]` rows are made. Raises OSError, CannotStart."""
        self.pid = os.getpid()
        self._program = program
        self._rundir = rundir
        self._log = log
        self._load_files = gauges
        self._load_levels = {"load": Level.OK, "pressure": Level.OK}
        self._session_level = Level.OK
        self._started_wall = time.time()
        self._over = False
        self.exit_code = 0

        self._loop = Loop()
        blocks = max(64, 4 * first.variables["workers"]) + 1
        layout = table_layout(program, blocks, limits["sessionlimit"])
        self._segment = Segment.create(rundir.segment_name, layout)
        self._view = View(self._segment.map)
        self._tokens = TokenPipe(limits["sessionlimit"])
        self._tokens.put(range(first.variables["maxsession"]))
        self._listeners = Listeners(source)
        self._pool = Pool(self._loop, log, self._segment, first.variables["workers"])
        self._pool.inherit = self._inherit
        self._pool.in_child = self._in_child
        self._pool.on_born = self._on_born
        self._pool.on_message = self._on_message
        self._pool.on_death = self._on_death
        self._changes = Changes(program, first, self._loop, self._pool, self._listeners)
        self._changes.on_commit = self._on_commit
        self._recycling = Recycling(self._pool)
        means = Means(
            self._loop, log, self._pool, self._listeners, self._count_sessions, self._set_gauges, self._finish
        )
        self._departure = Departure(means)
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
        self._log(
            messages.START,
            version=self._program.version,
            workers=self._changes.running.variables["workers"],
            pid=self.pid,
        )
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
        """Once a second: the warning machines, and whether every worker's loop still turns."""
        self._loop.after(TICK_SECONDS, self._tick)
        self._check_load()
        self._check_sessions()
        self._check_heartbeats()

    def _check_load(self) -> None:
        """The system's load and the pressure on the processors of our group, each against its limit."""
        variables = self._changes.running.variables
        was_accepting = self._accepting
        load = read_load(self._load_files.load) or 0.0
        pressure = read_pressure(self._load_files.pressure) or 0.0
        self._segment.set_gauge("load_hundredths", int(load * 100))
        self._segment.set_gauge("pressure_hundredths", int(pressure * 100))
        self._check_level("load", load, variables[LIMITS["load"]])
        self._check_level("pressure", pressure, variables[LIMITS["pressure"]])
        self._segment.set_gauge("load_state", max(self._load_levels.values()))
        if self._accepting is not was_accepting:
            self._pool.tell_all(Accept(self._accepting))

    def _check_level(self, what: str, value: float, limit: int) -> None:
        before = self._load_levels[what]
        now = self._load_levels[what] = next_level(before, value, limit)
        if now is not before:
            fields: dict[str, Any] = {"state": now.name, what: value, LIMITS[what]: limit}
            self._log(messages.LOAD_STATE, **fields)

    def _check_sessions(self) -> None:
        limit = self._changes.running.variables["maxsession"]
        sessions = self._count_sessions()
        before = self._session_level
        self._session_level = next_level(before, sessions, limit)
        if self._session_level is not before:
            self._log(messages.SESSION_STATE, state=self._session_level.name, sessions=sessions, maxsession=limit)
            self._segment.set_gauge("session_state", self._session_level)

    @property
    def _accepting(self) -> bool:
        return Level.MAX not in self._load_levels.values()

    def _count_sessions(self) -> int:
        """How many tokens are out; a count of the rows would cost more, and is a moment old as well."""
        return int(self._changes.running.variables["maxsession"]) - self._tokens.count()

    def _check_heartbeats(self) -> None:
        """A worker whose loop has not turned for `workertimeout` is killed: its successor serves whoever waits."""
        limit = self._changes.running.variables["workertimeout"]
        now = time.monotonic()
        for worker in self._pool.workers:
            silent = now - max(worker.born, self._segment.heartbeat(worker.block))
            if limit and silent > limit:
                self._log(messages.WORKER_HANGS, slot=worker.slot, worker=worker.pid, seconds=round(silent, 1))
                worker.hung = True
                self._pool.signal(worker, signal.SIGKILL)

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
            self._listeners.of_slot(slot, self._wanted_places()),
            self._accepting,
        )

    def _wanted_places(self) -> list[Place]:
        running = self._changes.running
        places = self._listeners.places()
        wanted = self._program.listeners(running)
        return [place for place in places if place[0] in wanted]

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
        self._set_gauges()

    def _on_message(self, worker: Worker, message: Any) -> None:
        if isinstance(message, Born):
            self._log(messages.WORKER_BORN, slot=worker.slot, worker=worker.pid)
            self._recycling.serving(worker)
        if isinstance(message, Closed):
            self._departure.closed(worker)
        self._changes.hear(worker, message)

    def _on_death(self, worker: Worker, code: int) -> None:
        """The obituary: which slot, which process, why, how many sessions were lost, and its last words."""
        sessions = self._recover_tokens(worker)
        expected = worker.dismissed and not sessions
        cause = "hung" if worker.hung else _cause(code)
        self._log(
            messages.WORKER_LEFT if expected else messages.WORKER_DIED,
            slot=worker.slot,
            worker=worker.pid,
            cause=cause,
            sessions=sessions,
            words=worker.last_words,
        )
        self._set_gauges()
        self._recycling.dead(worker)
        self._changes.forget(worker)
        self._departure.closed(worker)
        self._departure.look_whether_done()

    def _recover_tokens(self, dead: Worker) -> int:
        """Frees the dead worker's rows, counts their ending, and puts back every token that died with it."""
        pids = {worker.pid for worker in self._pool.workers}
        issued = range(self._changes.running.variables["maxsession"])
        in_pipe = self._tokens.drain()
        hands = {row["hand"] - 1 for row in self._view.workers() if row["pid"] in pids}
        reader = self._segment.reader
        owners = {token: reader.owner(token) for token in issued}
        missing = lost(issued, in_pipe, hands, owners, pids)
        for row in map(reader.read, missing):
            if row is not None and row.columns["pid"] == dead.pid:
                self._segment.free_row(row.number, self.pid)
        sessions = self._count_lost_sessions(dead.block)
        self._tokens.put([*in_pipe, *missing])
        if missing:
            self._log(messages.TOKENS_RECOVERED, tokens=len(missing), sessions=sessions)
        return sessions

    def _count_lost_sessions(self, block: int) -> int:
        """Ends in the counters what a dead worker had begun and not ended.

        Its own counters tell that exactly: a session is counted before its row is written, and its row is freed before
        its ending is counted, so the rows may be one behind.
        """
        cells, first = self._segment.block(block), self._segment.counter_cells["sessions_ended"]
        endings = self._segment.layout.endings
        sessions = cells[self._segment.counter_cells["sessions_started"]] - sum(cells[first : first + len(endings)])
        cells[first + endings.index("worker_died")] += sessions
        return sessions

    # Config

    def _on_commit(self, old: Config, new: Config) -> None:
        """What the master itself takes from a new config."""
        self._log.options = new.debug
        before, after = old.variables["maxsession"], new.variables["maxsession"]
        self._tokens.put(range(before, after))
        self._pool.set_slots(new.variables["workers"])
        self._set_gauges()
        self._check_load()

    def _set_gauges(self) -> None:
        running = self._changes.running
        self._segment.set_gauge("maxsession", running.variables["maxsession"])
        self._segment.set_gauge("generation", running.generation)
        self._segment.set_gauge("workers", len(self._pool.workers))
        self._segment.set_gauge("draining", int(self._departure.draining))

    # Orders and shutdowns

    def _perform(self, order: Order, answer: Answer) -> None:
        match order:
            case Shutdown():
                self._departure.begin(order, answer)
            case Recycle():
                self._recycling.begin(lambda good, text: answer(good, text, ()))
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
        self.shut_down(signals.SHUTDOWNS[number])

    def reopen_log(self) -> None:
        path = self._changes.running.variables["logfile"]
        try:
            self._log.reopen(path)
        except OSError as error:
            self._log(messages.LOG_FAILED, file=path, error=error.strerror or "")
            return
        self._pool.tell_all(Reopen(path))
        self._log(messages.LOG_REOPENED, file=path)

    def shut_down(self, how: str) -> None:
        """What the sentence `shutdown` does, for a signal or a failed start."""
        grace = self._changes.running.variables["grace"] if how == "delayed" else 0
        self._departure.begin(Shutdown(how=how, grace=grace), lambda _done, _text, _lines: None)

    def _finish(self, how: str) -> None:
        """No worker is left, or (parent) they finish alone."""
        if self._over:
            return
        self._over = True
        self._errands.stop()
        self._server.flush()
        if how == "parent":
            self._rundir.withdraw_control()
        else:
            self._rundir.withdraw_all()
        self._log(messages.FINISHED, how=how)


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # the real-time signals have no names
        return f"signal {-code}"
