"""On what terms modules are asked: the parameters of `pdm conf`, which are the same for all of them."""

from dataclasses import dataclass

from popular.pdm.guarded import Terms
from supervisor.control.kinds import Int, Time
from supervisor.control.things import Sort, Thing, parameter

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST_TIMEOUT = 30


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

    def terms(self) -> Terms:
        """As those who ask need them."""
        return Terms(timeout=float(self.timeout), breaker=self.breaker, pause=float(self.pause), threads=self.threads)


TERMS = Sort("pdm", ModuleTerms, "module")
"""Not a sort of its own in the config: each is a part of a module there."""
