"""The address that `pserv` listens on: there is one, and the commands about it need no name."""

from dataclasses import dataclass

from popular.net.networks import LOOPBACK, NetworkList, Networks
from supervisor.config import Config
from supervisor.control.context import CommandContext
from supervisor.control.kinds import ANY, Choice, Iface, Int
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
        "is in trusted can read every mailbox: let it be an address that only the proxies reach.",
        offline_only=True,
    )
    port: int = parameter(Int(1, 65535), 110, "TCP port to listen on.", offline_only=True)
    state: str = parameter(
        Choice(*STATES), OFFLINE, "State: " + " ".join(f"{word}: {text}" for word, text in STATES.items())
    )
    trusted: Networks = parameter(
        NetworkList(),
        LOOPBACK,
        "Networks and addresses of the proxies. Whoever else connects is closed without a word and counted.",
    )


def _check(_context: CommandContext, _config: Config, server: ServerThing) -> str | None:
    reached_from_afar = server.iface == ANY or server.iface not in LOOPBACK
    if "trusted" in server.given or not reached_from_afar:
        return None
    return f"only {LOOPBACK} may connect, which is this host: say `trusted NET,NET…` for the networks of the proxies"


SERVER = Sort("server", ServerThing, "server", check=_check, single=True, source=CHAPTER)
