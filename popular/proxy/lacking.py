"""What a service needs beside modules that is not in the configuration but in a file, or made of one, and what is done
without it: the server of the cluster, and the secret of which salts are made.

Who wants something new is refused if it cannot be had. Where the config in force wants it already it was there before,
and to end all service for it would be worse than to do without: it is told, and tried again with each change, of which
`pdm check` makes one each minute, and as soon as the file is another.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from popular.pdm.arguments import secret_from
from popular.pdm.contract import ModuleFailed
from popular.proxy.settings.cluster import CLUSTER, PASSWORDFILE
from popular.proxy.settings.modulefiles import lack_report
from popular.proxy.settings.variables import SALT_FILE
from supervisor.config import Config, Report
from supervisor.serving.context import WorkerContext

_Made = TypeVar("_Made")


class _Need(NamedTuple):
    variables: tuple[str, ...]
    """What it is made of; the last one names a file, if it is set."""
    meanwhile: str


_NEEDS = {
    CLUSTER: _Need((CLUSTER, "sidprefix", PASSWORDFILE), "a worker counts its limits without it meanwhile"),
    SALT_FILE: _Need((SALT_FILE,), "salts are made of what was read before, or of a secret of this run, meanwhile"),
}


class Lacking:
    """What one service has to do without, and the settings by which it was wanted."""

    def __init__(self, config: Config, before: "Lacking | None", *, tolerant: bool) -> None:
        """`tolerant`: see ProxyService."""
        self._settings = {
            what: tuple(config.variables[name] for name in need.variables) for what, need in _NEEDS.items()
        }
        self._had = {
            what for what, said in self._settings.items() if tolerant or (before and before._settings[what] == said)
        }
        self._key_before: bytes = before._key if before is not None and SALT_FILE in self._had else b""
        self._key: bytes = b""
        self._reports: list[Report] = []
        self.faults: list[str] = []
        """Why the config cannot be served."""

    def attempt(self, what: str, make: Callable[[], _Made], *, without: _Made) -> _Made:
        """What is made, or what does instead of it: a fault of the config, where the one in force had it not."""
        try:
            return make()
        except ModuleFailed as error:
            if what not in self._had:
                self.faults.append(f"{what}: {error}")
                return without
            file = self._settings[what][-1]
            self._reports.append(lack_report(what, f"{error}; {_NEEDS[what].meanwhile}", file))
            return without

    def salt_key(self, context: WorkerContext) -> bytes:
        """The key of which salts are made, equal in all workers and all proxies with this file."""
        (path,) = self._settings[SALT_FILE]
        of_this_run = context.open_remembered().key_of("salts")
        self._key = of_this_run
        if path:
            self._key = self.attempt(SALT_FILE, lambda: _key_of(path), without=self._key_before or of_this_run)
        return self._key

    def reports(self) -> list[Report]:
        """What is lacking."""
        return self._reports


def _key_of(path: str) -> bytes:
    return blake2b(secret_from(path).secret.reveal(), person=b"salts").digest()
