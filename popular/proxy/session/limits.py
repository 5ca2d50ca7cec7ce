"""The limits on the logins of one virtual server, as a worker keeps them: what all workers remember together
(supervisor/table/remembered.py), changed by the rules of `guesses.py`.

Four sorts of entries: of a user from a network (how often he has failed there; whether he is *spared*, since he has
logged in there lately), of a network (its failures, its rate of guesses, its sessions), of a user (his sessions, when
he may come again), of a virtual server (its sessions, its rate of logins). At its end a session is taken off the
entries that count it; by the master, if its worker died.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from popular.pdm.contract import Secret, UserLimits
from popular.protocol.replies import Code
from popular.proxy.leases import CAME_IN, FAILED
from popular.proxy.session import guesses
from popular.proxy.session.cluster import Cluster, Lease
from popular.proxy.session.guesses import MINUTE, Pace
from popular.proxy.session.known import Hindrance, Who
from popular.proxy.settings.limits import (
    AUTHDELAY,
    ENFORCE,
    GUESSRATE,
    LOGINDELAY,
    NETWORK_SESSIONS,
    USER_SESSIONS,
    VSERV_LOGINS,
    VSERV_SESSIONS,
    Limit,
    LimitRules,
)
from supervisor.serving.context import WorkerContext
from supervisor.system import wall
from supervisor.table.notes import Note
from supervisor.table.remembered import Entry

USER_HOLD, NETWORK_HOLD, VSERV_HOLD = range(3)
"""A session's holds, by number: each names one entry that counts it (supervisor/table/remembered.py)."""
AGAIN_SECONDS = 0.1
"""Behind which it is tried again to give back what a session held."""

_CODES = {  # what a client is refused with; nobody is refused for authdelay, only held back
    GUESSRATE: Code.SYS_TEMP,
    USER_SESSIONS: Code.IN_USE,
    LOGINDELAY: Code.LOGIN_DELAY,
    NETWORK_SESSIONS: Code.SYS_TEMP,
    VSERV_SESSIONS: Code.SYS_TEMP,
    VSERV_LOGINS: Code.SYS_TEMP,
}


class Standing(NamedTuple):
    """How far somebody is from one limit, for `explain`: nothing is changed by looking."""

    limit: str
    mode: str
    """off, report or enforce; what a module says of a user is always in force."""
    most: float
    """What is allowed: sessions, seconds, guesses a minute, logins a second."""
    now: float
    """What there is: sessions, failures of late, seconds until the next one may come."""
    wait: float = 0.0
    """For how many seconds he would be held back: for authdelay, with a wrong password."""
    code: Code | None = None
    """With which he would be refused, were the limit in force if it is on trial; None: he would not."""


