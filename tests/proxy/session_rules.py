"""The rules of a virtual server for tests of the pure machine, made by the commands that an operator would say."""

from dataclasses import replace
from functools import cache
from typing import Any

from popular.proxy.session.rules import Rules, rules_of
from popular.proxy.settings.backend import Backend
from tests.proxy.console import Console

BACKENDS = {
    "pop": "prot POP3",
    "tls": "prot POP3 tls starttls verify off",
    "dovecot": "prot POP3 xclient on",
    "slow": "prot POP3 connecttimeout 9 logintimeout 70",
    "slowxpop": "prot XPOP connecttimeout 9 logintimeout 70",
    "xpop": "prot XPOP",
    "cxpop": "prot CXPOP",
    "fake": "prot XPOP state fake",
    "offline": "prot POP3 state offline",
    "other": "prot POP3 host 127.0.0.2",
}


@cache
def _rules() -> Rules:
    console = Console()
    for name, words in BACKENDS.items():
        state = "" if "state" in words else "state online"
        host = "" if "host" in words else "host 127.0.0.1"
        console.say(f"backend conf {name} {host} port 1111 {words} {state}")
    console.say("vserv conf v1 port 1110 bannerok ready bannererr disabled state online")
    return rules_of(console.config.things["vserv"]["v1"], console.config)


def rules(**other: Any) -> Rules:
    """Those of a virtual server that is online, but for what is said."""
    return replace(_rules(), **other)


def backend(name: str) -> Backend:
    """One of BACKENDS."""
    return _rules().backends[name]
