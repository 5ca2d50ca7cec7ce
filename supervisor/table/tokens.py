"""The right to hold a row: a token is the row's number, and all free tokens lie in one pipe.

A worker reads a token before it accepts and writes it back when the session is over; the kernel makes both atomic. So
there are never more than `maxsession` sessions over all workers, each row has one owner, and workers that find the
pipe empty are woken by its becoming readable. A token travels as four octets, index + 1. It is read straight into the
token cell of the worker's block (`hand` in the table), so that it is always in the pipe, in a token cell, in a row, or
lost with a worker that died. `lost` finds the last kind exactly.

The raising of `maxsession` is the writing of more tokens; that is why it can only be raised.
"""

import fcntl
import mmap
import os
import termios
from collections.abc import Iterable, Mapping, Set

TOKEN_SIZE = 4
_PAGE = mmap.PAGESIZE
MOST_TOKENS = ((1 << 20) - _PAGE) // TOKEN_SIZE
"""What the largest pipe holds that an ordinary user may have (/proc/sys/fs/pipe-max-size), see TokenPipe."""


class TokenPipe:
    """The pipe of free tokens. Both ends are non-blocking and inherited by all workers."""

    def __init__(self, most: int) -> None:
        """`most`: how many tokens there may ever be (sessionlimit), 1 to MOST_TOKENS. Raises OSError.

        A page more than the tokens need: what was read of the pipe's first page is not free again until all of it is.
        """
        assert 0 < most <= MOST_TOKENS, "a token that found no room in the pipe would be lost"
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        room = most * TOKEN_SIZE + _PAGE
        if room > fcntl.fcntl(self.read_end, fcntl.F_GETPIPE_SZ):
            fcntl.fcntl(self.read_end, fcntl.F_SETPIPE_SZ, room)

    def put(self, tokens: Iterable[int]) -> None:
        """Puts tokens into the pipe, one by one: a longer write may leave a page partly empty, and then not all fit."""
        for token in tokens:
            os.write(self.write_end, wire(token))

    def count(self) -> int:
        """How many tokens lie in the pipe now."""
        answer = bytearray(4)
        fcntl.ioctl(self.read_end, termios.FIONREAD, answer)
        return int.from_bytes(answer, "little") // TOKEN_SIZE

    def drain(self) -> set[int]:
        """Takes all tokens out. Nobody is admitted until they are put back."""
        tokens: set[int] = set()
        while True:
            try:
                data = os.read(self.read_end, 1 << 16)
            except BlockingIOError:
                return tokens
            tokens.update(token - 1 for token in memoryview(data).cast("I"))

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def wire(token: int) -> bytes:
    """A token as the octets that go through the pipe."""
    return (token + 1).to_bytes(TOKEN_SIZE, "little")


def lost(
    tokens: Iterable[int],
    in_pipe: Set[int],
    in_cells: Set[int],
    *,
    owners: Mapping[int, int],
    living: Set[int],
    dropped: int | None = None,
) -> list[int]:
    """The tokens that died with a worker, out of all that were ever issued.

    `in_pipe` must be taken out of the pipe first, then `in_cells` (of living workers) looked at, then `owners` (who
    last wrote each row): a token moves pipe → token cell → row → pipe, so one that is looked for in this order and not
    found has no living holder. A row last written by a living worker is accounted for even if it says "free": that
    worker is about to put the token back, or has done so. Only the token in the dead worker's token cell, `dropped`, is
    lost whoever wrote its row: the dead one had not come to write it.

    This holds because a token cell is emptied after its token's row was written, and before the token goes back.
    """
    return [
        token
        for token in tokens
        if token == dropped or (token not in in_pipe and token not in in_cells and owners[token] not in living)
    ]
