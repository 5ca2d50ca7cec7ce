"""What goes with each beat of a worker: its sessions show how far they have come."""

from supervisor.serving.session import CutCost, Session, Whose
from supervisor.worker.heartbeat import refresh_all


class OneSession:
    """A session as far as it is shown: `error` is what comes of that."""

    def __init__(self, sid: str, living: dict[int, Session], error: Exception | None = None) -> None:
        self.sid = sid
        self.living = living
        self.error = error
        self.shown = False
        self.ending = ""

    def refresh(self) -> None:
        if self.error is not None:
            raise self.error
        self.shown = True

    def fault(self, error: Exception) -> None:
        assert error is self.error
        self.end("internal_error")

    def end(self, ending: str) -> None:
        self.ending = ending
        del self.living[int(self.sid)]

    def cut_cost(self) -> CutCost:
        return CutCost.IDLE

    def whose(self) -> Whose:
        return Whose(0.0, "192.0.2.1", ())

    def displaceable(self) -> None: ...


def test_a_session_that_cannot_be_shown_ends_alone() -> None:
    """A user name that has no UTF-8, say: the worker beats on, and all others are shown."""
    living: dict[int, Session] = {}
    sessions = [OneSession("0", living), OneSession("1", living, UnicodeError()), OneSession("2", living)]
    living.update(enumerate(sessions))
    refresh_all(living.values())
    assert [session.shown for session in sessions] == [True, False, True]
    assert [session.ending for session in sessions] == ["", "internal_error", ""]
