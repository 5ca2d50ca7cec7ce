"""Finds the mailboxes below a mail root, and the files in them that are older than they may be.

A directory that has `new` and `tmp` is a mailbox; the directories in it, but for its folders, and those beside it may
be or hold others. Names that a mailbox cannot have are passed over, and so are those that begin with a dot, as in
listings. Every directory is opened from the one above it, never through a symbolic link, and only regular files are
old: so whatever is planted in a mailbox, nothing outside of it is touched.
"""

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from popular.protocol.xpop import LONGEST_NAME, BadMailboxName, check_mailbox_name
from popular.store.maildir.folders import list_folder, open_folder, open_root, step_into
from popular.store.maildir.listing import CUR, NEW, reason_of

TMP = "tmp"
FOLDERS = (TMP, NEW, CUR)

_ARRIVAL = re.compile(r"(\d{1,12})\.", re.ASCII)


class Old(NamedTuple):
    """A file that is older than it may be. `path` is for people: below the root."""

    path: str
    octets: int


@dataclass
class FolderCount:
    """What was found in one sort of folder."""

    old: int = 0
    octets: int = 0
    young: int = 0
    odd: int = 0
    """What is no regular file; it stays."""


@dataclass
class Cleaning:
    """One walk. `limits`: the seconds that a file may be old, by folder; others are not looked into.

    `remove`: whether what is old is removed. `faults`: what could not be looked into or removed, for people.
    """

    root: Path
    limits: Mapping[str, float]
    remove: bool
    now: float = field(default_factory=time.time)
    mailboxes: int = 0
    counts: dict[str, FolderCount] = field(init=False)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = {folder: FolderCount() for folder in self.limits}

    def walk(self, mailbox: str = "") -> Iterator[Old]:
        """All old files of all mailboxes, or of this one and those below it. Raises RootUnusable."""
        with ExitStack() as stack:
            directory = open_root(self.root, stack)
            steps = mailbox.split("/") if mailbox else []
            try:
                for step in steps:
                    directory = step_into(step, directory, stack)
                directory = list_folder(directory, stack)
            except OSError as error:
                self._fault(mailbox, error)
                return
            yield from self._below(directory, steps)

    def _below(self, directory: int, steps: Sequence[str]) -> Iterator[Old]:
        try:
            with os.scandir(directory) as entries:
                names = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        except OSError as error:
            self._fault("/".join(steps), error)
            return
        if {NEW, TMP} <= names:
            self.mailboxes += 1
            names -= set(FOLDERS)
            for folder in self.limits:
                yield from self._in_folder(directory, steps, folder)
        for name in sorted(names):
            below = [*steps, name]
            if name.startswith(".") or len("/".join(below)) > LONGEST_NAME or not _is_step(name):
                continue
            with ExitStack() as stack:
                try:
                    opened = open_folder(name, directory, stack)
                except OSError as error:
                    self._fault("/".join(below), error)
                    continue
                if opened is not None:
                    yield from self._below(opened, below)

    def _in_folder(self, mailbox: int, steps: Sequence[str], folder: str) -> Iterator[Old]:
        with ExitStack() as stack:
            try:
                opened = open_folder(folder, mailbox, stack)
                names = os.listdir(opened) if opened is not None else []
            except OSError as error:
                self._fault("/".join([*steps, folder]), error)
                return
            for name in names:
                if opened is not None and not name.startswith("."):
                    yield from self._look_at(opened, [*steps, folder, name])

    def _look_at(self, opened: int, steps: Sequence[str]) -> Iterator[Old]:
        folder, name, path = steps[-2], steps[-1], "/".join(steps)
        count = self.counts[folder]
        # One that has gone meanwhile is what was wanted.
        with suppress(FileNotFoundError):
            try:
                status = os.stat(name, dir_fd=opened, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    count.odd += 1
                elif self.now - _newest(folder, name, status) <= self.limits[folder]:
                    count.young += 1
                else:
                    if self.remove:
                        os.unlink(name, dir_fd=opened)
                    count.old += 1
                    count.octets += status.st_size
                    yield Old(path, status.st_size)
            except FileNotFoundError:
                raise
            except OSError as error:
                self._fault(path, error)

    def _fault(self, path: str, error: OSError) -> None:
        self.faults.append(f"{path or '.'}: {reason_of(error)}")


def _is_step(name: str) -> bool:
    try:
        check_mailbox_name(name)
    except BadMailboxName:
        return False
    return True


def _newest(folder: str, name: str, status: os.stat_result) -> float:
    """When a delivery was last seen at work on it; of mail, when it came: by its name too, as copies have new times."""
    if folder == TMP:
        return max(status.st_mtime, status.st_atime)
    arrival = _ARRIVAL.match(name)
    return max(status.st_mtime, float(arrival[1]) if arrival else 0.0)
