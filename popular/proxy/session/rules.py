"""What a config says about the sessions of one virtual server."""

import os
import socket
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from popular.net.networks import Networks
from popular.pdm.contract import PASSWORD
from popular.protocol import capabilities, replies
from popular.protocol.international import TAGS
from popular.protocol.sasl import Challenges
from popular.proxy.session.backend.ourselves import Ourselves
from popular.proxy.session.machine.offers import AdaptedOffers, Offers, offers_of
from popular.proxy.session.machine.typedrules import TypedRules
from popular.proxy.settings.backend import Backend, is_blind
from popular.proxy.settings.limits import LOGINDELAY, Limit
from popular.proxy.settings.vserv import FROM_BACKENDS, Vserv
from supervisor.config import Config


@dataclass(frozen=True, kw_only=True)
class Rules(TypedRules):
    """Made once for each config and virtual server. (By keywords alone, because the places of TypedRules would pass for
    defaults.)
    """

    vserv: str
    state: str
    protocol: str
    namespace: str
    defaultns: str
    starttls: str
    greeting: bytes
    refusal: bytes
    offers: Offers
    """What clients may log in by."""
    adapted: AdaptedOffers | None
    """How CAPA follows what backends announce; None: it does not."""
    challenges: Challenges
    salt_key: bytes
    """The key of the salts that are shown to who has none of his own; equal in all workers."""
    apop: bool
    """The greeting bears a challenge: it is the same before and after STLS."""
    international: frozenset[str]
    """Which of UTF8 and LANG are offered, where all backends offer them."""
    ourselves: Ourselves
    backends: Mapping[str, Backend]
    blind: frozenset[str]
    """Backends to which a module leads everybody, whatever the password."""
    fallback: str
    softfail: bool
    checktimeout: float
    connecttimeout: float
    maxcommands: int
    maxerrors: int
    maxfailures: int
    trusted: Networks | None
    """Whose PROXY header is believed; None where none is expected."""


def rules_of(vserv: Vserv, config: Config, takes: Collection[str] = (PASSWORD,), *, salt_key: bytes = b"") -> Rules:
    """The rules of a virtual server under a config. `takes`: the kinds of credential that its modules take."""
    chosen = config.things["capa"].get(vserv.capa)
    lines = chosen.lines if chosen is not None else capabilities.DEFAULT
    wanted = TAGS if chosen is None else capabilities.international_in(lines)
    lines = capabilities.without_international(lines)
    pause: Limit = config.variables[LOGINDELAY]
    if pause.enforced:
        lines = capabilities.with_login_delay(lines, pause.most)
    offers = offers_of(vserv, lines, takes)
    return Rules(
        vserv=vserv.id,
        state=vserv.state,
        protocol=vserv.prot,
        namespace=vserv.namespace,
        defaultns=config.variables["defaultns"],
        starttls=vserv.starttls,
        greeting=replies.ok(vserv.bannerok),
        refusal=replies.err(vserv.bannererr),
        offers=offers,
        adapted=AdaptedOffers(offers, vserv, lines=lines, takes=takes) if vserv.capafrom == FROM_BACKENDS else None,
        challenges=Challenges(socket.gethostname(), os.urandom(32)),
        salt_key=salt_key,
        apop=offers.clear.apop or offers.tls.apop,
        international=wanted,
        ourselves=Ourselves(config.things["vserv"].values()),
        backends=config.things["backend"],
        blind=frozenset(module.args[0] for module in config.things["pdm"].values() if is_blind(module)),
        fallback=config.variables["fallback"],
        softfail=config.variables["softfail"],
        checktimeout=config.variables["checktimeout"],
        connecttimeout=config.variables["connecttimeout"],
        maxcommands=config.variables["maxcommands"] or sys.maxsize,
        maxerrors=config.variables["maxerrors"],
        maxfailures=config.variables["maxfailures"],
        trusted=vserv.trusted if vserv.proxyprotocol != "off" else None,
    )
