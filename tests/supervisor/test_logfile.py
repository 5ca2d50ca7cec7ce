"""A log that leads into a pipe or a socket whose reader reads no more: lines are lost, and nobody waits."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.patience import patient

WRITES = """
import sys
from supervisor.runtime.logfile import LogFile
file = LogFile("-")
lost = sum(file.write(b"a line of some length, of which the pipe holds so many\\n") for _ in range(20000))
print(lost, flush=True)
sys.stdin.readline()
print(file.write(b"once there is room again\\n"), flush=True)
"""


def pipe() -> tuple[int, int]:
    return os.pipe()


def pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.mark.parametrize("make", [pipe, pair])
def test_who_reads_no_more_stops_nobody(make: Callable[[], tuple[int, int]]) -> None:
    """And hears the next line when he reads again, a line by itself."""
    reads, writes = make()
    with subprocess.Popen(
        [sys.executable, "-c", WRITES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writes
    ) as writer:
        os.close(writes)
        try:
            assert writer.stdin is not None
            assert writer.stdout is not None
            assert select.select([writer.stdout], [], [], patient(30))[0], "it waits for its reader"
            lost = int(writer.stdout.readline())
            assert 0 < lost < 20000
            os.set_blocking(reads, False)
            said = _all_of(reads)
            writer.stdin.write(b"go on\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == b"0\n"
            said += _all_of(reads)
            assert said.endswith(b"\nonce there is room again\n")
            assert writer.wait(patient(30)) == 0
        finally:
            writer.kill()
            os.close(reads)


def _all_of(fd: int) -> bytes:
    said = b""
    while True:
        try:
            piece = os.read(fd, 1 << 16)
        except BlockingIOError:
            return said
        if not piece:
            return said
        said += piece
