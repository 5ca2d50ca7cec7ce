"""The ways to log in that a virtual server allows: a kind of the control language."""

from dataclasses import dataclass
from typing import Any

from popular.protocol.sasl import MECHANISMS
from supervisor.control.language.kinds import Kind, nearest, shown
from supervisor.control.language.lookups import Lookups, Unfit

USER_AND_PASS, EXTERNAL = "user", "external"
WAYS = (USER_AND_PASS, *(name.lower() for name in MECHANISMS))
USUAL = (USER_AND_PASS, "plain", "login", "xoauth2", "oauthbearer")
"""Not those that clients prefer to a password and then insist on, though not each user may have what they take."""


@dataclass(frozen=True)
class MechanismList(Kind):
    """Some of WAYS, with commas and no blanks between them."""

    def describe(self) -> str:
        return "Mechanisms"

    def parse(self, text: str, lookups: Lookups) -> tuple[str, ...]:
        del lookups
        words = text.lower().split(",")
        for word in words:
            if word not in WAYS:
                raise Unfit(f"{shown(word)} is no way to log in{nearest(word, WAYS)}; allowed: {', '.join(WAYS)}")
        return tuple(way for way in WAYS if way in words)

    def format(self, value: Any) -> str:
        return ",".join(value)

    def complete(self, prefix: str) -> list[str]:
        before, comma, last = prefix.rpartition(",")
        said = before.lower().split(",")
        return [before + comma + way for way in WAYS if way.startswith(last.lower()) and way not in said]
