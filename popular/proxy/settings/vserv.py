"""Virtual servers: the addresses that the proxy listens on, and what clients find there."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from popular.net.networks import NetworkList, Networks
from popular.protocol.lines import LONGEST_REPLY
from popular.proxy.settings.backend import leads_back
from popular.proxy.settings.kinds import USER_NAMESPACE
from popular.proxy.settings.limits import OWN, VSERV_LOGINS, VSERV_SESSIONS, Limit, LimitRules, limit_rules
from popular.proxy.settings.mechanisms import EXTERNAL, USUAL, MechanismList
from popular.proxy.settings.order_sorts import DRAINED_VSERV, drain_note, drain_of
from popular.tls.authorities import Authorities, CaFile
from popular.tls.directory import DEFAULT
from supervisor.config import Config
from supervisor.control.commands.things import OFFLINE, Sort, Thing, parameter
from supervisor.control.language.context import CommandContext
from supervisor.control.language.kinds import EVERYWHERE, Bool, Choice, Id, Iface, Int, OwnHost, String, nearest
from supervisor.control.words import CommandRefused

CHAPTER = "Runtime configuration: the vserv command"

POP3, POP3S = "POP3", "POP3s"
WELL_KNOWN_PORT = {POP3: 110, POP3S: 995}

STATES = {
    OFFLINE: "Configured, not in use: nobody listens on the port.",
    "disabled": "Every client is greeted with bannererr and disconnected.",
    "fake": "Name and password are asked for, not checked, and everyone sees an empty mailbox.",
    "online": "Working.",
}

FROM_SET, FROM_BACKENDS = "set", "backends"
CAPA_FROM = {
    FROM_SET: "All of it.",
    FROM_BACKENDS: "What all backends in use announce too (TOP, UIDL, EXPIRE), and what else they all announce; of a "
    "backend that was not asked yet the set is believed. What the proxy itself keeps is as in the set.",
}
"""Where the answer to CAPA comes from."""

_CRLF = 2
_APOP_CHALLENGE = re.compile(r"<[^<>@]*@[^<>@]*>")
_LONGEST_BANNER_BESIDE_APOP = 384
"""Octets; after them stands a challenge with the name of the host."""


def _greeting(ending: str) -> Any:
    def banner(_known: Mapping[str, Any]) -> str:
        return f"{socket.gethostname()} POP3 server {ending}"

    return banner


@dataclass(frozen=True)
class Vserv(Thing):
    """A virtual server. `capa` is "" for the built-in list."""

    iface: OwnHost = parameter(
        Iface(),
        EVERYWHERE,
        "Address or host name to listen on, or ANY: all addresses, IPv4 and IPv6. A name is resolved now, once.",
        offline_only=True,
    )
    port: int = parameter(
        Int(1, 65535),
        lambda known: WELL_KNOWN_PORT[known["prot"]],
        "TCP port to listen on. Default: the well-known one of prot, 110 or 995.",
        offline_only=True,
    )
    prot: str = parameter(
        Choice(POP3, POP3S), POP3, "Protocol: POP3, or POP3s (TLS from the start).", offline_only=True
    )
    starttls: str = parameter(
        Choice("off", "optional", "force"), "off", "The STLS command: off, optional, or force (no login before it)."
    )
    capa: str = parameter(Id(optional=True), "", 'Capability set, loaded with `capa load`. "" for the built-in one.')
    capafrom: str = parameter(
        Choice(*CAPA_FROM),
        FROM_SET,
        "What of the set is announced. " + " ".join(f"{word}: {text}" for word, text in CAPA_FROM.items()),
    )
    state: str = parameter(
        Choice(*STATES), OFFLINE, "State: " + " ".join(f"{word}: {text}" for word, text in STATES.items())
    )
    namespace: str = parameter(
        Id(),
        "default",
        f"Namespace in which users are looked up, or {USER_NAMESPACE}: taken from `USER name=namespace`.",
    )
    mechanisms: tuple[str, ...] = parameter(
        MechanismList(),
        USUAL,
        "How clients may log in: user (USER and PASS), and by AUTH plain, login, scram-sha-256, cram-md5, xoauth2, "
        "oauthbearer, external. Offered is what some module can answer; in clear nothing with starttls force, and "
        "never tokens and certificates.",
    )
    apop: bool = parameter(
        Bool(),
        False,
        "The APOP command, and a challenge in the greeting: where some module has passwords in clear.",
    )
    bannerok: str = parameter(
        String(LONGEST_REPLY - len("+OK ") - _CRLF, ascii=True), _greeting("ready"), "Greeting, after +OK."
    )
    bannererr: str = parameter(
        String(LONGEST_REPLY - len("-ERR ") - _CRLF, ascii=True),
        _greeting("currently disabled"),
        "Greeting in the state disabled, after -ERR.",
    )
    tls: str = parameter(
        Id(optional=True),
        "",
        'The certificate to show, NAME.pem in tlsdir, whatever the client asks for. "": by the host name that it asks '
        "for, and default.pem to all others.",
    )
    clientcert: str = parameter(
        Choice("off", "optional", "require"),
        "off",
        "Client certificates: off, optional (one that is shown must be good), or require. The name in it is handed to "
        "the modules; user name and password are asked for all the same.",
    )
    clientca: Authorities = parameter(
        CaFile(), Authorities(), "File of the CA certificates, PEM, from which client certificates must come; read now."
    )

    proxyprotocol: str = parameter(
        Choice("off", "require"),
        "off",
        "The PROXY protocol, version 1 or 2, in front of everything else: off, or require (a client that does not "
        "begin with it, or is not in trusted, is closed without a word).",
    )
    trusted: Networks = parameter(
        NetworkList(),
        Networks(),
        "Networks and addresses of the load balancers whose PROXY header is believed. It changes nothing about TLS.",
    )

    sessions: Limit | None = parameter(
        OWN,
        None,
        "How many sessions that are logged in it may have, instead of the variable vservsessions; `default` is that.",
    )
    logins: Limit | None = parameter(
        OWN, None, "How many logins a second it lets in, instead of the variable vservlogins; `default` is that."
    )

    def limits(self, variables: Mapping[str, Any]) -> LimitRules:
        """What limits its logins: its own numbers in front of those of all."""
        return limit_rules(variables, **{VSERV_SESSIONS: self.sessions, VSERV_LOGINS: self.logins})

    @property
    def certificate(self) -> str:
        """The name of the one to show; see popular.tls.users."""
        return self.tls

    @property
    def place(self) -> tuple[str, int]:
        """Where it listens: numeric address or ANY, and port."""
        return self.iface.address, self.port

    @property
    def needed_certificates(self) -> tuple[str, ...]:
        """See popular.tls.users: where it is in use and clients may speak TLS with it."""
        return (self.certificate or DEFAULT,) if self.state != OFFLINE and self.has_tls else ()

    def without_certificates(self) -> Self:
        """See popular.tls.users."""
        return replace(self, prot=POP3 if self.prot == POP3S else self.prot, starttls="off")

    @property
    def has_tls(self) -> bool:
        return self.prot == POP3S or self.starttls != "off"

    @property
    def useless(self) -> str:
        """What is allowed and can never be used, for people; "" if there is no such thing."""
        if EXTERNAL not in self.mechanisms or (self.has_tls and self.clientcert != "off"):
            return ""
        why = (
            "no client is asked for a certificate (clientcert)" if self.has_tls else "there is no TLS (prot, starttls)"
        )
        return f"vserv {self.id}: mechanisms has {EXTERNAL}, which nobody can use: {why}"


def _check(context: CommandContext, config: Config, vserv: Vserv) -> str | None:
    _check_tls(vserv)
    if vserv.proxyprotocol != "off" and not vserv.trusted:
        raise CommandRefused(
            "proxyprotocol: without `trusted NET,NET…` anybody could claim any address; say which networks the "
            "load balancers are in"
        )
    if _APOP_CHALLENGE.search(vserv.bannerok):
        raise CommandRefused(
            "bannerok: <…@…> in a greeting invites clients to log in with APOP: say `apop on`, which makes one"
        )
    if vserv.apop and len(vserv.bannerok) > _LONGEST_BANNER_BESIDE_APOP:
        raise CommandRefused(f"bannerok: with apop on, {_LONGEST_BANNER_BESIDE_APOP} octets are allowed")
    sets = config.things["capa"]
    if vserv.capa and vserv.capa not in sets:
        raise CommandRefused(f'capa: no capability set "{vserv.capa}" is loaded{nearest(vserv.capa, sets)}')
    if vserv.state != OFFLINE:
        _check_alone(config, vserv)
    for backend in config.things["backend"].values():
        if leads_back(context, vserv, backend):
            raise CommandRefused(
                f"{vserv.iface} port {vserv.port} is the backend {backend.id}: the proxy would call itself"
            )
    return drain_note(context, DRAINED_VSERV, vserv.id)


def _check_tls(vserv: Vserv) -> None:
    if vserv.prot == POP3S and vserv.starttls != "off":
        raise CommandRefused("starttls: a POP3s server has TLS from the start; allowed there: off")
    if vserv.clientcert != "off" and not vserv.clientca.path:
        raise CommandRefused(f"clientcert: {vserv.clientcert} needs to know whom to believe: say `clientca FILE` too")


def _check_alone(config: Config, vserv: Vserv) -> None:
    for other in config.things["vserv"].values():
        if other.id != vserv.id and other.state != OFFLINE and other.place == vserv.place:
            raise CommandRefused(f"vserv {other.id} listens on {vserv.iface} port {vserv.port} already")


def _known_of(context: CommandContext, vserv: Vserv) -> tuple[Mapping[str, object], list[str]]:
    return drain_of(context, DRAINED_VSERV, vserv.id)


VSERV = Sort("vserv", Vserv, "virtual server", check=_check, known=_known_of, source=CHAPTER)
