"""A session without sockets: the machine, and in place of its driver a double that writes down each verb.

The double holds the machine to the rules of the verbs, and knows what is waited for, so that a test can say only what
could come. Pure, as the machine is.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from popular.pdm.contract import Question
from popular.pdm.decision import Decision
from popular.protocol.international import NOTHING, International
from popular.protocol.mailcheck import Mail
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import NO_MECHANISMS, BackendKnowledge, HealthKnowledge
from popular.proxy.session.backend.rejections import UnexplainedRejections
from popular.proxy.session.limits.contracts import NO_LIMITS, LoginLimits
from popular.proxy.session.limits.login_orders import NO_ORDERS, AskedLogin, LoginOrders
from popular.proxy.session.limits.refusal_times import RefusalTimes
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.machine.machine_state import CLOSING_SECONDS
from popular.proxy.session.machine.phases import Phase
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.session.rules import Rules
from popular.proxy.session.who import PollMemory
from popular.proxy.settings.backend import Backend
from supervisor.runtime.messages import Message
from tests.proxy.session_rules import LOGIN_SECONDS

NONE_KNOWN: Mapping[str, UnexplainedRejections] = {}
NOTHING_ANNOUNCED: Mapping[str, BackendKnowledge] = {}
ALL_WELL: Mapping[str, HealthKnowledge] = {}
REPLY = "reply"
"""What is waited for after `send_backend`; everything else that is has the name of its verb."""


class Known(BackendKnowledge):
    """What is known of a backend; one that is asked (`auto`) has announced PIPELINING."""

    def __init__(self, pipelining: str, offers: International = NOTHING, lines: Sequence[str] | None = None) -> None:
        self.offers = offers
        self.lines = lines
        self._learns = pipelining == "auto"
        self._pipelines = pipelining != "off"

    def pipelines(self) -> bool:
        return self._pipelines

    def mechanisms(self) -> frozenset[str]:
        return NO_MECHANISMS

    def international(self) -> International:
        return self.offers

    def capabilities(self) -> Sequence[str] | None:
        return self.lines

    def mistrust(self) -> bool:
        news, self._pipelines = self._learns and self._pipelines, self._pipelines and not self._learns
        return news


class SessionDouble(Verbs):
    """The verbs of one session."""

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.row_number = 0
        self.done: list[tuple[Any, ...]] = []
        """All verbs in order. Neighbouring replies are one, as they are one on the wire."""
        self.to_client = b""
        self.to_backend = b""
        """What was sent to backends."""
        self.waits = ""
        """For the answer to which verb."""
        self.asked: tuple[Any, ...] = ()
        """What that verb was given."""
        self.seconds: float | None = None
        """For what is waited for."""
        self.backend: Backend | None = None
        """To whom there is a connection, or will be."""
        self.ending = ""
        self.has_yielded = False
        """All others have their turn before it goes on."""
        self.blocked: set[str] = set()
        """Addresses."""

    def _write(self, *verb: Any) -> None:
        assert not self.ending, f"{verb[0]} after the end"
        if verb[0] == "send" and self.done and self.done[-1][0] == "send":
            self.done[-1] = ("send", self.done[-1][1] + verb[1])
        else:
            self.done.append(verb)

    def _wait(self, verb: str, *given: Any, instead_of: str = "") -> None:
        assert self.waits == instead_of, f"{verb} while the answer to {self.waits or 'nothing'} is waited for"
        assert self.seconds is not None, f"{verb} without a limit"
        self._write(verb, *given)
        self.waits = verb
        self.asked = given

    # The verbs

    def is_blocked(self, address: str) -> bool:
        return address in self.blocked

    def send(self, data: bytes) -> None:
        assert data.endswith(b"\r\n"), "half a reply"
        self._write("send", data)
        self.to_client += data

    def yield_turn(self) -> None:
        self._write("yield_turn")
        self.has_yielded = True

    def start_tls(self, seconds: float) -> None:
        self.seconds = seconds
        self._wait("start_tls")

    def await_header(self, seconds: float) -> None:
        self.seconds = seconds
        self._wait("await_header")

    def ask(self, question: Question, seconds: float) -> None:
        self.seconds = seconds
        self._wait("ask", question)

    def take_as_decided(self, decision: Decision) -> None:
        assert not self.waits
        self._write("take_as_decided", decision)
        self.waits = "ask"

    def check_mail(self, backend: BackendRuntime, mailbox: str, seconds: float) -> None:
        self.seconds = seconds
        self._wait("check_mail", backend.id, mailbox)

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        assert self.backend is None, "the connection of before was not left"
        self.seconds = seconds
        self._wait("connect", backend.id, greets)
        self.backend = backend.settings

    def expect(self, seconds: float) -> None:
        self._write("expect", seconds)
        self.seconds = seconds

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        assert seconds > 0
        self.seconds, self.at_least = seconds, at_least
        self._wait("hold", seconds)

    def await_release(self, asking: AskedLogin, seconds: float) -> None:
        assert seconds > 0
        self.seconds = seconds
        self._wait("await_release", asking, seconds)

    def send_backend(self, data: bytes) -> None:
        assert self.backend is not None, "nobody is there"
        self._wait("send_backend", data, instead_of=self.waits and REPLY)
        self.waits = REPLY
        self.to_backend += data

    def start_backend_tls(self) -> None:
        assert self.backend is not None, "nobody is there"
        self._wait("start_backend_tls", instead_of=REPLY)

    def leave_backend(self) -> None:
        self._write("leave_backend")
        self._backend_is_gone()

    def _backend_is_gone(self) -> None:
        self.waits = ""
        self.backend = self.seconds = None

    def logged_in(self) -> None:
        self._write("logged_in")

    def relay(self, to_client: bytes, to_backend: bytes) -> None:
        assert self.backend is not None, "nobody is there"
        self._wait("relay", to_client, to_backend, instead_of=REPLY)
        self.seconds = None

    def note(self, message: Message, fields: dict[str, object]) -> None:
        self._write("note", message.name, fields)

    def count(self, counter: str, label: str | None, ident: str) -> None:
        self._write("count", counter, label, ident)

    def finish(self, ending: str, seconds: float) -> None:
        assert seconds == CLOSING_SECONDS
        self._write("finish", ending)
        self.ending = ending
        self._backend_is_gone()


class Tracked(Machine):
    """The machine, which also writes down its way."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.way = [self.phase]

    def _move(self, phase: Phase) -> None:
        super()._move(phase)
        self.way.append(phase)


