"""Plays a script through a real `pproxy`: a client, a backend and a mail check that do exactly what it says.

A stage lasts for many scripts: where one needs it, the proxy is configured anew, without being started again.
"""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.patience import patient
from tests.system.site import LOOPBACK, Entry, Peer, PopClient, Proxy, free_port, wait_until
from tests.transcripts.performance import BEGINNING, Otherwise, fields, filled, lines, perform
from tests.transcripts.script import Script, Step, octets, shown

PATIENCE = patient(3.0)
_BETWEEN_OCTETS = 0.0004


class Stage:
    """A proxy, and the sockets of a backend and of a mail check that outlive single scripts."""

    def __init__(self, proxy: Proxy, directory: Path, certificates: Path) -> None:
        self.proxy = proxy
        self.directory = directory
        self.backend = socket.create_server((LOOPBACK, 0))
        self.backend.settimeout(PATIENCE)
        self.check = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.check.bind((LOOPBACK, 0))
        self.check.settimeout(PATIENCE)
        self.words = {
            "PORT": str(free_port()),
            "BACKEND": str(self.backend.getsockname()[1]),
            "CHECK": str(self.check.getsockname()[1]),
            "CLOSED": str(free_port()),
            "DIR": str(directory),
            "TLS": str(certificates),
        }
        # The defaults of these need not exist, so that they could not be set again.
        self.proxy.said(self.filled("set capadir $DIR"))
        self.proxy.said(self.filled("set tlsdir $TLS"))
        self._first = dict(self._variables())
        self._set_up: tuple[list[str], dict[str, list[str]]] | None = None
        """The commands and files of the script that is set, unless its operator says more."""

    def close(self) -> None:
        self.backend.close()
        self.check.close()

    def filled(self, text: str) -> str:
        """A text with the site's words in it."""
        return filled(text, self.words)

    def set(self, script: Script) -> None:
        """Configures the proxy as if it were new, unless the script before has left it as this one wants it."""
        wanted = script.commands, script.files
        before, self._set_up = self._set_up, None
        if before != wanted:
            self._configure(script)
        if not any(step.sign == "P:" for step in script.steps):
            self._set_up = wanted

    def _configure(self, script: Script) -> None:
        for name, line in self._variables():
            if line != self._first[name]:
                self.proxy.said(f"set {self._first[name]}")
        for sort in ("vserv", "pdm", "backend"):
            self.proxy.said(f"{sort} flush")
        for name, text in script.files.items():
            (self.directory / name).write_text("".join(f"{self.filled(line)}\n" for line in text))
        for command in (*BEGINNING, *script.commands):
            self.proxy.said(self.filled(command))

    def _variables(self) -> Iterator[tuple[str, str]]:
        """Each variable's name, and name and value as `set` takes them."""
        for line in self.proxy.said("show").lines:
            yield line.partition(" ")[0], line


def play(stage: Stage, script: Script, pace: str) -> None:
    """Plays a script. Raises Differs with a diff."""
    stage.set(script)
    player = _Player(stage, pace)
    try:
        perform(script, player)
    finally:
        player.close()


