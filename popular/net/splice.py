"""Moves bytes from one plain socket to another inside the kernel (splice(2)), through a pipe.

Pipes are kept for the next transfer when they are empty; one with something in it belongs to its transfer.
"""

import os

_AT_A_TIME = 1 << 16
_MOST_SPARE = 16


class Pipes:
    """A worker's spare pipes."""

    def __init__(self) -> None:
        self._spare: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """An empty pipe (read end, write end). Raises OSError when descriptors run out."""
        return self._spare.pop() if self._spare else os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def give_back(self, pipe: tuple[int, int], left: int) -> None:
        """Keeps an empty pipe, closes one with `left` octets in it: they must never reach another session."""
        if left == 0 and len(self._spare) < _MOST_SPARE:
            self._spare.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])


class Transfer:
    """One direction of one session. Invariant: what is in the pipe is `held` octets."""

    __slots__ = ("_pipe", "_pipes", "held")

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._pipe = pipes.take()
        self.held = 0

    def fill(self, source: int) -> int | None:
        """Moves from the source into the empty pipe: how many octets, 0 at the end of the stream, None if not now."""
        try:
            self.held = os.splice(source, self._pipe[1], _AT_A_TIME, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        except BlockingIOError:
            return None
        return self.held

    def empty(self, sink: int) -> bool:
        """Moves from the pipe into the sink; whether the pipe is empty now."""
        while self.held:
            try:
                self.held -= os.splice(self._pipe[0], sink, self.held, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
            except BlockingIOError:
                return False
        return True

    def close(self) -> None:
        self._pipes.give_back(self._pipe, self.held)
