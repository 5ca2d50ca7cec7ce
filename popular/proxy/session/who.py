"""Who wants to come in, by whose word and where to; and who remembers him: an empty mailbox may be empty still."""

from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from popular.pdm.contract import Question, Route, Secret
from popular.proxy.settings.backend import Backend


class Who(NamedTuple):
    """Whom limits are about: from where he comes, and who he says he is."""

    address: str
    namespace: str
    user: str


def who_asks(question: Question) -> Who:
    """Whom a question is about."""
    return Who(question.client_ip, question.namespace, question.user)


Basis: TypeAlias = Literal["own login", "vouched for", "fallback"]
OWN_LOGIN: Final = "own login"
"""The user comes in by what he has shown himself."""
VOUCHED: Final = "vouched for"
"""A module has vouched for him: what was shown is not his own (see Admitted)."""
FALLBACK: Final = "fallback"
"""No module knows him, and what he has shown is for the fallback backend to judge."""

Routing: TypeAlias = tuple[Route, Basis]
"""To where a user goes (the route may hold a password of the modules'), and on what basis. A plain tuple: one with
names costs each login 300 instructions more.
"""


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
