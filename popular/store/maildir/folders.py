"""Reaches directories below the mail root, and nowhere else.

Every step of a path is opened from the one before it and may not be a symbolic link, so that there is no moment at
which a link could lead out. The root itself may be a link: that is its owner's choice. Descriptors live until the
ExitStack closes.
"""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

_STEP = os.O_PATH | os.O_DIRECTORY  # needs no right to read the directory, only to pass through it
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class RootUnusable(Exception):
    """The mail root itself cannot be opened (not mounted?). It must not look like a mailbox that does not exist."""


def open_root(root: Path, stack: ExitStack) -> int:
    """Raises RootUnusable."""
    try:
        fd = os.open(root, _STEP)
    except OSError as error:
        raise RootUnusable(f"mail root {root}: {error.strerror}") from error
    stack.callback(os.close, fd)
    return fd


def step_into(step: str, parent: int, stack: ExitStack) -> int:
    """One directory deeper. Raises FileNotFoundError and other OSErrors."""
    return _open(step, parent, _STEP, stack=stack)


def open_folder(name: str, mailbox: int, stack: ExitStack) -> int | None:
    """A directory to list and to work in; None if it does not exist. Raises OSError."""
    try:
        return _open(name, mailbox, _FOLDER, stack=stack)
    except FileNotFoundError:
        return None


def list_folder(directory: int, stack: ExitStack) -> int:
    """The directory, opened anew to be listed. Raises OSError."""
    return _open(".", directory, _FOLDER, stack=stack)


def make_step(step: str, parent: int, stack: ExitStack) -> int:
    """Like `step_into`, but makes a directory (0700) that does not exist. Raises OSError."""
    _make(step, parent)
    return _open(step, parent, _STEP, stack=stack)


def make_folder(name: str, mailbox: int, stack: ExitStack) -> int:
    """Like `open_folder`, but makes a directory (0700) that does not exist. Raises OSError."""
    _make(name, mailbox)
    return _open(name, mailbox, _FOLDER, stack=stack)


def _make(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass


def _open(name: str, parent: int, flags: int, *, stack: ExitStack) -> int:
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise NotADirectoryError(error.errno, f"{name} is not a directory, or is a symbolic link") from error
        raise
    stack.callback(os.close, fd)
    return fd
