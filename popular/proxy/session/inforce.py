"""Which traces are there, as far as each new session has to look: made anew by the recorder when that changes."""

from supervisor.system import Clock


class TracesInForce:
    """`until`: the end of all; `late_until`: of those by user or backend, which a session tells only later. `clock` is
    the worker's.
    """

    __slots__ = ("by_backend", "by_network", "by_vserv", "clock", "late_until", "until", "users")

    def __init__(
        self,
        until: float,
        late_until: float,
        users: frozenset[str],
        *,
        by_backend: bool,
        by_network: bool,
        by_vserv: bool,
        clock: Clock,
    ) -> None:
        self.until = until
        self.late_until = late_until
        self.users = users
        """Who is traced by his name."""
        self.by_backend = by_backend
        self.by_network = by_network
        self.by_vserv = by_vserv
        self.clock = clock
