"""The rules of a virtual server for tests of the pure machine, made by the commands that an operator would say."""

from dataclasses import replace
from functools import cache
from typing import Any

from popular.pdm.contract import PASSWORD
from popular.protocol.sasl import Challenges
from popular.proxy.session.rules import Rules, rules_of
from popular.proxy.settings.backend import Backend
from tests.proxy.console import Console

BACKENDS = {
    "pop": "prot POP3",
    "twin": "prot POP3 backup other",
    "lonely": "prot POP3 backup offline",
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

LOGIN_SECONDS = 30.0
"""The default of the variable logintimeout, which is no rule of a virtual server: it is with each backend."""


@cache
def _console() -> Console:
    console = Console()
    for name, words in BACKENDS.items():
        state = "" if "state" in words else "state online"
        host = "" if "host" in words else "host 127.0.0.1"
        console.say(f"backend conf {name} {host} port 1111 {words} {state}")
    console.say("vserv conf v1 port 1110 bannerok ready bannererr disabled state online")
    return console


OF_VSERV = ("state", "starttls", "mechanisms", "apop", "clientcert", "capafrom")
"""Parameters on which it depends what clients may log in by."""


@cache
def _rules(takes: frozenset[str] = frozenset({PASSWORD}), **of_vserv: Any) -> Rules:
    config = _console().config
    made = rules_of(config.things["vserv"]["v1"].with_parameters(of_vserv), config, takes)
    return replace(made, salt_key=b"s" * 32, challenges=Challenges("pop.example.org", b"k" * 32))


def rules(*, takes: frozenset[str] = frozenset({PASSWORD}), **other: Any) -> Rules:
    """The rules of a virtual server that is online, but for what is said. `takes`: what its modules take."""
    of_vserv = {name: other.pop(name) for name in OF_VSERV if name in other}
    return replace(_rules(takes, **of_vserv), **other)


def backend(name: str) -> Backend:
    """One of BACKENDS."""
    return _rules().backends[name]
