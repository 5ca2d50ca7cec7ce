"""A line and its words: splitting, quoting, comments, and characters that nobody sees. Pure, and light to import.

Blanks and tabs separate words. A word with a blank, a quotation mark or an invisible character in it stands in quotes,
with \\" and \\\\ inside. A word that begins with an unquoted # begins a comment, which lasts to the end of the line
whatever is in it.

`CommandRefused` is for the person who said the line: what is wrong, what is allowed, and in which column.
"""

import re
import unicodedata
from collections.abc import Container, Iterable
from typing import NamedTuple

BLANKS = " \t"
COMMENT = "#"
INCLUDE = "include"
"""The first word of a line of an rc file that stands for another file (rcfile.py)."""
LONGEST_LINE = 8192
"""Octets of a command, without its line end."""
NOTE = "; note: "
"""In what is said of a command that was carried out: after this stands what must be seen all the same."""

SECRET = "secret"
"""The command whose argument is shown nowhere."""

_SHOWN = 40
_SECRET_LINE = re.compile(rf'["\\\s]*(?:(?:json|complete|draft["\s]+say)["\\\s]+)*{SECRET}(?![a-z])', re.IGNORECASE)
"""However it is quoted, and whatever stands in front of it: rather too many lines than one too few."""
_SECRET_IN_URL = re.compile(r"(://[^\s\"/?@:]*:)[^\s\"?]*@")
"""It is refused, and was said all the same."""
_QUOTED = r"""\\*"(?:[^"\\]|\\+[^\\])*|\\*'(?:[^'\\]|\\+[^\\])*"""
_SECRET_VALUE = re.compile(
    rf"""(?<![\w-])([\w-]*(?:pass(?:word|wd)?|pwd|secret|token|api[_-]?key))=(?:{_QUOTED}|[^\s"'&]+)""", re.IGNORECASE
)
"""The like in the words of databases and of queries."""
_SECRET_WORD = re.compile(
    r"""(?<!\S)("?(?:\w*(?:secret|pass(?:word|phrase)(?:file)?|token)|bindpw|pw)"?[ \t]+)"""
    rf"""(?!"?/)(?:{_QUOTED}|[^\s"]+)""",
    re.IGNORECASE,
)
"""A secret where the language wants a file, or under a word that other programs have for one; a path is none."""
_STORED_WORD = re.compile(r"""(?<!\S)("?\{[\w.-]+\})[^\s"]+""")
"""A stored password behind the name of its form."""
_COMMAND_IN_LINE = re.compile(r"((?:(?:json|complete|draft\s+say)\s+)*)([a-z]*)(\S*)")
_CONTROL = {"Cc", "Cs", "Zl", "Zp"}
_UNSEEN = {"Cf", "Zs"}
_UNSEEN_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols that show nothing, whatever their category says."""
_NAMES = {"\0": "NUL", "\t": "TAB", "\v": "VERTICAL TAB", "\f": "FORM FEED", "\r": "CARRIAGE RETURN", "\x1b": "ESCAPE"}


class CommandRefused(Exception):
    """A command is not carried out; nothing has changed. `column` (from 1) is where the faulty word begins, if any.

    `of_form`: it would be refused under every configuration.
    """

    def __init__(self, text: str, column: int | None = None, of_form: bool = False) -> None:
        super().__init__(text, column, of_form)
        self.text = text
        self.column = column
        self.of_form = of_form

    def __str__(self) -> str:
        return f"column {self.column}: {self.text}" if self.column else self.text


class Word(str):
    """A word of a line; `column` (from 1) is where it begins there."""

    __slots__ = ("column",)
    column: int

    def __new__(cls, text: str, column: int) -> "Word":
        word = super().__new__(cls, text)
        word.column = column
        return word


def refuse_twice(said: Iterable[str], words: Iterable[Word]) -> None:
    """Refuses what is said a second time; `said` is what each of the words means. Raises CommandRefused."""
    seen: set[str] = set()
    for meaning, word in zip(said, words, strict=True):
        if meaning in seen:
            raise CommandRefused(f"{shown(word)} is given twice", word.column, of_form=True)
        seen.add(meaning)


class Scan(NamedTuple):
    """The words of a line, whether the last one is a quote that is still open, and where the line's comment begins."""

    words: list[Word]
    is_open: bool
    end: int


def split(line: str) -> list[Word]:
    """The words of a line. Raises CommandRefused for characters that nobody sees, and for quotes that do not match."""
    found = scan(line)
    if found.is_open:
        raise unclosed(found)
    return found.words


def without_secret(line: str) -> str:
    """A line as it may be logged: of a `secret` nothing but that it is one, of a URL not its password."""
    if _SECRET_LINE.match(line):
        return f"{SECRET} ****"
    return _SECRET_VALUE.sub(r"\1=****", _SECRET_IN_URL.sub(r"\1****@", line))


