"""One config of `pserv`, ready to serve. A session keeps the service under which it was accepted."""

import socket
from pathlib import Path
from typing import Any

from popular.protocol.capabilities import after_login
from popular.store.pserv.capabilities import lines_of
from popular.store.pserv.server import SERVER
from popular.store.pserv.session import Session
from supervisor.config import Config
from supervisor.workshop import Workshop


class StoreService:
    """What sessions need to know. It holds nothing that would have to be closed."""

    def __init__(self, shop: Workshop, config: Config) -> None:
        variables = config.variables
        self.shop = shop
        self.mailboxdir = Path(variables["mailboxdir"])
        self.requesttimeout: float = variables["requesttimeout"]
        self.idletimeout: float = variables["idletimeout"]
        self.sessiontimeout: float = variables["sessiontimeout"] or float("inf")
        ledger = shop.open_ledger(config.places)
        self.started = ledger.cell("sessions_started", None, SERVER.name)
        """The cell that counts its sessions."""
        self.capabilities = after_login(lines_of(config))

    def serve(self, token: int, connection: socket.SocketType, peer: tuple[Any, ...], _listener: str) -> None:
        """See supervisor.program.Service."""
        Session(self, token, connection, peer).begin()

    def retire(self) -> None:
        """See supervisor.program.Service."""
