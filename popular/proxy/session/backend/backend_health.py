"""How well one backend is, as one worker uses it: whether a login may go there, and what became of it.

All workers share what is known, in a record of the table (settings/health.py); what follows from it breaker.py decides.
As long as a backend is well a login costs one comparison of the loop's clock, and the record is looked at four times
a second; it is written only when something fails.
"""

import random
import time
from collections.abc import Callable
from zlib import crc32

from popular import messages
from popular.proxy.session.backend import breaker
from popular.proxy.session.backend.breaker import BreakerTerms
from popular.proxy.session.backend.contracts import AS_PROBE, NOT_NOW, WELCOME, BackendFailure, HealthKnowledge
from popular.proxy.settings.backend import OFF, Backend
from popular.proxy.settings.health import (
    DOWN,
    PROBING,
    RECOVERING,
    UP,
    WORDS,
    Condition,
    condition_of,
    is_of,
    record_of,
    told,
)
from popular.proxy.settings.limits import network_of
from supervisor.config import Config
from supervisor.runtime.messages import Message
from supervisor.system import Clock
from supervisor.table.records import Records

_LOOK_SECONDS = 0.25
_BITS4, _BITS6 = 32, 48
"""What counts as one network: of IPv6 as much as one customer gets (RFC 6177), for each /64 of his would count as one
more client whom the backend fails.
"""
_NEVER = float("inf")

Tell = Callable[[Message, dict[str, object]], None]

NEWS = {DOWN: messages.BACKEND_DOWN, PROBING: messages.BACKEND_RECOVERING, UP: messages.BACKEND_UP}
"""What is logged when it comes to that; of a recovery its beginning."""


