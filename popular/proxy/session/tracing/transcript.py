"""A session as people may read it: what each side said, and when, without passwords, tokens and mails. Pure.

    C>P  the client to us           P>C  we to the client           C>B  the client to the backend, passed on
    P>B  we to the backend          B>P  the backend to us          B>C  the backend to the client, passed on
    --   what happened: modules, connections, TLS, entries of the log, the end

What is not known to be open is not shown: of a line it does not know, only how long it is. A backend may repeat what it
was told, so from the password on its words are not shown either, but its status and code; the entries of the log have
them without the password.
"""

import re
from collections.abc import Iterator

from popular.protocol.commands import VERBS
from popular.protocol.conversation import LISTING, MESSAGE, Conversation, Heard, ReplyLines, SentCommand, said
from popular.protocol.printable import printable
from popular.protocol.replies import without_words
from popular.protocol.sasl import CANCEL, MECHANISMS, BadResponse, apop
from popular.protocol.shown import HIDDEN, without_secrets

_LONGEST = 200
"""Characters of a line that are shown."""
_OPEN = {"STLS", "CAPA", "QUIT", "NOOP", "STAT", "RSET", "UTF8", "LIST", "UIDL", "RETR", "TOP", "DELE", "LANG", "USER"}
"""Commands of which all may be shown, where the argument is a number or a language, or the name of a user."""
_BESIDE = {"LAST", "XTND", "ID", "XOIP", "XSENDER", "TURN", "HELP", "HELO", "EHLO", "GET", "POST"}
"""Commands that are none, or not any more; their arguments are not shown."""
_NUMBERS, _LANGUAGE = re.compile(rb"[0-9 ]{0,30}"), re.compile(rb"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,4})?|\*|")
_MECHANISMS = {*MECHANISMS, "SCRAM-SHA-1", "SCRAM-SHA-256", "DIGEST-MD5", "NTLM", "GSSAPI", "KERBEROS_V4"}
"""Those that have a name, ours or not: any other word after AUTH may be a response."""
_BY_PASSWORD = {"PLAIN", "LOGIN"}
"""Those whose responses are as long as the password is."""
_NUMBERED, _NAMED = re.compile(rb" *[0-9]+[ \t].*"), re.compile(rb"[A-Za-z0-9*][!-9;-~]*( .*)?")
_LISTED = {"LIST": _NUMBERED, "UIDL": _NUMBERED, "CAPA": _NAMED, "LANG": _NAMED}
"""What all lines of a listing are like. A mail begins with a field, and a reply with a status: neither is shown where a
backend takes commands for fewer or more than they are, and its replies seem to be those of others.
"""
assert _LISTED.keys() == LISTING
_ANSWERED = (_OPEN - MESSAGE) | {"LAST"}
"""Commands whose status may be shown; that of a mail may be anything."""


def _printable(octets: bytes) -> str:
    text = octets[: 4 * _LONGEST].decode("utf-8", "replace")
    shown = printable(text[:_LONGEST])
    return shown + "…" if len(text) > _LONGEST else shown


def _octets(count: int) -> str:
    return f"({count:,} octets)"


def hidden(octets: int) -> str:
    """In place of what may be a secret."""
    return f"{HIDDEN} {_octets(octets)}"


def command(line: bytes) -> Iterator[str]:
    """A client's line, where a command is expected."""
    yield _command(said(line))


def _command(one: SentCommand) -> str:
    keyword, argument = one.keyword, one.argument
    if keyword in ("PASS", "APOP", "AUTH"):
        return _credentials(keyword, argument)
    if keyword in _OPEN:
        form = _LANGUAGE if keyword == "LANG" else _NUMBERS
        is_open = keyword == "USER" or form.fullmatch(argument)
        shown = _printable(argument) if is_open else hidden(len(argument))
        return f"{keyword} {shown}" if argument else keyword
    if keyword in VERBS or keyword in _BESIDE:
        return f"{keyword} {hidden(len(argument))}" if argument else keyword
    return hidden(one.octets)


