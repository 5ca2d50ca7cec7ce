"""Asks a backend what it announces: CAPA (RFC 2449) on a connection of its own, after a login that went well.

    greeting → (STLS → TLS →) CAPA → (LANG, where it announces that →) QUIT

No user waits for it and none is spoken of, so nothing it comes to can disturb a session: a backend that does not know
CAPA, closes, hangs or talks nonsense is what it was before. What it says is bounded, and only what looks like a
capability is kept.
"""

import asyncio
from typing import Final, TypeAlias

from popular.protocol.capabilities import LONGEST_LIST, is_capability
from popular.protocol.international import LANG, MOST_LANGUAGES, is_language
from popular.protocol.lines import LONGEST_REPLY, LineBuffer, PeerFault, is_ok
from popular.protocol.proxyheader import build
from popular.proxy.backend_tls import BackendsInTls
from popular.proxy.session.backend.announced import Announced
from popular.proxy.session.backend.backend_connection import BackendConnection, Extras
from popular.proxy.session.backend.backend_login import START_TLS, StartTls
from popular.proxy.session.backend.backend_race import RacingConnection
from popular.proxy.session.backend.reach import Reach
from popular.proxy.session.events import SessionEvents
from popular.proxy.settings.backend import OFF, STARTTLS, Backend
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG
from supervisor.serving.context import WorkerContext

PATIENCE_SECONDS = 10.0

_CAPA, _LANG, _QUIT = b"CAPA\r\n", b"LANG\r\n", b"QUIT\r\n"


class GaveUp(Exception):
    """The backend does not answer as it should; the text says how."""


Said: TypeAlias = bytes | StartTls | list[str] | None
"""Octets are what to say now, a list what it announces; None: it has not said all of it."""


class CapaQuestion:
    """The dialogue as a machine. Raises GaveUp."""

    def __init__(self, *, stls: bool) -> None:
        self._lines = LineBuffer(LONGEST_REPLY)
        self._stls = stls
        self._waits_for: Final = ["greeting", *(["STLS"] if stls else []), "CAPA"]
        self._found: list[str] = []
        self.languages: list[str] = []
        """The lines of its answer to LANG, when it is heard."""
        self._listed = ""
        """Which command's list is read; "" for none."""
        self._count = 0

    def hear(self, data: bytes) -> Said:
        """What the backend sent."""
        self._count += len(data)
        if self._count > LONGEST_LIST:
            raise GaveUp("it says too much")
        try:
            line = self._lines.next_line(data)
            while line is not None:
                said = self._take(line)
                if said is not None:
                    return said
                line = self._lines.next_line()
        except PeerFault:
            raise GaveUp("no proper reply") from None
        return None

    def tls_up(self) -> bytes:
        """TLS stands, as it was asked for."""
        return _CAPA

    def _take(self, line: bytes) -> Said:
        if self._listed:
            return self._take_listed(line)
        step = self._waits_for.pop(0)
        if step in ("CAPA", LANG):
            self._listed = step if is_ok(line) else ""
            return None if self._listed else self._found
        if not is_ok(line) or self._lines.held:
            raise GaveUp(f"no proper reply to {step}")
        if step == "STLS":
            return START_TLS
        return b"STLS\r\n" if self._stls else _CAPA

    def _take_listed(self, line: bytes) -> Said:
        if line == b".":
            ends, self._listed = self._listed, ""
            if ends == LANG or LANG not in self._found:
                return self._found
            self._waits_for.append(LANG)
            return _LANG
        if self._listed == LANG:
            text = line.decode("utf-8", "replace")
            if is_language(text) and len(self.languages) < MOST_LANGUAGES:
                self.languages.append(text)
        elif is_capability(text := line.decode("ascii", "replace")):
            self._found.append(text)
        return None


class Inquiry(SessionEvents):
    """One question, from the connection to the answer. It hears what a session hears of its backend."""

    __slots__ = ("_announced", "_connection", "_context", "_deadline", "_question")

    def __init__(self, context: WorkerContext, announced: Announced, tls: BackendsInTls) -> None:
        """Begins to connect. `tls`: what each backend needs for TLS, by id."""
        self._context = context
        self._announced = announced
        backend: Backend = announced.backend
        self._question = CapaQuestion(stls=backend.tls == STARTTLS)
        self.sid = "-"
        self._connection: BackendConnection | None = None
        connection = self._connection_to(backend)
        header = b"" if backend.sendproxy == OFF else build(backend.sendproxy, None, None)
        try:
            connection.open(backend, True, Extras(backend, None if backend.tls == OFF else tls[backend.id], header))
        except OSError as error:
            self._tell(f"no connection: {error.strerror}")
            return
        self._connection = connection
        self._deadline: asyncio.TimerHandle = context.loop.call_later(PATIENCE_SECONDS, self._give_up, "no answer")

    def _connection_to(self, backend: Backend) -> BackendConnection:
        context = self._context
        if not backend.host.further:
            return BackendConnection(context, self)
        return RacingConnection(context, self, Reach(backend, context.clock))

    def backend_reached(self, number: int) -> None:
        """It makes no difference which address was reached: all are the same backend."""

    def backend_connected(self) -> None:
        """It greets: that it is connected is told by its greeting."""

    def backend_says(self, data: bytes) -> None:
        try:
            said = self._question.hear(data)
        except GaveUp as error:
            self._give_up(str(error))
            return
        if isinstance(said, bytes):
            self._say(said)
        elif isinstance(said, StartTls):
            assert self._connection is not None
            if reason := self._connection.start_tls():
                self._give_up(reason)
        elif said is not None:
            self._announced.heard(said, self._question.languages)
            self._say(_QUIT)
            self._give_up(f"{len(said)} capabilities")

    def backend_tls_up(self) -> None:
        self._say(self._question.tls_up())

    def backend_broke(self, reason: str, word: str = "") -> None:
        del word
        self._give_up(reason)

    def fault(self, error: Exception) -> None:
        self._context.log(SESSION_BUG, "-", error=kind_and_location_of(error))
        self._give_up("an error of ours")

    def _say(self, data: bytes) -> None:
        if self._connection is not None and (reason := self._connection.send(data)):
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """It is over, one way or the other."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._deadline.cancel()
            self._tell(reason)

    def _tell(self, reason: str) -> None:
        self._context.log.debug("POP", "asked_for_capabilities", "-", backend=self._announced.backend.id, came=reason)
