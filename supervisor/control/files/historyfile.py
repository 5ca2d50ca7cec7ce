"""A configuration that was in force, as a file: an rc file that makes it anew, with a first line that tells who brought
it about, when and why. Pure.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from supervisor.control.files.rcfile import COMES, GOES
from supervisor.operatorstate import LATEST

MOST_KEPT = 1000
MOST_COMMANDS = 20
"""How many commands that were said in one go stand in the first line of a file; the rest is only counted."""
LONGEST_HEAD = 1 << 20
"""Octets of the first line: room for so many of the longest commands, of each octet of which JSON may make six."""
_HEAD = b"# history "
_LONGEST_SHOWN = 60


class NoHistory(ValueError):
    """A file is none of ours."""


@dataclass(frozen=True)
class HistoryEntry:
    """A configuration that was in force: who brought it about, when, why, by which commands, and how much differed."""

    number: int
    when: float
    uid: int
    pid: int
    name: str
    reason: str
    commands: tuple[str, ...]
    more: int
    """Commands beyond MOST_COMMANDS."""
    comes: int
    goes: int

    def as_row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "number": self.number,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.when)),
            "uid": self.uid,
            "pid": self.pid,
            "as": self.name,
            "message": self.reason,
            "commands": list(self.commands),
            "more": self.more,
            "comes": self.comes,
            "goes": self.goes,
        }

    def as_line(self) -> dict[str, Any]:
        """For people."""
        said = "; ".join(self.commands)
        cut = said if len(said) <= _LONGEST_SHOWN else f"{said[:_LONGEST_SHOWN]}…"
        more = f" and {self.more} more" if self.more else ""
        row = self.as_row()
        who = f"{self.name} ({self.uid})" if self.name else str(self.uid)
        differs = f"{COMES.strip()}{self.comes} {GOES.strip()}{self.goes}"
        return {
            "number": self.number,
            "when": row["when"],
            "who": who,
            "lines": differs,
            "message": self.reason,
            "commands": cut + more,
        }


def to_octets(entry: HistoryEntry, lines: Sequence[str]) -> bytes:
    """A file of the history."""
    head = _HEAD + json.dumps(asdict(entry), ensure_ascii=True).encode()
    return b"\n".join([head, *(line.encode() for line in lines), b""])


def head_of(octets: bytes) -> HistoryEntry:
    """What the beginning of such a file tells. Raises NoHistory."""
    head, _, _rest = octets.partition(b"\n")
    try:
        said = json.loads(head.removeprefix(_HEAD))
        entry = HistoryEntry(**{**said, "commands": tuple(said["commands"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        raise NoHistory("its first line is not one of ours") from None
    fits = all(isinstance(getattr(entry, field), kind) for field, kind in _FIELDS.items())
    if (
        not head.startswith(_HEAD)
        or not fits
        or not 0 <= entry.when <= LATEST
        or not all(isinstance(command, str) for command in entry.commands)
    ):
        raise NoHistory("its first line is not one of ours")
    return entry


_FIELDS = {
    "number": int,
    "when": float | int,
    "uid": int,
    "pid": int,
    "name": str,
    "reason": str,
    "more": int,
    "comes": int,
    "goes": int,
}


def lines_in(octets: bytes) -> list[str]:
    """The commands of such a file."""
    _head, _, rest = octets.partition(b"\n")
    return rest.decode().split("\n")[:-1]


def file_name(program: str, number: int) -> str:
    """The name of the file of one configuration."""
    return f"{program}.{number:06d}.rc"


def number_in(name: str) -> int:
    """The number in a name as `file_name` makes it; 0 if there is none."""
    number = name.rpartition(".rc")[0].rpartition(".")[2]
    return int(number) if number.isascii() and number.isdecimal() else 0


class KeptConfigurations(NamedTuple):
    """All that were kept, the oldest first, in this directory; `trouble`: why not all can be kept; empty if they can.
    `unwritten`: the files that are on their way to the disk; `waiting`: how many could not be written yet.
    """

    entries: Sequence[HistoryEntry] = ()
    directory: str = ""
    trouble: str = ""
    unwritten: tuple[str, ...] = ()
    waiting: int = 0
