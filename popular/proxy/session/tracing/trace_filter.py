"""Which traces are there, as far as each new session has to look: made anew by the recorder when that changes."""

from supervisor.system import Clock

MOST_STRANGERS = 10_000


class TraceFilter:
    """`until`: the end of all; `late_until`: of those by user or backend, which a session tells only later. `clock` is
    the worker's.
    """

    __slots__ = (
        "backends",
        "by_backend",
        "by_network",
        "by_vserv",
        "clock",
        "late_until",
        "strangers",
        "until",
        "users",
        "vservs",
    )

    def __init__(
        self,
        until: float,
        late_until: float,
        users: frozenset[str],
        *,
        backends: frozenset[str],
        vservs: frozenset[str],
        by_network: bool,
        clock: Clock,
    ) -> None:
        self.until = until
        self.late_until = late_until
        self.users = users
        """Who is traced by his name, in whatever namespace: of nearly all others that is all there is to know."""
        self.backends = backends
        self.vservs = vservs
        self.by_network = by_network
        self.by_backend, self.by_vserv = bool(backends), bool(vservs)
        self.strangers: set[str] = set()
        """Addresses that were looked for and are in no traced network: most clients come again and again."""
        self.clock = clock

    def is_elsewhere(self, address: str) -> bool:
        """Whether it is known that no trace by network concerns this client."""
        return not self.by_network or address in self.strangers

    def found_elsewhere(self, address: str) -> None:
        """Remembers that no trace by network concerns this client."""
        if len(self.strangers) >= MOST_STRANGERS:
            self.strangers.clear()
        self.strangers.add(address)


class TracesKnown:
    """Who knows them: what a session's beginning sees of a recorder, which is Python."""

    __slots__ = ("in_force",)

    in_force: TraceFilter
