"""What a machine may ask of the world outside, as contracts: what is known of a backend, of who guesses, and of
mailboxes that were empty. Who answers is made in popular/proxy/service.py; for `explain`, in explain/explain.py.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from popular.pdm.contract import Question, Secret, UserLimits
from popular.protocol.international import International
from popular.protocol.replies import Code
from popular.proxy.settings.backend import Backend

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

    def let_in(self) -> None:
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

    def failed(self, address: str, reason: str) -> None:
        """A login of his failed by the backend's fault."""
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

    def why_not(self) -> BackendFailure:
        """Why a login may not go there."""
        raise NotImplementedError


class Who(NamedTuple):
    """Whom limits are about: from where he comes, and who he says he is."""

    address: str
    namespace: str
    user: str


class Poll(NamedTuple):
    """A login, by what it is known again (absorber.py), and when it was."""

    key: int
    user: int
    at: float
    seconds: float
    """For how long an empty mailbox is believed to be empty."""


class PollMemory(Protocol):
    """Who remembers which mailboxes were empty (absorber.py)."""

    def poll_of(self, who: Who, secret: Secret, backend: Backend, *, target: str) -> Poll:
        """What this login is known by."""

    def is_empty(self, poll: Poll) -> bool:
        """Whether it may be shown an empty mailbox without asking the backend."""


class Hindrance(NamedTuple):
    """The limit by which somebody is not let in, with what is told to him."""

    limit: str
    code: Code


class LoginLimits(Protocol):
    """The limits on the logins of one virtual server (limits.py)."""

    @property
    def guards(self) -> bool:
        """Whether guesses are limited (authdelay, guessrate); else `wait`, `failed` and `no_guess` are not called."""

    @property
    def counts(self) -> bool:
        """Whether sessions or logins are limited; else `enter` has only the limits that a module says of a user."""

    def wait(self, who: Who) -> tuple[float, Hindrance | None]:
        """Charges a guess: for how many seconds no module may be asked yet. With a hindrance none will be."""

    def no_guess(self, who: Who) -> None:
        """The guess that was charged was none: nobody could tell whether the password is right."""

    def failed(self, who: Who, secret: Secret | None) -> float:
        """The password was wrong: for how many seconds the reply is held back."""

    def enter(self, row_number: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        """The password was right: what hinders the user from coming in. `row_number`: of his session; `own`: limits
        that his module says of him.
        """

    def stays_out(self, row_number: int) -> None:
        """It was wrong, or nobody could tell: what was taken for his session ahead of that is given back."""


class NoLimits:
    """Where nothing is limited."""

    guards = counts = False

    def wait(self, who: Who) -> tuple[float, Hindrance | None]:
        """Not asked."""
        del who
        return 0.0, None

    def no_guess(self, who: Who) -> None:
        """Not asked."""

    def failed(self, who: Who, secret: Secret | None) -> float:
        """Not asked."""
        del who, secret
        return 0.0

    def enter(self, row_number: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        """Nothing does."""
        del row_number, who, own
        return None

    def stays_out(self, row_number: int) -> None:
        """Nothing was taken."""


NO_LIMITS = NoLimits()


def who_asks(question: Question) -> Who:
    """Whom a question is about."""
    return Who(question.client_ip, question.namespace, question.user)
