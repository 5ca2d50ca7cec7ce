"""Kinds: the types that values of the control language have.

A kind knows how to describe itself, parse a word, show a value as a word again, and complete the beginning of a word.
`parse(format(x), lookups) == x` holds for every value of every kind. Kinds are frozen values and are shared freely.

`parse` raises `Unfit` with a text that says what is allowed, and `NeedsLookup` where it has to look something up first.
"""

import base64
import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from supervisor.control.language.lookups import Lookups, Unfit
from supervisor.control.words import first_control, shown

__all__ = [
    "ANY",
    "Base64",
    "Bool",
    "Choice",
    "Dir",
    "File",
    "Host",
    "Id",
    "Iface",
    "Int",
    "Kind",
    "String",
    "Time",
    "first_control",
    "nearest",
    "shown",
]

LONGEST_ID = 64
LONGEST_PATH = 4095
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_ID = re.compile(r"[A-Za-z0-9_.-]+")
_SPAN = re.compile(r"([0-9]{1,9})([dhms])")
_UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def nearest(word: str, words: Iterable[str]) -> str:
    """`; did you mean "conf"?`, or nothing if no word is near."""
    folded = {known.lower(): known for known in words}
    found = difflib.get_close_matches(word.lower()[:LONGEST_ID], folded, n=1)
    return f'; did you mean "{folded[found[0]]}"?' if found else ""


class Kind(ABC):
    """One type of values."""

    @abstractmethod
    def describe(self) -> str:
        """The type and its range, as the manual pages write them: `Time (10m-1d)`."""

    @abstractmethod
    def parse(self, text: str, lookups: Lookups) -> Any:
        """The value that a word means. Raises Unfit, or NeedsLookup."""

    def format(self, value: Any) -> str:
        """The word for a value, not yet quoted."""
        return str(value)

    def complete(self, prefix: str) -> list[str]:
        """The words that begin with `prefix`, as far as they can be listed."""
        del prefix
        return []


@dataclass(frozen=True)
class Bool(Kind):
    """on or off."""

    def describe(self) -> str:
        return "Bool"

    def parse(self, text: str, lookups: Lookups) -> bool:
        del lookups
        word = text.lower()
        if word in ("1", "true", "yes", "on"):
            return True
        if word in ("0", "false", "no", "off"):
            return False
        raise Unfit(f"{shown(text)} is not a Bool; allowed: 0=false=no=off or 1=true=yes=on")

    def format(self, value: Any) -> str:
        return "on" if value else "off"

    def complete(self, prefix: str) -> list[str]:
        return [word for word in ("off", "on") if word.startswith(prefix.lower())]


@dataclass(frozen=True)
class Int(Kind):
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def describe(self) -> str:
        return f"Int ({self.low}-{self.high})"

    def parse(self, text: str, lookups: Lookups) -> int:
        del lookups
        if not _WHOLE.fullmatch(text) or not self.low <= int(text) <= self.high:
            raise Unfit(f"{shown(text)} does not fit; allowed: a whole number from {self.low} to {self.high}")
        return int(text)


@dataclass(frozen=True)
class Time(Kind):
    """A time interval in whole seconds, written `5d3h10m4s`."""

    low: int
    high: int

    def describe(self) -> str:
        return f"Time ({self.format(self.low)}-{self.format(self.high)})"

    def parse(self, text: str, lookups: Lookups) -> int:
        del lookups
        seconds = _seconds(text)
        if seconds is None:
            raise Unfit(f"{shown(text)} is not a time; allowed: numbers with d, h, m or s, such as 5d3h10m4s")
        if not self.low <= seconds <= self.high:
            raise Unfit(f"{shown(text)} does not fit; allowed: {self.format(self.low)} to {self.format(self.high)}")
        return seconds

    def format(self, value: Any) -> str:
        rest, words = int(value), ""
        for unit, length in _UNIT_SECONDS.items():
            count, rest = divmod(rest, length)
            words += f"{count}{unit}" if count else ""
        return words or "0s"


def _seconds(text: str) -> int | None:
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    parts = _SPAN.findall(text)
    units = [unit for _, unit in parts]
    if not parts or "".join(number + unit for number, unit in parts) != text or len(set(units)) != len(units):
        return None
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True)
class Id(Kind):
    """A name: letters, digits, underscore, hyphen, dot. `optional`: the empty string unsets it."""

    optional: bool = False

    def describe(self) -> str:
        return "Id"

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        if self.optional and not text:
            return text
        if len(text) > LONGEST_ID or not _ID.fullmatch(text):
            more = ', or "" for none' if self.optional else ""
            raise Unfit(f"{shown(text)} is not an Id; allowed: 1 to {LONGEST_ID} letters, digits, _, - and .{more}")
        return text


