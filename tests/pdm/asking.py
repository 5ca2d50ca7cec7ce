"""One question to some modules, as an `Asker` puts it."""

from collections.abc import Sequence

from popular.pdm.chain import Asker
from popular.pdm.contract import Module, Question
from popular.pdm.decision import Decision
from popular.pdm.steps import Record


def ask(
    modules: Sequence[Module], question: Question, *, hide_unknown: bool = True, record: Record | None = None
) -> Decision:
    """For who asks only once."""
    return Asker(modules).ask(question, record if record is not None else Record(), hide_unknown)
