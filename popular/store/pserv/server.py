"""The address that `pserv` listens on: there is one, and the commands about it need no name."""

from dataclasses import dataclass, replace
from typing import Self

from popular.net.networks import LOOPBACK, NetworkList, Networks
from popular.tls.authorities import Authorities, CaFile
from popular.tls.directory import DEFAULT
from supervisor.config import Config
from supervisor.control.commands.things import OFFLINE, Sort, Thing, parameter
from supervisor.control.language.context import CommandContext
from supervisor.control.language.kinds import EVERYWHERE, Choice, Id, Iface, Int, OwnHost
from supervisor.control.words import CommandRefused

CHAPTER = "Runtime configuration of pserv: the server command"

XPOP, XPOPS = "XPOP", "XPOPs"

STATES = {
    OFFLINE: "Nobody listens on the port.",
    "online": "Working.",
}


@dataclass(frozen=True)
class ServerThing(Thing):
    """The one server."""

    iface: OwnHost = parameter(
        Iface(),
        EVERYWHERE,
        "Address or host name to listen on, or ANY: all addresses, IPv4 and IPv6. A name is resolved now, once. Who "
        "is in trusted can read every mailbox: let it be an address that only the proxies reach.",
        offline_only=True,
    )
    port: int = parameter(Int(1, 65535), 110, "TCP port to listen on.", offline_only=True)
    prot: str = parameter(
        Choice(XPOP, XPOPS),
        XPOP,
        "Protocol: XPOP, or XPOPs (TLS from the start; in pproxy that is a backend with tls implicit).",
        offline_only=True,
    )
    state: str = parameter(
        Choice(*STATES), OFFLINE, "State: " + " ".join(f"{word}: {text}" for word, text in STATES.items())
    )
    trusted: Networks = parameter(
        NetworkList(),
        LOOPBACK,
        "Networks and addresses of the proxies. Whoever else connects is closed without a word and counted.",
    )
    tls: str = parameter(
        Id(optional=True),
        "",
        'The certificate to show in XPOPs, NAME.pem in tlsdir. "": by the name that the proxy asks for, and '
        "default.pem to all others.",
    )
    clientcert: str = parameter(
        Choice("off", "require"),
        "require",
        "Whether a proxy must show a certificate in XPOPs (in pproxy: tlscert of the backend): require, or off.",
    )
    clientca: Authorities = parameter(
        CaFile(), Authorities(), "File of the CA certificates, PEM, from which the proxies' must come; read now."
    )

    @property
    def certificate(self) -> str:
        """The name of the one to show; see popular.tls.users."""
        return self.tls

    @property
    def needed_certificates(self) -> tuple[str, ...]:
        """The names of those without which it cannot serve (popular/tls/users.py)."""
        return (self.certificate or DEFAULT,) if self.state != OFFLINE and self.prot == XPOPS else ()

    def without_certificates(self) -> Self:
        """See popular.tls.users."""
        return replace(self, prot=XPOP)


def _check(_context: CommandContext, _config: Config, server: ServerThing) -> str | None:
    if server.prot == XPOPS and server.clientcert != "off" and not server.clientca.path:
        raise CommandRefused(
            "XPOPs wants a certificate of each proxy, and needs to know whom to believe: say `clientca FILE` too, or "
            "`clientcert off`"
        )
    reached_from_afar = server.iface == EVERYWHERE or server.iface.address not in LOOPBACK
    if "trusted" in server.given or not reached_from_afar:
        return None
    return f"only {LOOPBACK} may connect, which is this host: say `trusted NET,NET…` for the networks of the proxies"


SERVER = Sort("server", ServerThing, "server", check=_check, single=True, source=CHAPTER)
