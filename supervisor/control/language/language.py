"""Words and commands: a line is split into words, a command is found for them, its handler is called.

A command is written once, as its pattern:

    vserv conf <id> [<parameter> <value>]…

Plain words are said as they are, `<…>` are slots, `[…]` may be left out, `…` repeats what stands before it. Counting,
usage lines, help, completion and manual pages all come from the pattern. Words are never abbreviated: an rc file must
not change its meaning when a command is added.

What a word is, and what `CommandRefused` tells, stands in `words.py`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from supervisor.control.language.context import CommandContext, ControlCommand
from supervisor.control.language.kinds import Kind, nearest
from supervisor.control.language.lookups import Lookups, Unfit
from supervisor.control.language.outcome import Outcome
from supervisor.control.words import BLANKS, INCLUDE, CommandRefused, Word, quote, refuse_twice, scan, shown, split

_QUOTE_HINT = "; a value with blanks stands in quotes"


def fit(kind: Kind, word: str, lookups: Lookups, *, what: str) -> Any:
    """The value of a word. Raises CommandRefused that names `what` it is for, and the column; or NeedsLookup."""
    try:
        return kind.parse(str(word), lookups)
    except Unfit as unfit:
        raise CommandRefused(f"{what}: {unfit}", getattr(word, "column", None), of_form=True) from None


def _refuse_twice(command: ControlCommand, values: Sequence[Any], words: Sequence[Word]) -> None:
    """In pairs each first word stands once. `values` are the arguments as they are meant, `words` all that was said."""
    shape = command.shape
    if shape.repeated and len(shape.tail) == 2 and not command.again:
        first = len(shape.required)
        refuse_twice(values[first::2], words[len(shape.head) + first :: 2])


_NO_COMMAND = re.compile("[:=@/{$]")
"""Stand in no word that begins a command, but in files of other kinds, in front of passwords."""


class Language:
    """The commands that a program understands. What others may ask of it, `Vocabulary` says (context.py)."""

    def __init__(self, commands: Iterable[ControlCommand]) -> None:
        self.commands = tuple(commands)
        self._by_head = {command.shape.head: command for command in self.commands}
        assert len(self._by_head) == len(self.commands), "two commands begin with the same words"

    def match(self, words: Sequence[Word]) -> tuple[ControlCommand, dict[str, Any]]:
        command = self._longest_head(words)
        if command is None:
            raise self._unknown(words)
        arguments = words[len(command.shape.head) :]
        for position, word in enumerate(arguments):
            if command.shape.slot(position) is None:
                near = nearest(word, self.next_words(words[: len(command.shape.head) + position]))
                hint = near or (_QUOTE_HINT if position else "")
                raise CommandRefused(
                    f"{shown(word)} is too much{hint}; usage: {command.usage}", word.column, of_form=True
                )
        missing = command.shape.missing(len(arguments))
        if missing is not None:
            hint = _QUOTE_HINT if len(arguments) > len(command.shape.tail) > 1 else ""
            raise CommandRefused(f"<{missing}> is missing{hint}; usage: {command.usage}", of_form=True)
        return command, command.shape.bind(arguments)

    def parse(self, words: Sequence[Word], lookups: Lookups) -> tuple[ControlCommand, dict[str, Any]]:
        """Like `match`, with the arguments fitted to their kinds. Raises CommandRefused or NeedsLookup."""
        command, _ = self.match(words)
        values = []
        for position, word in enumerate(words[len(command.shape.head) :]):
            name = command.shape.slot(position)
            assert name is not None
            kind = command.slots[name]
            values.append(fit(kind, word, lookups, what=name) if isinstance(kind, Kind) else word)
        _refuse_twice(command, values, words)
        return command, command.shape.bind(values)

    def execute(self, words: Sequence[Word], context: CommandContext) -> Outcome:
        command, arguments = self.parse(words, context.lookups)
        try:
            return command.handler(context, arguments)
        except Unfit as unfit:
            raise CommandRefused(str(unfit)) from None

    def execute_line(self, line: str, context: CommandContext) -> Outcome:
        """`execute` for a line as it came over the control socket or stands in an rc file."""
        return self.execute(split(line), context)

    def is_read_only(self, line: str) -> bool:
        try:
            words = split(line)
            while words[:1] == ["json"]:
                words = words[1:]
            command, _ = self.match(words)
        except CommandRefused:
            return True
        return not command.changes and not command.one_off

    def next_words(self, words: Sequence[str]) -> list[str]:
        count = len(words)
        following = [
            command.shape.head[count]
            for command in self.commands
            if len(command.shape.head) > count and command.shape.head[:count] == tuple(words)
        ]
        return list(dict.fromkeys(following))

    def complete(self, text: str, context: CommandContext) -> list[str]:
        try:
            found = scan(text)
        except CommandRefused:
            return []
        if found.end < len(text):
            return []
        words, begun = found.words, found.is_open or text[-1:] not in BLANKS
        last = words.pop() if words and begun else Word("", len(text) + 1)
        candidates = [*self.next_words(words), *self._slot_words(words, last, context)]
        fitting = [word for word in candidates if word.lower().startswith(last.lower())]
        return [quote(word) for word in dict.fromkeys(fitting)]

    def _slot_words(self, words: Sequence[Word], last: str, context: CommandContext) -> Iterable[str]:
        command = self._longest_head(words)
        if command is None:
            return []
        arguments = words[len(command.shape.head) :]
        slots = [command.shape.slot(position) for position in range(len(arguments) + 1)]
        name = slots[-1]
        if name is None:
            return []
        slot = command.slots[name]
        return slot.complete(last) if isinstance(slot, Kind) else slot(context, command.shape.bind(arguments))

    def _longest_head(self, words: Sequence[str]) -> ControlCommand | None:
        for count in range(len(words), 0, -1):
            command = self._by_head.get(tuple(words[:count]))
            if command is not None:
                return command
        return None

    def _unknown(self, words: Sequence[Word]) -> CommandRefused:
        if not words:
            return CommandRefused(f"nothing was said; allowed: {', '.join(self.next_words(()))}", of_form=True)
        known = 0
        while known < len(words) and self.next_words(words[: known + 1]):
            known += 1
        allowed = self.next_words(words[:known])
        if known == len(words):
            said = shown(words[-1])
            return CommandRefused(f"a word is missing after {said}; allowed: {', '.join(allowed)}", of_form=True)
        word = words[known]
        if known == 0 and word == INCLUDE:
            return CommandRefused(f"{INCLUDE} stands in files only", word.column, of_form=True)
        said = shown(word if known else _NO_COMMAND.split(word)[0])  # not what stands behind it, in a file of users
        text = f"{said} is unknown{nearest(word, allowed)}; allowed: {', '.join(allowed)}"
        return CommandRefused(text, word.column, of_form=True)
