"""What a client may log in by, in one state of its connection: in clear, in TLS, in TLS with a certificate of its own.

By what the virtual server allows (`mechanisms`, `apop`), by what some module takes, and by where a password may
travel. CAPA says the same, so it is made here. Made once for each config and virtual server.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from popular.pdm.contract import CERTIFICATE, CHALLENGE, PASSWORD, TOKEN
from popular.protocol import capabilities
from popular.protocol.sasl import MECHANISMS, Mechanism
from popular.proxy.session.machine.authentication import CREDENTIALS
from popular.proxy.settings.mechanisms import USER_AND_PASS
from popular.proxy.settings.vserv import Vserv

_IN_TLS = frozenset({TOKEN, CERTIFICATE})
"""Kinds that are offered in TLS only: who can read a token can use it (RFC 6750 section 5.3), and without TLS there is
no certificate.
"""

_IN_FAKE = frozenset({PASSWORD})
"""Kinds that are offered in the state fake, in which everybody comes in and no module is asked: only what any client
can send.
"""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client may log in by now. `user`: USER and PASS; `mechanisms`: of AUTH, by name; `listing`: the answer to
    AUTH without a mechanism; `capa`: that to CAPA before the login; `capa_after`: its lines after it.
    """

    user: bool
    apop: bool
    mechanisms: Mapping[bytes, Mechanism]
    refusal: str
    """Why a client cannot log in by what is not offered."""
    listing: bytes
    capa: bytes
    capa_after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Offers:
    """What a virtual server offers, by the state of a connection. `certified`: in TLS, and the client has shown a
    certificate that was verified; where none is asked for it is as `tls`, so that `explain` does not foretell what
    cannot come.
    """

    clear: Offer
    tls: Offer
    certified: Offer


class AdaptedOffers:
    """What clients may log in by where CAPA follows what the backends announce (`capafrom backends`)."""

    __slots__ = ("_adapted", "_lines", "_said", "_shared", "_takes", "_vserv")

    def __init__(self, said: Offers, vserv: Vserv, *, lines: Sequence[str], takes: Collection[str]) -> None:
        """`said`: the offers by the set alone; the others as for `offers_of`."""
        self._said = self._adapted = said
        self._shared = capabilities.NOBODY_KNOWS
        self._vserv = vserv
        self._lines = lines
        self._takes = takes

    def counterpart(self, offer: Offer, shared: capabilities.Common) -> Offer:
        """What an offer by the set alone becomes by what the backends have in common."""
        if shared != self._shared:
            self._shared = shared
            self._adapted = offers_of(self._vserv, capabilities.as_common(self._lines, shared), self._takes)
        if offer is self._said.clear:
            return self._adapted.clear
        return self._adapted.tls if offer is self._said.tls else self._adapted.certified


def offers_of(vserv: Vserv, lines: Sequence[str], takes: Collection[str]) -> Offers:
    """`lines`: the capability set; `takes`: the kinds of credential that some module takes."""
    offers_stls = vserv.starttls != "off"
    asked = _IN_FAKE if vserv.state == "fake" else frozenset(takes)

    def offer(*, tls: bool, certified: bool = False) -> Offer:
        barred = vserv.starttls == "force" and not tls

        def may_show(kind: str) -> bool:
            carried = (tls or kind not in _IN_TLS) and (certified or kind != CERTIFICATE)
            return kind in asked and not barred and carried

        names = [name for name in MECHANISMS if name.lower() in vserv.mechanisms and may_show(CREDENTIALS[name].kind)]
        user = USER_AND_PASS in vserv.mechanisms and may_show(PASSWORD)
        said = capabilities.with_logins(lines, user=user, mechanisms=names)
        return Offer(
            user=user,
            apop=vserv.apop and may_show(CHALLENGE),
            mechanisms={name.encode(): MECHANISMS[name] for name in names},
            refusal="say STLS first, a password must not travel in clear" if barred else "",
            listing=capabilities.mechanism_list(names),
            capa=capabilities.before_login(said, stls=offers_stls and not tls, login=user or bool(names)),
            capa_after=capabilities.after_login(said),
        )

    asks = vserv.clientcert != "off"
    return Offers(offer(tls=False), offer(tls=True), offer(tls=True, certified=asks))
