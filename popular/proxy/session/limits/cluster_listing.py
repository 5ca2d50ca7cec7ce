"""Who is logged in here, as the cluster's list has it (`sessions cluster`): all sessions of this worker, whether a
limit counts them or not.

No login tells it, or waits for it. Once a second the sessions of the worker are compared with what was told of them:
who is new comes into the list, who has gone is taken out, and who is still there is told again before that ends by
itself. The commands are of bounded length, and one goes after the other, so that leases and logins pass by them,
however many sessions there are. While the server does not answer nothing is kept of who has gone.
"""

import time
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import NamedTuple

from popular.proxy import leases
from popular.proxy.leases import RENEW_SECONDS
from popular.proxy.session.limits.cluster_server import ClusterServer
from popular.proxy.settings.order_sorts import USER
from supervisor.serving.context import WorkerContext
from supervisor.serving.session import CutCost, Session

LOOK_SECONDS = 1.0
MOST_IN_COMMAND = 500
"""So many are told of in one command, who have come and who have gone each: a millisecond of the server's time."""
_OUTSIDE = (CutCost.NOT_LOGGED_IN, CutCost.COMING_IN)


class _ListedSession(NamedTuple):
    """What the server was told of a session."""

    sid: str
    member: str
    again: float
    """When it is to be told again, on the monotonic clock."""


class ClusterListing:
    """One worker's; for its event loop's thread only, but for `__init__`."""

    def __init__(self, context: WorkerContext, server: ClusterServer, *, proxy: str) -> None:
        self._context = context
        self._server = server
        self._proxy = proxy
        self._renew = server.client.register_script(leases.RENEW)
        self._told: dict[int, _ListedSession] = {}
        """By row."""
        self._next = 0.0

    async def look(self) -> None:
        """Tells what is to be told by now, if it is time. Two services of one worker may look at once, while one takes
        over from the other: then one of them does it.
        """
        now = time.monotonic()
        if now < self._next or self._server.is_left_alone():
            return
        self._next = float("inf")
        try:
            await self._tell(self._gone(), self._due(now), again=now + RENEW_SECONDS)
        finally:
            self._next = now + LOOK_SECONDS

    def _gone(self) -> list[str]:
        """Forgets who is over, and gives what the server has of them. A row may be another session's by now."""
        sessions, told = self._context.sessions, self._told
        over = [row for row, one in told.items() if row not in sessions or sessions[row].sid != one.sid]
        return [told.pop(row).member for row in over]

    def _due(self, now: float) -> list[tuple[int, str, str]]:
        """Who is to be told: row, session id, and the member of the list."""
        due = []
        for row, session in self._context.sessions.items():
            told = self._told.get(row)
            if told is not None:
                if told.again <= now:
                    due.append((row, told.sid, told.member))
            elif names := _names(session):
                namespace, _, user = names[-1].partition(":")  # his account, if that is another one
                due.append((row, session.sid, leases.member(session.sid, self._proxy, namespace=namespace, user=user)))
        return due

    async def _tell(self, gone: Sequence[str], due: Sequence[tuple[int, str, str]], *, again: float) -> None:
        for place in range(0, max(len(gone), len(due)), MOST_IN_COMMAND):
            ended, there = gone[place : place + MOST_IN_COMMAND], due[place : place + MOST_IN_COMMAND]
            members = [member for _row, _sid, member in there]
            if await self._server.ask(partial(self._renewed, ended, members)) is None:
                return
            self._told |= {row: _ListedSession(sid, member, again) for row, sid, member in there}

    async def finish(self) -> None:
        """The worker goes: who was the last to leave it is told, too, if the server answers by now."""
        self._next = 0.0
        self._server.let_through()
        await self.look()

    def _renewed(self, ended: Sequence[str], there: Sequence[str]) -> Awaitable[int]:
        renewed: Awaitable[int] = self._renew(keys=[leases.ALL], args=leases.renewal(there, ended))
        return renewed


def _names(session: Session) -> list[str]:
    """By which the user of a session is found; none, if nobody is logged in there."""
    if session.cut_cost() in _OUTSIDE:
        return []
    return [ident for sort, ident in session.whose().marks if sort == USER]