def without_slip(line: str) -> str:
    """A line that is refused, as it may be logged: it may have a secret where its file is wanted, so no word is shown
    there that is no path. Rather too few are shown: of what is carried out (`takes password …`) all is to be read.
    """
    return _STORED_WORD.sub(r"\1****", _SECRET_WORD.sub(r"\1****", without_secret(line)))


def of_no_command(line: str, heads: Container[str]) -> str:
    """What may be logged of a line that begins no command, as nearly nothing; "" if it begins one of these.

    It may be from a file that is no configuration at all, such as one of users with their passwords.
    """
    found = _COMMAND_IN_LINE.match(line.lstrip())
    assert found is not None
    before, letters, more = found.groups()
    return "" if letters in heads and not more else f"{before}{letters[:_SHOWN]}…"


def unclosed(found: Scan) -> CommandRefused:
    """Why a line that ends inside a quote is refused."""
    return CommandRefused(
        'a quote is not closed; allowed: "…" with \\" and \\\\ inside', found.words[-1].column, of_form=True
    )


def quote(text: str) -> str:
    """A word as it must be written so that `split` gives it back."""
    if (
        text
        and not text.startswith(COMMENT)
        and not any(mark in text for mark in ' \t"')
        and first_unseen(text) is None
    ):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def phrase(words: Iterable[str]) -> str:
    """A line that `split` takes apart into these words."""
    return " ".join(quote(word) for word in words)


def scan(line: str, words: list[Word] | None = None) -> Scan:
    """Takes a line apart. Raises CommandRefused; what was found before stands in `words` then, if a list is given."""
    words = [] if words is None else words
    position = 0
    while position < len(line):
        if line[position] in BLANKS:
            position += 1
        elif line[position] == COMMENT:
            return Scan(words, False, position)
        elif line[position] == '"':
            text, end = _quoted(line, position)
            words.append(Word(text, position + 1))
            if end is None:
                return Scan(words, True, len(line))
            position = end
        else:
            text = _plain(line, position)
            words.append(Word(text, position + 1))
            position += len(text)
    return Scan(words, False, len(line))


def _plain(line: str, start: int) -> str:
    end = min((place for blank in BLANKS if (place := line.find(blank, start)) >= 0), default=len(line))
    text = line[start:end]
    bad = first_unseen(text)
    if bad is not None:
        raise _unwanted(text[bad], start + bad + 1)
    if '"' in text:
        raise CommandRefused(
            "a quote inside a word; put quotes around the whole word", start + 1 + text.index('"'), of_form=True
        )
    return text


def _quoted(line: str, start: int) -> tuple[str, int | None]:
    """The text inside the quotes that open at `start`, and where the line goes on; None if they never close."""
    text: list[str] = []
    position = start + 1
    while position < len(line):
        character = line[position]
        if character == '"':
            if line[position + 1 : position + 2].strip(BLANKS):
                raise CommandRefused("a blank must follow the closing quote", position + 2, of_form=True)
            return "".join(text), position + 1
        if is_control(character):
            raise _unwanted(character, position + 1)
        if character == "\\":
            position += 1
            character = line[position : position + 1]
            if character not in ('"', "\\"):
                raise CommandRefused('after a \\ only " and \\ are allowed', position, of_form=True)
        text.append(character)
        position += 1
    return "".join(text), None


def _unwanted(character: str, column: int) -> CommandRefused:
    where = "" if is_control(character) else " outside of quotes"
    return CommandRefused(f"{called(character)} is not allowed{where}", column, of_form=True)


def is_control(character: str) -> bool:
    """Whether it is a control character or a line separator."""
    return unicodedata.category(character) in _CONTROL


def is_unseen(character: str) -> bool:
    """Whether nobody can see that it is there; the blank does not count."""
    if character in _UNSEEN_LETTERS or 0xFE00 <= ord(character) <= 0xFE0F:
        return True
    return character != " " and unicodedata.category(character) in _CONTROL | _UNSEEN


def first_control(text: str) -> int | None:
    """Where the first control character or line separator stands, counted from 0."""
    if text.isprintable():
        return None
    return next((place for place, character in enumerate(text) if is_control(character)), None)


def first_unseen(text: str) -> int | None:
    """Where the first character that nobody sees stands, counted from 0."""
    if text.isascii() and text.isprintable():
        return None
    return next((place for place, character in enumerate(text) if is_unseen(character)), None)


def called(character: str) -> str:
    """A character that nobody sees, for people: `the invisible character U+FEFF (ZERO WIDTH NO-BREAK SPACE)`."""
    name = _NAMES.get(character) or unicodedata.name(character, "")
    kind = "control" if is_control(character) else "invisible"
    return f"the {kind} character U+{ord(character):04X}{f' ({name})' if name else ''}"


def shown(text: str) -> str:
    """A word in quotes for an error message: cut where it is long, and with the codes of what nobody sees."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    if first_unseen(cut) is None:
        return f'"{cut}"'
    return '"' + "".join(f"<U+{ord(one):04X}>" if is_unseen(one) else one for one in cut) + '"'
