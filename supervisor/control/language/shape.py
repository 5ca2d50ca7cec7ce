"""The shape of a command, from its pattern: plain words as they are, `<slot>`, `[…]` may be left out, `…` repeats what
stands before it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_PATTERN = re.compile(
    r"(?P<head>[a-z]+(?: [a-z]+)*)(?P<required>(?: <[a-z]+>)*)(?P<again>…)?"
    r"(?: \[(?P<tail><[a-z]+>(?: <[a-z]+>)*)\](?P<repeated>…)?)?"
)


@dataclass(frozen=True)
class Shape:
    """A pattern taken apart: words, slots that must be there, and a tail of slots that may follow, once or often."""

    head: tuple[str, ...]
    required: tuple[str, ...]
    tail: tuple[str, ...]
    repeated: bool

    @classmethod
    def of(cls, pattern: str) -> "Shape":
        match = _PATTERN.fullmatch(pattern)
        assert match is not None, f"not a pattern: {pattern}"
        required = tuple(re.findall(r"<(\w+)>", match["required"]))
        tail = required[-1:] if match["again"] else tuple(re.findall(r"<(\w+)>", match["tail"] or ""))
        return cls(tuple(match["head"].split()), required, tail, repeated=bool(match["again"] or match["repeated"]))

    def slot(self, position: int) -> str | None:
        """The slot of the argument at `position` (from 0), or None if there is none."""
        if position < len(self.required):
            return self.required[position]
        position -= len(self.required)
        if not self.tail or (position >= len(self.tail) and not self.repeated):
            return None
        return self.tail[position % len(self.tail)]

    def missing(self, count: int) -> str | None:
        """The slot that must still follow `count` arguments, or None if they are enough."""
        rest = count - len(self.required)
        if rest < 0:
            return self.required[count]
        return self.tail[rest % len(self.tail)] if self.tail and rest % len(self.tail) else None

    def bind(self, words: Sequence[Any]) -> dict[str, Any]:
        """Arguments by slot: a list where the slot repeats, None where it was left out."""
        lists = self.tail if self.repeated else ()
        bound: dict[str, Any] = {name: [] if name in lists else None for name in (*self.required, *self.tail)}
        for position, word in enumerate(words):
            name = self.slot(position)
            assert name is not None
            if name in lists:
                bound[name].append(word)
            else:
                bound[name] = word
        return bound
