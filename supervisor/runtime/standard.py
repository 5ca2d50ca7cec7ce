"""The three standard descriptors, which whoever starts a program may have closed."""

import os
import sys

_STANDARD_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def hold_standard_descriptors() -> None:
    """A program's first act: what is closed of them leads to /dev/null. Else the next file that is opened, a lock or a
    socket, would be standard error, and hear what is meant for people.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) < len(_STANDARD_STREAMS):
        os.set_inheritable(fd, True)
    os.close(fd)
    for number, (name, mode) in enumerate(_STANDARD_STREAMS):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  it stays open
