"""Backends: the storage servers that the proxy connects to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from popular.pdm.servers import Servers
from popular.proxy.settings.kinds import (
    AUTO,
    Fingerprint,
    HostName,
    IntOrAuto,
    OwnAddress,
    ResolvedHost,
    ServerHost,
    plain_address,
)
from popular.proxy.settings.moduleterms import ServerList
from popular.proxy.settings.secretfiles import KeptSecret, SecretInFile
from popular.tls.authorities import Authorities, CaFile
from supervisor.config import Config
from supervisor.control.commands.things import OFFLINE, Thing, parameter
from supervisor.control.language.context import CommandContext
from supervisor.control.language.kinds import ANY, Bool, Choice, Id, Int, String, Time
from supervisor.table.tokens import MOST_TOKENS

POP3, XPOP, CXPOP = "POP3", "XPOP", "CXPOP"
WELL_KNOWN_PORT = 110
"""XPOP has no port of its own with IANA: `pserv` stands where a POP3 server would stand."""
POP3S_PORT = 995

OFF, STARTTLS, IMPLICIT = "off", "starttls", "implicit"
PROXY_VERSIONS = ("v1", "v2")
USER, PLAIN, MASTER, EXTERNAL, XOAUTH2 = "user", "plain", "master", "external", "xoauth2"
LOGINS = {
    USER: "USER and PASS, with the user's own password or the one that a module has for him (SECRET).",
    PLAIN: "The same by AUTH PLAIN.",
    MASTER: "As masteruser, for the user.",
    EXTERNAL: "AUTH EXTERNAL for the user, after TLS with our certificate (tlscert).",
    XOAUTH2: "The token that the client has shown, by XOAUTH2 or OAUTHBEARER.",
}
OURS_ALONE = (MASTER, EXTERNAL)
"""Logins that need nothing of the user's: whom the modules let in has his mailbox."""
CONNECT, GREETING, CAPA, LOGIN = "connect", "greeting", "capa", "login"
HEALTH = {
    OFF: "It is not checked.",
    CONNECT: "The connection stands, in TLS where it is implicit.",
    GREETING: "And it greets.",
    CAPA: "And says STLS, if it uses that, and CAPA.",
    LOGIN: "And lets healthuser in as its `login` says, and answers CAPA, STAT and QUIT.",
}
SEPARATOR = "separator"
_LONGEST_MASTER = 255
LONGEST_INTERVAL = 60 * 60
LONGEST_HEALTH_ANSWER = 30
"""Seconds: no check takes longer."""
LONGEST_STEP = 10 * 60
"""Seconds that connecttimeout and logintimeout may have."""
LONGEST_ABSORB = 60 * 60
SHARE = 2
"""All backends together may make every second session wait, if nothing else was said."""

EVERY_ADDRESS = (ANY, "0.0.0.0", "::")

STATES = {
    OFFLINE: "Configured, not in use: a session that needs it gets an error and is closed.",
    "fake": "Configured, not in use: users are shown an empty mailbox.",
    "online": "In use.",
}


def _default_port(known: Mapping[str, Any]) -> int:
    return POP3S_PORT if (known["prot"], known["tls"]) == (POP3, IMPLICIT) else WELL_KNOWN_PORT


