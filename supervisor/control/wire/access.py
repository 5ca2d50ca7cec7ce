"""Who may say what over the control socket: the access file. Pure.

    # who                      may
    group popular-watch        read
    group popular-oncall       say kill *
    group popular-oncall       say backend conf * state *
    user deploy                all

`read` is every command that changes and orders nothing. `say` is that, and each command whose words are these: `*`
stands for any one word, `...` at the end for any further ones, and `json` in front of a command counts for nothing.
Lines add up. Root and the user of the program may do everything, whatever the file says: they could stop the program,
or become it. Whoever else is not named may say nothing at all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from supervisor.control.files.rcfile import FileCommand, FileFault, parse, told
from supervisor.control.language.context import ControlCommand, Vocabulary
from supervisor.control.language.kinds import Choice, nearest, shown
from supervisor.control.language.language import fit
from supervisor.control.language.lookups import Lookups
from supervisor.control.wire.peer import Peer
from supervisor.control.words import CommandRefused, Word, phrase, scan, split

MAY_READ, MAY_SAY, MAY_ALL = "read", "say", "all"
USER, GROUP = "user", "group"
ANY_WORD, ANY_REST = "*", "..."
_USAGE = f"{USER} NAME, or {GROUP} NAME, and then {MAY_READ}, {MAY_SAY} COMMAND, or {MAY_ALL}"

Numbers = Mapping[str, Callable[[str], int]]
"""For USER and GROUP: the number of a name. Raises ValueError, with a text for people."""


class FaultyAccess(Exception):
    """The access file cannot be used; the text names each line and what is wrong with it."""


class Rule(NamedTuple):
    """A line of the file: the user or group with this number may do this; `words` are those of SAY."""

    kind: str
    number: int
    may: str
    words: tuple[str, ...] = ()

    def is_about(self, peer: Peer) -> bool:
        """Whether this client is meant."""
        return self.number == peer.uid if self.kind == USER else self.number in peer.groups

    def covers(self, words: Sequence[str]) -> bool:
        """Whether SAY allows a command of these words."""
        wanted = self.words[:-1] if self.words[-1:] == (ANY_REST,) else self.words
        enough = len(words) >= len(wanted) if wanted != self.words else len(words) == len(wanted)
        return enough and all(want in (ANY_WORD, word) for want, word in zip(wanted, words, strict=False))


@dataclass(frozen=True)
class Access:
    """What each client may say. Without rules (no file): whoever can connect may read."""

    owner: int
    """The user of the program."""
    rules: tuple[Rule, ...] | None = None

    def refusal(self, peer: Peer, line: str, language: Vocabulary) -> str:
        """Why a client may not say this; empty if he may."""
        if self.may_all(peer):
            return ""
        reads = language.is_read_only(line)
        if self.rules is None:
            return "" if reads else _READERS
        mine = [rule for rule in self.rules if rule.is_about(peer)]
        if not mine:
            return f"the access file does not name you (uid {peer.uid}), nor a group of yours; nothing was changed"
        if reads or any(rule.may == MAY_ALL for rule in mine):
            return ""
        words = bare(line)
        if any(rule.may == MAY_SAY and rule.covers(words) for rule in mine):
            return ""
        allowed = [phrase(rule.words) for rule in mine if rule.may == MAY_SAY]
        more = f"; beside what only reads you may say: {', '.join(allowed)}" if allowed else "; you may only read"
        return f"the access file does not let you say this{more}; nothing was changed"

    def may_all(self, peer: Peer) -> bool:
        """Whether this client may do everything, whatever the file says."""
        return peer.uid in (0, self.owner)


_READERS = "only root and the user of the program may change anything; the control group (--ctrl-group) may read"


def bare(line: str) -> list[Word]:
    """The words of a command without `json` in front, which changes nothing of what it does. None if it is no line."""
    try:
        return _without_json(split(line))
    except CommandRefused:
        return []


def _without_json(words: list[Word]) -> list[Word]:
    while words[:1] == ["json"]:
        words = words[1:]
    return words


def access_of(octets: bytes, name: str, owner: int, *, language: Vocabulary, numbers: Numbers) -> Access:
    """What a file says. Raises FaultyAccess, UnreadableFile."""
    rules: list[Rule] = []
    faults: list[FileFault] = []
    for command in parse(octets, name):
        try:
            rules.append(_rule(command, language, numbers))
        except CommandRefused as refused:
            faults.append(FileFault(command.at(refused.column), refused.text))
    if faults:
        raise FaultyAccess("\n".join(told(faults)))
    return Access(owner, tuple(rules))


def _rule(command: FileCommand, language: Vocabulary, numbers: Numbers) -> Rule:
    """Raises CommandRefused."""
    if command.fault is not None:
        raise CommandRefused(command.fault.text, command.fault.place.column)
    words = scan(command.text).words
    kind = _one_of((USER, GROUP), words[0])
    if len(words) < 3:
        raise CommandRefused(f"too few words; allowed: {_USAGE}", words[-1].column)
    try:
        number = int(words[1]) if words[1].isascii() and words[1].isdecimal() else numbers[kind](words[1])
    except ValueError as unknown:
        raise CommandRefused(str(unknown), words[1].column) from None
    may = _one_of((MAY_READ, MAY_SAY, MAY_ALL), words[2])
    rest = words[3:]
    if may != MAY_SAY and rest:
        raise CommandRefused(f"{shown(rest[0])} is too much after {may}", rest[0].column)
    if may == MAY_SAY:
        rest = _without_json(rest)
        _check_pattern(rest, words[2], language)
    return Rule(kind, number, may=may, words=tuple(str(word) for word in rest))


def _one_of(allowed: Iterable[str], word: Word) -> str:
    if word not in allowed:
        raise CommandRefused(
            f"{shown(word)} is unknown{nearest(word, [*allowed])}; allowed: {', '.join(allowed)}", word.column
        )
    return str(word)


def _check_pattern(rest: Sequence[Word], say: Word, language: Vocabulary) -> None:
    """It must be a command's form: one that is misspelt or has a word too few would allow nothing, and nobody would
    see. What fills a slot may come to be there, and is not looked at, unless it must be one of a few words.
    """
    for word in rest[:-1]:
        if word == ANY_REST:
            raise CommandRefused(f"{ANY_REST} stands at the end only", word.column)
    plain = tuple(word for word in rest if word != ANY_REST)
    if not plain:
        raise CommandRefused(f"which command? such as: {MAY_SAY} kill {ANY_WORD}", say.column)
    open_ended = plain != tuple(rest)
    try:
        command, _ = language.match(plain)
        _check_choices(command, plain[len(command.shape.head) :])
    except CommandRefused as refused:
        if refused.column is not None:
            raise
        # Without a column there is a word missing.
        if not open_ended:
            text = f"{refused.text}; with {ANY_REST} after these words it is all that begins so"
            raise CommandRefused(text, plain[-1].column) from None


def _check_choices(command: ControlCommand, arguments: Sequence[Word]) -> None:
    for position, word in enumerate(arguments):
        kind = command.kind_of(arguments, position)
        if isinstance(kind, Choice) and word != ANY_WORD:
            fit(kind, word, Lookups(), what=command.shape.slot(position) or "")
