"""What a config says about the sessions of one virtual server."""

from collections.abc import Mapping
from dataclasses import dataclass

from popular.proxy.settings.backend import Backend
from popular.proxy.settings.kinds import Networks


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
    trusted: Networks | None
    """Whose PROXY header is believed; None where none is expected."""
