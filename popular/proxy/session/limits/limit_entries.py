"""Where the limits of one virtual server are remembered: which entry of what all workers remember together
(supervisor/table/remembered.py) counts for whom, under one config.

Four sorts of entries: of a user from a network (how often he has failed there; whether he is *spared*, since he has
logged in there lately), of a network (its failures, its rate of guesses, its sessions), of a user (his sessions, when
he may come again), of a virtual server (its sessions, its rate of logins).
"""

from popular.pdm.contract import UserLimits
from popular.proxy.session.limits import guesses
from popular.proxy.session.limits.guesses import MINUTE, Pace
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import (
    ENFORCE,
    GUESSRATE,
    LOGINDELAY,
    USER_SESSIONS,
    VSERV_LOGINS,
    Limit,
    LimitRules,
)
from supervisor.serving.context import WorkerContext


class LimitEntries:
    """The entries of one virtual server under one config, in one worker, and the rules by which they are changed."""

    def __init__(self, rules: LimitRules, vserv: str, context: WorkerContext) -> None:
        self.rules = rules
        self.memory = context.open_remembered()
        self.clock = context.clock
        self._vserv = vserv
        guess_rate, logins = rules.of[GUESSRATE].most, rules.of[VSERV_LOGINS].most
        self.guesses = Pace.of(guess_rate, MINUTE) if guess_rate else None
        self.logins = Pace.of(logins, 1.0) if logins else None

    def pair(self, who: Who) -> int:
        """The entry of this user from his network."""
        return self.memory.digest("pair", self.rules.network(who.address), who.namespace, who.user)

    def network(self, who: Who) -> int:
        """The entry of his network."""
        return self.memory.digest("network", self.rules.network(who.address))

    def user(self, who: Who, own: UserLimits | None) -> int:
        """The entry of this user, wherever he comes from."""
        return self.memory.digest("user", who.namespace, account_of(who, own))

    def server(self) -> int:
        """The entry of the virtual server."""
        return self.memory.digest("vserv", self._vserv)

    def is_exempt(self, who: Who) -> bool:
        """Whether the limits of networks are none of his, by the config."""
        exempt = self.rules.exempt
        return bool(exempt) and who.address in exempt

    def is_spared(self, who: Who) -> bool:
        """Whether they are none of his, since he has logged in there lately."""
        return guesses.is_spared(self.memory.look(self.pair(who)), self.clock.now)

    def limits_of_user(self, own: UserLimits | None) -> tuple[Limit, Limit]:
        """What counts for a user: his sessions, and his pause. `own`: what his module says of them."""
        sessions, pause = self.rules.of[USER_SESSIONS], self.rules.of[LOGINDELAY]
        if own is not None:
            sessions = sessions if own.sessions is None else _own_limit(own.sessions)
            pause = pause if own.login_delay is None else _own_limit(own.login_delay)
        return sessions, pause


def account_of(who: Who, own: UserLimits | None) -> str:
    """As whom he is counted: what he has written, unless his module knows better."""
    return own.account if own is not None and own.account else who.user


def is_own(limit: str, own: UserLimits | None) -> bool:
    """Whether a module says this limit, which is then in force."""
    if own is None:
        return False
    return (limit == USER_SESSIONS and own.sessions is not None) or (
        limit == LOGINDELAY and own.login_delay is not None
    )


def _own_limit(most: int) -> Limit:
    return Limit(ENFORCE, most) if most else Limit()
