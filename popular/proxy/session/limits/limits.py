"""The limits on the logins of one virtual server, as a worker keeps them: entries that all workers remember together
(`limit_entries.py`), changed by the rules of `guesses.py` and `counting.py`.

At its end a session is taken off the entries that count it; by the master, if its worker died.
"""

from collections.abc import Callable, Iterable
from functools import partial

from popular.pdm.contract import Secret, UserLimits
from popular.proxy.leases import CAME_IN, FAILED
from popular.proxy.session.limits import counting, guesses
from popular.proxy.session.limits.cluster import Cluster, Lease
from popular.proxy.session.limits.contracts import Hindrance
from popular.proxy.session.limits.limit_entries import LimitEntries, account_of, is_own
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import (
    AUTHDELAY,
    CODES,
    ENFORCE,
    GUESSRATE,
    NETWORK_SESSIONS,
    VSERV_LOGINS,
    VSERV_SESSIONS,
    LimitRules,
)
from supervisor.serving.context import WorkerContext
from supervisor.system import wall
from supervisor.table.notes import Note

USER_HOLD, NETWORK_HOLD, VSERV_HOLD = range(3)
"""A session's holds, by number: each names one entry that counts it (supervisor/table/remembered.py)."""
AGAIN_SECONDS = 0.1
"""After which it is tried again to give back what a session held."""
_HEARD_DEBT_SECONDS = 60.0
"""So long at most a network waits here for guesses at other proxies, which may let in more of them."""


