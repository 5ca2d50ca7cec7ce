"""Begins sessions: what the acceptor calls for each connection."""

from popular.proxy.session.optional_steps import Session
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.tracing.session_trace import session_trace_of
from popular.proxy.session.tracing.trace_registry import TraceRegistry
from popular.proxy.session.tracing.traceable_session import session_to_trace
from supervisor.serving.refcount import RefCount


class SessionBeginner:
    """What begins the sessions of one service, at each of its virtual servers."""

    __slots__ = ("_holders", "_registry", "_vservs")

    def __init__(self, vservs: dict[str, VservRuntime], registry: TraceRegistry, holders: RefCount) -> None:
        """`holders`: each session is one until it is over."""
        self._vservs = vservs
        self._registry = registry
        self._holders = holders

    def serve(self, row_number: int, fd: int, peer: tuple[str, int], *, listener_name: str) -> None:
        """See Service."""
        runtime = self._vservs[listener_name]
        self._holders.acquire()
        if self._registry.in_force.until:
            session_trace = session_trace_of(
                self._registry, listener_name, peer[0] if runtime.rules.trusted is None else None
            )
            if session_trace is not None:
                session_to_trace(runtime, row_number, peer).begin_traceable(fd, session_trace, self._registry)
                return
        Session(runtime, row_number, peer).begin(fd)