@dataclass(frozen=True)
class Backend(Thing):
    """A storage server."""

    host: ResolvedHost = parameter(
        ServerHost(),
        ResolvedHost(),
        "Host name or address of the backend; a name is resolved now, once, to its first address. Several, with "
        "commas, are places of the same mailboxes, the best first: where one cannot be had, or does not greet within "
        "a quarter of a second, the next one is tried too, and what greets first is used (XPOP, CXPOP: what is "
        "connected first).",
    )
    port: int = parameter(
        Int(1, 65535), _default_port, "TCP port. Default: the well-known one, 110, or 995 for POP3 with tls implicit."
    )
    prot: str = parameter(
        Choice(POP3, XPOP, CXPOP), POP3, "Protocol: POP3, XPOP (pserv), or CXPOP (pserv, asked by pcheckd's UDP first)."
    )
    state: str = parameter(
        Choice(*STATES), OFFLINE, "State: " + " ".join(f"{word}: {text}" for word, text in STATES.items())
    )
    tls: str = parameter(
        Choice(OFF, STARTTLS, IMPLICIT),
        OFF,
        "TLS towards the backend: off, starttls (POP3 only: the command STLS before the login), or implicit (from the "
        "start). If it is not off, nothing of a login is ever sent in clear.",
    )
    verify: bool = parameter(
        Bool(), True, "Whether the backend's certificate must come from a known CA and be for tlsname."
    )
    tlsname: str = parameter(
        HostName(), "", "The name that the backend's certificate must have. Default: the host, as it was typed."
    )
    tlsca: Authorities = parameter(
        CaFile(), Authorities(), 'File of the CA certificates to believe, PEM; read now. "": those of the system.'
    )
    pin: str = parameter(
        Fingerprint(),
        "",
        "SHA-256 of the only certificate that the backend may have, beside what verify asks for, or instead of it.",
    )
    tlscert: str = parameter(
        Id(optional=True),
        "",
        'The certificate to show to a backend that asks for one, NAME.pem in tlsdir: pserv wants one. "": none.',
    )
    sendproxy: str = parameter(
        Choice(OFF, *PROXY_VERSIONS),
        OFF,
        "Tell the backend the client's address by the PROXY protocol, version 1 or 2, before anything else. The "
        "backend must expect it.",
    )
    xclient: bool = parameter(
        Bool(),
        False,
        "Tell a Dovecot backend the client's address and the session id by XCLIENT, before the login (POP3 only). The "
        "proxy must be in its login_trusted_networks.",
    )
    pipelining: str = parameter(
        Choice(AUTO, "on", OFF),
        AUTO,
        "Send USER and PASS in one piece, which saves a round trip (POP3 only). auto: to a backend that announces "
        "PIPELINING; it is asked by CAPA, after a login and once a minute at most, and is not believed for ten minutes "
        "when it does not answer as it should. on: always, and it is not asked. off: one after the other.",
    )
    login: str = parameter(
        Choice(*LOGINS),
        USER,
        "How a user is logged in there (POP3 only). " + " ".join(f"{word}: {text}" for word, text in LOGINS.items()),
    )
    masteruser: str = parameter(String(_LONGEST_MASTER), "", "The name of the backend's master user, for login master.")
    mastersecret: KeptSecret = parameter(
        SecretInFile(),
        KeptSecret(),
        'The file with his password in its first line, for login master. It is looked at every pdmwatch. "": none.',
    )
    masterform: str = parameter(
        Choice(SEPARATOR, PLAIN),
        SEPARATOR,
        "How login master names both. separator: USER with the user's name, masterseparator and the master's name. "
        "plain: AUTH PLAIN with the user as authorization id.",
    )
    masterseparator: str = parameter(
        String(_LONGEST_MASTER), "*", "What stands between the two names, as the backend has it."
    )
    referrals: tuple[Servers, ...] = parameter(
        ServerList(),
        (),
        "Servers that it may refer a user to ([REFERRAL/user@host:port]), beside the configured backends, as "
        'NET:PORT,NET:PORT…; they are logged in at as it is itself. A referral is followed once. "": none.',
    )
    connecttimeout: int = parameter(
        Time(0, LONGEST_STEP), 0, "How long the connection may take. 0: as the variable connecttimeout says."
    )
    logintimeout: int = parameter(
        Time(0, LONGEST_STEP), 0, "How long the login may take, as the variable logintimeout, which holds for 0."
    )
    maxwaiting: int | str = parameter(
        IntOrAuto(0, MOST_TOKENS),
        AUTO,
        "How many sessions, over all workers, may wait for the backend at once, from the mail check or the connect to "
        "the end of the login; one more is told at once to come again ([SYS/TEMP]). So backends that hang leave "
        f"sessions for the users of others. auto: as many as are left of maxsession/{SHARE} by those who wait for any "
        f"backend, which is maxsession/{2 * SHARE} if one hangs and maxsession/{5 * SHARE} for each of four; or no "
        "limit, if no other backend is online. 0: no limit.",
    )

    maxsessions: int = parameter(
        Int(0, MOST_TOKENS),
        0,
        "How many sessions, over all workers, may be at the backend at once; one more goes to its backup, or is told "
        "at once to come again ([SYS/TEMP]). 0: no limit.",
    )
    source: str = parameter(
        OwnAddress(),
        "",
        "The address of this host from which the backend is connected to, asked by UDP and checked; IPv4 or IPv6 as "
        'the host is. "": as the system chooses.',
    )
    backup: str = parameter(
        Id(optional=True),
        "",
        "The id of another backend that has the same mail: while this one is down, or has maxsessions, its users go "
        'there, if it is online and takes them itself. "": none.',
    )
    health: str = parameter(
        Choice(*HEALTH),
        OFF,
        "What a check of the backend has to find; by a process of its own, every healthinterval. "
        + " ".join(f"{word}: {text}" for word, text in HEALTH.items())
        + " Found down, its users are refused at once, as with breakernetworks. For XPOP and CXPOP: connect.",
    )
    healthinterval: int = parameter(
        Time(1, LONGEST_INTERVAL),
        10,
        "How often it is checked; four times as often as long as it is not clear what has become of it. A check that "
        "takes longer, or more than 30 s, has failed.",
    )
    healthtimeout: int = parameter(
        Time(0, LONGEST_HEALTH_ANSWER),
        0,
        "How long a check waits for the connection and for each answer. 0: a third of healthinterval, but half a "
        "second at least; so with fall 2 a backend that says nothing any more is found down within two intervals. One "
        "that is often slower wants more: a check may then last so long, also where healthinterval is shorter.",
    )
    healthuser: str = parameter(
        String(_LONGEST_MASTER),
        "",
        "Whose mailbox the check opens (health login). A backend that refuses it for a reason of the mailbox's own, "
        "such as a wrong password, counts as well all the same; healthuser_refused is logged then.",
    )
    healthsecret: KeptSecret = parameter(
        SecretInFile(),
        KeptSecret(),
        'The file with his password (or token, for login xoauth2) in its first line, as with mastersecret. "": none.',
    )
    rise: int = parameter(Int(1, 100), 2, "After so many good checks in a row it is well.")
    fall: int = parameter(Int(1, 100), 2, "After so many bad checks in a row it is down.")
    slowstart: int = parameter(
        Time(0, LONGEST_STEP),
        10,
        "For how long a backend that was down gets a share of the logins only, which grows from a tenth to all; "
        "the others are refused as while it is down. 0: all at once.",
    )
    absorb: int = parameter(
        Time(0, LONGEST_ABSORB),
        0,
        "For how long, from a login on that found no mail, the same login is shown an empty mailbox without asking "
        "the backend (POP3 only): for mail programs that ask all the time. Mail that comes meanwhile is seen so much "
        "later. Another password always goes to the backend; a change of the configuration ends it. 0: never.",
    )

    strayed: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), kw_only=True, compare=False)
    """Names among its hosts that stand for other addresses by now than the one that they were resolved to, each with
    those; as `backend lookup` has found them (resolving.py). No parameter: it is found, not said.
    """

    def with_parameters(self, changes: Mapping[str, Any]) -> "Backend":
        """See Thing. What was found of its hosts holds as long as they are the same."""
        new = super().with_parameters(changes)
        return replace(new, strayed=self.strayed) if new.host == self.host else new

    @property
    def address(self) -> str:
        """Numeric text, or "" as long as no host was given; of several the one that is preferred."""
        return self.host.address

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them, the most preferred first."""
        return self.host.addresses

    @property
    def needed_certificates(self) -> tuple[str, ...]:
        return (self.tlscert,) if self.tlscert and self.tls != OFF else ()

    def without_certificates(self) -> Self:
        """See popular.tls.users."""
        return replace(self, tlscert="")

    def resolved(self) -> Mapping[str, tuple[str, str]]:
        names, addresses = str(self.host), ",".join(self.addresses)
        return {"host": (names, addresses)} if names != addresses else {}

    @property
    def certified_names(self) -> tuple[str, ...]:
        """The name, or address, that its certificate must have, at each of its addresses."""
        return tuple(self.tlsname or one.name for one in self.host.places)

    def at_address(self, number: int) -> "Backend":
        """The backend as it is at one of its addresses alone, 0 being the first."""
        return replace(self, host=replace(self.host.places[number], further=()))


def fits(source: str, address: str) -> bool:
    """Whether one can be reached from the other: both are IPv4, or both IPv6."""
    return not source or not address or (":" in source) == (":" in address)


def placed_at(server: tuple[str, int] | None, backend: Backend | None) -> Backend | None:
    """A server that is like a backend; without one, the backend itself."""
    if server is None or backend is None:
        return backend
    address, port = server
    source = backend.source if fits(backend.source, address) else ""
    return replace(backend, host=ResolvedHost(address, address), port=port, source=source)


class WaitingLimit(NamedTuple):
    """How many sessions may wait for a backend; both 0 is no limit."""

    most: int = 0
    """It has a limit of its own."""
    room: int = 0
    """For all backends together that have none."""


def waiting_limit(backend: Backend, config: Config) -> WaitingLimit:
    """By its `maxwaiting`."""
    if isinstance(backend.maxwaiting, int):
        return WaitingLimit(most=backend.maxwaiting)
    online = sum(one.state == "online" for one in config.things["backend"].values())
    return WaitingLimit() if online < 2 else WaitingLimit(room=max(1, config.variables["maxsession"] // SHARE))


def leads_back(context: CommandContext, vserv: "Thing", backend: Backend) -> bool:
    """Whether connecting to the backend would end at our own vserv: the proxy would talk to itself for ever.

    Raises NeedsLookup where it must be known whether an address is one of this host's.
    """
    (address, port), state = vserv.place, vserv.state  # type: ignore[attr-defined]
    if state == OFFLINE or port != backend.port:
        return False
    if address in EVERY_ADDRESS:
        return any(context.lookups.local_address(one) for one in backend.addresses)
    return plain_address(address) in backend.addresses


def is_blind(module: Any) -> bool:
    """Whether a module (ModuleSpec) looks at no password, and leads everybody to the backend of its first argument."""
    return module.mod == "any" and bool(module.args)


def leads_blindly_to(module: Any, backend: Backend) -> bool:
    """Whether it leads everybody to this backend, and nobody looks at a password on the way or there."""
    return is_blind(module) and module.args[0] == backend.id and not looks_at_passwords(backend)


def blind_note(module: Any, backend: Backend) -> str:
    """For whom a module leads so. Refused where we vouch for users (`login master`); of a mailbox behind pserv a note
    only: whoever can reach pserv can name any mailbox anyway, and may be let in by another proxy in front.
    """
    return f"the module {module.id} (any) leads to backend {backend.id}, {let_everybody_in(backend)}"


def looks_at_passwords(backend: Backend) -> bool:
    """Whether a user is let in there by his own password or token; else whomever we name has his mailbox."""
    return backend.prot == POP3 and backend.login not in OURS_ALONE


def let_everybody_in(backend: Backend) -> str:
    """Why nobody may be led to a backend whose password nobody looks at."""
    by = f"login {backend.login}" if backend.prot == POP3 else f"prot {backend.prot}"
    return f"and asks for no password: with {by} everybody would be let into every mailbox"
