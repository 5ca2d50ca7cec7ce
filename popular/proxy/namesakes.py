"""Two proxies of a cluster with one name (`sidprefix`): by their names they tell each other apart.

With one name, what one of them has ordered looks to the other like its own; a move does not wait for the sessions that
the other has; sessions have the same ids. So each proxy says at the cluster's server which one it is, by a random text
that it keeps with its orders (the instances of one state directory are one proxy), and who finds another one with its
name tells that, and moves nobody. Pure.
"""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from supervisor.operatorstate import SHARED, OrderEntry, is_over

NAMED_SECONDS = 30.0
"""So long a name counts as had whose proxy is not heard of: three of its looks."""
IDENTITY, NAMESAKE = "identity", "namesake"
"""Under which it is kept, among what is shared, who we are, and that another one has our name."""
_LONGEST = 256

Kept = Mapping[str, Mapping[str, Any]]


class Named(NamedTuple):
    """One proxy, as it is at the server."""

    name: str
    identity: str
    host: str

    @property
    def home(self) -> tuple[str, str]:
        """Whose state directory it is: hosts that were made of one image may have copies of one."""
        return self.identity, self.host

    def text(self) -> str:
        """As it lies there."""
        return json.dumps(self)


def namesakes(us: Named, found: Iterable[str]) -> list[Named]:
    """Who else has our name, of those who are there: anybody may have written that who reaches the server."""
    return [one for one in _all_named(found) if one.name == us.name and one.identity != us.identity]


def out_of_use(said: Iterable[str], silent: Iterable[str]) -> set[str]:
    """The names that nobody says any more, of proxies that are there under another one (`set sidprefix`): a move that
    waited for such a one would fail. As long as one instance of a proxy says the old one it has sessions, and is waited
    for; and so is who is only away.
    """
    there = _all_named(said)
    names, homes = {one.name for one in there}, {one.home for one in there}
    return {one.name for one in _all_named(silent) if one.home in homes and one.name not in names}


def _all_named(found: Iterable[str]) -> list[Named]:
    return [one for text in found if (one := _named(text)) is not None]


def _named(text: str) -> Named | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    good = isinstance(said, list) and len(said) == 3
    return Named(*said) if good and all(isinstance(it, str) and it.isprintable() for it in said) else None


def identity_of(kept: Kept) -> str:
    """Which one we are; "" if that was never said."""
    return str(kept.get(IDENTITY, {}).get(IDENTITY, ""))


def new_identity() -> OrderEntry:
    """To be kept from now on."""
    return OrderEntry(SHARED, IDENTITY, {IDENTITY: os.urandom(8).hex()})


def namesake_of(kept: Kept, now: float) -> str:
    """The host of another proxy that has our name; "" if there is none."""
    said = kept.get(NAMESAKE)
    return str(said.get("host")) if said is not None and not is_over(said, now) else ""


def is_had_by(other: Named, now: float) -> OrderEntry:
    """That it has our name; ends by itself if it is not found again."""
    return OrderEntry(SHARED, NAMESAKE, {"host": other.host[:_LONGEST], "until": now + NAMED_SECONDS})


def is_ours_alone() -> OrderEntry:
    """That nobody has it any more."""
    return OrderEntry(SHARED, NAMESAKE)
