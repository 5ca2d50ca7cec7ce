"""Holds dialogues that nobody would hold with a real proxy: client, backend and mail check all play badly.

The dialogues are the transcripts', mutated; each is played under its own script's configuration, one in eight inside
TLS, and one in eight with broken records of TLS. After each round the proxy must be as before: the same workers, no
session left, no fault in its log. A dialogue depends on the seed and its number alone.
"""

import contextlib
import random
import select
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from tests.patience import patient
from tests.sanitize.mutation import Move, changed, mutated, pieces, recorded
from tests.system.certificates import Authority
from tests.system.site import LOOPBACK, Proxy, free_port, wait_until
from tests.system.wire import Peer
from tests.transcripts.play import Stage
from tests.transcripts.script import Script, by_set_up, read

HERE = Path(__file__).parent
SCRIPTS = (*sorted((HERE.parent / "transcripts").glob("*.txt")), HERE / "more.txt")
ANSWER_SECONDS = 0.004
"""How long somebody waits for an answer before he goes on: most come earlier, and some never."""
PATIENCE = patient(60)


class Player:
    """One dialogue on a stage."""

    def __init__(self, stage: Stage, port: int, dice: random.Random) -> None:
        self._stage = stage
        self._dice = dice
        self._client = socket.create_connection((LOOPBACK, port), PATIENCE)
        self._client.setblocking(False)
        self._backend: socket.socket | None = None
        self._asker: tuple[str, int] | None = None
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._breaks = False

    def speak_tls(self, context: ssl.SSLContext, breaks: bool) -> None:
        """From now on; some of the client's records are broken on their way."""
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._breaks = breaks
        for _ in range(4):
            with contextlib.suppress(ssl.SSLError):
                self._tls.do_handshake()
            self._flush()
            self._listen(10 * ANSWER_SECONDS)

    def play(self, moves: list[Move]) -> None:
        """All of it; whoever has left says nothing more."""
        self._listen(ANSWER_SECONDS)
        for move in moves:
            with contextlib.suppress(OSError):
                self._do(move)
            self._listen(ANSWER_SECONDS)

    def close(self) -> None:
        self._client.close()
        if self._backend is not None:
            self._backend.close()

    def _do(self, move: Move) -> None:
        if move.who == "U":
            if self._asker is not None:
                self._stage.check.sendto(move.data[:60_000], self._asker)
            return
        speaker = self._client if move.who == "C" else self._backend
        if speaker is None:
            return
        for piece in pieces(move.data, self._dice):
            if move.who == "C" and self._tls is not None:
                with contextlib.suppress(ssl.SSLError):
                    self._tls.write(piece)
                self._flush()
            else:
                speaker.send(piece)
        if move.end == "half-close":
            speaker.shutdown(socket.SHUT_WR)
        elif move.end == "reset":
            Peer(speaker).reset()
        elif move.end:
            speaker.close()

    def _flush(self) -> None:
        data = self._out.read()
        if data and self._breaks and self._dice.randrange(3) == 0:
            data = changed(data, self._dice)
        with contextlib.suppress(OSError):
            self._client.send(data)

    def _listen(self, seconds: float) -> None:
        """Takes whatever has come within that time; who connects to the backend is let in."""
        deadline = time.monotonic() + seconds
        while True:
            sockets = [self._stage.backend, self._stage.check, self._client, self._backend]
            waiting = [each for each in sockets if each is not None and each.fileno() >= 0]
            found, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
            for each in found:
                self._hear(each)
            if not found or time.monotonic() > deadline:
                return
            deadline = min(deadline, time.monotonic() + seconds / 4)

    def _hear(self, heard: socket.socket) -> None:
        if heard is self._stage.backend:
            if self._backend is not None:
                self._backend.close()
            self._backend, _ = heard.accept()
            self._backend.setblocking(False)
        elif heard is self._stage.check:
            _, self._asker = heard.recvfrom(2048)
        else:
            try:
                data = heard.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                heard.close()
            elif heard is self._client and self._tls is not None:
                self._in.write(data)
                with contextlib.suppress(ssl.SSLError):
                    self._tls.read(1 << 16)
                self._flush()


class Fuzzer:
    """A proxy, and `dialogues` with it; `a_round` of them under one configuration, then the next one has its turn."""

    def __init__(self, proxy: Proxy, directory: Path, *, seed: int, a_round: int = 25) -> None:
        self._proxy = proxy
        self._seed, self._a_round = seed, a_round
        authority = Authority()
        certificates = directory / "tls"
        certificates.mkdir()
        authority.issue("localhost").write(certificates, "default")
        self._context = authority.trusting()
        self._stage = Stage(proxy, directory, certificates)
        self._port, self._secure = int(self._stage.words["PORT"]), free_port()
        self._workers = sorted(proxy.workers())
        self._rounds = list(_rounds())
        self.dialogues = 0

    def close(self) -> None:
        self._stage.close()

    def run(self, seconds: float) -> None:
        """For so long, and every configuration once at least. Fails if the proxy is not as before after a round."""
        deadline = time.monotonic() + seconds
        lent = [recorded(script, self._stage.words) for scripts in self._rounds for script in scripts]
        number = 0
        while number < len(self._rounds) or time.monotonic() < deadline:
            scripts = self._rounds[number % len(self._rounds)]
            self._stage.set(scripts[0])
            self._proxy.said(f"vserv conf secure iface {LOOPBACK} port {self._secure} prot POP3s state online")
            for turn in range(self._a_round):
                self._hold(recorded(scripts[turn % len(scripts)], self._stage.words), lent)
            self._look()
            number += 1

    def _hold(self, dialogue: list[Move], lent: list[list[Move]]) -> None:
        self.dialogues += 1
        dice = random.Random(f"{self._seed}:{self.dialogues}")
        way = dice.randrange(8)
        try:
            player = Player(self._stage, self._secure if way < 2 else self._port, dice)
        except ConnectionRefusedError:
            return  # that virtual server is disabled
        try:
            if way < 2:
                player.speak_tls(self._context, breaks=way == 1)
            player.play(mutated(dialogue, lent, dice))
        finally:
            player.close()

    def _look(self) -> None:
        """The proxy is as it was."""
        for row in self._proxy.sessions():
            self._proxy.control(f"kill {row['sid']}")
        wait_until(lambda: not self._proxy.sessions(), f"no session is left ({self.where()})", PATIENCE)
        assert sorted(self._proxy.workers()) == self._workers, f"a worker has died ({self.where()})"
        faults = [entry.line for entry in self._proxy.log() if entry.level == "BUG"]
        assert faults == [], f"{faults} ({self.where()})"

    def where(self) -> str:
        """By which it can be done again."""
        return f"seed {self._seed}, dialogues {self.dialogues - self._a_round + 1} to {self.dialogues}"


def _rounds() -> Iterator[list[Script]]:
    """Scripts that want the same configuration."""
    scripts = by_set_up([script for path in SCRIPTS for script in read(path)])
    for script in list(scripts):
        alike = [other for other in scripts if (other.commands, other.files) == (script.commands, script.files)]
        if alike[0] is script:
            yield alike
