"""Who waits, and whose turn it is: in turn over networks, so that one client with many questions keeps nobody else
waiting for longer than one of them takes. Pure.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")


class Turns(Generic[Waiter]):
    """Those who wait, each once; at most `most`, of one network at most `most_of_one`."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._lines: OrderedDict[str, OrderedDict[Waiter, None]] = OrderedDict()
        """By network, the one whose turn is next in front. None is empty."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, network: str, waiter: Waiter) -> Waiter | None:
        """One more. Gives who has to go for that, if there is no room.

        That is the newcomer where its network has its share, and else the last one of the longest line.
        """
        line = self._lines.get(network, ())
        if len(line) >= self._most_of_one:
            return waiter
        if self._count < self._most:
            self._append(network, waiter)
            return None
        longest = max(self._lines, key=lambda one: len(self._lines[one]))
        if len(self._lines[longest]) <= len(line):
            return waiter
        last = next(reversed(self._lines[longest]))
        self.remove(longest, last)
        self._append(network, waiter)
        return last

    def _append(self, network: str, waiter: Waiter) -> None:
        self._lines.setdefault(network, OrderedDict())[waiter] = None
        self._count += 1

    def take(self) -> Waiter | None:
        """The next one, who waits no more. Its network's next turn is after all others'."""
        if not self._lines:
            return None
        network, line = next(iter(self._lines.items()))
        waiter, _ = line.popitem(last=False)
        self._count -= 1
        if line:
            self._lines.move_to_end(network)
        else:
            del self._lines[network]
        return waiter

    def remove(self, network: str, waiter: Waiter) -> bool:
        """Waits no more. Whether it did."""
        line = self._lines.get(network)
        if line is None or waiter not in line:
            return False
        del line[waiter]
        self._count -= 1
        if not line:
            del self._lines[network]
        return True
