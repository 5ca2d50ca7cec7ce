r"""Transcripts: whole sessions in the notation of the RFCs, read from text files. Pure.

A file holds scripts; each begins with its title, which says what is to be expected:

    = A wrong password is refused

    rc: command          said to the proxy before the session, after those of `play.BEGINNING`
    file NAME: text       a line of the file $DIR/NAME, which is there before the commands are said
    only: whole           play it only in this pace (whole, octets); for scripts about what comes in one piece
    tls:                  a certificate is wanted ($TLS is its directory)
    announces: text       the backend is known to announce this capability; played by the machine only, for a real
                          proxy asks the backend on a connection of its own (tests/system/test_international.py)
    speaks: text          … and to list this language

    C: text               the client sends a line     (lines that follow each other leave in one piece)
    C= text               … octets, without a line end
    C! action             connect, close, half-close, reset
    S: text               the client receives this line
    S! action             closed, refused: the client sees the end of the connection, or cannot connect at all
    B< text               the backend receives this line
    B> text, B= text      the backend sends a line, or octets
    B! action             close, reset, closed: the backend closes, or sees the end of the connection
    U< text, U> text      the mail check receives this packet (its line end left out), and answers
    P: command           the operator says a command, which must be +OK
    E: ending key='…'     the session is over, in exactly one line of the log, with these fields among others
    L: name key='…'       the log has exactly one such entry of the session

In a text, \r \n \t \0 \xHH \\ are octets, {x*240} is x 240 times, and $PORT $BACKEND $CHECK $CLOSED $DIR $TLS stand
for what the site chose. In `B<`, $SID stands for the session's id. What a script does not mention must not happen: an
octet more on either side, a connection to the backend, a mail check, another session.

A script in which the client is never answered would pass for the wrong reasons: it is an error.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SIGNS = ("C:", "C=", "C!", "S:", "S!", "B<", "B>", "B=", "B!", "U<", "U>", "P:", "E:", "L:")
ACTIONS = {
    "C!": ("connect", "close", "half-close", "reset"),
    "S!": ("closed", "refused"),
    "B!": ("close", "reset", "closed"),
}
PACES = ("whole", "octets")

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|(.))|\{(.)\*(\d+)\}|([^\\{]+|\{)", re.DOTALL)
_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


class BadScript(Exception):
    """The script is not one; the text says where and why."""


class Step(NamedTuple):
    """One line of the dialogue."""

    sign: str
    text: str

    def __str__(self) -> str:
        return f"{self.sign} {self.text}".rstrip()


class Script(NamedTuple):
    """One session, or some in a row, and what the site is like."""

    title: str
    place: str
    commands: list[str]
    files: dict[str, list[str]]
    paces: tuple[str, ...]
    tls: bool
    announces: list[str]
    speaks: list[str]
    steps: list[Step]


def read(path: Path) -> list[Script]:
    """The scripts of a file. Raises BadScript."""
    scripts: list[Script] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        place = f"{path.name}:{number}"
        if line.startswith("= "):
            scripts.append(Script(line[2:].strip(), place, [], {}, PACES, False, [], [], []))
        elif line.strip() and not line.startswith("#"):
            if not scripts:
                raise BadScript(f"{place}: a script begins with its title: = …")
            scripts[-1] = _with_line(scripts[-1], line, place)
    for script in scripts:
        if not any(step.sign == "S:" for step in script.steps):
            raise BadScript(f"{script.place}: the client is never answered (no line S:)")
        if not any(step.sign == "E:" for step in script.steps):
            raise BadScript(f"{script.place}: the session never ends (no line E:)")
    return scripts


def by_set_up(scripts: Sequence[Script]) -> list[Script]:
    """All of them again; those that want the same commands and files stand together, where the first of them stood."""
    set_ups = [(script.commands, script.files) for script in scripts]
    return sorted(scripts, key=lambda script: set_ups.index((script.commands, script.files)))


def _with_line(script: Script, line: str, place: str) -> Script:
    sign, text = line[:2], line[3:]
    if sign in SIGNS and line[2:3] in ("", " "):
        if sign in ACTIONS and text not in ACTIONS[sign]:
            raise BadScript(f"{place}: {text!r} is no action; allowed: {', '.join(ACTIONS[sign])}")
        return script._replace(steps=[*script.steps, Step(sign, text)])
    head, colon, text = line.partition(":")
    text = text.removeprefix(" ")
    match head.split():
        case ["rc"] if colon:
            return script._replace(commands=[*script.commands, text])
        case ["file", name] if colon:
            return script._replace(files={**script.files, name: [*script.files.get(name, []), text]})
        case ["only"] if text in PACES:
            return script._replace(paces=(text,))
        case ["announces"] if colon:
            return script._replace(announces=[*script.announces, text])
        case ["speaks"] if colon:
            return script._replace(speaks=[*script.speaks, text])
        case ["tls"] if colon:
            return script._replace(tls=True)
    raise BadScript(f"{place}: not a line of a script: {line!r}")


def octets(text: str) -> bytes:
    """A text of a script as octets. Raises BadScript."""

    def piece(match: re.Match[str]) -> str:
        code, plain, character, count, rest = match.groups()
        if code:
            return chr(int(code, 16))
        if plain:
            if plain not in _PLAIN:
                raise BadScript(f"\\{plain} in {text!r} means nothing")
            return _PLAIN[plain]
        return character * int(count) if character else rest

    # Characters beyond ASCII stand for their UTF-8 octets, \xHH for one octet: so UTF-8 first, then escapes.
    return _ESCAPE.sub(piece, text.encode().decode("latin-1")).encode("latin-1")


def shown(data: bytes) -> str:
    """Octets as a script would write them."""
    text = data.decode("latin-1")
    names = {character: name for name, character in _PLAIN.items()}
    return "".join(f"\\{names[c]}" if c in names else c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in text)