def _credentials(keyword: str, argument: bytes) -> str:
    """No secret, and none of its size, where it is a password's."""
    if keyword == "PASS":
        return f"PASS {HIDDEN}"
    word, blank, rest = argument.partition(b" ")
    if keyword == "APOP":
        return f"APOP {_named_by_apop(argument)}" if argument else keyword
    name = word.upper().decode("ascii", "replace").removesuffix("-PLUS")
    mechanism = _printable(word) if not word or name in _MECHANISMS else hidden(len(word))
    said = HIDDEN if name in _BY_PASSWORD else hidden(len(rest))
    return f"AUTH {mechanism} {said}" if blank else f"AUTH {mechanism}".rstrip()


def _named_by_apop(argument: bytes) -> str:
    """Whom it names, if it is as it should be: else the digest may stand anywhere."""
    try:
        user = apop(argument).user
    except BadResponse:
        user = b""
    return f"{_printable(user)} {HIDDEN}" if user else hidden(len(argument))


def response(line: bytes, mechanism: str) -> Iterator[str]:
    """A client's line, where the response to a challenge is expected."""
    said = HIDDEN if mechanism in _BY_PASSWORD else hidden(len(line))
    yield line.decode() if line == CANCEL else said


def ours(data: bytes) -> Iterator[str]:
    """Replies of ours; of a challenge only the size."""
    for line in data.splitlines():
        yield f"+ {hidden(len(line) - 2)}" if line[:2] == b"+ " and len(line) > 2 else _printable(line)


def to_backend(data: bytes) -> Iterator[str]:
    """Lines of the login at a backend."""
    for line in data.splitlines(keepends=True):
        yield _printable(without_secrets(line).rstrip().encode())


def to_silent_backend(data: bytes) -> Iterator[str]:
    """Lines of the login at a backend that does not greet (XPOP): only their sizes."""
    for line in data.splitlines():
        yield hidden(len(line))


def from_backend(data: bytes) -> Iterator[str]:
    """Replies of the backend to the login, before it has heard a secret."""
    for line in data.splitlines():
        yield _printable(line)


def from_told_backend(data: bytes) -> Iterator[str]:
    """Replies of the backend when it has heard a secret, which it may repeat: only the status is shown."""
    for line in data.splitlines():
        yield status(line)


def status(line: bytes) -> str:
    """A backend's reply without what may be a secret, and how long it is."""
    return " ".join(filter(None, (without_words(line), _octets(len(line)))))


class PassedOn:
    """The dialogue after the login, in lines: the leg, and what was said."""

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._unread = 0
        """Octets of both sides from where nothing could be made of them."""

    def client_says(self, data: bytes) -> list[tuple[str, str]]:
        """What the client says makes these lines."""
        if self._conversation.lost:
            self._unread += len(data)
            return []
        return [("C>B", _command(one)) for one in self._conversation.client_says(data)] + self._lost()

    def backend_says(self, data: bytes) -> list[tuple[str, str]]:
        """What the backend says makes these lines."""
        if self._conversation.lost:
            self._unread += len(data)
            return []
        shown = [("B>C", text) for heard in self._conversation.server_says(data) for text in _replies(heard)]
        return shown + self._lost()

    def _lost(self) -> list[tuple[str, str]]:
        """What is told where the dialogue has just become none."""
        told = "not understood from here on: nothing more of it is shown"
        return [("--", told)] if self._conversation.lost else []

    def rest(self) -> list[tuple[str, str]]:
        """What there is to say at the end."""
        lines = self._conversation.lines
        if self._unread:
            return [("--", f"{_octets(self._unread)} that were not understood")]
        if lines is not None:
            return [("B>C", f"{_size(lines)} so far, and no end")]
        return []


def _size(lines: ReplyLines) -> str:
    return f"({lines.count:,} lines, {lines.octets:,} octets)"


def _replies(heard: Heard) -> Iterator[str]:
    if not isinstance(heard, ReplyLines):
        yield _printable(heard.line) if heard.to.keyword in _ANSWERED else status(heard.line)
        return
    form = _LISTED.get(heard.to.keyword)
    if form is not None and all(map(form.fullmatch, heard.shown)):
        yield from (_printable(line) for line in heard.shown)
        if heard.count > len(heard.shown):
            yield f"({heard.count - len(heard.shown):,} lines more)"
        yield "."
    else:
        yield f"{_size(heard)} ."
