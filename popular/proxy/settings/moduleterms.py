"""On what terms modules are asked: the parameters of `pdm conf`, which are the same for all of them."""

from dataclasses import dataclass, fields
from typing import Any

from popular.pdm.guarded import Terms
from popular.pdm.servers import BadServer, Servers, servers
from supervisor.control.commands.things import Sort, Thing, parameter
from supervisor.control.language.kinds import Bool, Id, Int, Kind, String, Time, shown
from supervisor.control.language.lookups import Lookups, Unfit

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST_TIMEOUT = 30


@dataclass(frozen=True)
class ServerList(Kind):
    """Networks and addresses, each with a port, with commas between them; "" for none."""

    def describe(self) -> str:
        return "Servers"

    def parse(self, text: str, lookups: Lookups) -> tuple[Servers, ...]:
        words = String().parse(text, lookups).split(",") if text else []
        try:
            return tuple(servers(word) for word in words)
        except BadServer as error:
            raise Unfit(f"{shown(text)} does not fit: {error}; allowed: 192.0.2.0/24:110,[2001:db8::7]:110") from None

    def format(self, value: Any) -> str:
        return ",".join(map(str, value))


@dataclass(frozen=True)
class ModuleTerms(Thing):
    """What `pdm conf` has said of a module."""

    timeout: int = parameter(
        Time(1, LONGEST_TIMEOUT),
        5,
        "How long an answer may take. Then the module is one that cannot tell: it costs the client [SYS/TEMP], unless "
        "another module lets him in. A module that only computes (any, passwd, cdb, master) has no such limit.",
    )
    breaker: int = parameter(
        Int(0, 1000),
        5,
        "After how many failures in a row (no answer in time, no connection) a worker does not ask it for a while: it "
        "cannot tell at once. 0: it is always asked.",
    )
    pause: int = parameter(Time(1, HOUR), 10, "For how long; then it is tried once.")
    threads: int = parameter(
        Int(1, 64),
        8,
        "Threads of a worker for a module that blocks. A call that hangs keeps its thread until it returns; when all "
        "of them hang, the module cannot tell at once.",
    )
    cache: int = parameter(
        Time(0, DAY),
        0,
        "How long a worker remembers that a user was let in, with the same password, from where the module says so. "
        "No password is kept, and no answer that holds one for a backend (SECRET). 0: not at all.",
    )
    negative: int = parameter(Time(0, HOUR), 0, "How long it remembers any other answer. 0: not at all.")
    size: int = parameter(Int(1, 1_000_000), 10_000, "How many answers a worker remembers.")
    stale: int = parameter(
        Time(0, 7 * DAY),
        0,
        "For how much longer than cache a remembered user is let in while the module cannot tell. 0: not at all.",
    )
    shadow: bool = parameter(
        Bool(),
        False,
        "Ask it beside the others, compare and count what it says, and never use it: a new user database on trial.",
    )
    moves: bool = parameter(
        Bool(),
        False,
        "Have `user move` tell this module of users of its own, so that it is the one that leads them from then on. It "
        "must be one that can be told (cdb, redis, sql with `update`); off: the proxy itself leads them.",
    )
    allow: tuple[Servers, ...] = parameter(
        ServerList(),
        (),
        'Servers that are not configured and that the module may name all the same, as NET:PORT,NET:PORT…; "": none.',
    )
    like: str = parameter(
        Id(optional=True),
        "",
        "The backend whose protocol, TLS, login, limits and counters count for such a server.",
    )

    def terms(self) -> Terms:
        """As those who ask need them."""
        return Terms(**{row.name: getattr(self, row.name) for row in fields(Terms)})


TERMS = Sort("pdm", ModuleTerms, "module")
"""Not a sort of its own in the config: each is a part of a module there."""
