"""Report before enforce: notes who has logged in and would not have under a stricter configuration.

Only where the variable `reports` says so; see popular/proxy/settings/reports.py.
"""

from collections.abc import Mapping
from typing import Any

from popular.net.handshake import Agreed
from popular.protocol.printable import printable
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.shared.last_login_writer import LastLogins
from popular.proxy.session.who import Who
from popular.proxy.settings.lastlogins import VARIABLE as LAST_LOGINS
from popular.proxy.settings.reports import CLEARTEXT, TLS
from popular.tls.contexts import VERSIONS
from supervisor.serving.context import WorkerContext
from supervisor.system import wall
from supervisor.table.sightings import Sighting


class Reporter:
    """Notes who logs in to one virtual server, and would not be let in by a stricter configuration."""

    def __init__(
        self, context: WorkerContext, variables: Mapping[str, Any], vserv: str, *, last_logins: LastLogins
    ) -> None:
        self._context = context
        self._sightings = context.open_sightings()
        self._vserv = vserv
        self._of_cleartext = CLEARTEXT in variables["reports"]
        self._too_old = _too_old(variables["tlsminversion"]) if TLS in variables["reports"] else frozenset[str]()
        """Versions that would be refused, as OpenSSL writes them."""
        self._last_logins = last_logins if variables[LAST_LOGINS] else None

    def logged_in(self, machine: Machine, address: str, agreed: Agreed | None) -> None:
        """A user came in, from this address."""
        who = Who(address, machine.namespace, machine.user)
        way = f"AUTH {machine.mechanism}" if machine.mechanism else "USER"
        if self._last_logins is not None:
            self._last_logins.saw(who, f"{self._vserv}, {'in clear' if agreed is None else agreed.version}, {way}")
        habit = f"{way}, {'with' if machine.asked_capa else 'without'} CAPA"
        if agreed is None:
            if self._of_cleartext:
                self._see(CLEARTEXT, who, f"in clear, {habit}")
        elif agreed.version in self._too_old:
            self._see(TLS, who, f"{agreed.version}, {agreed.cipher}, {habit}, {offered(agreed.alpn)}")

    def _see(self, report: str, who: Who, how: str) -> None:
        self._context.count("logins_reported", report)
        self._sightings.see(
            Sighting(report, who.namespace, who.user, where=self._vserv, network=who.address, how=how, last=wall())
        )


def offered(alpn: tuple[bytes, ...] | None) -> str:
    """What the TLS library of the client says it wants to speak: a hint at which one it is."""
    return "no ALPN" if alpn is None else f"ALPN {printable(b'/'.join(alpn).decode('ascii', 'replace'))}"


def _too_old(least: str) -> frozenset[str]:
    """Versions that the next higher tlsminversion would refuse; none, if this is the highest one."""
    versions = list(VERSIONS)
    return frozenset(f"TLSv{version}" for version in versions[: versions.index(least) + 1] if version != versions[-1])


def reporter(
    context: WorkerContext, variables: Mapping[str, Any], vserv: str, *, last_logins: LastLogins
) -> Reporter | None:
    """None where nothing is reported or remembered."""
    wanted = variables["reports"] or variables[LAST_LOGINS]
    return Reporter(context, variables, vserv, last_logins=last_logins) if wanted else None
