"""Bytes ⇄ requests and replies of the control socket. Pure.

A request is one line. A reply is a status line `+OK text` or `-ERR text`, then data lines, dot-stuffed as in POP3, then
a line with a single dot. Lines end with LF; a CR before it is dropped. Text is UTF-8.

What a client sends is checked here as far as it is bytes: a line that is too long, that is not UTF-8 or that holds a
control octet becomes a `Malformed`, and the connection goes on with the next line.
"""

from collections.abc import Sequence
from typing import NamedTuple

from supervisor.control.words import called, first_control

LONGEST_REQUEST = 8192
"""Octets of a request, without its line end."""

NOTE = "; note: "
"""In the text of a status line: what was done, and behind this what must be seen though it was done."""

_LONGEST_REPLY_LINE = 1_048_576


class Malformed(NamedTuple):
    """A request that is not one; the text goes into the -ERR."""

    text: str


class ControlRequestReader:
    """Takes pieces of bytes, gives requests. Keeps at most LONGEST_REQUEST octets."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[str | Malformed]:
        """The requests that these octets complete."""
        *ends, last = data.split(b"\n")
        requests: list[str | Malformed] = []
        for end in ends:
            if not self._skipping:
                requests.append(_request(self._rest + end))
            self._rest, self._skipping = b"", False
        if self._skipping:
            return requests
        self._rest += last
        # One octet more than the limit may still be the CR of a line end.
        if len(self._rest) > LONGEST_REQUEST + 1:
            requests.append(_TOO_LONG)
            self._rest, self._skipping = b"", True
        return requests


_TOO_LONG = Malformed(f"the line is too long; allowed: {LONGEST_REQUEST} octets")


def _request(octets: bytes) -> str | Malformed:
    octets = octets.removesuffix(b"\r")
    if len(octets) > LONGEST_REQUEST:
        return _TOO_LONG
    try:
        line = octets.decode()
    except UnicodeDecodeError as error:
        return Malformed(f"octet {error.start + 1} is not UTF-8")
    bad = first_control(line.replace("\t", " "))
    return line if bad is None else Malformed(f"column {bad + 1}: {called(line[bad])} is not allowed")


def encode_request(line: str) -> bytes:
    """A request as it is sent. Raises ValueError for what cannot be one line."""
    if "\n" in line or "\r" in line:
        raise ValueError("a request is one line")
    return line.encode() + b"\n"


def encode_reply(ok: bool, text: str, lines: Sequence[str] = ()) -> bytes:
    """A reply as it is sent. Control characters in it become blanks; a data line with LF becomes two."""
    status = f"{'+OK' if ok else '-ERR'} {_one_line(text)}".rstrip()
    body = [_one_line(part) for line in lines for part in line.split("\n")]
    stuffed = [f".{line}" if line.startswith(".") else line for line in body]
    return "".join(f"{line}\n" for line in (status, *stuffed, ".")).encode("utf-8", "replace")


def _one_line(text: str) -> str:
    if first_control(text) is None:
        return text
    return "".join(" " if first_control(character) is not None else character for character in text)


class ControlReply(NamedTuple):
    """A reply as the client sees it."""

    ok: bool
    text: str
    lines: list[str]


class NotAReply(Exception):
    """The other side does not speak this protocol."""


class ReplyReader:
    """Takes pieces of bytes, gives replies."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._status: tuple[bool, str] | None = None
        self._lines: list[str] = []

    def feed(self, data: bytes) -> list[ControlReply]:
        """The replies that these octets complete. Raises NotAReply."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if len(rest) > _LONGEST_REPLY_LINE:
            raise NotAReply("a line without end")
        self._rest = bytearray(rest)
        return [answer for line in lines if (answer := self._line(line.decode("utf-8", "replace").removesuffix("\r")))]

    def _line(self, line: str) -> ControlReply | None:
        if self._status is None:
            word, _, text = line.partition(" ")
            if word not in ("+OK", "-ERR"):
                raise NotAReply(f"{line[:80]!r} is not a status line")
            self._status = (word == "+OK", text)
            return None
        if line != ".":
            self._lines.append(line.removeprefix("."))
            return None
        answer = ControlReply(*self._status, self._lines)
        self._status, self._lines = None, []
        return answer
