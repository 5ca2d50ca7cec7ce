"""Text files that others write while we run: whether the last line is there to its end.

A disk that is full cuts a file anywhere, and who writes one may be met in the middle. A last line that is cut may be
good all the same, and say something else: another mailbox, another right. Many a file is made by hand without a
line end at its end, so its lack tells of a cut only where the former version had one; that one then stays in use.
"""

LACKING = "is not written to its end: its last line has no line end, as the former version has; if it is whole, add one"
"""What is said of a file that is cut, behind its name."""


def is_ended(octets: bytes) -> bool:
    """Whether a text ends with a line end. One of no lines at all does: nothing of it is cut."""
    return not octets or octets.endswith(b"\n")
