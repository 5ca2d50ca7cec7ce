"""The key that kicks, in the live table: mark a line, say yes, and say it again. Pure.

    kick = Kick()                        k: a line is marked, and the arrows move the mark
    kick = press(kick, key, targets)     return chooses it; y, and then Y; any other key leaves it
    kick.words                           the command, when it was said twice (`is_sure`)

The command is said over the control socket by who looks, so what he may do there is what he may do anyhow.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from metrics.things import ThingSeen
from supervisor.control.words import phrase
from supervisor.runtime.plural import count_of
from supervisor.table.contents import ThingLook
from supervisor.table.layout import Layout

_FILLED = "="
"""In a command's words: what stands after it is a column, whose value takes the place."""


class KickTarget(NamedTuple):
    """A line of the table: the command about it, none for who cannot be named, and how many sessions would end."""

    words: tuple[str, ...]
    sessions: int
    at_least: bool = False
    """A user may be there under other names, and at other virtual servers, which the table does not tell."""


@dataclass(frozen=True)
class Kick:
    """How far it has come."""

    place: int = 0
    """The line that is marked."""
    target: KickTarget | None = None
    """Whom it is about, once that is chosen."""
    asked: int = 0
    """How often he has said yes."""

    @property
    def is_sure(self) -> bool:
        return self.asked == len(_YES)

    @property
    def line(self) -> str:
        """The command, as it is said."""
        return phrase(self.target.words) if self.target is not None else ""

    def question(self) -> str:
        """What is asked now."""
        if self.target is None:
            return "kick whom? ↑ ↓ and return; escape leaves it"
        number = count_of(self.target.sessions, "session") + (" at least" if self.target.at_least else "")
        if not self.asked:
            return f"{self.line}: {number}. y goes on, any other key leaves it"
        return f"Really, {self.line}, {number}? Y (a capital) does it, any other key leaves it"


_YES = ("y", "Y")
_MOVES = {"up": -1, "down": 1, "page up": -10, "page down": 10, "home": -(1 << 30), "end": 1 << 30}


def press(kick: Kick, key: str, targets: Sequence[KickTarget]) -> Kick | None:
    """What becomes of it by a key; None: it is left."""
    if kick.target is None:
        place = max(0, min(kick.place, len(targets) - 1))
        if key in _MOVES:
            return replace(kick, place=max(0, min(place + _MOVES[key], len(targets) - 1)))
        if key != "return" or not targets or not targets[place].words:
            return None
        return replace(kick, place=place, target=targets[place])
    return replace(kick, asked=kick.asked + 1) if key == _YES[kick.asked] else None


def targets_of_sessions(
    layout: Layout, shown: Sequence[Mapping[str, Any]], living: Sequence[Mapping[str, Any]]
) -> list[KickTarget]:
    """For each session that is shown: its user, and how many he has. One whose name fills its column cannot be named:
    it may be cut, and then it is that of somebody else.
    """
    widths = {column.name: int(column.form[:-1]) for column in layout.columns if column.mask == "name"}

    def words_about(session: Mapping[str, Any]) -> tuple[str, ...]:
        is_cut = any(
            len(str(session.get(name, "")).encode("utf-8", "replace")) >= most
            for name, most in widths.items()
            if f"{_FILLED}{name}" in layout.kick
        )
        return () if is_cut else _filled(layout.kick, session)

    number = Counter(map(words_about, living))
    return [KickTarget(words, number[words] if words else 0, at_least=True) for words in map(words_about, shown)]


def targets_of_things(look: ThingLook, found: Sequence[ThingSeen]) -> list[KickTarget]:
    """For each thing: it, and who is there."""
    return [KickTarget(_filled(look.kick, {"id": one.ident}), one.sessions) for one in found]


def _filled(words: Sequence[str], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The command about one; nothing where a value is missing, as of who has not said his name."""
    filled = tuple(str(values[word[1:]]) if word.startswith(_FILLED) else word for word in words)
    return filled if all(filled) else ()
