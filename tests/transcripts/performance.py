"""One performance of a script, whoever plays it: step by step, and what differs is shown as a diff of the script."""

import difflib
import re
from collections.abc import Mapping
from typing import NoReturn, Protocol

from tests.transcripts.script import Script, Step, shown

BEGINNING = (
    "set checkport $CHECK",
    "backend conf b1 host 127.0.0.1 port $BACKEND pipelining off state online",
    "pdm add everyone any b1",
    "vserv conf v1 iface 127.0.0.1 port $PORT bannerok ready bannererr disabled state online",
)
"""What is said before the commands of a script."""

_WORD = re.compile(r"\$([A-Z]+)")
_FIELD = re.compile(r"\w+='[^']*'|\w+=\S+")


class Differs(AssertionError):
    """What happened is not what the script says."""


class Otherwise(Exception):
    """A step went otherwise; `happened` are the lines to show in its place."""

    def __init__(self, *happened: str) -> None:
        super().__init__(*happened)
        self.happened = happened


class Player(Protocol):
    """Who plays one script."""

    def step(self, step: Step, following: Step | None) -> None:
        """Does one line. Raises Otherwise."""

    def unread(self) -> list[str]:
        """What came and was not asked for, in the notation of scripts."""


def perform(script: Script, player: Player) -> None:
    """Plays a script. Raises Differs with a diff."""
    for number, step in enumerate(script.steps):
        following = script.steps[number + 1] if number + 1 < len(script.steps) else None
        try:
            player.step(step, following)
        except Otherwise as otherwise:
            _show(script, number, [*otherwise.happened, *player.unread()])
    surplus = player.unread()
    if surplus:
        _show(script, len(script.steps), surplus)


def _show(script: Script, number: int, happened: list[str]) -> NoReturn:
    said = [str(step) for step in script.steps]
    diff = difflib.unified_diff(said, [*said[:number], *happened], "the script", "what happened", lineterm="", n=99)
    raise Differs("\n".join((f"{script.place}: {script.title}", *diff)))


def filled(text: str, words: Mapping[str, str]) -> str:
    """A text with the site's words in it."""
    return _WORD.sub(lambda match: words.get(match[1], match[0]), text)


def fields(text: str) -> list[str]:
    """The fields after the name in `E:` and `L:`, as the log writes them."""
    return _FIELD.findall(text)


def lines(sign: str, data: bytes) -> list[str]:
    """Octets as lines of a script."""
    *whole, rest = data.split(b"\r\n")
    return [f"{sign} {shown(line)}".rstrip() for line in (*whole, *([rest] if rest else ()))]
