"""What a session is told of a backend beyond its configuration."""

from typing import Final, Protocol

NO_MECHANISMS: Final[frozenset[str]] = frozenset()


class BackendKnowledge(Protocol):
    """Of one backend: what it has announced, as far as its machine asks."""

    def pipelines(self) -> bool:
        """Whether PASS may be said ahead of the reply to USER."""

    def mechanisms(self) -> frozenset[str]:
        """Those of SASL that it announces, as far as they are known."""

    def mistrust(self) -> bool:
        """That went wrong: not for a while. Says whether that is news."""
