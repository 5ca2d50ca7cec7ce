"""Begins sessions: what the acceptor calls for each connection."""

from popular.proxy.session.session import Session
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.tracing.recorder import Recorder
from popular.proxy.session.tracing.recording import recording_of
from popular.proxy.session.tracing.traceable_session import session_to_trace
from supervisor.serving.refcount import RefCount


class SessionBeginner:
    """What begins the sessions of one service, at each of its virtual servers."""

    __slots__ = ("_holders", "_recorder", "_vservs")

    def __init__(self, vservs: dict[str, VservRuntime], recorder: Recorder, holders: RefCount) -> None:
        """`holders`: each session is one until it is over."""
        self._vservs = vservs
        self._recorder = recorder
        self._holders = holders

    def serve(self, token: int, fd: int, peer: tuple[str, int], *, listener_name: str) -> None:
        """See Service."""
        runtime = self._vservs[listener_name]
        self._holders.acquire()
        if self._recorder.in_force.until:
            recording = recording_of(self._recorder, listener_name, peer[0] if runtime.rules.trusted is None else None)
            if recording is not None:
                session_to_trace(runtime, token, peer).begin_traceable(fd, recording, self._recorder)
                return
        Session(runtime, token, peer).begin(fd)
