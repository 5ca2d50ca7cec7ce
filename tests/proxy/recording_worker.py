"""What a recorder needs of a worker, for tests of what it records and of the files it writes."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from popular.proxy.session.tracing.session_trace import (
    BEGINS_LATER,
    SessionTrace,
    session_trace_of,
    session_trace_of_later,
)
from popular.proxy.session.tracing.trace_registry import TraceRegistry
from popular.proxy.settings.tracing import HEAD, TRACE
from supervisor.operatorstate import OperatorState, OrderEntry
from supervisor.runtime.messages import Message
from supervisor.system import Clock

LATER = 4e9
HOME = "192.0.2.7"


class Worker:
    """What a recorder needs of a worker."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.operator = OperatorState()
        self.clock = Clock()
        self.loop = asyncio.new_event_loop()
        self.pool = ThreadPoolExecutor(1)
        self.counted: Counter[str] = Counter()
        self.logged: list[dict[str, Any]] = []
        context: Any = self
        self.registry = TraceRegistry(context)

    def count(self, counter: str, label: str = "", *, amount: int = 1) -> None:
        self.counted[f"{counter} {label}".rstrip()] += amount

    def log(self, message: Message, _sid: str, **fields: Any) -> None:
        self.logged.append({"event": message.name, **fields})

    def path(self, ident: int) -> Path:
        return self.directory / "traces" / f"pproxy-{ident}.trace"

    def orders(self, ident: int, of: str, name: str, **other: Any) -> None:
        value = {"of": of, "name": name, "until": LATER, "most": 1 << 20, "file": str(self.path(ident)), **other}
        if of == "user":
            value.setdefault("namespace", "ns")
        self.change(OrderEntry(TRACE, str(ident), value))

    def change(self, *entries: OrderEntry) -> None:
        self.operator.change(entries)
        self.registry.changed()

    def session(self, vserv: str = "v1", address: str | None = HOME) -> SessionTrace | None:
        session_trace = session_trace_of(self.registry, vserv, address)
        if session_trace is BEGINS_LATER:
            session_trace = session_trace_of_later(self.registry, self.registry.in_force, self.clock.now)
        if session_trace is not None:
            session_trace.sid = "p01.1.2"
        return session_trace

    def settle(self) -> None:
        """Waits until all is written."""

        async def settle() -> None:
            while any(trace.writer.is_writing for trace in self.registry._traces.values()):
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(settle())

    def written(self, ident: int) -> list[str]:
        """The lines without session id and time, when all is written."""
        self.settle()
        head, *lines = self.path(ident).read_text().splitlines() if self.path(ident).exists() else [HEAD]
        assert head.startswith(HEAD), "whose trace it is"
        return [line.split(" ", 2)[2] for line in lines]


def kept(worker: Worker) -> SessionTrace:
    session_trace = worker.session()
    assert session_trace is not None
    return session_trace
