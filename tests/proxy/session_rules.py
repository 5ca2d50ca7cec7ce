"""The rules of a virtual server for tests of the pure machine, made by the sentences that an operator would say."""

from dataclasses import replace
from functools import cache
from typing import Any

from popular.proxy.backend import Backend
from popular.proxy.session.rules import Rules, rules_of
from tests.proxy.desk import Desk

BACKENDS = {
    "pop": "prot POP3",
    "tls": "prot POP3 tls starttls verify off",
    "dovecot": "prot POP3 xclient on",
    "xpop": "prot XPOP",
    "cxpop": "prot CXPOP",
    "fake": "prot XPOP state fake",
    "offline": "prot POP3 state offline",
}


@cache
def _rules() -> Rules:
    desk = Desk()
    for name, words in BACKENDS.items():
        state = "" if "state" in words else "state online"
        desk.say(f"backend conf {name} host 127.0.0.1 port 1111 {words} {state}")
    desk.say("vserv conf v1 port 1110 bannerok ready bannererr disabled state online")
    return rules_of(desk.config.things["vserv"]["v1"], desk.config)


def rules(**other: Any) -> Rules:
    """Those of a virtual server that is online, but for what is said."""
    return replace(_rules(), **other)


def backend(name: str) -> Backend:
    """One of BACKENDS."""
    return _rules().backends[name]