@dataclass(frozen=True)
class String(Kind):
    """Text without control characters, at most `most_octets` long; `ascii` for what goes out in POP3 replies."""

    most_octets: int = 1024
    ascii: bool = False

    def describe(self) -> str:
        return f"String ({'ASCII, ' if self.ascii else ''}at most {self.most_octets} octets)"

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        if first_control(text) is not None:
            raise Unfit("control characters are not allowed")
        if self.ascii and not text.isascii():
            raise Unfit(f"{shown(text)} does not fit; allowed: printable ASCII")
        if len(text.encode()) > self.most_octets:
            raise Unfit(f"{shown(text)} is too long; allowed: {self.most_octets} octets")
        return text


@dataclass(frozen=True)
class Base64(Kind):
    """Octets, written in base64 (RFC 4648). What is wrong is told without them: they may be a secret."""

    def describe(self) -> str:
        return "Base64"

    def parse(self, text: str, lookups: Lookups) -> bytes:
        del lookups
        try:
            return base64.b64decode(text.encode("ascii"), validate=True)
        except ValueError:
            raise Unfit("it is not base64 (RFC 4648)") from None

    def format(self, value: Any) -> str:
        return base64.b64encode(value).decode()


def _check_path(text: str) -> None:
    if (
        not text.startswith("/")
        or len(text.encode("utf-8", "replace")) > LONGEST_PATH
        or first_control(text) is not None
    ):
        raise Unfit(f"{shown(text)} does not fit; allowed: an absolute path")


@dataclass(frozen=True)
class File(Kind):
    """An absolute path of a file, which need not exist; `-` is standard error where `dash` allows it."""

    dash: bool = False

    def describe(self) -> str:
        return "File"

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        if self.dash and text == "-":
            return text
        _check_path(text)
        if text.endswith("/"):
            raise Unfit(f"{shown(text)} names a directory; allowed: an absolute path of a file")
        return text


@dataclass(frozen=True)
class Dir(Kind):
    """An absolute path of a directory that exists."""

    def describe(self) -> str:
        return "Dir"

    def parse(self, text: str, lookups: Lookups) -> str:
        _check_path(text)
        return lookups.directory(text)


class Choice(Kind):
    """One of a few words; accepted in any case, kept in the canonical one."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def describe(self) -> str:
        return "|".join(self.words)

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        for word in self.words:
            if word.lower() == text.lower():
                return word
        raise Unfit(f"{shown(text)} is unknown{nearest(text, self.words)}; allowed: {', '.join(self.words)}")

    def complete(self, prefix: str) -> list[str]:
        return [word for word in self.words if word.lower().startswith(prefix.lower())]


@dataclass(frozen=True)
class Host(Kind):
    """A host name or address; the value is its first address, as numeric text. `optional`: "" for none yet."""

    optional: bool = False

    def describe(self) -> str:
        return "Host"

    def parse(self, text: str, lookups: Lookups) -> str:
        if self.optional and not text:
            return text
        try:
            return lookups.address(text)
        except Unfit as unfit:
            raise Unfit(f"{shown(text)}: {unfit}") from None


@dataclass(frozen=True)
class OwnHost:
    """Where a server listens: as it was typed, and the address as numeric text; both ANY for all of them."""

    name: str
    address: str

    def __str__(self) -> str:
        return self.name

    @property
    def in_effect(self) -> str:
        """See supervisor.control.commands.things: another name of the same address is nothing else."""
        return self.address


ANY = "ANY"
EVERYWHERE = OwnHost(ANY, ANY)


@dataclass(frozen=True)
class Iface(Kind):
    """A host of our own, or ANY for all addresses, IPv4 and IPv6. A name is resolved now, once, and stays known."""

    def describe(self) -> str:
        return "Host or ANY"

    def parse(self, text: str, lookups: Lookups) -> OwnHost:
        return EVERYWHERE if text.upper() == ANY else OwnHost(text, Host().parse(text, lookups))

    def complete(self, prefix: str) -> list[str]:
        return [ANY] if ANY.startswith(prefix.upper()) else []
