"""What a watcher may know of a config of `pproxy`: what the exporter and the status page show. No secrets."""

from typing import Any

from popular.proxy.settings.modulefiles import skipped_lines
from popular.tls.commands import described
from supervisor.config import Config

_VARIABLES = ("maxsession", "maxlocalload", "maxpressure", "workers")


def describe(config: Config) -> dict[str, Any]:
    """See supervisor.program.Program."""
    things = config.things
    return {
        "generation": config.generation,
        "variables": {name: config.variables[name] for name in _VARIABLES},
        "vservs": [
            _chosen(vserv, "id", "state", "iface", "port", "prot", "starttls") for vserv in things["vserv"].values()
        ],
        "backends": [
            _chosen(backend, "id", "state", "port", "prot") | {"host": backend.address}
            for backend in things["backend"].values()
        ],
        "modules": [
            _chosen(module, "id", "mod") | {"skipped_lines": skipped_lines(config, module.id)}
            for module in things["pdm"].values()
        ],
        "certificates": described(config),
    }


def _chosen(thing: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}