class Limits:
    """The limits of one virtual server under one config, in one worker."""

    def __init__(
        self, rules: LimitRules, vserv: str, context: WorkerContext, *, cluster: Cluster | None = None
    ) -> None:
        self.cluster = cluster
        self._verdicts: dict[int, Hindrance] = {}
        """What the cluster said of a session, by its row, until it would come in."""
        self.entries = entries = LimitEntries(rules, vserv, context)
        self._rules = rules
        self._vserv = vserv
        self._context = context
        self._memory = entries.memory
        self.blocked = context.open_blocked()
        self._notes = context.open_notes()
        self._clock = context.clock
        self.counts_guesses = rules.counts_guesses
        self.counts_sessions = rules.counts_sessions

    def blocks(self, address: str) -> bool:
        """Whether nobody from there is served at the moment."""
        return self.blocked.blocks(address, wall())

    # Guesses

    def charge_guess(self, who: Who) -> tuple[float, Hindrance | None]:
        """Charges a guess to the network: for how many seconds no module may be asked yet. With a hindrance none will
        be, and nothing was charged.
        """
        limit, rate = self._rules.of[GUESSRATE], self.entries.guesses
        now = self._clock.now
        if rate is None or self.entries.is_exempt(who) or self.entries.is_spared(who):
            return 0.0, None
        most_wait = float(self._rules.authdelaymax)
        seconds = self._memory.change(
            self.entries.network(who), partial(guesses.charged, rate=rate, now=now, most_wait=most_wait)
        )
        if not seconds:
            return 0.0, None
        if not limit.enforced:
            self._report(GUESSRATE, who)
            return 0.0, None
        return (seconds, None) if seconds <= most_wait else (most_wait, Hindrance(GUESSRATE, CODES[GUESSRATE]))

    def give_guess_back(self, who: Who) -> None:
        """Gives back what `charge_guess` has charged. It was no guess: nobody could tell whether the password is right,
        or it is right, or it is a wrong one that was counted already.

        Who has logged in from there in the last hour may have been charged nothing, so he is given nothing back, even
        if he is spared no more.
        """
        entries, rate = self.entries, self.entries.guesses
        if rate is None or entries.is_exempt(who) or self._memory.look(entries.pair(who)).until > self._clock.now:
            return
        self._memory.change(entries.network(who), partial(guesses.given_back, rate=rate))

    def charge_failure(self, who: Who, secret: Secret | None) -> float:
        """Charges a wrong password to the user and to the network, once however often it is tried: for how many
        seconds the reply is held back.
        """
        limit, now = self._rules.of[AUTHDELAY], self._clock.now
        if self.entries.is_exempt(who):
            return 0.0
        pair = self.entries.pair(who)
        spared = self.entries.is_spared(who)
        mark = 0 if secret is None else self._memory.mark(who.user.encode("utf-8", "surrogatepass"), secret.reveal())
        score, is_new = self._memory.change(pair, partial(guesses.failed, now=now, mark=mark))
        network = 0.0
        if is_new:
            self._tell(who, FAILED, of_network=not spared)
        if not spared:
            if is_new:
                network, _ = self._memory.change(self.entries.network(who), partial(guesses.failed, now=now, mark=0))
            else:
                network = self._memory.look(self.entries.network(who)).weight(now)
                self.give_guess_back(who)
        if not limit.counts:
            return 0.0
        seconds = guesses.delay(score, network, limit.most, most=self._rules.authdelaymax)
        if limit.enforced:
            return seconds
        self._report(AUTHDELAY, who)
        return 0.0

    def hear(self, who: Who, what: str, *, of_network: bool, age: float) -> None:
        """What another proxy of the cluster tells that has happened there, so many seconds ago. `of_network`: the
        failure counts for his network, too.
        """
        change, then = self._memory.change, self._clock.now - age
        if self.entries.is_exempt(who):
            return
        if what == CAME_IN:
            change(self.entries.pair(who), partial(guesses.succeeded, now=then))
            return
        change(self.entries.pair(who), partial(guesses.failed, now=then, mark=0))
        if of_network:
            change(self.entries.network(who), partial(guesses.failed, now=then, mark=0))
            if self.entries.guesses is not None:
                charged = partial(guesses.charged, rate=self.entries.guesses, now=then, most_wait=_HEARD_DEBT_SECONDS)
                change(self.entries.network(who), charged)

    def _tell(self, who: Who, what: str, *, of_network: bool = False) -> None:
        """Tells the other proxies that he came in, or failed; not the password."""
        if self.cluster is not None:
            words = {"address": who.address, "namespace": who.namespace, "user": who.user}
            self.cluster.tell(what, **words, of_network=str(int(of_network)))

    # Who comes in

    def comes_in(self, row_number: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        """His password was right: what hinders him from coming in. His session, in this row, counts from now on."""
        self._drop(row_number)
        verdict = self._verdicts.pop(row_number, None)
        if self.counts_guesses:
            self._succeeded(who)
        if verdict is not None:
            return verdict
        for limit in self._took(row_number, who, own):
            if self._rules.of[limit].mode != ENFORCE and not is_own(limit, own):
                self._report(limit, who)
                continue
            self.leave(row_number)
            return Hindrance(limit, CODES[limit])
        if self.cluster is not None:
            self.cluster.came_in(row_number)
        return None

    def stays_out(self, row_number: int) -> None:
        """Whom the modules admitted has no right password all the same: what the cluster holds for him is given back,
        and what it said of him is forgotten.
        """
        self._verdicts.pop(row_number, None)
        if self.cluster is not None:
            self.cluster.leave(row_number)

    def leave(self, row_number: int) -> None:
        """The session counts no more."""
        self._drop(row_number)
        if any(self._memory.held(row_number)):
            self._context.loop.call_later(AGAIN_SECONDS, self._leave_late, row_number)
        self._verdicts.pop(row_number, None)
        if self.cluster is not None:
            self.cluster.leave(row_number)

    def _leave_late(self, row_number: int) -> None:
        """A lock was somebody else's: the master's, say, who takes off what a dead worker held. Whose the row is by now
        has given that back, or will.
        """
        if self._context.is_over(row_number):
            self.leave(row_number)

    def needs_lease(self, own: UserLimits | None) -> bool:
        """Whether the cluster is to be asked for this user."""
        return self.cluster is not None and any(limit.enforced for limit in self.entries.limits_of_user(own))

    def take_lease(
        self, row_number: int, sid: str, who: Who, *, own: UserLimits | None, then: Callable[[], None]
    ) -> None:
        """Asks the cluster; `then` is called when it has answered, or it is known that it does not."""
        assert self.cluster is not None

        def answered(hindrance: Hindrance | None) -> None:
            if hindrance is not None:
                self._verdicts[row_number] = hindrance
            then()

        self.cluster.take_lease(row_number, self.lease(sid, who, own), answered)

    def lease(self, sid: str, who: Who, own: UserLimits | None) -> Lease:
        """What is asked for."""
        sessions, pause = self.entries.limits_of_user(own)
        return Lease(
            sid,
            who.namespace,
            account_of(who, own),
            sessions=sessions.most if sessions.enforced else 0,
            delay=pause.most if pause.enforced else 0,
        )

    def _drop(self, row_number: int) -> None:
        """Takes the session off all entries that count it."""
        for which, digest in enumerate(self._memory.held(row_number)):
            if digest:
                self._memory.change(digest, counting.one_less, hold=(row_number, which))

    def _succeeded(self, who: Who) -> None:
        if self.entries.is_exempt(who):
            return
        self.give_guess_back(who)
        pair, now = self.entries.pair(who), self._clock.now
        if self.cluster is not None and guesses.is_news(self._memory.look(pair), now):
            self._tell(who, CAME_IN)
        self._memory.change(pair, partial(guesses.succeeded, now=now))

    def _took(self, row_number: int, who: Who, own: UserLimits | None) -> Iterable[str]:
        """Counts the session in one entry after the other, and yields each limit that this goes beyond. The user's
        comes last: when he may come again changes only if all others let him in.
        """
        now, entries, change = self._clock.now, self.entries, self._memory.change
        of_network, of_vserv = self._rules.of[NETWORK_SESSIONS], self._rules.of[VSERV_SESSIONS]
        if of_network.counts and not entries.is_exempt(who):
            counted = partial(counting.one_more, limit=of_network)
            if change(entries.network(who), counted, hold=(row_number, NETWORK_HOLD)):
                yield NETWORK_SESSIONS
        if of_vserv.counts:
            counted = partial(counting.one_more, limit=of_vserv)
            if change(entries.server(), counted, hold=(row_number, VSERV_HOLD)):
                yield VSERV_SESSIONS
        if entries.logins is not None:
            charged = partial(guesses.charged, rate=entries.logins, now=now, most_wait=0.0)
            if change(entries.server(), charged):
                yield VSERV_LOGINS
        sessions, pause = entries.limits_of_user(own)
        if sessions.counts or pause.counts:
            of_user = partial(counting.one_more_of_user, now=now, sessions=sessions, pause=pause)
            yield from change(entries.user(who, own), of_user, hold=(row_number, USER_HOLD))

    def _report(self, limit: str, who: Who) -> None:
        """A limit on trial would have refused or delayed this login: counted, and noted for `report limits`."""
        self._context.count("limit_reports", limit)
        network = self._rules.network(who.address)
        self._notes.add(Note(wall(), limit, network, namespace=who.namespace, user=who.user, where=self._vserv))
