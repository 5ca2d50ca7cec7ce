"""The address that `pserv` listens on: there is one, and the commands about it need no name."""

from dataclasses import dataclass

from supervisor.control.kinds import Choice, Iface, Int
from supervisor.control.things import OFFLINE, Sort, Thing, parameter

CHAPTER = "Runtime configuration of pserv: the server command"

STATES = {
    OFFLINE: "Nobody listens on the port.",
    "online": "Working.",
}


@dataclass(frozen=True)
class ServerThing(Thing):
    """`iface` is a numeric address or ANY."""

    iface: str = parameter(
        Iface(),
        "ANY",
        "Address or host name to listen on, or ANY: all addresses, IPv4 and IPv6. A name is resolved now, once. Who "
        "can connect can read every mailbox: let it be an address that only the proxies reach.",
        offline_only=True,
    )
    port: int = parameter(Int(1, 65535), 110, "TCP port to listen on.", offline_only=True)
    state: str = parameter(
        Choice(*STATES), OFFLINE, "State: " + " ".join(f"{word}: {text}" for word, text in STATES.items())
    )


SERVER = Sort("server", ServerThing, "server", single=True, source=CHAPTER)
