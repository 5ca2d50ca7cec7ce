"""Commands that must not get in each other's way. The executor is real; the changes, and the master, are played."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from supervisor.config import Config
from supervisor.control.language.outcome import Action, Change, Move, Outcome, SessionSweep
from supervisor.control.words import CommandRefused
from supervisor.master.executor import Executor
from tests.patience import patient
from tests.supervisor.changing import QUIET, Clock

SECONDS = int(patient(1))
STORES = "one", "two"


def _as_it_is(_context: Any, change: Change) -> Change:
    """Nothing has to come from outside, and nothing is against it."""
    return change


class Saying:
    """An executor, and what its commands come to: of a store that is not there nobody is moved to it."""

    def __init__(self) -> None:
        self.performed: list[Action] = []
        self.answers: list[tuple[bool, str]] = []
        self.running = self.first = Config(1, {}, things={"store": dict.fromkeys(STORES)})
        self.reports: tuple[Any, ...] = ()
        self._next: Config | None = None
        self._done: Callable[[str | None], None] = lambda _reason: None
        played = cast(Any, self)
        self.executor = Executor(
            cast(Any, SimpleNamespace(complete_change=_as_it_is, check_change=_as_it_is)),
            played,
            {},
            status=played,
            changes=played,
            loop=cast(Any, Clock()),
            jobs=played,
            questions=played,
            log=QUIET,
            access=played,
            audit=played,
            history=played,
            perform=lambda order, _answer: self.performed.append(order),
            count=lambda _name: None,
        )

    def says(self, line: str) -> None:
        self.executor.conduct_periodically(line, lambda done, text, _lines: self.answers.append((done, text)))

    # The language

    def execute_line(self, line: str, context: Any) -> Outcome:
        what, store = line.split()
        if what == "err":
            return Change("", config=self.reports[1])
        if store not in context.config.things["store"]:
            raise CommandRefused(f"there is no {store}")
        if what == "del":
            return Change("deleted", config=Config(2, {}, things={"store": {}}))
        if what == "move":
            return Move("moved", sort="user", id="joe", before=(), behind=(), undone=(), command=(), seconds=SECONDS)
        return SessionSweep("kicked", sort="store", id=store, gentle=True, deadline=None)

    # The changes, their log and their history

    def begin(
        self, config: Config, _seed: bytes, done: Callable[[str | None], None], *, trial: bool, proven: bool
    ) -> None:
        assert not trial
        assert not proven
        self._next, self._done = config, done

    def is_over(self, failed: str | None = None) -> None:
        """The change is in force, or was taken back."""
        if failed is None:
            assert self._next is not None
            self.running = self._next
        self._done(failed)

    def done(self, *_args: object, **_words: object) -> None: ...

    changed = done


def test_a_move_waits_for_the_change_under_way() -> None:
    """Else he would be moved to a backend that is just being deleted, and could not log in from then on. Of what leads
    nobody anywhere it is not asked.
    """
    saying = Saying()
    for line in ("del two", "move two", "kick two"):
        saying.says(line)
    assert [order.text for order in saying.performed] == ["kicked"]
    saying.is_over()
    assert [order.text for order in saying.performed] == ["kicked"]
    assert saying.answers == [(True, "deleted"), (False, "there is no two")]


def test_a_change_that_fails_is_in_no_ones_way() -> None:
    """The move begins then."""
    saying = Saying()
    for line in ("del two", "move two"):
        saying.says(line)
    saying.is_over("a worker cannot")
    assert [order.text for order in saying.performed] == ["moved"]
    assert saying.answers == [(False, "a worker cannot")]


def test_an_error_of_ours_costs_a_command_and_nothing_else() -> None:
    """A handler is pure, so nothing was begun; where it was is told, and the next command is carried out."""
    saying = Saying()
    for line in ("err two", "kick two"):
        saying.says(line)
    ((done, said),) = saying.answers
    assert not done
    assert said.startswith("an error of ours, which is logged: IndexError at ")
    assert [order.text for order in saying.performed] == ["kicked"]
