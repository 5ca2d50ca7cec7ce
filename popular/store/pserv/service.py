"""One config of `pserv`, ready to serve. A session keeps what it was accepted under."""

from pathlib import Path

from popular.protocol.capabilities import after_login
from popular.store.pserv.capabilities import lines_of
from popular.store.pserv.server import SERVER
from popular.store.pserv.session import Session, SessionSettings
from supervisor.config import Config
from supervisor.serving.context import WorkerContext


class StoreService:
    """Begins sessions. It holds nothing that would have to be closed."""

    def __init__(self, context: WorkerContext, config: Config) -> None:
        variables = config.variables
        self._context = context
        self._settings = SessionSettings(
            mailboxdir=Path(variables["mailboxdir"]),
            capabilities=after_login(lines_of(config)),
            requesttimeout=variables["requesttimeout"],
            idletimeout=variables["idletimeout"],
            sessiontimeout=variables["sessiontimeout"] or float("inf"),
            started=context.open_counters(config.counter_indexes).cell("sessions_started", None, SERVER.name),
        )

    def serve(self, token: int, fd: int, peer: tuple[str, int], _listener: str) -> None:
        """See supervisor.program.Service."""
        Session(context=self._context, settings=self._settings, token=token, fd=fd, peer=peer).begin()

    def retire(self) -> None:
        """See supervisor.program.Service."""
