"""What a watcher may know of a config of `pproxy`: what the exporter and the status page show. No secrets."""

from typing import Any

from popular.proxy.settings.backend import OFF
from popular.proxy.settings.modulefiles import skipped_lines
from popular.tls.users import described
from supervisor.config import Config

_STARTTLS = {"off": "", "optional": "+STLS", "force": "+STLS forced"}
_VARIABLES = ("maxsession", "maxlocalload", "maxpressure", "workers")


def describe(config: Config) -> dict[str, Any]:
    """Ids, addresses, states and limits: JSON-able, and never a secret (Program.describe)."""
    things = config.things
    return {
        "generation": config.generation,
        "variables": {name: config.variables[name] for name in _VARIABLES},
        "vservs": [
            _chosen(vserv, "id", "state", "port") | {"iface": vserv.iface.address, "protocol": _protocol(vserv)}
            for vserv in things["vserv"].values()
        ],
        "backends": [
            _chosen(backend, "id", "state", "port")
            | {
                "host": ", ".join(backend.addresses),
                "protocol": backend.prot,
                "moved": len(backend.strayed),
                "about": _about(backend),
            }
            for backend in things["backend"].values()
        ],
        "modules": [
            _chosen(module, "id", "mod") | {"skipped_lines": skipped_lines(config, module.id)}
            for module in things["pdm"].values()
        ],
        "certificates": described(config),
    }


def _about(backend: Any) -> dict[str, str]:
    """What its page says of how it is watched, and what it may be asked for."""
    checked = "not checked" if backend.health == OFF else f"{backend.health} every {backend.healthinterval} s"
    bounds = {name: getattr(backend, name) for name in ("maxsessions", "maxwaiting", "slowstart", "absorb")}
    return {
        "addresses": ", ".join(backend.addresses),
        "port": str(backend.port),
        "check": checked,
        "backup": backend.backup or "",
        **{name: str(value) for name, value in bounds.items() if value},
    }


def _protocol(vserv: Any) -> str:
    """What is spoken there, and whether TLS can be begun, or must be."""
    return f"{vserv.prot}{_STARTTLS[vserv.starttls]}"


def _chosen(thing: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}
