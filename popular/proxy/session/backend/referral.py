"""A backend that refers a user to another server: `-ERR [REFERRAL/user@host:port]`, as Dovecot says it. Pure.

A referral is followed to where the operator sends passwords anyway: to a configured backend, or to a server that the
parameter `referrals` of the backend allows.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

from popular.pdm.servers import Servers
from popular.proxy.session.backend.ourselves import Ourselves
from popular.proxy.settings.backend import OURS_ALONE, POP3, WELL_KNOWN_PORT, Backend, placed_at

_SAID = re.compile(rb"-ERR \[REFERRAL/(?P<to>[!-~]+?)\](?: .*)?", re.IGNORECASE | re.DOTALL)
_TO = re.compile(r"(?P<user>.+)@(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?/?")
_LONGEST_NAME = 255


class Referral(NamedTuple):
    """Whom to name, and where."""

    user: str
    host: str
    port: int


def referral_of(reply: bytes) -> Referral | None:
    """What a refusal refers to; None if it does not, or to nothing that can be one."""
    said = _SAID.fullmatch(reply)
    if said is None:
        return None
    text = said["to"].decode("ascii")
    is_url = text[:6].lower() == "pop://"
    match = _TO.fullmatch(text[6:] if is_url else text)
    if match is None:
        return None
    user = unquote(re.sub(r";auth=[^;]*$", "", match["user"], flags=re.IGNORECASE)) if is_url else match["user"]
    port = int(match["port"] or WELL_KNOWN_PORT)
    if not user.isprintable() or not 0 < len(user) <= _LONGEST_NAME or not 0 < port < 1 << 16:
        return None
    return Referral(user, match["v6"] or match["host"], port)


def referred_to(
    referral: Referral, said_by: Backend, backends: Mapping[str, Backend], *, target: str
) -> Backend | None:
    """Where the user, whom it knows as `target`, is to be logged in instead; None where that is not allowed.

    To a backend that lets in whom we name, only another such one sends users, and under the name that they have.
    """
    to = _place(referral, said_by, backends)
    if to is not None and to.login in OURS_ALONE and (said_by.login not in OURS_ALONE or referral.user != target):
        return None
    return to


def why_not(to: Backend | None, said_by: Backend, *, again: bool, ourselves: Ourselves) -> str:
    """Why a referral is not followed; "" if it is. One that leads back to where it began, or to us, has no end."""
    if again:
        return "once more"
    if to is None:
        return f"where it may not (referrals {said_by.id})"
    ours = any(ourselves.are_at(address, to.port) for address in to.addresses)
    return "which is one of our own virtual servers" if ours else ""


def _place(referral: Referral, said_by: Backend, backends: Mapping[str, Backend]) -> Backend | None:
    for backend in backends.values():
        places = {name for one in backend.host.all for name in (one.name.lower().rstrip("."), one.address)}
        if referral.port == backend.port and _plain(referral.host) in places:
            return backend if backend.state == "online" and backend.prot == POP3 and backend.id != said_by.id else None
    address = _address(referral.host)
    if address is None or not any(_allows(servers, address, referral.port) for servers in said_by.referrals):
        return None
    return placed_at((address, referral.port), said_by)


def _plain(host: str) -> str:
    return _address(host) or host.lower().rstrip(".")


def _address(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _allows(servers: Servers, address: str, port: int) -> bool:
    return servers.port == port and ip_address(address) in servers.network
