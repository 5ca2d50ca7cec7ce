"""Who wants to come in, and who remembers him: an empty mailbox may be empty still."""

from typing import NamedTuple, Protocol

from popular.pdm.contract import Question, Secret
from popular.proxy.settings.backend import Backend


class Who(NamedTuple):
    """Whom limits are about: from where he comes, and who he says he is."""

    address: str
    namespace: str
    user: str


def who_asks(question: Question) -> Who:
    """Whom a question is about."""
    return Who(question.client_ip, question.namespace, question.user)


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
