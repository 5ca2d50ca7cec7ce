"""The master: puts the parts together and runs the loop.

Single-threaded; holds no user's data; never blocks (what may block is a job). It owns the listening sockets, the
control socket, the table and the tokens, and it is the only one that gives birth to workers.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from supervisor.config import Config
from supervisor.control.commands.variables import OPEN_FILES
from supervisor.control.language.language import Language
from supervisor.control.language.outcome import Shutdown
from supervisor.control.wire.server import ControlServer
from supervisor.master.accessfile import AccessFile
from supervisor.master.accounting import Accounting, block_count, table_layout
from supervisor.master.audit import Audit
from supervisor.master.change import Changes
from supervisor.master.executor import Executor
from supervisor.master.generations import Generations
from supervisor.master.history import ConfigHistory
from supervisor.master.jobs import Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.listeners import Listeners
from supervisor.master.lost_sockets import LostSockets
from supervisor.master.moving import Moves
from supervisor.master.order_keeping import OrderKeeping
from supervisor.master.performing import Performer
from supervisor.master.periodic import PeriodicCommands
from supervisor.master.policy import cause_of_death, kind_of_death
from supervisor.master.pool import Pool, WorkerProcess
from supervisor.master.questions import Questions
from supervisor.master.recycling import Recycling
from supervisor.master.reopening import Files
from supervisor.master.shutdown import Means, ShutdownSequence
from supervisor.master.status import RunningStatus
from supervisor.master.sweeping import Sweeps
from supervisor.master.vacancies import Vacancies
from supervisor.master.watchdog import TICK_SECONDS, Watchdog
from supervisor.master.watchers import Watchers
from supervisor.operatorstate import OrderEntry
from supervisor.program import Program
from supervisor.runtime import messages, signals
from supervisor.runtime.descriptors import close_all_but
from supervisor.runtime.httpaddress import HttpAddress
from supervisor.runtime.instances import CONTROL, HTTP
from supervisor.runtime.load import LoadFiles
from supervisor.runtime.log import Log
from supervisor.runtime.logfile import LogFile
from supervisor.runtime.logroom import LogRoom
from supervisor.runtime.loop import Loop
from supervisor.runtime.rundir import RunDirectory
from supervisor.runtime.statedir import StateDirectory
from supervisor.sockets.listener import ListenerCopy
from supervisor.sockets.sources import Source
from supervisor.sockets.systemd import Notifier
from supervisor.worker.worker import Inheritance
from supervisor.workerline import (
    Accept,
    Born,
    Leaving,
    QuestionAnswered,
    StateChanged,
    Swept,
    WorkerRequest,
    code_of_end,
)


class Master:
    """One running program."""

    def __init__(
        self,
        program: Program,
        first: Config,
        language: Language,
        *,
        rundir: RunDirectory,
        log: Log,
        ceilings: Mapping[str, int],
        load_files: LoadFiles,
        source: Source,
        notifier: Notifier,
        access_file: AccessFile,
        audit_file: LogFile | None,
        metrics: HttpAddress | None,
        statedir: StateDirectory,
        metrics_token: bytes = b"",
    ) -> None:
        """`ceilings["sessionlimit"]` rows are made. Raises OSError, CannotStart, FaultyAccess."""
        self.pid = os.getpid()
        self._program = program
        self._rundir = rundir
        self._log = log
        self._log.options = first.debug
        self._over = False
        self.exit_code = 0

        self._loop = Loop()
        slots = first.variables["workers"]
        layout = table_layout(program, block_count(slots), ceilings)
        self._accounting = Accounting(rundir.make_table(layout), log, open_files=ceilings[OPEN_FILES])
        source.attach(self._loop)
        self._listeners = Listeners(source)
        self._pool = Pool(self._loop, log, self._accounting.segment, slots=slots, events=self)
        self._watchdog = Watchdog(
            load_files, self._accounting, self._pool, log=log, accepting_changed=self._tell_accepting
        )
        self._changes = Changes(
            program,
            first,
            self._loop,
            log=log,
            indexes=self._accounting.indexes,
            pool=self._pool,
            listeners=self._listeners,
            events=self,
        )
        self._vacancies = Vacancies(self._pool, self._listeners, log, wanted=self._wanted_copies)
        self._recycling = Recycling(self._pool, self._changes.dismiss)
        means = Means(
            self._loop,
            log,
            self._pool,
            listeners=self._listeners,
            sessions=self._accounting.count_sessions,
            moves=lambda: self._moves.count(),
            on_stage=self._on_stage,
            turn_away=self._turn_away,
            finish=self._finish,
        )
        self._shutdown = ShutdownSequence(means)
        self._jobs = Jobs(self._loop, self.forget_all)
        self._keeper = StateKeeper(
            statedir,
            self._loop,
            log,
            pool=self._pool,
            jobs=self._jobs,
            has_successor=rundir.has_successor,
            returns=rundir.returns,
            took_up=self._took_up,
            unheeded=program.unheeded,
        )
        self._sweeps = Sweeps(self._loop, self._pool)
        self._questions = Questions(self._loop, self._pool)
        self._moves = Moves(
            self._loop,
            self._keeper,
            self._sweeps,
            jobs=self._jobs,
            questions=self._questions,
            stays=self._changes.stays,
            ended=self._move_ended,
        )
        self._orders = OrderKeeping(
            self._keeper,
            self._sweeps,
            has_company=rundir.has_company,
            company=rundir.company,
            jobs=self._jobs,
            sweeps_of=program.sweeps_of,
        )
        self._audit = Audit(program.name, audit_file, log)
        self._performer = Performer(
            self._pool,
            self._accounting,
            rundir,
            keeper=self._keeper,
            shutdown=self._shutdown,
            recycling=self._recycling,
            moves=self._moves,
            orders=self._orders,
            log=log,
            audit=self._audit,
        )
        self._watchers = Watchers(
            program,
            self._loop,
            log,
            rundir=rundir,
            accounting=self._accounting,
            pool=self._pool,
            listeners=self._listeners,
            shutdown=self._shutdown,
            notifier=notifier,
            operator=self._keeper.state,
            in_child=self.forget_all,
            metrics=metrics,
            metrics_token=metrics_token,
        )
        self._watchers.describe(first)
        self._generations = Generations(first.generation)
        self._history = ConfigHistory(
            statedir.path,
            program,
            ceilings,
            loop=self._loop,
            jobs=self._jobs,
            log=log,
            succession=rundir,
        )
        status = RunningStatus(
            self._accounting,
            self._watchers,
            self._history,
            generations=self._generations,
            keeper=self._keeper,
            sweeps=self._sweeps,
            watchdog=self._watchdog,
            load_files=load_files,
            rundir=str(rundir.path),
        )
        self.executor = Executor(
            program,
            language,
            ceilings,
            status=status,
            changes=self._changes,
            loop=self._loop,
            jobs=self._jobs,
            questions=self._questions,
            log=log,
            access=access_file.read(),
            audit=self._audit,
            history=self._history,
            perform=self._performer.perform,
            count=self._accounting.count,
        )
        self._files = Files(log, self._audit, access_file, pool=self._pool, executor=self.executor)
        self._periodic_commands = PeriodicCommands(program.periodic_commands, self.executor, log)
        # Before anybody can see that we are there: a signal that came earlier would end us without a word.
        self._pending_signals = signals.PendingSignals(self._loop, self._on_signal)
        self._server = ControlServer(self._loop, rundir.open_control_socket(), self.executor.converse)
        self._watchers.open()
        takers = {CONTROL: self._server.listen_at, HTTP: self._watchers.take_http}
        self._lost_sockets = LostSockets(rundir, log, takers)
        rundir.publish()
        self._show_gauges()

    # The loop

    def run(self, start: Callable[["Master"], None] = lambda _master: None) -> int:
        """Fills the slots, calls `start`, and runs until a shutdown is complete. Returns the exit code."""
        self._log(
            messages.START,
            version=self._program.version,
            form=self._program.form,
            workers=self._changes.running.variables["workers"],
            pid=self.pid,
        )
        self._keeper.load()
        self._history.load()
        self._pool.fill()
        self._watchers.start()
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
        self._loop.after(TICK_SECONDS, self._tick)
        self._audit.look()
        self._lost_sockets.look()
        self._rundir.look()
        self._keeper.look()
        self._history.look()
        self._watchdog.look(self._changes.running)
        self._watchers.look(self._changes.running)
        self._vacancies.look(time.monotonic(), changing=self._changes.under_way)
        now = time.time()
        self._accounting.set_gauges(
            **self._vacancies.gauges(time.monotonic()),
            audit_not_written=self._audit.not_written,
            orders=len(self._keeper.state.entries(now)),
            orders_not_kept=self._keeper.count_not_kept(now),
            sessions_leaving=self._sweeps.count_left(),
        )
        if not self._shutdown.final:
            self._periodic_commands.begin_due(self._changes.running)

    # The workers (pool.py, PoolEvents)

    def inherit(self, slot: int, block: int, lifeline: Any, *, tolerant: bool) -> Inheritance:
        return Inheritance(
            self._program,
            self._changes.running,
            self._log,
            segment=self._accounting.segment,
            tokens=self._accounting.tokens,
            block=block,
            slot=slot,
            tolerant=tolerant,
            lifeline=lifeline,
            listeners=self._listeners.of_slot(slot, self._wanted_copies()),
            shared=self._listeners.shared,
            accepting=self._watchdog.accepting,
            operator=self._keeper.state,
            statedir=self._keeper.directory,
            withdraw_if_last=self._rundir.withdraw_if_last,
        )

    def _wanted_copies(self) -> list[ListenerCopy]:
        return self._listeners.copies(self._program.listeners(self._changes.running))

    def forget_all(self, keep: set[int]) -> None:
        """In a fresh child: lets go of everything of the master's. The lock stays: it tells that the instance lives."""
        signals.forget_in_child()
        close_all_but(keep | {0, 1, 2, *self._rundir.descriptors})

    def born(self, worker: WorkerProcess) -> None:
        self._changes.include(worker)
        self._show_gauges()

    def heard(self, worker: WorkerProcess, message: Any) -> None:
        if isinstance(message, Born):
            self._log.debug("MAIN", "serving", slot=worker.slot, worker=worker.pid, seconds=worker.age())
            self._log(messages.WORKER_BORN, slot=worker.slot, worker=worker.pid)
            self._watchers.tell_serving()
            self._recycling.serving(worker)
        if isinstance(message, Leaving):
            self._shutdown.closed(worker)
        if isinstance(message, QuestionAnswered):
            self._questions.hear(message)
        if isinstance(message, WorkerRequest):
            self._performer.perform_told(message.action)
        if isinstance(message, StateChanged):
            self._keeper.hear(worker, message)
        if isinstance(message, Swept):
            self._sweeps.hear(worker, message)
        self._changes.hear(worker, message)

    def died(self, worker: WorkerProcess, code: int) -> None:
        """The obituary: which slot, which process, why, how many sessions were lost, and its last words."""
        self._log.rescue(LogRoom(self._accounting.segment.log_room(worker.block)))
        sessions = self._accounting.recover(worker, self._pool.workers)
        if worker.ended_by and code == code_of_end(worker.ended_by):
            code = 0  # what it has cut was to end
        else:
            sessions += worker.cut
        self._watchers.show_usage()
        expected = worker.dismissed and not sessions
        kind = kind_of_death(code, hung=worker.hung, dismissed=worker.dismissed)
        self._accounting.count("worker_restarts", kind)
        self._log(
            messages.WORKER_LEFT if expected else messages.WORKER_DIED,
            slot=worker.slot,
            worker=worker.pid,
            cause="hung" if worker.hung else cause_of_death(code),
            sessions=sessions,
            words=worker.last_words,
        )
        self._show_gauges()
        self._recycling.dead(worker)
        self._changes.forget(worker)
        self._questions.forget(worker)
        self._keeper.forget(worker)
        self._sweeps.forget(worker)
        self._shutdown.closed(worker)
        self._shutdown.look_whether_done()

    def _took_up(self, changes: Iterable[OrderEntry], said: Sequence[OrderEntry]) -> None:
        """Orders came, or ended, at a newer instance that is gone."""
        self._accounting.block_again(changes)
        self._orders.take_up(said)

    def _tell_accepting(self) -> None:
        self._pool.tell_all(Accept(self._watchdog.accepting))

    # Config (change.py, ChangeEvents)

    def committed(self, config: Config) -> None:
        """What the master itself takes from a new config."""
        self._accounting.count("config_changes")
        self._generations.took_over(config.generation)
        self._watchers.describe(config)
        self._watchers.look_at_health(config)
        self._log.options = config.debug
        self._accounting.issue(config.variables["maxsession"])
        self._pool.set_slots(config.variables["workers"])
        self._show_gauges()
        self._watchdog.check_load(config)

    def taken_back(self) -> None:
        """A change of the config failed before it was in force (change.py)."""
        self._accounting.count("config_change_failures")

    def _show_gauges(self) -> None:
        self._watchers.show_gauges(self._changes.running)

    # Shutdowns and signals

    def _on_stage(self) -> None:
        if self._shutdown.final:
            self.executor.end()
            self._moves.end()
        self._show_gauges()
        self._watchers.stopping()

    def _move_ended(self, result: str, held: float) -> None:
        self._accounting.count_move(result, held)
        self._loop.after(0.0, self._shutdown.look_whether_done)

    def _turn_away(self) -> None:
        for listener, clients in self._listeners.turn_away().items():
            self._accounting.count("turned_away", amount=clients)
            self._log(messages.TURNED_AWAY, listener=listener, clients=clients)

    def _on_signal(self, number: signal.Signals) -> None:
        if number in signals.REOPENS:
            self._files.open_anew(self._changes.running.variables["logfile"])
            return
        if number in signals.IGNORED:
            self._log(messages.SIGNAL_IGNORED, signal=number.name)
            return
        self._log(messages.GOT_TERM_SIGNAL, signal=number.name)
        self.shut_down(signals.SHUTDOWNS[number])

    def started(self, lines: Iterable[str]) -> None:
        """The start configuration is in force, and these are its commands."""
        said = list(lines)
        for line in said:
            self._log(messages.COMMAND, uid=os.getuid(), line=line, generation=self._changes.running.generation)
        self._accounting.issue(self._changes.running.variables["maxsession"])
        self._files.take_up(self._changes.running.variables["logfile"])
        self.executor.started(len(said))
        for pid, control in self._rundir.others():
            self._log(messages.OTHER_INSTANCE, pid=pid, command=f"pcontrol -s {control} shutdown delayed")
        for one in (each for each in self._rundir.orphans() if each.sessions):
            self._log(messages.ORPHANS, workers=one.pids, sessions=one.sessions, command=one.command)

    def when_watched(self, call: Callable[[], None]) -> None:
        """Calls when whoever asks whether we are ready hears it; soon, whatever comes of the exporter."""
        self._watchers.when_open(call)

    def fail(self, code: int, reasons: Iterable[str]) -> None:
        """The start configuration cannot be put into force: the program ends with this exit code."""
        for reason in reasons:
            self._log(messages.START_FAILED, reason=reason)
        self.exit_code = code
        self.shut_down("all")

    def shut_down(self, how: str) -> None:
        """What the command `shutdown` does, for a signal or a failed start."""
        grace = self._changes.running.variables["grace"] if how == "delayed" else 0
        self._shutdown.begin(Shutdown(how=how, grace=grace), lambda _done, _text, _lines: None)

    def _finish(self, how: str) -> None:
        """No worker is left, or (parent) they finish alone."""
        if self._over:
            return
        self._over = True
        self._log.debug("MAIN", "ending", how=how, workers=len(self._pool.workers))
        self._audit.tell_left_out(at_last=True)
        self._history.close()
        self._jobs.stop()
        self._watchers.stop()
        self._server.flush()
        if how == "parent":
            self._rundir.withdraw_control()
        else:
            self._rundir.withdraw_all()
        self._log(messages.FINISHED, how=how)
