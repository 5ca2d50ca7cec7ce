"""What the operator may order about logins: the sorts of orders, as the state file has them; and words about users."""

import time

DRAINED_BACKEND, DRAINED_VSERV = "backend drain", "vserv drain"
HELD_USER, LOCKED_USER, ROUTED_USER, MOVING_USER = "user hold", "user lock", "user route", "user move"

USER, BACKEND, VSERV = "user", "backend", "vserv"
"""The marks of a session (`Session.whose`)."""

NEW = "new"
"""In a drain: what becomes of those who want to come in."""

HOLD_SECONDS = 30.0
"""For so long a login waits that is held, if nothing else was said; but not beyond authtimeout."""


def user_key(namespace: str, user: str) -> str:
    """The id of orders about a user."""
    return f"{namespace}:{user}"


def iso(moment: float | None) -> str | None:
    """A moment for people and programs; None: there is none."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) if moment else None