class BackendHealth(HealthKnowledge):
    """How well one backend is, under one config, as this worker sees it."""

    __slots__ = (
        "_awaited",
        "_clock",
        "_draw",
        "_index",
        "_is_up",
        "_logins",
        "_look_at",
        "_records",
        "_tell",
        "_wall",
        "backend",
        "terms",
    )

    def __init__(
        self,
        backend: Backend,
        index: int | None,
        records: Records,
        *,
        terms: BreakerTerms,
        clock: Clock,
        logins: Callable[[], int],
        tell: Tell,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`index`: of its record; None if there was none left. `logins`: how many it has let in so far, over all
        workers; `tell` logs; `wall` tells seconds since 1970; `draw` gives anything from 0 to 1.
        """
        self.backend = backend
        self.terms = terms
        self._index = 0 if index is None else index
        self._records = records
        self._clock = clock
        self._logins = logins
        self._tell = tell
        self._wall = wall
        self._draw = draw
        self._is_up = True
        self._awaited: set[str] = set()
        """Digests of the networks of which this worker has let a probe through that was not heard of yet."""
        self._look_at = 0.0 if index is not None else _NEVER

    def takes(self, address: str) -> int:
        """Whether a login of the client with that address may go there now; see HealthKnowledge."""
        if self._clock.now >= self._look_at:
            self._look()
        return WELCOME if self._is_up else self._let_through(address)

    def failed(self, address: str, reason: str, *, user: str) -> None:
        """A login of his failed by the backend's fault; see HealthKnowledge."""
        if self._look_at == _NEVER:
            return
        now, before = self._wall(), self.condition()
        network, logins = _digest(address), self._logins()
        self._awaited.discard(network)
        named = _digest_of(user) if user else ""
        after = breaker.failed(before, self.terms, now, network=network, user=named, why=reason, logins=logins)
        self._become(before, after)

    def answered(self, address: str) -> None:
        """A login of his was refused, and that was his own fault."""
        if self._is_up:
            return
        before = self.condition()
        network, logins = _digest(address), self._logins()
        self._awaited.discard(network)
        after = breaker.answered(before, self.terms, self._wall(), network=network, logins=logins)
        self._become(before, after)

    def came_to_nothing(self, address: str) -> None:
        """His probe told nothing of the backend: another one may be put."""
        network = _digest(address)
        if network in self._awaited:
            self._awaited.discard(network)
            before = self.condition()
            self._become(before, breaker.taken_back(before, network=network))

    def found_down(self, why: str, *, least: float) -> None:
        """A check has found it down; it stays so for at least so many seconds, if no check says anything else."""
        now, before = self._wall(), self.condition()
        after = breaker.fallen(before, now, by=breaker.CHECK, why=why, least=least)
        self._become(before, after._replace(turns=before.turns) if before.state == DOWN else after)

    def found_well(self, *, for_certain: bool) -> None:
        """A check has found it well. What logins have found counts for more, unless the check has logged in. Its
        recovery ends by this too: maybe nobody logs in.
        """
        before = self.condition()
        if before.state == RECOVERING:
            self._become(before, self._by_now(before))
        if before.state == PROBING or (before.state == DOWN and (for_certain or before.by == breaker.CHECK)):
            self._become(before, breaker.recovered(before, self.terms, self._wall(), logins=self._logins()))

    def condition(self) -> Condition:
        """As the record has it."""
        return condition_of(self._records.read(self._index), self.backend)

    def says(self) -> str:
        """For people: how it is, since when and why."""
        return told(self.condition())

    def why_not(self) -> BackendFailure:
        """Why it takes none."""
        return BackendFailure(f"it is {self.says()}", "down")

    def is_down(self) -> bool:
        """Whether nobody is let through; to be asked by who only wants to know."""
        return self._is_watched() and self._passed().state == DOWN

    def is_mending(self) -> bool:
        """Whether some are let through, and others not; to be asked by who only wants to know."""
        return self._is_watched() and self._passed().state in (PROBING, RECOVERING)

    def _is_watched(self) -> bool:
        return self._look_at != _NEVER and is_watched(self.backend, self.terms)

    def _look(self) -> None:
        watched = is_watched(self.backend, self.terms)
        self._look_at = self._clock.now + _LOOK_SECONDS if watched else _NEVER
        record = self._records.read(self._index)
        if record is not None and record["state"] != UP and not (watched and is_of(record, self.backend)):
            # It is another one now, or nobody looks any more; and those who watch are to see it.
            self._records.write(self._index, record_of(Condition(), self.backend))
            record = None
        condition = condition_of(record, self.backend)
        self._become(condition, self._by_now(condition))

    def _passed(self) -> Condition:
        return self._by_now(self.condition())

    def _by_now(self, condition: Condition) -> Condition:
        """What a condition of some time ago has become since."""
        if condition.state == UP:
            return condition
        return breaker.passed(condition, self.terms, self._wall(), logins=self._logins())

    def _let_through(self, address: str) -> int:
        before, network = self.condition(), _digest(address)
        after = breaker.let_through(before, self.terms, self._wall(), network=network, draw=self._draw())
        if after is None:
            return NOT_NOW
        self._become(before, after)
        if before.state != PROBING:
            return WELCOME
        self._awaited.add(network)
        return AS_PROBE

    def _become(self, before: Condition, after: Condition) -> None:
        self._is_up = after.state == UP
        if after is before or after == before:
            return
        self._records.write(self._index, record_of(after, self.backend))
        if WORDS[after.state] != WORDS[before.state]:
            tell_news(self._tell, self.backend, after)


def tell_news(tell: Tell, backend: Backend, condition: Condition) -> None:
    """Logs what has become of it."""
    message = NEWS.get(condition.state, messages.BACKEND_RECOVERING)
    fields: dict[str, object] = {"backend": backend.id, "address": ",".join(backend.addresses)}
    said = {"by": condition.by, "reason": condition.why}
    tell(message, fields | (said if condition.state == DOWN else {}))


def is_watched(backend: Backend, terms: BreakerTerms) -> bool:
    """Whether anybody could find it down."""
    return terms.networks > 0 or backend.health != OFF


def terms_of(backend: Backend, config: Config) -> BreakerTerms:
    """When a backend goes down by its logins, and how it comes back."""
    return BreakerTerms(config.variables["breakernetworks"], config.variables["breakerwindow"], backend.slowstart)


def _digest(address: str) -> str:
    """Eight letters for a client's network."""
    return _digest_of(network_of(address, _BITS4, _BITS6))


def _digest_of(name: str) -> str:
    return f"{crc32(name.encode('utf-8', 'surrogatepass')):08x}"
