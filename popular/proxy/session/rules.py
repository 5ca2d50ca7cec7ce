"""What a config says about the sessions of one virtual server."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from popular.net.networks import Networks
from popular.protocol import capabilities, replies
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.limits import LOGINDELAY, Limit
from popular.proxy.settings.vserv import Vserv
from supervisor.config import Config


@dataclass(frozen=True, slots=True)
class Rules:
    """Made once for each config and virtual server."""

    vserv: str
    state: str
    protocol: str
    namespace: str
    defaultns: str
    starttls: str
    greeting: bytes
    refusal: bytes
    capa_clear: bytes
    capa_tls: bytes
    capa_after: tuple[str, ...]
    backends: Mapping[str, Backend]
    fallback: str
    softfail: bool
    checktimeout: float
    connecttimeout: float
    logintimeout: float
    maxcommands: int
    maxerrors: int
    maxfailures: int
    trusted: Networks | None
    """Whose PROXY header is believed; None where none is expected."""


def rules_of(vserv: Vserv, config: Config) -> Rules:
    """Those of a virtual server under a config."""
    chosen = config.things["capa"].get(vserv.capa)
    lines = chosen.lines if chosen is not None else capabilities.DEFAULT
    pause: Limit = config.variables[LOGINDELAY]
    if pause.enforced:
        lines = capabilities.with_login_delay(lines, pause.most)
    offers_stls = vserv.starttls != "off"
    clear = capabilities.before_login(lines, stls=offers_stls, login=vserv.starttls != "force")
    return Rules(
        vserv=vserv.id,
        state=vserv.state,
        protocol=vserv.prot,
        namespace=vserv.namespace,
        defaultns=config.variables["defaultns"],
        starttls=vserv.starttls,
        greeting=replies.ok(vserv.bannerok),
        refusal=replies.err(vserv.bannererr),
        capa_clear=clear,
        capa_tls=capabilities.before_login(lines, stls=False, login=True),
        capa_after=capabilities.after_login(lines),
        backends=config.things["backend"],
        fallback=config.variables["fallback"],
        softfail=config.variables["softfail"],
        checktimeout=config.variables["checktimeout"],
        connecttimeout=config.variables["connecttimeout"],
        logintimeout=config.variables["logintimeout"],
        maxcommands=config.variables["maxcommands"] or sys.maxsize,
        maxerrors=config.variables["maxerrors"],
        maxfailures=config.variables["maxfailures"],
        trusted=vserv.trusted if vserv.proxyprotocol != "off" else None,
    )
