"""The commands before the login, as a client may write them: which there are, with what argument, and which user names.

What becomes of them: `authorization.py`.
"""

from popular.protocol import sasl
from popular.protocol.commands import VERBS, State
from popular.protocol.sasl import LONGEST_NAME
from supervisor.octets import is_plain, part, word_at

_BLANK = 32


class CommandRow:
    """A command before the login, as the client may say it: with an argument, alone, or either way."""

    __slots__ = ("alone", "blanks_count", "keyword", "with_argument")

    def __init__(self, keyword: str) -> None:
        either = keyword in ("AUTH", "LANG")
        self.keyword = keyword
        self.alone = either or not VERBS[keyword].fewest
        self.with_argument = either or not self.alone
        self.blanks_count = keyword == "PASS"
        """An argument of nothing but blanks is one: all after the first blank is the password (RFC 1939 section 7)."""

    def has_nothing(self, argument: bytes) -> bool:
        """Whether that is no argument."""
        if not argument or self.blanks_count:
            return not argument
        return argument[0] <= _BLANK and not argument.strip()


_COMMANDS = {
    verb.keyword.encode(): CommandRow(verb.keyword) for verb in VERBS.values() if State.AUTHORIZATION in verb.states
}
USER, PASS = _USER, _PASS = _COMMANDS[b"USER"], _COMMANDS[b"PASS"]
_USER_WORD, _PASS_WORD = word_at(b"USER"), word_at(b"PASS")


def row_of(line: bytes, blank: int) -> CommandRow | None:
    """The command's, whose first blank is there. Those of nearly every login are found without a dictionary."""
    if blank == len(b"USER"):
        word = word_at(line)
        if word == _USER_WORD:
            return _USER
        if word == _PASS_WORD:
            return _PASS
    keyword = line if blank < 0 else part(line, 0, blank)
    return _COMMANDS.get(keyword.upper())


def name_of(octets: bytes) -> str:
    """A user name, if there can be such a one. Raises BadResponse."""
    if is_plain(octets) and 0 < len(octets) <= LONGEST_NAME:
        return octets.decode("ascii")
    try:
        name = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise sasl.BadResponse("the user name is not UTF-8") from None
    if not name.isprintable():
        raise sasl.BadResponse("the user name has control characters")
    if not name or len(octets) > LONGEST_NAME:
        raise sasl.BadResponse(f"the user name is empty, or too long; allowed: {LONGEST_NAME} octets")
    return name
