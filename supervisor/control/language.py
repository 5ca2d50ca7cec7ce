"""Words and sentences: a line is split into words, a sentence is found for them, its deed is done.

A sentence is written once, as its pattern:

    vserv conf <vserv> [<parameter> <value>]…

Plain words are said as they are, `<…>` are slots, `[…]` may be left out, `…` repeats what stands before it. Counting,
usage lines, help, completion and the manual all come from the pattern. Words are never abbreviated: an rc file must not
change its meaning when a sentence is added.

What a word is, and what `Refused` tells, stands in `words.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from supervisor.control.facts import Facts, Unfit
from supervisor.control.kinds import Choice, Kind, nearest
from supervisor.control.words import BLANKS, INCLUDE, Refused, Word, phrase, quote, scan, shown, split

if TYPE_CHECKING:
    from supervisor.control.outcome import Deed, Desk, Outcome

__all__ = ["Completer", "Language", "Refused", "Sentence", "Shape", "Word", "fit", "phrase", "quote", "split"]

_QUOTE_HINT = "; a value with blanks stands in quotes"

Completer = Callable[["Desk", Mapping[str, Any]], Iterable[str]]
"""Lists the words that may stand in a slot, given the desk and the arguments before it."""

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
        return cls(tuple(match["head"].split()), required, tail, bool(match["again"] or match["repeated"]))

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


@dataclass(frozen=True)
class Sentence:
    """One sentence of the language.

    `help`: the first line is the one-liner, paragraphs follow. `slots`: a Kind fits the word before the deed gets it; a
    Completer leaves the word to the deed. `changes`: it may change something. `order`: it is done once, and is no part
    of a configuration. `source`: the chapter that it comes from.
    """

    pattern: str
    deed: "Deed"
    help: str
    slots: Mapping[str, Kind | Completer] = field(default_factory=dict)
    changes: bool = False
    source: str = ""
    order: bool = False
    shape: Shape = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = Shape.of(self.pattern)
        assert set(self.slots) == {*shape.required, *shape.tail}, f"slots of {self.pattern}"
        object.__setattr__(self, "shape", shape)

    @property
    def usage(self) -> str:
        """The pattern, with the words of a choice written out."""
        usage = self.pattern
        for name, kind in self.slots.items():
            if isinstance(kind, Choice):
                usage = usage.replace(f"<{name}>", kind.describe())
        return usage

    @property
    def summary(self) -> str:
        return self.help.partition("\n")[0]


def fit(kind: Kind, word: str, facts: Facts, what: str) -> Any:
    """The value of a word. Raises Refused that names `what` it is for, and the column; or Wanted."""
    try:
        return kind.parse(str(word), facts)
    except Unfit as unfit:
        raise Refused(f"{what}: {unfit}", getattr(word, "column", None), of_form=True) from None


class Language:
    """The sentences that a program understands."""

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        self.sentences = tuple(sentences)
        self._by_head = {sentence.shape.head: sentence for sentence in self.sentences}
        assert len(self._by_head) == len(self.sentences), "two sentences begin with the same words"

    def find(self, words: Sequence[Word]) -> tuple[Sentence, dict[str, Any]]:
        """The sentence that these words are, and its arguments as they were said. Raises Refused."""
        sentence = self._longest_head(words)
        if sentence is None:
            raise self._unknown(words)
        arguments = words[len(sentence.shape.head) :]
        for position, word in enumerate(arguments):
            if sentence.shape.slot(position) is None:
                near = nearest(word, self.next_words(words[: len(sentence.shape.head) + position]))
                hint = near or (_QUOTE_HINT if position else "")
                raise Refused(f"{shown(word)} is too much{hint}; usage: {sentence.usage}", word.column, of_form=True)
        missing = sentence.shape.missing(len(arguments))
        if missing is not None:
            hint = _QUOTE_HINT if len(arguments) > len(sentence.shape.tail) > 1 else ""
            raise Refused(f"<{missing}> is missing{hint}; usage: {sentence.usage}", of_form=True)
        return sentence, sentence.shape.bind(arguments)

    def read(self, words: Sequence[Word], facts: Facts) -> tuple[Sentence, dict[str, Any]]:
        """Like `find`, with the arguments fitted to their kinds. Raises Refused or Wanted."""
        sentence, _ = self.find(words)
        values = []
        for position, word in enumerate(words[len(sentence.shape.head) :]):
            name = sentence.shape.slot(position)
            assert name is not None
            kind = sentence.slots[name]
            values.append(fit(kind, word, facts, name) if isinstance(kind, Kind) else word)
        return sentence, sentence.shape.bind(values)

    def answer(self, words: Sequence[Word], desk: "Desk") -> "Outcome":
        """Finds the sentence, fits its arguments and does its deed. Raises Refused or Wanted; changes nothing."""
        sentence, arguments = self.read(words, desk.facts)
        try:
            return sentence.deed(desk, arguments)
        except Unfit as unfit:
            raise Refused(str(unfit)) from None

    def conduct(self, line: str, desk: "Desk") -> "Outcome":
        """`answer` for a line as it came over the control socket or stands in an rc file."""
        return self.answer(split(line), desk)

    def reads_only(self, line: str) -> bool:
        """Whether a line can neither change nor order anything; so of one that is no sentence."""
        try:
            words = split(line)
            while words[:1] == ["json"]:
                words = words[1:]
            sentence, _ = self.find(words)
        except Refused:
            return True
        return not sentence.changes and not sentence.order

    def next_words(self, words: Sequence[str]) -> list[str]:
        """The plain words that may follow these plain words."""
        count = len(words)
        following = [
            sentence.shape.head[count]
            for sentence in self.sentences
            if len(sentence.shape.head) > count and sentence.shape.head[:count] == tuple(words)
        ]
        return list(dict.fromkeys(following))

    def complete(self, text: str, desk: "Desk") -> list[str]:
        """Candidates for the last word of an unfinished line, each as it must be written. Never raises Refused."""
        try:
            found = scan(text)
        except Refused:
            return []
        if found.end < len(text):
            return []
        words, begun = found.words, found.is_open or text[-1:] not in BLANKS
        last = words.pop() if words and begun else Word("", len(text) + 1)
        candidates = [*self.next_words(words), *self._slot_words(words, last, desk)]
        fitting = [word for word in candidates if word.lower().startswith(last.lower())]
        return [quote(word) for word in dict.fromkeys(fitting)]

    def _slot_words(self, words: Sequence[Word], last: str, desk: "Desk") -> Iterable[str]:
        sentence = self._longest_head(words)
        if sentence is None:
            return []
        arguments = words[len(sentence.shape.head) :]
        slots = [sentence.shape.slot(position) for position in range(len(arguments) + 1)]
        name = slots[-1]
        if name is None:
            return []
        slot = sentence.slots[name]
        return slot.complete(last) if isinstance(slot, Kind) else slot(desk, sentence.shape.bind(arguments))

    def _longest_head(self, words: Sequence[str]) -> Sentence | None:
        for count in range(len(words), 0, -1):
            sentence = self._by_head.get(tuple(words[:count]))
            if sentence is not None:
                return sentence
        return None

    def _unknown(self, words: Sequence[Word]) -> Refused:
        if not words:
            return Refused(f"nothing was said; allowed: {', '.join(self.next_words(()))}", of_form=True)
        known = 0
        while known < len(words) and self.next_words(words[: known + 1]):
            known += 1
        allowed = self.next_words(words[:known])
        if known == len(words):
            said = shown(words[-1])
            return Refused(f"a word is missing behind {said}; allowed: {', '.join(allowed)}", of_form=True)
        word = words[known]
        if known == 0 and word == INCLUDE:
            return Refused(f"{INCLUDE} stands in files only", word.column, of_form=True)
        text = f"{shown(word)} is unknown{nearest(word, allowed)}; allowed: {', '.join(allowed)}"
        return Refused(text, word.column, of_form=True)
