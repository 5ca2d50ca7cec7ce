"""One question to some modules, as an `Asker` puts it."""

from collections.abc import Sequence
from typing import cast

from popular.pdm.chain import Asker
from popular.pdm.contract import AnyModule, Module, Question
from popular.pdm.decision import Decision
from popular.pdm.steps import Record


def ask(
    modules: Sequence[AnyModule], question: Question, *, hide_unknown: bool = True, record: Record | None = None
) -> Decision:
    """For who asks only once; of a module that was loaded, too, if it is none of the event loop's."""
    return Asker(cast(Sequence[Module], modules)).ask(
        question, record if record is not None else Record(), hide_unknown
    )
