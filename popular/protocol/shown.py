"""A POP3 login as it may be shown, in a log or in a trace: what a server is told, without secrets. Pure.

What is not known to be open is not shown. (Of a server's replies: `without_words` in replies.py. Of the lines of a
client, which may be anything: `popular/dialogue.py`.)
"""

HIDDEN = "****"

_OPEN_WORDS = (b"USER ", b"XCLIENT ", b"LANG ")
_OPEN_ALONE = frozenset({b"USER", b"STLS", b"UTF8"})


def is_open(line: bytes) -> bool:
    """Whether there is no secret in a line, with its end or without: one line, and one of those that hold none."""
    return b"\n" not in line[:-1] and (line.startswith(_OPEN_WORDS) or line.strip() in _OPEN_ALONE)


def without_secrets(line: bytes) -> str:
    """A line as it may be shown. The response of AUTH has no word in front of it, so a line of an unknown word is none
    that is known.
    """
    if is_open(line):
        return line.decode("utf-8", "replace")
    words = line.split(b" ")
    if words[0] == b"AUTH":
        return " ".join(["AUTH", words[1].decode("ascii", "replace"), *[HIDDEN] * (len(words) > 2)])
    return f"PASS {HIDDEN}" if words[0] == b"PASS" else HIDDEN
