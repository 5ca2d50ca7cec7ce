"""The driver of one `pserv` session: does what the machine says, and tells it what came of it. It decides nothing.

Whatever touches the disk is `mailbox.py`'s. A client that does not take what it asked for is not read, and
nothing is fetched for it: what waits for it is one piece of a message, or one listing. A session that breaks changes
nothing in the mailbox. Whatever goes wrong in here costs this one session; the worker goes on.
"""

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from popular.dialogue import Dialogue
from popular.net.channel import Channel
from popular.net.deadlines import Deadlines
from popular.store.machine import Close, Machine, Open, Phase, Reply, SendMessage, Update
from popular.store.mailbox import Mailbox
from popular.store.story import tell
from supervisor.eventloop import READ, WRITE
from supervisor.fault import kind_and_place_of
from supervisor.messages import SESSION_BUG
from supervisor.workshop import Standing

if TYPE_CHECKING:
    from popular.store.service import StoreService

READ_SIZE = 4096
ENOUGH = 1 << 15
"""Octets of replies that are put together before they are sent, and others get their turn."""
DISK_SECONDS = 60.0
CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""
SID_PREFIX = "pserv"
"""Of the id that a session has until its request names one."""


class Session(Deadlines):
    """One connection from accept to close."""

    __slots__ = (
        "_channel",
        "_dialogue",
        "_identity",
        "_last",
        "_mailbox",
        "_out",
        "_service",
        "_shop",
        "_shown",
        "_token",
        "_yielding",
        "from_client",
        "machine",
        "over",
        "peer",
        "sid",
        "started",
        "started_wall",
        "to_client",
    )

    def __init__(
        self, service: "StoreService", token: int, connection: socket.SocketType, peer: tuple[Any, ...]
    ) -> None:
        shop = service.shop
        self.started = time.monotonic()
        self.started_wall = time.time()
        super().__init__(shop.wheel, self.started, service.requesttimeout)
        self._service = service
        self._shop = shop
        self._token = token
        self._channel = Channel(shop.loop, connection, self._ready)
        self._mailbox: Mailbox | None = None
        self._out: memoryview | None = None
        """What the client has not taken yet."""
        self._dialogue: Dialogue | None = None
        self._last: Close | None = None
        self._yielding = False
        self._shown: tuple[Phase, int] = (Phase.OVER, 0)
        self.peer = peer
        self.over = False
        self.from_client = 0
        self.to_client = 0
        self.sid = shop.session_id(SID_PREFIX, self.started_wall)
        self.machine = Machine(service.capabilities)
        self._identity: tuple[object, ...] = (self.sid.encode(), peer[0].encode(), peer[1], b"", b"")

    def begin(self) -> None:
        """Takes the token and waits for the request."""
        self._shop.admit(self._token, self, self._service.started)
        self._show()
        self._shop.log.debug("NET", "accepted", self.sid, client=self.peer[0], port=self.peer[1])
        self._channel.want(READ)
        self.set_alarm()

    def _guarded(self, deed: Callable[..., object], *facts: Any) -> None:
        """Does something; an error of ours ends this session and nothing else."""
        try:
            deed(*facts)
        except Exception as error:
            self._shop.log(SESSION_BUG, self.sid, error=kind_and_place_of(error))
            self.end("internal_error")

    # The client

    def _ready(self, _events: int) -> None:
        self._guarded(self._turn)

    def _turn(self) -> None:
        """The client has sent something, or can take more."""
        if self._out is not None:
            self._flush()
            self._go_on()
        elif self.machine.listens and self._last is None and not self._yielding:
            self._hear()
        else:
            # Asked for only when it happens: most clients wait for their answers, and this never comes.
            self._channel.want(0)

    def _hear(self) -> None:
        try:
            data = self._channel.receive(READ_SIZE)
        except OSError:
            self.end("client_reset")
            return
        if data is None:
            return
        self.heard = time.monotonic()
        self.from_client += len(data)
        if data:
            self._debug("client", data)
            self.machine.says(data)
        else:
            self.machine.ends()
        self._go_on()

    def _send(self, data: bytes) -> None:
        """Sends it, behind what the client has not taken yet."""
        if not data or self.over:
            return
        self.to_client += len(data)
        self._out = memoryview(data if self._out is None else bytes(self._out) + data)
        self._flush()

    def _flush(self) -> None:
        assert self._out is not None
        try:
            taken = self._channel.send(self._out)
        except OSError:
            self.end("client_reset")
            return
        if taken:
            self.heard = time.monotonic()
        self._out = self._out[taken:] if taken < len(self._out) else None

    def _debug(self, who: str, data: bytes) -> None:
        if "POP" in self._shop.log.options:
            if self._dialogue is None:
                self._dialogue = Dialogue(self._shop.log)
            if who == "client":
                self._dialogue.says(self.sid, data, self.from_client)
            else:
                self._dialogue.is_told(self.sid, data)

    # Steps

    def _go_on(self) -> None:
        """Goes as far as it can: until the client or the disk has to do something first."""
        if not self.over and self._out is None:
            if self._last is not None:
                self.end(self._last.ending)
            elif self._mailbox is not None and self._mailbox.sending:
                self._mailbox.read_on()
            else:
                self._take_steps()
        if not self.over:
            self._mind_client()

    def _take_steps(self) -> None:
        """Neighbouring replies leave in one piece."""
        said = b""
        while type(step := self.machine.step()) is Reply:
            self._debug("server", step.data)
            said += step.data
            if len(said) >= ENOUGH:
                self._yield()
                break
        self._send(said)
        if step is not None and not self.over and type(step) is not Reply:
            _DEEDS[type(step)](self, step)

    def _yield(self) -> None:
        """Others get their turn; a client that pipelines much has its next one behind them."""
        self._yielding = True
        self._shop.loop.call_soon(self._guarded, self._resume)

    def _resume(self) -> None:
        self._yielding = False
        self._go_on()

    def _mind_client(self) -> None:
        if self._out is not None:
            self._channel.want(WRITE)
        elif self.machine.listens and not self._yielding:
            self._channel.want(READ)

    def standing(self) -> Standing:
        """See supervisor.workshop.Session."""
        if self._mailbox is None:
            return Standing.NOT_LOGGED_IN
        if self._last is not None:
            return Standing.COMMITTING
        return Standing.IN_TRANSFER if self._mailbox.at_work or self._out is not None else Standing.IDLE

    def _close(self, step: Close) -> None:
        """When the last reply has left, or now if there is none."""
        self._last = step
        self._debug("server", step.reply)
        self._send(step.reply)
        if self.over:
            return
        if self._out is not None:
            self.expect_within(CLOSING_SECONDS)
            self._mind_client()
        else:
            self.end(step.ending)

    # The mailbox

    def _open(self, step: Open) -> None:
        """The request is there: from now on the session has its name and its time."""
        service, request = self._service, step.request
        if request.sid != "-":
            self.sid = request.sid
        names = (request.mailbox.encode(), request.flags.encode())
        self._identity = (self.sid.encode(), *self._identity[1:3], *names)
        self.login_done(service.sessiontimeout)
        self._mailbox = Mailbox(self._shop, service.mailboxdir, request.mailbox, self)
        self._mailbox.list()

    def _send_message(self, step: SendMessage) -> None:
        assert self._mailbox is not None
        self._debug("server", step.reply)
        self._mailbox.send(step)

    def _update(self, step: Update) -> None:
        assert self._mailbox is not None
        self._mailbox.update(step)

    def disk_begins(self) -> None:
        """See mailbox.Owner."""
        self.expect_within(DISK_SECONDS)

    def disk_is_done(self, tell: Callable[[Any], None], outcome: Any) -> None:
        """See mailbox.Owner."""
        if self._last is None:
            self.expect_nothing()
            self._guarded(self._conclude, tell, outcome)

    def _conclude(self, tell: Callable[[Any], None], outcome: Any) -> None:
        tell(outcome)
        self._go_on()

    def answer(self, step: Reply | Close) -> None:
        """See mailbox.Owner."""
        if isinstance(step, Close):
            self._close(step)
            return
        if self._shown[0] is not Phase.SERVING:
            self._show()  # first: whoever has the reply finds the session under its own id
        self._debug("server", step.data)
        self._send(step.data)

    def send_piece(self, piece: bytes) -> None:
        """See mailbox.Owner."""
        self._send(piece)

    # Time

    def idle_at(self) -> float:
        """See Deadlines. A client that takes a large message is not idle."""
        return self.heard + self._service.idletimeout

    def expired(self, what: str) -> None:
        """See Deadlines."""
        self._guarded(self._expire, what)

    def _expire(self, what: str) -> None:
        """Who was idle, or was here too long, is cut without a word (RFC 1939 section 3)."""
        if self._last is not None:
            self.end(self._last.ending)
        elif what in ("idle", "session"):
            self.end(f"{what}_timeout")
        else:
            self._close(self.machine.too_late() if what == "auth" else self.machine.disk_is_slow())

    # The table, and the end

    def refresh(self) -> None:
        """See supervisor.workshop.Session."""
        if self._shown != (self.machine.phase, self.to_client):
            self._show()

    def _show(self) -> None:
        machine = self.machine
        self._shown = (machine.phase, self.to_client)
        self._shop.write_row(
            self._token,
            machine.phase,
            self._shop.pid,
            self.started_wall,
            time.time(),
            *self._identity,
            machine.retrieved,
            self.from_client,
            self.to_client,
        )

    def end(self, ending: str) -> None:
        """Once, for one reason: closes everything, frees the row, gives the token back, writes the story."""
        if self.over:
            return
        self.over = True
        self.no_alarm()
        if self._mailbox is not None:
            self._mailbox.close()
            self._mailbox = None
        if ending == "quit":
            self._channel.close()
        else:
            self._channel.close_kindly()
        seconds = time.monotonic() - self.started
        tell(self._shop, self, ending, self._last.reason if self._last is not None else "", seconds)
        self._shop.release(self._token, ending, seconds)


_DEEDS: dict[type, Callable[[Session, Any], None]] = {
    Open: Session._open,
    SendMessage: Session._send_message,
    Update: Session._update,
    Close: Session._close,
}
