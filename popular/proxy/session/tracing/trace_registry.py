"""The flight recorder of a worker: whose sessions are to be recorded.

What is traced is an order of the operator's (popular/proxy/settings/tracing.py). A session that may concern one gets a
`SessionTrace` (session_trace.py), which writes what people read into the file of each trace that it does concern
(trace_writer.py).
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from popular.net.networks import octets_of, plain
from popular.proxy.session.tracing.trace_filter import TraceFilter, TracesKnown
from popular.proxy.session.tracing.trace_writer import TraceWriter
from popular.proxy.settings.order_sorts import user_key
from popular.proxy.settings.tracing import (
    ANY_NAMESPACE,
    BACKEND,
    NETWORK,
    TRACE,
    USER,
    VSERV,
    namespace_of,
    well_formed,
)
from supervisor.operatorstate import FILE
from supervisor.serving.context import WorkerContext
from supervisor.system import wall


@dataclass(eq=False, frozen=True)
class OrderedTrace:
    """One order, as a worker carries it out."""

    ident: str
    order: Mapping[str, Any]
    of: str
    name: str
    until: float
    writer: TraceWriter

    def is_at_work(self) -> bool:
        """Whether something is still to be recorded for it."""
        return not self.writer.is_full and self.until > wall()

    @classmethod
    def ordered(cls, context: WorkerContext, ident: str, value: Mapping[str, Any]) -> "OrderedTrace":
        """The trace that an order of the operator asks for."""
        of, name = value["of"], value["name"]
        name = user_key(namespace_of(value), name) if of == USER else name
        whose = {"trace": ident, "of": of, "name": name}
        writer = TraceWriter(context, whose=whose, path=value[FILE], most=value["most"])
        return cls(ident, value, of, name=name, until=value["until"], writer=writer)


NOBODY: list[OrderedTrace] = []
"""No trace, which is what nearly every session concerns. Never changed."""


class TracedNetworks:
    """Traces by network, to be found by an address: by one look for each length of their networks, however many."""

    def __init__(self, traces: Sequence[OrderedTrace]) -> None:
        self._lengths: dict[tuple[int, int], dict[int, list[OrderedTrace]]] = {}
        """By the octets of an address and the bits that are not the network's; then by the network's bits."""
        for trace in traces:
            network = plain(ipaddress.ip_network(trace.name))
            rest = network.max_prefixlen - network.prefixlen
            of_length = self._lengths.setdefault((network.max_prefixlen // 8, rest), {})
            of_length.setdefault(int(network.network_address) >> rest, []).append(trace)

    def around(self, address: str) -> Iterator[OrderedTrace]:
        """Whose network the address is in; ::ffff:192.0.2.1 is 192.0.2.1."""
        octets = octets_of(address)
        number, length = int.from_bytes(octets), len(octets)
        for (of_length, rest), traces in self._lengths.items():
            if of_length == length:
                yield from traces.get(number >> rest, ())


class TraceRegistry(TracesKnown):
    """One for each worker."""

    def __init__(self, context: WorkerContext) -> None:
        orders = context.operator.of(TRACE)
        assert isinstance(orders, dict), "orders stand in the order in which they were given"
        self.orders = orders
        self.clock = context.clock
        self._context = context
        self._traces: dict[str, OrderedTrace] = {}
        self._by_name: dict[tuple[str, str], list[OrderedTrace]] = {}
        self._networks = TracedNetworks(())
        self.changed()

    def changed(self) -> None:
        """To be called when the operator has ordered something, or has ended it."""
        known = self._traces
        self._traces = {
            ident: known[ident]
            if ident in known and known[ident].order == value
            else OrderedTrace.ordered(self._context, ident, value)
            for ident, value in well_formed(self.orders).items()
        }
        traces = self._traces.values()
        self._by_name = {}
        for trace in traces:
            self._by_name.setdefault((trace.of, trace.name), []).append(trace)
        self._networks = TracedNetworks([trace for trace in traces if trace.of == NETWORK])
        names = {
            of: frozenset(trace.order["name"] for trace in traces if trace.of == of) for of in (USER, BACKEND, VSERV)
        }
        self.in_force = TraceFilter(
            max((trace.until for trace in traces), default=0.0),
            max((trace.until for trace in traces if trace.of in (USER, BACKEND)), default=0.0),
            names[USER],
            backends=names[BACKEND],
            vservs=names[VSERV],
            by_network=any(trace.of == NETWORK for trace in traces),
            clock=self.clock,
        )

    def named(self, of: str, name: str) -> list[OrderedTrace]:
        """Whom a user (NAMESPACE:USER), a backend or a virtual server of this name concerns now."""
        found = self._by_name.get((of, name), NOBODY)
        if of == USER:
            anywhere = user_key(ANY_NAMESPACE, name.partition(":")[2])
            found = found + self._by_name.get((of, anywhere), NOBODY) if anywhere != name else found
        return [trace for trace in found if trace.is_at_work()] if found else NOBODY

    def around(self, address: str) -> list[OrderedTrace]:
        """Traces that concern a client of this address now."""
        found = list(self._networks.around(address))
        if not found:
            self.in_force.found_elsewhere(address)
        return [trace for trace in found if trace.is_at_work()]

    def goes_on(self, trace: OrderedTrace) -> bool:
        """Whether it was not stopped, and its time is not over."""
        return self.orders.get(trace.ident) == trace.order and wall() < trace.until

    def count(self) -> None:
        """One session more is recorded."""
        self._context.count("sessions_recorded")

    def write(self, trace: OrderedTrace, text: str) -> None:
        """Adds to its file, unless another trace has its id, and so perhaps its file, by now."""
        octets = text.encode("utf-8", "replace")
        if self.orders.get(trace.ident, trace.order) == trace.order:
            trace.writer.write(octets)
        else:
            trace.writer.drop(len(octets))

    def finish(self) -> None:
        """At the end of the worker."""
        for trace in self._traces.values():
            trace.writer.finish()
