"""How many lines of one kind a process writes in a minute, where others can cause as many as they like. Pure.

What a line is about (`Message.by`, such as the backend) is counted by itself, so that one sick thing hides no other.
"""

from typing import NamedTuple

from supervisor.runtime.messages import Message

MINUTE = 60.0
_MOST_THINGS = 200
"""Told apart in a minute; what is beyond counts together."""


class LeftOut(NamedTuple):
    """Lines of one kind that were not written in a minute."""

    message: Message
    thing: str
    lines: int


class Throttle:
    """Counts the log lines of one process, and says which are too many."""

    def __init__(self) -> None:
        self._until = 0.0
        self._asked: dict[tuple[Message, str], int] = {}
        """How many lines were to be written in this minute."""

    def admits(self, message: Message, thing: str) -> bool:
        """Whether one more is written; to be asked for each, after `ended`."""
        key = message, thing
        if key not in self._asked and len(self._asked) >= _MOST_THINGS:
            key = message, ""
        count = self._asked[key] = self._asked.get(key, 0) + 1
        return count <= message.most

    def ended(self, now: float) -> list[LeftOut]:
        """When a minute is over: what was left out in it. Then a new one begins."""
        if now < self._until:
            return []
        self._until = now + MINUTE
        asked, self._asked = self._asked, {}
        return [
            LeftOut(message, thing, count - message.most)
            for (message, thing), count in asked.items()
            if count > message.most
        ]
