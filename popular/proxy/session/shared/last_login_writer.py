"""What a worker tells of last logins (proxy/last_login_store.py): gathered for a second, and written in a thread.

So a login costs an entry of a dictionary, whoever polls all the time is one row, and a slow disk delays nobody. Where
it does not come after, what is too much is left out, and told.
"""

from asyncio import Future, wrap_future
from concurrent.futures import Future as WorkOfThread
from concurrent.futures import wait
from pathlib import Path

from popular.messages import LAST_LOGINS_LOST
from popular.proxy.last_login_store import FILE, LastLogin, NotRemembered, forget, remember
from popular.proxy.session.who import Who
from supervisor.serving.context import WorkerContext
from supervisor.serving.threadpool import NoThread
from supervisor.system import wall

_PAUSE_SECONDS = 1.0
_MOST_GATHERED = 20_000
"""Users whose logins wait to be written."""
_LONGEST_WAIT_SECONDS = 5.0
"""For a thread, at the end."""
_ROUND_SECONDS = 60.0
"""Each worker looks so often whether there are more users than may be."""


class LastLogins:
    """Those that one worker has seen."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._path = Path(context.statedir) / FILE
        self._gathered: dict[tuple[str, str], LastLogin] = {}
        self._is_waiting = False
        self._writing: WorkOfThread[str] | None = None
        """What was given to a thread last."""
        self._forgot_at = 0.0
        self.most = 0
        """How many users may be remembered."""

    def saw(self, who: Who, how: str) -> None:
        """A user came in."""
        key = who.namespace, who.user
        before = self._gathered.get(key)
        if before is None and len(self._gathered) >= _MOST_GATHERED:
            self._tell("the disk is too slow for so many logins")
            return
        times = before.logins + 1 if before is not None else 1
        self._gathered[key] = LastLogin(*key, wall(), client=who.address, how=how, logins=times)
        if not self._is_waiting:
            self._is_waiting = True
            self._context.loop.call_later(_PAUSE_SECONDS, self._begin)

    def _begin(self) -> None:
        logins, self._gathered = list(self._gathered.values()), {}
        now = self._context.clock.now
        looks = now >= self._forgot_at + _ROUND_SECONDS
        if looks:
            self._forgot_at = now
        try:
            self._writing = self._context.pool.submit(self._write, logins, looks)
        except NoThread as error:
            self._written(str(error))
            return
        written: Future[str] = wrap_future(self._writing, loop=self._context.loop)
        written.add_done_callback(lambda done: self._written(str(done.exception() or done.result())))

    def _write(self, logins: list[LastLogin], looks: bool) -> str:
        """In a thread. Gives what was lost. Raises NotRemembered, OSError."""
        lost = remember(self._path, logins)
        if looks:
            try:
                forget(self._path, self.most)
            except NotRemembered as error:
                lost = lost or str(error)
        return lost

    def _written(self, lost: str) -> None:
        self._is_waiting = bool(self._gathered)
        if self._is_waiting:
            self._context.loop.call_later(_PAUSE_SECONDS, self._begin)
        if lost:
            self._tell(lost)

    def finish(self) -> None:
        """At the end of the worker: what is gathered is written at once, and what a thread has is waited for."""
        if self._writing is not None:
            wait([self._writing], _LONGEST_WAIT_SECONDS)
        logins, self._gathered = list(self._gathered.values()), {}
        if logins:
            try:
                lost = remember(self._path, logins)
            except Exception as error:
                lost = str(error)
            if lost:
                self._tell(lost)

    def _tell(self, reason: str) -> None:
        self._context.log(LAST_LOGINS_LOST, "-", file=self._path, reason=reason)
