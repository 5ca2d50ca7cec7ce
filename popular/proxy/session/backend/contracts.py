"""What a machine may ask of the world outside about one backend, as contracts: what it has announced, how well it is.

Who answers is made in popular/proxy/backends_in_use.py; for `explain`, in explain/foretold.py.
"""

import errno
from collections.abc import Sequence
from typing import Final, NamedTuple

from popular.protocol.international import International

NO_MECHANISMS: Final[frozenset[str]] = frozenset()


class BackendKnowledge:
    """What one backend has announced, as far as the machine asks for it. A base class: a call is one of C."""

    __slots__ = ()

    def pipelines(self) -> bool:
        """Whether PASS may be said ahead of the reply to USER."""
        raise NotImplementedError

    def mechanisms(self) -> frozenset[str]:
        """The SASL mechanisms that it announces, as far as they are known."""
        raise NotImplementedError

    def international(self) -> International:
        """What it announces of UTF8 and LANG, as far as it is known."""
        raise NotImplementedError

    def note_login(self) -> None:
        """It let a user in."""
        raise NotImplementedError

    def capabilities(self) -> Sequence[str] | None:
        """The lines of its answer to CAPA; None if it was not asked yet."""
        raise NotImplementedError

    def mistrust(self) -> bool:
        """PASS ahead went wrong, and is not to be tried for a while. Says whether that is news."""
        raise NotImplementedError


class BackendFailure(NamedTuple):
    """Why a login is not at its backend, or not any more. Where something can fail like this, None is: it did not."""

    reason: str
    """For people."""
    word: str
    """For the counter (backend_login.FAILURES); "" where the phase tells it, OURS where it is no backend's."""


OURS = "ours"
"""The word of a failure that is no backend's: we lack a descriptor, memory or a port."""
_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


def failure_of(error: OSError, word: str = "") -> BackendFailure:
    """Why a connection cannot be made. `word`: where that is the backend's fault."""
    return BackendFailure(error.strerror or type(error).__name__, OURS if error.errno in _SCARCE else word)


NOT_NOW, WELCOME, AS_PROBE = range(3)
"""Whether a login may go to a backend: no; yes; or as one of the few that find out whether it is there again."""


class HealthKnowledge:
    """How well one backend is (backend_health.py)."""

    __slots__ = ()

    def takes(self, address: str) -> int:
        """Whether a login of the client with that address may go there now: NOT_NOW, WELCOME, or AS_PROBE: then one of
        `failed`, `answered` and `came_to_nothing` is to follow, unless the backend lets him in.
        """
        raise NotImplementedError

    def failed(self, address: str, reason: str, *, user: str) -> None:
        """A login of his failed by the backend's fault. `user`: the name by which the backend was told whose it is; ""
        if it was told none yet.
        """
        raise NotImplementedError

    def answered(self, address: str) -> None:
        """The backend refused this user's login, so the backend itself works."""
        raise NotImplementedError

    def came_to_nothing(self, address: str) -> None:
        """His probe told nothing of the backend: he has hung up, say. Somebody else may be one instead."""
        raise NotImplementedError

    def is_down(self) -> bool:
        """Whether nobody is let through; to be asked by who only wants to know."""
        raise NotImplementedError

    def is_mending(self) -> bool:
        """Whether some are let through, and others not; to be asked by who only wants to know."""
        raise NotImplementedError

    def why_not(self) -> BackendFailure:
        """Why a login may not go there."""
        raise NotImplementedError

    def says(self) -> str:
        """For people: how it is, since when and why."""
        raise NotImplementedError
