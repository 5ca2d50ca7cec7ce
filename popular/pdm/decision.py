"""What came of asking all modules: how a login is decided, as a value of one of six kinds. Pure.

`chain.py` makes them; the machine of a session says what each means for its client.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from popular.pdm.contract import CannotTell, HandedOn, Route, UserLimits
from popular.protocol.scram import ScramKeys


class Admitted(NamedTuple):
    """The user may come in. Both ids are of modules; who identified him may also be the one who vouches for him.

    `vouched`: only the second round let him in. The password is right, but it is not his own: a master password, say.
    """

    route: Route
    identified_by: str
    authenticated_by: str
    vouched: bool = False
    limits: UserLimits | None = None


@dataclass(frozen=True, slots=True)
class RefusedLogin:
    """This module knows the user, and no module lets him in with this password. For the rest see Refused."""

    identified_by: str
    locked: bool = False
    code: str = ""
    wait: float = 0.0
    text: str = ""
    reason: str = ""


class ToProve(NamedTuple):
    """This module knows the user, and has the keys; see Provable."""

    keys: ScramKeys
    route: Route
    identified_by: str
    limits: UserLimits | None = None
    locked: bool = False
    doubt: str = ""
    """Which modules cannot tell, if any: then a proof that does not hold is no wrong password, but nobody can tell."""

    def admits(self) -> Admitted:
        """What it comes to if the client has proven that it has the password."""
        return Admitted(self.route, self.identified_by, self.identified_by, limits=self.limits)


class ToHandOn(NamedTuple):
    """A server behind this module wants to try itself whether the client has the password; see HandedOn."""

    said: HandedOn
    identified_by: str
    doubt: str = ""
    """As in ToProve."""


@dataclass(frozen=True, slots=True)
class NobodyKnows:
    """Every module has answered, and none knows the user. `keys`: what he is shown where keys are wanted, if a module
    has a decoy.
    """

    keys: ScramKeys | None = None


@dataclass(frozen=True, slots=True)
class Undecided(CannotTell):
    """Nobody can tell, where keys are wanted. The client hears it when it has shown what it has: before, it would tell
    who is known. `keys`: as in NobodyKnows.
    """

    keys: ScramKeys | None = None


Decision: TypeAlias = Admitted | RefusedLogin | NobodyKnows | ToProve | ToHandOn | CannotTell
