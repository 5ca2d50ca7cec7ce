"""Turns mail into what goes over the wire and back, chunk by chunk, in constant memory (RFC 1939 section 3).

Every class takes chunks cut anywhere (`feed`) and gives the same bytes in sum, however they are cut. What is sent out
is stuffed after *every* LF, also a bare one: many clients take a bare LF for a line end, and a mail that holds LF, dot,
CRLF could otherwise end itself early and have the rest of it read as replies. What comes in is unstuffed only after
CRLF, the one line end that its sender meant.
"""

_CRLF = b"\r\n"
_END = b"\r\n.\r\n"


class Stuffer:
    """Dot-stuffs content. `end` gives what follows it: CRLF if the content lacks it, and the lone dot."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = _CRLF
        """The last two octets of what stands in front: at first, of the reply line."""

    def feed(self, chunk: bytes) -> bytes:
        """The chunk, stuffed."""
        if not chunk:
            return b""
        stuffed = chunk.replace(b"\n.", b"\n..")
        if self._last.endswith(b"\n") and chunk.startswith(b"."):
            stuffed = b"." + stuffed
        self._last = (self._last + chunk[-2:])[-2:]
        return stuffed

    def end(self) -> bytes:
        """The end of the content."""
        return b".\r\n" if self._last == _CRLF else _END


class Top:
    """Lets the header, the empty line and the first `lines` lines of the body pass (RFC 1939 section 7, TOP)."""

    __slots__ = ("_begun", "_in_header", "_left", "done")

    def __init__(self, lines: int) -> None:
        """`lines` >= 0."""
        self._left = lines
        self._in_header = True
        self._begun = b""
        """The first two octets of the line that is being passed: enough to tell whether it is empty."""
        self.done = False
        """True when all is passed: the rest of the content need not be read."""

    def feed(self, chunk: bytes) -> bytes:
        """The part of the chunk that passes."""
        position = 0
        while not self.done and position < len(chunk):
            line_feed = chunk.find(b"\n", position)
            if line_feed < 0:
                self._begun = (self._begun + chunk[position : position + 2])[:2]
                return chunk
            self._pass_line((self._begun + chunk[position : min(line_feed, position + 2)])[:2])
            self._begun = b""
            position = line_feed + 1
        return chunk[:position]

    def _pass_line(self, begun: bytes) -> None:
        if self._in_header:
            self._in_header = begun not in (b"", b"\r")
        else:
            self._left -= 1
        self.done = not self._in_header and self._left == 0


class Unstuffer:
    """Takes content out of its wire format: dots at line beginnings removed, ended by the lone dot."""

    __slots__ = ("_held", "_surplus", "done")

    def __init__(self) -> None:
        # The content begins as if a CRLF had just gone by; those two octets are not given out.
        self._held = _CRLF
        self._surplus = len(_CRLF)
        self.done = False
        """True when the lone dot was seen: what follows is not part of the content."""

    def feed(self, chunk: bytes) -> bytes:
        """The content in the chunk, as far as it is certain; at most four octets are held back."""
        if self.done:
            return b""
        held = self._held + chunk
        end = held.find(_END)
        if end >= 0:
            self.done = True
            self._held = b""
            return self._give(held[: end + len(_CRLF)])
        keep = next(length for length in range(len(_END) - 1, -1, -1) if held.endswith(_END[:length]))
        certain = len(held) - keep
        self._held = held[certain:]
        return self._give(held[:certain])

    def _give(self, stuffed: bytes) -> bytes:
        plain = stuffed.replace(b"\r\n.", _CRLF)
        given = plain[self._surplus :]
        self._surplus = max(0, self._surplus - len(plain))
        return given


class LineEnds:
    """Makes every bare LF a CRLF; a CRLF stays one. A chunk that has no bare LF is given back as it is."""

    __slots__ = ("_after_cr",)

    def __init__(self) -> None:
        self._after_cr = False

    def count(self, chunk: bytes) -> int:
        """How many octets `feed` would add to the chunk. Call the one or the other for each chunk."""
        if not chunk:
            return 0
        bare = chunk.count(b"\n") - chunk.count(_CRLF)
        if self._after_cr and chunk.startswith(b"\n"):
            bare -= 1
        self._after_cr = chunk.endswith(b"\r")
        return bare

    def feed(self, chunk: bytes) -> bytes:
        """The chunk with its line ends made CRLF."""
        split = self._after_cr and chunk.startswith(b"\n")
        if not self.count(chunk):
            return chunk
        made = chunk.replace(_CRLF, b"\n").replace(b"\n", _CRLF)
        return made[1:] if split else made
