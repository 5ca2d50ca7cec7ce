"""One config of `pserv`, ready to serve. A session keeps what it was accepted under."""

import socket
from pathlib import Path
from typing import Any

from popular.protocol.capabilities import after_login
from popular.store.pserv.capabilities import lines_of
from popular.store.pserv.server import SERVER
from popular.store.pserv.session import Session, Terms
from supervisor.config import Config
from supervisor.workshop import Workshop


class StoreService:
    """Begins sessions. It holds nothing that would have to be closed."""

    def __init__(self, shop: Workshop, config: Config) -> None:
        variables = config.variables
        self._shop = shop
        self._terms = Terms(
            mailboxdir=Path(variables["mailboxdir"]),
            capabilities=after_login(lines_of(config)),
            requesttimeout=variables["requesttimeout"],
            idletimeout=variables["idletimeout"],
            sessiontimeout=variables["sessiontimeout"] or float("inf"),
            started=shop.open_ledger(config.places).cell("sessions_started", None, SERVER.name),
        )

    def serve(self, token: int, connection: socket.SocketType, peer: tuple[Any, ...], _listener: str) -> None:
        """See supervisor.program.Service."""
        Session(shop=self._shop, terms=self._terms, token=token, connection=connection, peer=peer).begin()

    def retire(self) -> None:
        """See supervisor.program.Service."""
