"""What a session keeps in shared memory: its row of the table, and its share of the counters of octets."""

from popular.net.client import ClientConnection
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.machine.phases import PLACED, SIMULATING, Phase
from popular.proxy.session.relay import Relay
from popular.proxy.session.session_log import NO_TRAFFIC, Traffic
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.settings.order_sorts import BACKEND, USER, VSERV, user_key
from supervisor.serving.session import CutCost
from supervisor.system import wall


class SessionRow:
    """One session's. The row itself is freed by whoever gives the token back."""

    __slots__ = ("_counted", "_deletes", "_row_number", "_runtime", "_shown", "_shown_at", "_started")

    def __init__(self, runtime: VservRuntime, row_number: int) -> None:
        self._runtime = runtime
        self._row_number = row_number
        self._started = wall()
        self._deletes = 0
        """Those that are not committed."""
        self._shown: Phase | None = None
        self._shown_at = 0.0
        self._counted = NO_TRAFFIC

    def show(self, machine: Machine, sid: str, traffic: Traffic) -> None:
        """Writes the row. The order is that of the columns: BASE_COLUMNS, then program.COLUMNS."""
        runtime = self._runtime
        context = runtime.context
        self._shown = phase = machine.phase
        self._shown_at = context.clock.now
        context.rows.put(
            self._row_number,
            (
                phase,
                context.pid,
                self._started,
                wall(),
                sid,
                machine.peer_ip,
                machine.peer_port,
                runtime.vserv,
                machine.user,
                machine.backend_id,
                machine.target,
                traffic[0],
                traffic[1],
                self._deletes,
            ),
        )

    def waits_since(self, phase: Phase) -> float:
        """Since when the session has been in this phase, as far as its row tells. The row is written once in a while
        (`refresh`): this is late by so much at most, and is now if the row shows another phase yet.
        """
        return self._shown_at if phase is self._shown else self._runtime.context.clock.now

    def go_on(self) -> None:
        """The session goes on, even if it will come back to the same phase."""
        self._shown = None

    def refresh(self, machine: Machine, sid: str, client: ClientConnection, *, relay: Relay | None) -> None:
        """Writes the row, and counts, if something has changed."""
        if machine.phase is self._shown and (relay is None or relay.last_activity <= self._shown_at):
            return
        traffic = traffic_of(client, relay)
        if relay is not None:
            self._deletes = relay.watch.deletes
        self.show(machine, sid, traffic)
        self.add_traffic(traffic)

    def add_traffic(self, traffic: Traffic) -> None:
        """Counts what has passed since it was counted last: a long session is seen before it is over."""
        shared = self._runtime.context.shared
        from_client, to_client, from_backend, to_backend = self._runtime.traffic_cells
        before, self._counted = self._counted, traffic
        shared.add(from_client, traffic[0] - before[0])
        shared.add(to_client, traffic[1] - before[1])
        if traffic[2] or traffic[3]:
            shared.add(from_backend, traffic[2] - before[2])
            shared.add(to_backend, traffic[3] - before[3])


def traffic_of(client: ClientConnection, relay: Relay | None) -> Traffic:
    """The octets that went through a session."""
    if relay is None:
        return client.received, client.sent, 0, 0
    from_client, to_client = relay.from_client, relay.to_client  # each is what it has passed on
    return client.received + from_client, client.sent + to_client, to_client, from_client


def cost_of(phase: Phase) -> CutCost:
    """What is lost if a session without a relay ends: who is on his way in would be told nothing."""
    if phase is SIMULATING:
        return CutCost.IDLE
    return CutCost.COMING_IN if phase in PLACED else CutCost.NOT_LOGGED_IN


def marks_of(machine: Machine, vserv: str) -> tuple[tuple[str, str], ...]:
    """By what the session of a machine can be found (`Session.whose`). A user is found by either name: who is locked or
    moved as joe may have come in as JOE.
    """
    here = (VSERV, vserv)
    if machine.phase not in PLACED:
        return (here,)
    marks = here, (USER, user_key(machine.namespace, machine.user)), (BACKEND, machine.backend_id)
    account = machine.account()
    return marks if account in ("", machine.user) else (*marks, (USER, user_key(machine.namespace, account)))
