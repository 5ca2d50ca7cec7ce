"""The limits on those who log in: the variables that set them, and what a config says of them as one value.

Each limit is off, in force, or on trial: on trial nobody is refused or kept waiting, and who would have been is counted
and listed (`report limits`).
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from popular.net.networks import NetworkList, Networks
from popular.protocol.replies import Code
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Variable
from supervisor.control.language.kinds import Int, Kind, Time, shown
from supervisor.control.language.lookups import Lookups, Unfit

OFF, REPORT, ENFORCE = "off", "report", "enforce"
DEFAULT = "default"

AUTHDELAY, GUESSRATE, LOGINDELAY = "authdelay", "guessrate", "logindelay"
USER_SESSIONS, NETWORK_SESSIONS, VSERV_SESSIONS = "usersessions", "networksessions", "vservsessions"
VSERV_LOGINS = "vservlogins"
LIMITS = (AUTHDELAY, GUESSRATE, NETWORK_SESSIONS, VSERV_SESSIONS, VSERV_LOGINS, USER_SESSIONS, LOGINDELAY)
"""All of them, in the order in which they are looked at; each is the name of its variable, and of a label."""

OF_VSERV = (VSERV_SESSIONS, VSERV_LOGINS)
"""Those that a virtual server may have of its own."""

CODES = {  # nobody is refused for authdelay, only held back
    GUESSRATE: Code.SYS_TEMP,
    USER_SESSIONS: Code.IN_USE,
    LOGINDELAY: Code.LOGIN_DELAY,
    NETWORK_SESSIONS: Code.SYS_TEMP,
    VSERV_SESSIONS: Code.SYS_TEMP,
    VSERV_LOGINS: Code.SYS_TEMP,
}
"""What a client is refused with, for each limit."""

_NEW_SESSIONS = "new sessions"
_HOUR = 3600
_DAY = 24 * _HOUR
_MOST = 1_000_000


class Limit(NamedTuple):
    """One limit: whether it counts, and how much is allowed (0 where it is off)."""

    mode: str = OFF
    most: int = 0

    @property
    def counts(self) -> bool:
        return self.mode != OFF

    @property
    def enforced(self) -> bool:
        return self.mode == ENFORCE


@dataclass(frozen=True)
class LimitOf(Kind):
    """`off`, a value of another kind, or `report:VALUE` for one that is on trial."""

    kind: Kind

    def describe(self) -> str:
        return f"off or [report:]{self.kind.describe()}"

    def parse(self, text: str, lookups: Lookups) -> Limit:
        word = text.lower()
        if word == OFF:
            return Limit()
        mode, colon, value = word.rpartition(":")
        if colon and mode not in (REPORT, ENFORCE):
            raise Unfit(f"{shown(text)} does not fit; allowed: off, VALUE, or report:VALUE")
        try:
            return Limit(mode or ENFORCE, self.kind.parse(value, lookups))
        except Unfit as unfit:
            raise Unfit(f"{unfit}; or {OFF}; {REPORT}:VALUE is on trial only") from None

    def format(self, value: Limit) -> str:
        if not value.counts:
            return OFF
        return f"{'' if value.enforced else 'report:'}{self.kind.format(value.most)}"

    def complete(self, prefix: str) -> list[str]:
        return [word for word in (OFF, "report:") if word.startswith(prefix.lower())]


@dataclass(frozen=True)
class OwnLimit(Kind):
    """A limit that a thing may have of its own; `default`: that of the variable."""

    kind: LimitOf

    def describe(self) -> str:
        return f"{DEFAULT}, {self.kind.describe()}"

    def parse(self, text: str, lookups: Lookups) -> Limit | None:
        return None if text.lower() == DEFAULT else self.kind.parse(text, lookups)

    def format(self, value: Limit | None) -> str:
        return DEFAULT if value is None else self.kind.format(value)

    def complete(self, prefix: str) -> list[str]:
        return [word for word in (DEFAULT, *self.kind.complete("")) if word.startswith(prefix.lower())]


@dataclass(frozen=True)
class LimitRules:
    """What a config says about limits; made once for each config."""

    of: Mapping[str, Limit]
    authdelaymax: int
    bits4: int
    bits6: int
    exempt: Networks

    @property
    def counts_guesses(self) -> bool:
        """Whether failed logins are remembered."""
        return self.of[AUTHDELAY].counts or self.of[GUESSRATE].counts

    @property
    def counts_sessions(self) -> bool:
        """Whether sessions or logins are."""
        return any(self.of[name].counts for name in LIMITS[2:])

    def network(self, address: str) -> str:
        """The network that an address (numeric text) counts for."""
        return network_of(address, self.bits4, self.bits6)


def limit_rules(variables: Mapping[str, Any], **own: Limit | None) -> LimitRules:
    """The limits of a config; `own`: what counts instead for one virtual server, where it is not None."""
    said = {name: limit for name, limit in own.items() if limit is not None}
    return LimitRules(
        of={name: said.get(name, variables[name]) for name in LIMITS},
        authdelaymax=variables["authdelaymax"],
        bits4=variables["networkbits4"],
        bits6=variables["networkbits6"],
        exempt=variables["exemptnetworks"],
    )


@lru_cache(maxsize=4096)
def network_of(address: str, bits4: int, bits6: int) -> str:
    """The network of an address; ::ffff:192.0.2.1 is 192.0.2.1."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(ipaddress.ip_network((parsed, bits4 if parsed.version == 4 else bits6), strict=False))


