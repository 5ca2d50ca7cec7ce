"""Backends: the storage servers that the proxy connects to."""

from dataclasses import dataclass

from supervisor.config import Config
from supervisor.control.kinds import ANY, Choice, Host, Int
from supervisor.control.language import Refused
from supervisor.control.outcome import Desk
from supervisor.control.things import OFFLINE, Sort, Thing, parameter

CHAPTER = "Runtime configuration: the backend command"

POP3, XPOP, CXPOP = "POP3", "XPOP", "CXPOP"
WELL_KNOWN_PORT = {POP3: 110, XPOP: 110, CXPOP: 110}
"""XPOP has no port of its own with IANA: `pserv` stands where a POP3 server would stand."""

_EVERY_ADDRESS = (ANY, "0.0.0.0", "::")

STATES = {
    OFFLINE: "Configured, not in use: a session that needs it gets an error and is closed.",
    "fake": "Configured, not in use: users are shown an empty mailbox.",
    "online": "In use.",
}


@dataclass(frozen=True)
class Backend(Thing):
    """A storage server. `host` is a numeric address, or "" as long as none was given."""

    host: str = parameter(Host(optional=True), "", "Host name or address of the backend; a name is resolved now, once.")
    port: int = parameter(
        Int(1, 65535),
        lambda known: WELL_KNOWN_PORT[known["prot"]],
        "TCP port. Default: the well-known one of prot, 110.",
    )
    prot: str = parameter(
        Choice(POP3, XPOP, CXPOP), POP3, "Protocol: POP3, XPOP (pserv), or CXPOP (pserv, asked by pcheckd's UDP first)."
    )
    state: str = parameter(
        Choice(*STATES), OFFLINE, "State: " + " ".join(f"{word}: {text}" for word, text in STATES.items())
    )


def leads_back(desk: Desk, vserv: "Thing", backend: Backend) -> bool:
    """Whether connecting to the backend would end at our own vserv: the proxy would talk to itself for ever.

    Raises Wanted where it must be known whether an address is one of this host's.
    """
    iface, port, state = vserv.iface, vserv.port, vserv.state  # type: ignore[attr-defined]
    if state == OFFLINE or port != backend.port or not backend.host:
        return False
    return iface == backend.host or (iface in _EVERY_ADDRESS and desk.facts.local_address(backend.host))


def _check(desk: Desk, config: Config, backend: Backend) -> str | None:
    if backend.state == "online" and not backend.host:
        raise Refused("it cannot go online without a host: say `host HOST` too")
    for vserv in config.things["vserv"].values():
        if leads_back(desk, vserv, backend):
            raise Refused(
                f"{backend.host} port {backend.port} is our own vserv {vserv.id}: the proxy would call itself"
            )
    return None


def _check_gone(_desk: Desk, config: Config, ident: str) -> str | None:
    return f"it is still named as fallback: {ident}" if config.variables["fallback"] == ident else None


BACKEND = Sort("backend", Backend, "backend", _check, _check_gone, source=CHAPTER)
