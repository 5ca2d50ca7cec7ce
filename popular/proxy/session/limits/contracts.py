"""What a machine may ask about limits, as a contract, and what it is told."""

from typing import NamedTuple, Protocol

from popular.pdm.contract import Secret, UserLimits
from popular.protocol.replies import Code
from popular.proxy.session.who import Who


class Hindrance(NamedTuple):
    """The limit by which somebody is not let in, with what is told to him."""

    limit: str
    code: Code


class LoginLimits(Protocol):
    """The limits on the logins of one virtual server (limits.py)."""

    @property
    def counts_guesses(self) -> bool:
        """Whether guesses are limited (authdelay, guessrate); else nothing is charged, or given back."""

    @property
    def counts_sessions(self) -> bool:
        """Whether sessions or logins are limited; else `comes_in` has only the limits that a module says of a user."""

    def charge_guess(self, who: Who) -> tuple[float, Hindrance | None]:
        """Charges a guess: for how many seconds no module may be asked yet. With a hindrance none will be."""

    def give_guess_back(self, who: Who) -> None:
        """The guess that was charged was none: nobody could tell whether the password is right."""

    def charge_failure(self, who: Who, secret: Secret | None) -> float:
        """Charges a wrong password: for how many seconds the reply is held back."""

    def comes_in(self, row_number: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        """The password was right: what hinders the user from coming in. `row_number`: of his session; `own`: limits
        that his module says of him.
        """

    def stays_out(self, row_number: int) -> None:
        """It was wrong, or nobody could tell: what was taken for his session ahead of that is given back."""


class NoLimits:
    """Where nothing is limited."""

    counts_guesses = counts_sessions = False

    def charge_guess(self, who: Who) -> tuple[float, Hindrance | None]:
        """Not asked."""
        del who
        return 0.0, None

    def give_guess_back(self, who: Who) -> None:
        """Not asked."""

    def charge_failure(self, who: Who, secret: Secret | None) -> float:
        """Not asked."""
        del who, secret
        return 0.0

    def comes_in(self, row_number: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        """Nothing does."""
        del row_number, who, own
        return None

    def stays_out(self, row_number: int) -> None:
        """Nothing was taken."""


NO_LIMITS = NoLimits()
