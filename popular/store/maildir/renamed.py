"""Where messages are that are no longer under their names: a mail reader that sets a flag renames the file.

A message is the same under any flags (`NAME:FLAGS`), in `new` or `cur`. Both folders are listed once for all messages
that are looked for, and only when one is missing. Of two files that could be the message neither is taken for it: one
of them may be another's. Blocks on the disk.
"""

import errno
import os
from collections.abc import Iterable, Mapping


class Ambiguous(OSError):
    """More than one file could be the message."""

    def __init__(self) -> None:
        super().__init__(errno.ENOTUNIQ, "several files have its name")


class Whereabouts:
    """The files of the folders by their names without flags."""

    def __init__(self, folders: Mapping[str, int | None], wanted: Iterable[str]) -> None:
        """`folders` are open; `wanted` are the names under which the messages were. Raises OSError."""
        self._found: dict[str, list[tuple[int, str]]] = {without_flags(name): [] for name in wanted}
        for fd in folders.values():
            if fd is None:
                continue
            for name in os.listdir(fd):
                files = self._found.get(without_flags(name))
                if files is not None:
                    files.append((fd, name))

    def of(self, name: str) -> tuple[int, str] | None:
        """The folder and the name of the message now; None if it is in neither. Raises Ambiguous."""
        files = self._found[without_flags(name)]
        if len(files) > 1:
            raise Ambiguous
        return files[0] if files else None


def without_flags(name: str) -> str:
    """What stays the same of a file's name."""
    return name.partition(":")[0]
