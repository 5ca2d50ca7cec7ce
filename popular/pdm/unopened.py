"""A module of a config in force that a worker born later could not open: its users file is garbage by now, say.

It cannot tell anything, as a database cannot that is down: users of modules in front of it notice nothing, who needs it
is told `[SYS/TEMP]`, and the breaker spares it the questions. What it looked at (`takes`), whether it had users, and
which files were whole (`ended`), is what the others have found that could open it: so clients are offered what they
were offered before, and no empty list and no file that is cut takes its place. To reload it is to try again.
"""

from collections.abc import Callable, Sequence

from popular.pdm.contract import Answer, AnyModule, AsyncModule, KnownUser, ModuleFailed, Question, Route


class Unopened(AsyncModule):
    """In the place of a module. On the event loop, since it has nothing to wait for."""

    def __init__(
        self,
        ident: str,
        arguments: Sequence[str],
        reason: str,
        *,
        takes: frozenset[str],
        knows_nobody: bool,
        ended: frozenset[str],
        opens: Callable[[], AnyModule],
    ) -> None:
        """`opens` tries to open it, and raises ModuleFailed."""
        self.ident = ident
        self.arguments = arguments
        self.reason = reason
        self.takes = takes
        self.knows_nobody = knows_nobody
        self.ended = ended
        self._opens = opens

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]  # a class attribute where it never changes
        """Why, and what is done about it."""
        return (
            f"{self.reason}; it is not open: who needs it is told [SYS/TEMP], and it is tried again every minute "
            f"(pdmwatch) and by `pdm reload {self.ident}`",
        )

    async def check(self, question: Question) -> Answer:
        del question
        raise self._failure()

    async def authenticate(self, question: Question, route: Route) -> bool:
        """It might be one that vouches, so who is refused by another one is not to hear that he was."""
        del question, route
        raise self._failure()

    async def lookup(self, namespace: str, user: str) -> KnownUser | None:
        """For `explain`."""
        del namespace, user
        raise self._failure()

    async def lead(self, namespace: str, user: str, backend: str) -> bool:
        """For `user move`."""
        del namespace, user, backend
        raise self._failure()

    def reload(self) -> AnyModule:  # type: ignore[override]  # of whatever kind it is
        return self._opens()

    def _failure(self) -> ModuleFailed:
        return ModuleFailed(f"it could not be opened: {self.reason}")
