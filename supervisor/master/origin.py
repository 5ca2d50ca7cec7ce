"""Who says a command, and what is kept for him from one to the next."""

from dataclasses import dataclass, field

from supervisor.control.language.lookups import Lookups
from supervisor.control.language.outcome import Draft
from supervisor.control.wire.peer import Peer


@dataclass(eq=False)
class Origin:
    """A control connection, or (own) the program itself; `quiet`: a periodic command, or the rollback. `lookups` are
    those of its draft, `secret` is for its next command. `name` and `reason` are what `sign` has said.
    """

    peer: Peer
    own: bool
    quiet: bool = False
    draft: Draft | None = None
    lookups: Lookups = field(default_factory=Lookups)
    secret: bytes | None = field(default=None, repr=False)
    name: str = ""
    reason: str = ""

    @property
    def uid(self) -> int:
        return self.peer.uid

    def sign(self, name: str | None, reason: str | None) -> None:
        """From now on this is said by him, for this; None: as before."""
        self.name = self.name if name is None else name
        self.reason = self.reason if reason is None else reason

    def apart(self) -> "Origin":
        """A copy without the draft and the secret of the connection."""
        return Origin(self.peer, own=self.own, name=self.name, reason=self.reason)