class _Player:
    """One performance. Invariant: what is in `_to_send` leaves before anything is waited for."""

    def __init__(self, stage: Stage, pace: str) -> None:
        self._stage = stage
        self._proxy = stage.proxy
        self._octet_by_octet = pace == "octets"
        self._client: Peer | None = None
        self._backend: Peer | None = None
        self._to_send: dict[str, bytes] = {"C": b"", "B": b""}
        self._asker: tuple[str, int] | None = None
        self._sid = ""
        self._over = len(self._proxy.endings())
        self._entry: Entry | None = None

    def close(self) -> None:
        for peer in (self._client, self._backend):
            if peer is not None:
                peer.close()
        # After a difference a session may wait for a backend that will never answer.
        for row in self._proxy.sessions():
            self._proxy.control(f"kill {row['sid']}")
        self._proxy.wait_until_quiet()

    def step(self, step: Step, following: Step | None) -> None:
        """Does one line. Raises Otherwise."""
        sign, text = step.sign, self._stage.filled(step.text)
        if sign in ("C:", "C=", "B>", "B="):
            who = sign[0]
            self._to_send[who] += octets(text) + (b"\r\n" if sign in ("C:", "B>") else b"")
            if following is None or following.sign not in (f"{who}:", f"{who}=", f"{who}>"):
                self._send(who)
            return
        try:
            match sign:
                case "C!" | "S!" | "B!":
                    self._ACTIONS[sign, text](self)
                case "S:":
                    self._receives("S:", self._the_client(), octets(text))
                case "B<":
                    self._backend_receives(text)
                case "U<":
                    self._is_asked(octets(text))
                case "U>":
                    assert self._asker is not None, "U> answers U<"
                    self._stage.check.sendto(octets(text) + b"\n", self._asker)
                case "P:":
                    self._proxy.said(text)
                case "E:" | "L:":
                    self._logged(sign, text)
        except TimeoutError:
            raise Otherwise(f"# nothing happened for {PATIENCE:g} s, instead of {step}") from None

    # Who is there

    def _the_client(self) -> Peer:
        if self._client is None:
            self._connect()
        assert self._client is not None
        return self._client

    def _connect(self) -> None:
        assert self._client is None, "the client is connected already"
        self._entry = None
        self._sid = ""
        self._client = PopClient(int(self._stage.words["PORT"]), patience=PATIENCE)

    def _the_backend(self) -> Peer:
        if self._backend is None:
            connection, _ = self._stage.backend.accept()
            self._backend = Peer(connection, PATIENCE)
        return self._backend

    # Handlers

    def _send(self, who: str) -> None:
        peer = self._the_client() if who == "C" else self._the_backend()
        data, self._to_send[who] = self._to_send[who], b""
        try:
            if not self._octet_by_octet:
                peer.say(data)
                return
            for octet in data:
                peer.say(bytes([octet]))
                time.sleep(_BETWEEN_OCTETS)
        except ConnectionError:
            pass  # The other side has closed; that it was right to do so is said by the lines that follow.

    def _refused(self) -> None:
        try:
            self._connect()
        except ConnectionRefusedError:
            return
        raise Otherwise("C! connect")

    def _client_sees_close(self) -> None:
        self._sees_close("S", self._the_client())
        self._leave()

    def _backend_sees_close(self) -> None:
        self._sees_close("B", self._the_backend())
        self._backend_closes()

    def _sees_close(self, who: str, peer: Peer) -> None:
        rest = peer.rest()
        if rest:
            raise Otherwise(*lines("S:" if who == "S" else "B<", rest), f"{who}! closed")

    def _leave(self) -> None:
        assert self._client is not None
        self._client.close()
        self._client = None

    def _backend_closes(self) -> None:
        self._the_backend().close()
        self._backend = None

    def _client_resets(self) -> None:
        self._the_client().reset()
        self._client = None

    def _backend_resets(self) -> None:
        self._the_backend().reset()
        self._backend = None

    _ACTIONS = {
        ("C!", "connect"): _connect,
        ("C!", "close"): _leave,
        ("C!", "half-close"): lambda self: self._the_client().half_close(),
        ("C!", "reset"): _client_resets,
        ("S!", "closed"): _client_sees_close,
        ("S!", "refused"): _refused,
        ("B!", "close"): _backend_closes,
        ("B!", "reset"): _backend_resets,
        ("B!", "closed"): _backend_sees_close,
    }

    # What is to be received

    def _receives(self, sign: str, peer: Peer, wanted: bytes) -> None:
        try:
            line = peer.line()
        except (AssertionError, ConnectionError) as error:
            raise Otherwise(*lines(sign, peer.heard), f"{sign[0]}! closed", f"# {error}") from None
        if line != wanted:
            raise Otherwise(f"{sign} {shown(line)}")

    def _backend_receives(self, text: str) -> None:
        if text != "$SID":
            self._receives("B<", self._the_backend(), octets(text))
            return
        self._sid = self._the_backend().line().decode()
        if not re.fullmatch(r"[\w.-]+\.\d+\.\d+(-\d+)?", self._sid):
            raise Otherwise(f"B< {self._sid}")

    def _is_asked(self, wanted: bytes) -> None:
        packet, self._asker = self._stage.check.recvfrom(2048)
        if packet != wanted + b"\r\n":
            raise Otherwise(f"U< {shown(packet)}")

    # The log

    def _logged(self, sign: str, text: str) -> None:
        name, _, wanted = text.partition(" ")
        if sign == "E:":
            self._over += 1
            wait_until(lambda: len(self._proxy.endings()) >= self._over, "the session is over")
            self._entry = self._proxy.log("session_end")[-1]
            wanted = f"ending='{name}' {wanted}"
            if self._sid and self._sid != self._entry.sid:
                raise Otherwise(f"# the backend was told the session id {self._sid}; the log says {self._entry.sid}")
            found = [self._entry]
        else:
            assert self._entry is not None, "L: stands behind E:"
            found = self._proxy.log(name, self._entry.sid)
            if len(found) != 1:
                raise Otherwise(f"# {len(found)} entries {name}", *(f"# {entry.line}" for entry in found))
        for field in fields(wanted):
            if f" {field} " not in f"{found[0].line} ":
                raise Otherwise(f"# {found[0].line}", f"# has no {field}")

    def unread(self) -> list[str]:
        """What came, or comes within a moment, and was not asked for."""
        surplus: list[str] = []
        for sign, peer in (("S:", self._client), ("B<", self._backend)):
            if peer is not None:
                peer.connection.settimeout(0.02)
                try:
                    rest = peer.rest()
                except TimeoutError:
                    rest = peer.heard
                surplus += lines(sign, rest)
        surplus += self._surprises()
        # A session that is over has its line in the log before its row is free.
        deadline = time.monotonic() + 0.1
        while self._proxy.sessions() and time.monotonic() < deadline:
            time.sleep(0.005)
        over = len(self._proxy.endings())
        return [*surplus, *(f"E: {ending}" for ending in self._proxy.endings()[self._over : over])]

    def _surprises(self) -> Iterator[str]:
        """Connections and packets that nobody took."""
        stage = self._stage
        for waiting, what in ((stage.backend, "# a connection to the backend"), (stage.check, "# a mail check")):
            waiting.settimeout(0)
            try:
                while True:
                    if waiting is stage.backend:
                        waiting.accept()[0].close()
                    else:
                        waiting.recv(2048)
                    yield what
            except BlockingIOError:
                pass
            finally:
                waiting.settimeout(PATIENCE)
