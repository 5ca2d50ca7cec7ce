"""A log room: lines that one process has gathered in shared memory, and has not yet written.

They outlive the process: when it was killed, the master writes what it finds there. A writing that was cut short is
seen too: before it begins, the room says of which file, and how long that was.

    octets of lines · inode of the file that is being written, 0 if none · its size before · lines
"""

from typing import NamedTuple

from supervisor.system import Shared

LOG_ROOM_OCTETS = 1 << 15
"""Some hundred lines: written at once, they cost hardly more than one."""

_USED, _FILE, _SIZE = range(3)
_FIRST = 64


class LeftBehind(NamedTuple):
    """What a dead process had not written, or was just writing: into which file, and where in it that begins."""

    lines: bytes
    inode: int
    size: int


class LogRoom:
    """The log room of one process. Each step is one store: it holds true whenever the process is killed."""

    __slots__ = ("_memory", "_most", "_shared", "used")

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._shared = Shared(memory)
        self._most = len(memory)
        self.used = int(self._shared.read(_USED))
        """Octets of lines."""

    def put(self, line: bytes) -> bool:
        """One more line; False if there is no room for it."""
        start = _FIRST + self.used
        if start + len(line) > self._most:
            return False
        self._shared.put(start, line)
        self.used += len(line)
        self._shared.write(_USED, self.used)
        return True

    def lines(self) -> bytes:
        """All of them, in order."""
        return bytes(self._memory[_FIRST : _FIRST + self.used])

    def writing(self, inode: int, size: int) -> None:
        """They are written next, to this file, which is so long."""
        self._shared.write(_SIZE, size)
        self._shared.write(_FILE, inode)

    def clear(self) -> None:
        """They are written, or lost. The number of octets goes first: where it is 0, the rest means nothing."""
        self.used = 0
        self._shared.write(_USED, 0)
        self._shared.write(_FILE, 0)

    def left(self) -> LeftBehind:
        """What a dead process leaves behind in its log room."""
        return LeftBehind(self.lines(), int(self._shared.read(_FILE)), int(self._shared.read(_SIZE)))