class Limits:
    """The limits of one virtual server under one config, in one worker."""

    def __init__(
        self, rules: LimitRules, vserv: str, context: WorkerContext, *, cluster: Cluster | None = None
    ) -> None:
        self.cluster = cluster
        self._verdicts: dict[int, Hindrance] = {}
        """What the cluster said of a session, by its row, until it would come in."""
        self._rules = rules
        self._vserv = vserv
        self._context = context
        self._memory = context.open_remembered()
        self.blocked = context.open_blocked()
        self._notes = context.open_notes()
        self._clock = context.clock
        self.guards = rules.guards
        self.counts = rules.counts
        most = rules.of[GUESSRATE].most
        self._guesses = Pace.of(most, MINUTE) if most else None
        logins = rules.of[VSERV_LOGINS].most
        self._logins = Pace.of(logins, 1.0) if logins else None

    def blocks(self, address: str) -> bool:
        """Whether nobody from there is served at the moment."""
        return self.blocked.blocks(address, wall())

    # Guesses

    def wait(self, who: Who) -> tuple[float, Hindrance | None]:
        """Charges a guess to the network: for how many seconds no module may be asked yet. With a hindrance none will
        be, and nothing was charged.
        """
        limit, rate = self._rules.of[GUESSRATE], self._guesses
        now = self._clock.now
        if rate is None or self._is_exempt(who) or self._is_spared(who):
            return 0.0, None
        most_wait = float(self._rules.authdelaymax)
        seconds = self._memory.change(
            self._network(who), partial(guesses.charged, rate=rate, now=now, most_wait=most_wait)
        )
        if not seconds:
            return 0.0, None
        if not limit.enforced:
            self._report(GUESSRATE, who)
            return 0.0, None
        return (seconds, None) if seconds <= most_wait else (most_wait, Hindrance(GUESSRATE, _CODES[GUESSRATE]))

    def no_guess(self, who: Who) -> None:
        """Gives back what `wait` has charged. It was no guess: nobody could tell whether the password is right, or it
        is right, or it is a wrong one that was counted already.

        Who has logged in from there in the last hour may have been charged nothing, so he is given nothing back, even
        if he is spared no more.
        """
        rate = self._guesses
        if rate is None or self._is_exempt(who) or self._memory.look(self._pair(who)).until > self._clock.now:
            return
        self._memory.change(self._network(who), partial(guesses.given_back, rate=rate))

    def failed(self, who: Who, secret: Secret | None) -> float:
        """The password was wrong: for how many seconds the reply is held back."""
        limit, now = self._rules.of[AUTHDELAY], self._clock.now
        if self._is_exempt(who):
            return 0.0
        pair = self._pair(who)
        spared = self._is_spared(who)
        mark = 0 if secret is None else self._memory.mark(who.user.encode("utf-8", "surrogatepass"), secret.reveal())
        score, is_new = self._memory.change(pair, partial(guesses.failed, now=now, mark=mark))
        network = 0.0
        if is_new:
            self._tell(who, FAILED, of_network=not spared)
        if not spared:
            if is_new:
                network, _ = self._memory.change(self._network(who), partial(guesses.failed, now=now, mark=0))
            else:
                network = self._memory.look(self._network(who)).weight(now)
                self.no_guess(who)
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
        if self._is_exempt(who):
            return
        if what == CAME_IN:
            change(self._pair(who), partial(guesses.succeeded, now=then))
            return
        change(self._pair(who), partial(guesses.failed, now=then, mark=0))
        if of_network:
            change(self._network(who), partial(guesses.failed, now=then, mark=0))
            if self._guesses is not None:
                charged = partial(guesses.charged, rate=self._guesses, now=then, most_wait=math.inf)
                change(self._network(who), charged)

    def _tell(self, who: Who, what: str, *, of_network: bool = False) -> None:
        """The other proxies, not the password."""
        if self.cluster is not None:
            words = {"address": who.address, "namespace": who.namespace, "user": who.user}
            self.cluster.tell(what, **words, of_network=str(int(of_network)))

    # Who comes in

    def enter(self, row: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        """His password was right: what hinders him from coming in. `row`: of his session, which counts from now on."""
        self._drop(row)
        verdict = self._verdicts.pop(row, None)
        if self.guards:
            self._succeeded(who)
        if verdict is not None:
            return verdict
        for limit in self._took(row, who, own):
            if self._rules.of[limit].mode != ENFORCE and not _is_own(limit, own):
                self._report(limit, who)
                continue
            self.leave(row)
            return Hindrance(limit, _CODES[limit])
        if self.cluster is not None:
            self.cluster.came_in(row)
        return None

    def stays_out(self, row: int) -> None:
        """Whom the modules admitted has no right password all the same: what the cluster holds for him is given back,
        and what it said of him is forgotten.
        """
        self._verdicts.pop(row, None)
        if self.cluster is not None:
            self.cluster.leave(row)

    def leave(self, row: int) -> None:
        """The session counts no more."""
        self._drop(row)
        if any(self._memory.held(row)):
            self._context.loop.call_later(AGAIN_SECONDS, self._leave_late, row)
        self._verdicts.pop(row, None)
        if self.cluster is not None:
            self.cluster.leave(row)

    def _leave_late(self, row: int) -> None:
        """A lock was somebody else's: the master's, say, who takes off what a dead worker held. Whose the row is by now
        has given that back, or will.
        """
        if self._context.is_over(row):
            self.leave(row)

    def needs_lease(self, own: UserLimits | None) -> bool:
        """Whether the cluster is to be asked for this user."""
        return any(limit.enforced for limit in self._of_user(own))

    def take_lease(self, row: int, sid: str, who: Who, *, own: UserLimits | None, then: Callable[[], None]) -> None:
        """Asks the cluster; `then` is called when it has answered, or it is known that it does not."""
        assert self.cluster is not None

        def answered(hindrance: Hindrance | None) -> None:
            if hindrance is not None:
                self._verdicts[row] = hindrance
            then()

        self.cluster.enter(row, self.lease(sid, who, own), answered)

    def lease(self, sid: str, who: Who, own: UserLimits | None) -> Lease:
        """What is asked for."""
        sessions, pause = self._of_user(own)
        return Lease(
            sid,
            who.namespace,
            _account(who, own),
            sessions=sessions.most if sessions.enforced else 0,
            delay=pause.most if pause.enforced else 0,
        )

    def _drop(self, row: int) -> None:
        """Takes the session off all entries that count it."""
        for which, digest in enumerate(self._memory.held(row)):
            if digest:
                self._memory.change(digest, _one_less, hold=(row, which))

    def _succeeded(self, who: Who) -> None:
        if self._is_exempt(who):
            return
        self.no_guess(who)
        pair, now = self._pair(who), self._clock.now
        if self.cluster is not None and guesses.is_news(self._memory.look(pair), now):
            self._tell(who, CAME_IN)
        self._memory.change(pair, partial(guesses.succeeded, now=now))

    def _took(self, row: int, who: Who, own: UserLimits | None) -> Iterable[str]:
        """Counts the session in one entry after the other, and yields each limit that this goes beyond. The user's
        comes last: when he may come again changes only if all others let him in.
        """
        now, change = self._clock.now, self._memory.change
        of_network = self._rules.of[NETWORK_SESSIONS]
        if (
            of_network.counts
            and not self._is_exempt(who)
            and change(self._network(who), partial(_one_more, limit=of_network), hold=(row, NETWORK_HOLD))
        ):
            yield NETWORK_SESSIONS
        of_vserv, rate = self._rules.of[VSERV_SESSIONS], self._logins
        if of_vserv.counts and change(self._server(), partial(_one_more, limit=of_vserv), hold=(row, VSERV_HOLD)):
            yield VSERV_SESSIONS
        if rate is not None and change(self._server(), partial(guesses.charged, rate=rate, now=now, most_wait=0.0)):
            yield VSERV_LOGINS
        sessions, pause = self._of_user(own)
        if sessions.counts or pause.counts:
            counted = partial(_one_more_of_user, now=now, sessions=sessions, pause=pause)
            yield from change(self._user(who, own), counted, hold=(row, USER_HOLD))

    def _of_user(self, own: UserLimits | None) -> tuple[Limit, Limit]:
        """What counts for this user: his sessions, and his pause."""
        sessions, pause = self._rules.of[USER_SESSIONS], self._rules.of[LOGINDELAY]
        if own is not None:
            sessions = sessions if own.sessions is None else _own_limit(own.sessions)
            pause = pause if own.login_delay is None else _own_limit(own.login_delay)
        return sessions, pause

    # Whom it is about

    def standings(self, who: Who, own: UserLimits | None = None) -> list[Standing]:
        """How he stands with each limit, in the order in which they are looked at; changes nothing."""
        now, of, look = self._clock.now, self._rules.of, self._memory.look
        pair, network, server = look(self._pair(who)), look(self._network(who)), look(self._server())
        user, exempt = look(self._user(who, own)), self._is_exempt(who)
        sessions, pause = self._of_user(own)
        held, turn = self._waits(pair, network, exempt=exempt)
        late = turn > self._rules.authdelaymax
        until = max(0.0, user.until - now)
        logins = self._logins
        second = guesses.charged(server, logins, now, most_wait=0.0)[1] if logins is not None else 0.0
        no_room = network.held >= of[NETWORK_SESSIONS].most and not exempt
        return [
            _standing(AUTHDELAY, of[AUTHDELAY], pair.weight(now), wait=held),
            _standing(GUESSRATE, of[GUESSRATE], network.weight(now), wait=turn, beyond=late),
            _standing(NETWORK_SESSIONS, of[NETWORK_SESSIONS], network.held, beyond=no_room),
            _standing(VSERV_SESSIONS, of[VSERV_SESSIONS], server.held, beyond=server.held >= of[VSERV_SESSIONS].most),
            _standing(VSERV_LOGINS, of[VSERV_LOGINS], second, beyond=second > 0),
            _standing(USER_SESSIONS, sessions, user.held, beyond=user.held >= sessions.most),
            _standing(LOGINDELAY, pause, until, beyond=until > 0),
        ]

    def _waits(self, pair: Entry, network: Entry, *, exempt: bool) -> tuple[float, float]:
        """Seconds for which the reply to one more wrong login would be held back, and its question before that."""
        now, limit = self._clock.now, self._rules.of[AUTHDELAY]
        if exempt:
            return 0.0, 0.0
        spared = guesses.is_spared(pair, now)
        failures = 0.0 if spared else network.weight(now) + 1.0
        held = 0.0
        if limit.counts:
            held = guesses.delay(pair.weight(now) + 1.0, failures, limit.most, most=self._rules.authdelaymax)
        if self._guesses is None or spared:
            return held, 0.0
        return held, guesses.charged(network, self._guesses, now, most_wait=0.0)[1]

    def _is_exempt(self, who: Who) -> bool:
        exempt = self._rules.exempt
        return bool(exempt) and who.address in exempt

    def _is_spared(self, who: Who) -> bool:
        return guesses.is_spared(self._memory.look(self._pair(who)), self._clock.now)

    def _pair(self, who: Who) -> int:
        return self._memory.digest("pair", self._rules.network(who.address), who.namespace, who.user)

    def _network(self, who: Who) -> int:
        return self._memory.digest("network", self._rules.network(who.address))

    def _user(self, who: Who, own: UserLimits | None) -> int:
        return self._memory.digest("user", who.namespace, _account(who, own))

    def _server(self) -> int:
        return self._memory.digest("vserv", self._vserv)

    def _report(self, limit: str, who: Who) -> None:
        """A limit on trial would have refused or delayed this login: counted, and noted for `report limits`."""
        self._context.count("limit_reports", limit)
        network = self._rules.network(who.address)
        self._notes.add(Note(wall(), limit, network, namespace=who.namespace, user=who.user, where=self._vserv))


def _account(who: Who, own: UserLimits | None) -> str:
    """As whom he is counted: what he has written, unless his module knows better."""
    return own.account if own is not None and own.account else who.user


def _own_limit(most: int) -> Limit:
    return Limit(ENFORCE, most) if most else Limit()


def _is_own(limit: str, own: UserLimits | None) -> bool:
    """Whether a module says this limit, which is then in force."""
    if own is None:
        return False
    return (limit == USER_SESSIONS and own.sessions is not None) or (
        limit == LOGINDELAY and own.login_delay is not None
    )


def _standing(name: str, limit: Limit, now: float, *, wait: float = 0.0, beyond: bool = False) -> Standing:
    code = _CODES[name] if limit.counts and beyond else None
    return Standing(limit=name, mode=limit.mode, most=limit.most, now=now, wait=wait, code=code)


def _one_less(entry: Entry) -> tuple[Entry, None]:
    return entry._replace(held=max(0, entry.held - 1)), None


def _one_more(entry: Entry, limit: Limit) -> tuple[Entry, bool]:
    """One more session, and whether that is beyond the limit; where the limit is in force it is not counted then."""
    beyond = entry.held >= limit.most
    return (entry if beyond and limit.enforced else entry._replace(held=entry.held + 1)), beyond


def _one_more_of_user(entry: Entry, now: float, *, sessions: Limit, pause: Limit) -> tuple[Entry, list[str]]:
    """One more session of a user, who must not come too soon either. In one step: of two at once only one comes in."""
    beyond = []
    if sessions.counts and entry.held >= sessions.most:
        beyond.append(USER_SESSIONS)
    if pause.counts and entry.until > now:
        beyond.append(LOGINDELAY)
    if (USER_SESSIONS in beyond and sessions.enforced) or (LOGINDELAY in beyond and pause.enforced):
        return entry, beyond
    until = now + pause.most if pause.counts else entry.until
    held = entry.held + 1 if sessions.counts else entry.held
    return entry._replace(held=held, until=until), beyond