_NONE = Limit()


def _row(name: str, kind: Kind, help: str, *, default: Any = _NONE) -> Variable:
    return Variable(name, kind, help, default=default, when=_NEW_SESSIONS, source=BESIDE)


_COUNT = LimitOf(Int(1, _MOST))
OWN = OwnLimit(_COUNT)
"""The kind of a parameter of virtual servers that is a number."""

_ON_TRIAL = "report:VALUE only reports whom it would concern (`report limits`)."

LIMIT_VARIABLES = (
    _row(
        AUTHDELAY,
        LimitOf(Time(1, 60)),
        "How long the reply to a failed login is held back at first. It doubles with each further failure of the same "
        "user from the same network, and with each four from the network, up to authdelaymax; the same wrong password "
        f"again counts once. Failures are forgotten by half in ten minutes. Who hangs up does not wait: guessrate is "
        f"for him. {_ON_TRIAL}",
    ),
    _row(
        "authdelaymax",
        Time(1, 120),
        "The longest that a client is held back by authdelay or guessrate, which never goes beyond authtimeout.",
        default=15,
    ),
    _row(
        GUESSRATE,
        LimitOf(Int(2, _MOST)),
        "How many wrong logins from one network are put to the modules in a minute, over all workers; others are held "
        "back until it is their turn, for authdelaymax at most, and then asked to come again. Who has logged in "
        f"from there in the last hour has nothing to do with it. {_ON_TRIAL}",
    ),
    _row(
        USER_SESSIONS,
        _COUNT,
        "How many sessions a user may have at once; one more hears [IN-USE]. A module may say another number. "
        + _ON_TRIAL,
    ),
    _row(
        NETWORK_SESSIONS,
        _COUNT,
        "How many sessions that are logged in there may be from one network; one more hears [SYS/TEMP]. " + _ON_TRIAL,
    ),
    _row(
        VSERV_SESSIONS,
        _COUNT,
        "How many sessions that are logged in a virtual server may have that does not say its own number (`vserv conf "
        f"V sessions N`); one more hears [SYS/TEMP]. {_ON_TRIAL}",
    ),
    _row(
        VSERV_LOGINS,
        _COUNT,
        "How many logins a second each virtual server lets in that does not say its own number (`vserv conf V logins "
        f"N`); the others hear [SYS/TEMP]. {_ON_TRIAL}",
    ),
    _row(
        LOGINDELAY,
        LimitOf(Time(1, _DAY)),
        "The least time from one login of a user to his next, announced in CAPA as LOGIN-DELAY; who comes earlier "
        f"hears [LOGIN-DELAY]. A module may say another time. {_ON_TRIAL}",
    ),
    _row("networkbits4", Int(8, 32), "How many bits of an IPv4 address make a network, for limits.", default=32),
    _row("networkbits6", Int(16, 128), "How many bits of an IPv6 address make a network, for limits.", default=64),
    _row(
        "exemptnetworks",
        NetworkList(),
        "Networks for which authdelay, guessrate and networksessions do not count: web mail, monitoring.",
        default=Networks(),
    ),
)
