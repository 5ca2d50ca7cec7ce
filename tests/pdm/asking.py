"""One question to some modules, as an `Asker` puts it."""

from collections.abc import Sequence

from popular.pdm.chain import Asker, Decision, Record
from popular.pdm.contract import Module, Question


def ask(
    modules: Sequence[Module], question: Question, *, hide_unknown: bool = True, record: Record | None = None
) -> Decision:
    """For who asks only once."""
    return Asker(modules).ask(question, record if record is not None else Record(), hide_unknown)
