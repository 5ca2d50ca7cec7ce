"""Plays a script on the machine alone: no process, no socket, no clock.

The proxy is configured by the same commands; the modules are asked here and now; the relay is a few lines. Time passes
when nothing else happens: then the earliest deadline strikes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from popular.pdm import loader
from popular.pdm.contract import AnyModule
from popular.protocol.international import International, international
from popular.protocol.lines import NullByte
from popular.protocol.mailcheck import BadPacket, CheckFailed, Mail, parse_mail_answer, question
from popular.protocol.watch import CommandWatch
from popular.proxy.service import kinds_taken
from popular.proxy.session.machine.failed_logins import NO_ANSWER, NO_CONNECTION
from popular.proxy.session.rules import rules_of
from supervisor.config import Config
from tests.pdm.asking import ask
from tests.proxy.console import Console
from tests.proxy.session_double import Known, PureSession
from tests.transcripts.performance import BEGINNING, Otherwise, fields, filled, lines, perform
from tests.transcripts.script import Script, Step, octets, shown

CLIENT = "127.0.0.1", 4711
SID = "p01.1.2"
PORTS = {"PORT": 1110, "BACKEND": 1111, "CHECK": 1112, "CLOSED": 1113}


def play(directory: Path, script: Script, pace: str) -> None:
    """Plays a script. Raises Differs with a diff."""
    words = {"DIR": str(directory), **{word: str(port) for word, port in PORTS.items()}}
    for name, text in script.files.items():
        (directory / name).write_text("".join(f"{filled(line, words)}\n" for line in text))
    console = Console()
    for command in ("set capadir $DIR", *BEGINNING, *script.commands):
        console.say(filled(command, words))
    perform(script, _Player(console, words, pace, offers=international(script.announces, script.speaks)))


def _modules(config: Config) -> list[AnyModule]:
    specs = config.things["pdm"].values()
    return [loader.load(spec.directory, spec.mod, spec.id, arguments=spec.args) for spec in specs]


class _Session(PureSession):
    """A session with its surroundings: modules, backend, mail check, relay, time."""

    def __init__(self, config: Config, offers: International) -> None:
        takes = kinds_taken(_modules(config), config.variables["fallback"])
        rules = rules_of(config.things["vserv"]["v1"], config, takes)
        announced = {ident: Known(backend.pipelining, offers) for ident, backend in rules.backends.items()}
        super().__init__(rules, *CLIENT, SID, announced=announced)
        self._config = config
        self._fallback = rules.fallback
        self._watch: CommandWatch | None = None
        """What the client says to the backend, as soon as the two are joined."""
        self.client_done = False
        self.ending = ""
        self.notes: list[tuple[str, Mapping[str, object]]] = []
        self.connections = 0
        self.mail_checks = 0

    def _done(self) -> list[tuple[Any, ...]]:
        """After each entry: what the verbs come to here and now is told."""
        done = super()._done()
        self.notes += [(verb[1], verb[2]) for verb in done if verb[0] == "note"]
        self.ending = self.verbs.ending
        if self.verbs.has_yielded:
            self.proceeds()
        if any(verb[0] == self.verbs.waits for verb in done):
            self._answer(self.verbs.waits, *self.verbs.asked)
        return done

    def _answer(self, waits: str, *asked: Any) -> None:
        if waits == "ask":
            hide_unknown = not self._fallback
            self.decided(ask(_modules(self._config), asked[0], hide_unknown=hide_unknown))
        elif waits == "check_mail" and self._config.variables["checkport"] == PORTS["CLOSED"]:
            self.checked(None, "Connection refused")
        elif waits == "check_mail":
            self.mail_checks += 1
        elif waits == "connect":
            self._connect(greets=asked[1])
        elif waits == "relay":
            self._watch = CommandWatch()
            self.verbs.to_client += asked[0]
            if asked[1]:
                self.client_sends(asked[1])

    def _connect(self, greets: bool) -> None:
        assert self.verbs.backend is not None
        if self.verbs.backend.port == PORTS["CLOSED"]:
            self.backend_failed("Connection refused")
            return
        self.connections += 1
        if not greets:
            self.connected()

    # The client

    def client_sends(self, data: bytes) -> None:
        if self._watch is None:
            self.says(data)
            return
        try:
            self._watch.see(data)
        except NullByte:
            self.relay_ended("null_byte")
        else:
            self.verbs.to_backend += data

    def client_ends(self) -> None:
        self.client_done = True
        if self._watch is None and not self.ending:
            self.leaves()

    def client_resets(self) -> None:
        if self._watch is None:
            self.ending = "client_reset"  # the machine is not told: there is nothing to decide
            self.verbs.backend = None
        else:
            self.relay_ended("client_reset")

    # The backend, and the mail check

    def backend_sends(self, data: bytes) -> None:
        if self._watch is not None:
            if self._watch.quit:
                self._watch.hear(data)
            else:
                self._watch.spoke()
            self.verbs.to_client += data
        else:
            self.backend_says(data)

    def backend_closes(self, reason: str) -> None:
        if self._watch is None:
            self.backend_failed(reason, "closed")
        elif self._watch.quit_answered:
            self.relay_ended("quit")
        else:
            self.relay_ended("client_closed" if self.client_done and not self._watch.quit else "backend_closed")

    def check_answers(self, packet: bytes) -> None:
        if self.verbs.waits != "check_mail":
            return  # too late: nobody listens
        mail: Mail | None = None
        reason = ""
        try:
            mail = parse_mail_answer(packet)
        except (BadPacket, CheckFailed) as error:
            reason = str(error)
        self.checked(mail, reason)

    # Time

    def time_passes(self) -> None:
        """Until the earliest deadline."""
        verbs, variables = self.verbs, self._config.variables
        logged_in = self._watch is not None or self.machine.phase.name == "SIMULATING"
        seconds = {
            "step": verbs.seconds,
            "session" if logged_in else "auth": variables["sessiontimeout" if logged_in else "authtimeout"] or None,
            "idle": variables["proxytimeout" if self._watch is not None else "idletimeout"],
        }
        what = min((limit, what) for what, limit in seconds.items() if limit is not None)[1]
        self.expired(what, NO_CONNECTION if verbs.waits == "connect" else NO_ANSWER if verbs.backend else "")


class _Player:
    """One performance, see performance.Player."""

    def __init__(self, console: Console, words: Mapping[str, str], pace: str, *, offers: International) -> None:
        self._context = console
        self._offers = offers
        self._words = words
        self._octet_by_octet = pace == "octets"
        self._current: _Session | None = None
        self._ended: _Session | None = None
        """The session whose end was seen last."""
        self._to_send = {"C": b"", "B": b""}
        self._connections = 0
        self._mail_checks = 0
        """How many of those of the current session the script has taken."""
        self._backend_is_closed = True
        """The script has seen the end of the connection that it took last."""

    def step(self, step: Step, following: Step | None) -> None:
        sign, text = step.sign, filled(step.text, self._words)
        match sign:
            case "C:" | "C=" | "B>" | "B=":
                who = sign[0]
                self._to_send[who] += octets(text) + (b"\r\n" if sign in ("C:", "B>") else b"")
                if following is None or following.sign not in (f"{who}:", f"{who}=", f"{who}>"):
                    self._send(who)
            case "C!" | "S!" | "B!":
                self._ACTIONS[sign, text](self)
            case "S:":
                self._client_receives(octets(text))
            case "B<":
                self._backend_receives(SID.encode() if text == "$SID" else octets(text))
            case "U<":
                self._is_asked(octets(text))
            case "U>":
                self._session().check_answers(octets(text) + b"\n")
            case "P:":
                self._context.say(text)
            case "E:" | "L:":
                self._logged(sign, text)

    # Who is there

    def _session(self) -> _Session:
        if self._current is None:
            self._connect()
        assert self._current is not None
        return self._current

    def _is_open(self) -> bool:
        vserv = self._context.config.things["vserv"].get("v1")
        return vserv is not None and vserv.state != "offline"

    def _connect(self) -> None:
        assert self._current is None, "the client is connected already"
        if not self._is_open():
            raise Otherwise("S! refused")
        self._connections = self._mail_checks = 0
        self._backend_is_closed = True
        self._current = _Session(self._context.config, self._offers)
        self._current.begin()

    def _refused(self) -> None:
        if self._is_open():
            raise Otherwise("C! connect")

    def _with_backend(self) -> _Session:
        """The session, whose next connection to the backend is taken now, if none is open."""
        session = self._session()
        if self._backend_is_closed:
            self._until(session, lambda: session.connections > self._connections)
            if session.connections == self._connections:
                raise Otherwise("# no connection to the backend")
            self._connections += 1
            self._backend_is_closed = False
        return session

    def _is_connected(self, session: _Session) -> bool:
        """Whether the connection that the script has taken still stands."""
        return session.verbs.backend is not None and session.connections == self._connections

    def _until(self, session: _Session, happened: Callable[[], bool]) -> None:
        while not session.ending and not happened():
            session.time_passes()

    # Handlers

    def _send(self, who: str) -> None:
        session = self._session() if who == "C" else self._with_backend()
        data, self._to_send[who] = self._to_send[who], b""
        for piece in [bytes([octet]) for octet in data] if self._octet_by_octet else [data]:
            if session.ending or (who == "B" and not self._is_connected(session)):
                return  # That it was right to close is said by the lines that follow.
            if who == "C":
                session.client_sends(piece)
            else:
                session.backend_sends(piece)

    def _client_sees_close(self) -> None:
        session = self._session()
        self._until(session, lambda: bool(session.verbs.to_client))
        if session.verbs.to_client:
            raise Otherwise(*lines("S:", session.verbs.to_client), "S! closed")

    def _client_closes(self) -> None:
        self._session().client_ends()

    def _client_resets(self) -> None:
        self._session().client_resets()

    def _backend_sees_close(self) -> None:
        session = self._with_backend()
        self._until(session, lambda: session.client_done or not self._is_connected(session))
        if self._is_connected(session):
            if session.verbs.to_backend:
                raise Otherwise(*lines("B<", session.verbs.to_backend), "B! closed")
            session.backend_closes("it closed the connection")
        self._backend_is_closed = True

    def _backend_closes(self, reason: str = "it closed the connection") -> None:
        session = self._with_backend()
        if self._is_connected(session):
            session.backend_closes(reason)
        self._backend_is_closed = True

    def _backend_resets(self) -> None:
        self._backend_closes("Connection reset by peer")

    _ACTIONS: Mapping[tuple[str, str], Callable[["_Player"], None]] = {
        ("C!", "connect"): _connect,
        ("C!", "close"): _client_closes,
        ("C!", "half-close"): _client_closes,
        ("C!", "reset"): _client_resets,
        ("S!", "closed"): _client_sees_close,
        ("S!", "refused"): _refused,
        ("B!", "close"): _backend_closes,
        ("B!", "reset"): _backend_resets,
        ("B!", "closed"): _backend_sees_close,
    }

    # What is to be received

    def _client_receives(self, wanted: bytes) -> None:
        self._receives(self._session(), "to_client", wanted, signs=("S!", "S:"))

    def _backend_receives(self, wanted: bytes) -> None:
        self._receives(self._with_backend(), "to_backend", wanted, signs=("B!", "B<"))

    def _receives(self, session: _Session, sent: str, wanted: bytes, *, signs: tuple[str, str]) -> None:
        """The next line of what the verbs have `sent`. `signs`: those of an end, and of a line, in a script."""
        verbs = session.verbs
        self._until(session, lambda: b"\n" in getattr(verbs, sent))
        line, end, rest = getattr(verbs, sent).partition(b"\r\n")
        if not end:
            raise Otherwise(f"{signs[0]} closed" if session.ending else "# no line")
        setattr(verbs, sent, rest)
        if line != wanted:
            raise Otherwise(f"{signs[1]} {shown(line)}")

    def _is_asked(self, wanted: bytes) -> None:
        session = self._session()
        if session.verbs.waits != "check_mail":
            raise Otherwise("# no mail check")
        self._mail_checks += 1
        packet = question(session.verbs.asked[1])
        if packet != wanted + b"\r\n":
            raise Otherwise(f"U< {shown(packet)}")

    # The log

    def _logged(self, sign: str, text: str) -> None:
        name, _, wanted = text.partition(" ")
        if sign == "E:":
            session = self._session()
            self._until(session, lambda: False)
            surplus = self._unread_of(session)
            if surplus:
                raise Otherwise(*surplus)
            self._current, self._ended = None, session
            machine = session.machine
            found: Mapping[str, object] = {
                "client": CLIENT[0],
                "vserv": "v1",
                "namespace": machine.namespace,
                "user": machine.user,
                "backend": machine.backend_id,
                "target": machine.target,
            }
            if session.ending != name:
                raise Otherwise(f"E: {session.ending}")
        else:
            assert self._ended is not None, "L: stands behind E:"
            notes = [fields for event, fields in self._ended.notes if event == name]
            if len(notes) != 1:
                raise Otherwise(f"# {len(notes)} entries {name}")
            found = notes[0]
        has = [f"{key}='{value}'" for key, value in found.items()]
        for field in fields(wanted):
            if field not in has:
                raise Otherwise(f"# {' '.join(has)}", f"# has no {field}")

    def unread(self) -> list[str]:
        session = self._current
        if session is None:
            return []
        return [*self._unread_of(session), *([f"E: {session.ending}"] if session.ending else [])]

    def _unread_of(self, session: _Session) -> list[str]:
        return [
            *lines("S:", session.verbs.to_client),
            *lines("B<", session.verbs.to_backend),
            *["# a connection to the backend"] * (session.connections - self._connections),
            *["# a mail check"] * (session.mail_checks - self._mail_checks),
        ]
