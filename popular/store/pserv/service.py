"""One config of `pserv`, ready to serve. A session keeps what it was accepted under."""

import os
from pathlib import Path

from popular.net.networks import LOOPBACK, Networks
from popular.protocol.capabilities import after_login
from popular.store.messages import UNTRUSTED_PEER
from popular.store.pserv.capabilities import lines_of
from popular.store.pserv.server import SERVER
from popular.store.pserv.session import Session, SessionSettings
from popular.tls.contexts import Contexts, tls_settings
from supervisor.config import Config
from supervisor.runtime.sparingly import Sparingly
from supervisor.serving.context import WorkerContext

_TELLS = Sparingly(60)
"""Made before the workers are forked: strangers shall not fill the log of any of them."""


class StoreService:
    """Begins sessions. It holds nothing that would have to be closed."""

    def __init__(self, context: WorkerContext, config: Config, before: "StoreService | None") -> None:
        """Raises CommandRefused if OpenSSL cannot be brought to serve it."""
        variables = config.variables
        self._context = context
        self._trusted: Networks = next((server.trusted for server in config.things[SERVER.name].values()), LOOPBACK)
        self.contexts: Contexts = Contexts(variables["tlsciphers"], None if before is None else before.contexts)
        self._settings = SessionSettings(
            mailboxdir=Path(variables["mailboxdir"]),
            capabilities=after_login(lines_of(config)),
            requesttimeout=variables["requesttimeout"],
            idletimeout=variables["idletimeout"],
            sessiontimeout=variables["sessiontimeout"] or float("inf"),
            tls_settings=tls_settings(config, self.contexts).get(SERVER.name),
            started_cell=context.open_counters(config.counter_indexes).cell("sessions_started", None, SERVER.name),
        )

    def serve(self, row_number: int, fd: int, peer: tuple[str, int], *, listener_name: str) -> None:
        """Begins a session; who is not a trusted proxy is closed at once."""
        del listener_name  # all are served alike
        if peer[0] not in self._trusted:
            self._refuse(row_number, fd, peer[0])
            return
        Session(context=self._context, settings=self._settings, row_number=row_number, fd=fd, peer=peer).begin()

    def _refuse(self, row_number: int, fd: int, address: str) -> None:
        self._context.count("untrusted_peers")
        if _TELLS():
            self._context.log(UNTRUSTED_PEER, peer=address, trusted=self._trusted)
        self._context.decline(row_number)
        os.close(fd)

    def retire(self) -> None:
        """See supervisor.program.Service."""