class PureSession:
    """A machine with its double. Each entry gives the verbs that it called."""

    def __init__(
        self,
        rules: Rules,
        ip: str = "192.0.2.1",
        port: int = 4711,
        sid: str = "p01.1.2",
        rejections: Mapping[str, UnexplainedRejections] = NONE_KNOWN,
        announced: Mapping[str, BackendKnowledge] = NOTHING_ANNOUNCED,
        limits: LoginLimits = NO_LIMITS,
        health: Mapping[str, HealthKnowledge] = ALL_WELL,
        orders: LoginOrders = NO_ORDERS,
        polls: PollMemory | None = None,
        times: RefusalTimes | None = None,
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        self.verbs = SessionDouble(sid)
        backends = {
            ident: BackendRuntime(
                one,
                (rules.connecttimeout, login_seconds),
                announced=announced.get(ident),
                health=health.get(ident),
                rejections=rejections.get(ident),
            )
            for ident, one in rules.backends.items()
        }
        around = Surroundings(rules, backends, limits=limits, orders=orders, polls=polls, times=times)
        self.machine = Tracked(self.verbs, around, (ip, port))

    @property
    def moves(self) -> list[tuple[Phase, Phase]]:
        """From which phase to which it has gone."""
        return list(itertools.pairwise(self.machine.way))

    def _done(self) -> list[tuple[Any, ...]]:
        done, self.verbs.done = self.verbs.done, []
        return done

    def _answered(self, *verbs: str) -> None:
        assert self.verbs.waits in verbs, f"nobody waits for the answer to {verbs[0]}"
        self.verbs.waits = ""
        self.verbs.seconds = None

    def begin(self) -> list[tuple[Any, ...]]:
        self.machine.begin()
        return self._done()

    # The client

    def proceeds(self) -> list[tuple[Any, ...]]:
        """All others have had their turn."""
        assert self.verbs.has_yielded, "it does not wait for its turn"
        self.verbs.has_yielded = False
        if not self.verbs.ending:
            self.machine.proceed()
        return self._done()

    def goes_on(self) -> list[tuple[Any, ...]]:
        """… as often as it takes to answer all."""
        done: list[tuple[Any, ...]] = []
        while self.verbs.has_yielded:
            done += self.proceeds()
        return done

    def says(self, data: bytes) -> list[tuple[Any, ...]]:
        assert not self.verbs.has_yielded, "nobody hears it"
        assert self.verbs.waits not in ("start_tls", "await_header", "relay"), "somebody else reads the client"
        self.machine.client_says(data)
        return self._done()

    def leaves(self) -> list[tuple[Any, ...]]:
        """It sends nothing more; if a header or TLS is waited for, nothing of that came."""
        self.machine.client_eof()
        return self._done()

    def breaks(self) -> list[tuple[Any, ...]]:
        """Its connection does, or somebody else ends the session: the machine hears that it is over."""
        self.machine.over()
        return self._done()

    def introduced(self, ip: str, port: int) -> list[tuple[Any, ...]]:
        self._answered("await_header")
        self.machine.introduced((ip, port))
        return self._done()

    def header_failed(self, reason: str) -> list[tuple[Any, ...]]:
        self._answered("await_header")
        self.machine.header_failed(reason)
        return self._done()

    def tls_up(self, certificate_name: str = "") -> list[tuple[Any, ...]]:
        self._answered("start_tls")
        self.machine.tls_up(certificate_name)
        return self._done()

    def tls_failed(self, why: str, reason: str) -> list[tuple[Any, ...]]:
        self._answered("start_tls")
        self.machine.tls_failed(why, reason)
        return self._done()

    # The login

    def decided(self, decision: Decision) -> list[tuple[Any, ...]]:
        """Unlike other answers it may also come when nobody waits for it any more: a thread cannot be stopped."""
        if self.verbs.waits == "ask":
            self._answered("ask")
        self.machine.decided(decision)
        return self._done()

    def released(self) -> list[tuple[Any, ...]]:
        """The operator has ordered something else about who is held."""
        self._answered("await_release")
        self.machine.released()
        return self._done()

    def checked(self, mail: Mail | None, reason: str = "") -> list[tuple[Any, ...]]:
        self._answered("check_mail")
        self.machine.checked(mail, reason)
        return self._done()

    def reached(self, number: int) -> list[tuple[Any, ...]]:
        """One of its addresses has a connection; what it says comes after that."""
        assert self.verbs.waits == "connect", "nobody connects to it"
        self.machine.reached(number)
        return self._done()

    def connected(self) -> list[tuple[Any, ...]]:
        assert self.verbs.asked[1:] == (False,), "who greets is there when it has"
        self._answered("connect")
        self.machine.connected()
        return self._done()

    def backend_says(self, data: bytes) -> list[tuple[Any, ...]]:
        assert self.verbs.waits in ("connect", REPLY), "nobody listens to the backend"
        assert self.verbs.waits == REPLY or self.verbs.asked[1], "who does not greet speaks only when spoken to"
        self.verbs.waits = REPLY
        self.machine.backend_says(data)
        return self._done()

    def backend_tls_up(self) -> list[tuple[Any, ...]]:
        assert self.verbs.waits == "start_backend_tls", "nobody waits for TLS"
        self.verbs.waits = ""
        self.machine.backend_tls_up()
        return self._done()

    def backend_failed(self, reason: str, word: str = "") -> list[tuple[Any, ...]]:
        self._answered("check_mail", "connect", REPLY, "start_backend_tls")
        self.verbs.backend = None
        self.machine.backend_failed(reason, word)
        return self._done()

    def relay_ended(self, ending: str) -> list[tuple[Any, ...]]:
        self._answered("relay")
        self.machine.relay_ended(ending)
        return self._done()

    # Time

    def expired(self, what: str, missing: str = "") -> list[tuple[Any, ...]]:
        if what == "step":
            assert self.verbs.seconds is not None, "nothing is waited for that has a limit"
            self.verbs.seconds = None
            if self.verbs.backend is None:
                self.verbs.waits = ""
        self.machine.expired(what, missing)
        return self._done()
