"""Whether this instance is still the one that keeps what is in the state directory, or a newer one has it, or has had
it meanwhile. Then nothing is written before it is read anew: not by a job either, which may be out for seconds while a
newer instance starts.

A newer one has it from the moment the links of the run directory lead to it, and reads only after that. Who writes
asks at the last moment, and while he does nobody reads (`alone` in runtime/directory.py): so what was written in time
is read, and what is late is not written.
"""

from collections.abc import Callable
from typing import Protocol


class Succession(Protocol):
    """What the run directory (runtime/rundir.py) knows of newer instances."""

    def has_successor(self) -> bool:
        """Whether there is one."""

    def returns(self) -> int:
        """How often one has come and gone."""

    def hold_back(self) -> None:
        """None begins its tenure before `let_come`, or for some seconds."""

    def let_come(self) -> None:
        """What it is to read is there."""


class Tenure:
    """From one reading of what is kept to the next."""

    def __init__(self, has_successor: Callable[[], bool], returns: Callable[[], int]) -> None:
        """`returns`: how often a newer instance has come and gone."""
        self.has_successor = has_successor
        self._returns = returns
        self._began = 0

    def begin(self) -> None:
        """To be called before it is read: a newer instance that comes after that is seen."""
        self._began = self._returns()

    def is_back(self) -> bool:
        """Whether a newer instance has had it, and has ended."""
        return not self.has_successor() and self._returns() != self._began

    def is_over(self) -> bool:
        """Whether a newer instance has it, or has had it."""
        return self.has_successor() or self._returns() != self._began

    def ends(self) -> Callable[[], bool]:
        """For a job: whether the tenure is over in which it was sent out."""
        began = self._began
        return lambda: self.has_successor() or self._returns() != began
