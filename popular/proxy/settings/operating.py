"""The command `state list`: what the operator has ordered beside the configuration."""

import time
from functools import partial

from supervisor.control.context import Arguments, CommandContext, ControlCommand
from supervisor.control.outcome import Outcome, Reply
from supervisor.control.variables import BESIDE
from supervisor.runtime.plural import count_of


def iso(moment: float | None) -> str | None:
    """A moment for people and programs; None: there is none."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) if moment else None


def _state(context: CommandContext, _arguments: Arguments) -> Outcome:
    rows = [
        {
            "sort": sort,
            "id": ident,
            "until": iso((value or {}).get("until")),
            "what": ", ".join(f"{word} {text}" for word, text in (value or {}).items() if word != "until"),
        }
        for sort, ident, value in context.status.operator.entries(time.time())
    ]
    return Reply(count_of(len(rows), "order"), data=rows, lines=None if rows else ["nothing is ordered"])


_row = partial(ControlCommand, source=BESIDE)


def operator_commands() -> list[ControlCommand]:
    """The rows."""
    return [
        _row(
            "state list",
            _state,
            "Lists what is ordered beside the configuration: what is blocked, drained, held, locked or moved.\nIt is "
            "kept in the state directory (--statedir), stays in force over `apply` and a restart, and is not in "
            "`show config`.",
        ),
    ]
