"""Random walks through the storage server's machine, with every client, disk and clock that there may be."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from popular.protocol.transaction import LINES_OF_A_PIECE
from popular.store.maildir.listing import CUR, NEW, ListingNote, StoredMessage
from popular.store.messages import NOT_A_MESSAGE
from popular.store.pserv.machine import ENOUGH, Machine
from popular.store.pserv.phases import Phase, Want

REQUEST = b"joe\r\np.1\r\n\r\n"
LINES = [b"joe\r\n", b"p.1\r\n", b"\r\n", b"M\r\n", REQUEST, b"STAT\r\n", b"UIDL\r\n", b"LIST\r\n"]
LINES += [b"RETR 1\r\n", b"TOP 2 0\r\n", b"RETR 9\r\n", b"DELE 1\r\n", b"DELE 2\r\n", b"RSET\r\n", b"NOOP\r\n", b"NO"]
LINES += [b"QUIT\r\n", b"CAPA\r\n", b"DELE 1\r\nQUIT\r\n", b"RETR 1\r\nQUIT\r\n", *[b"UIDL\r\nLIST\r\n"] * 3]
SAID = st.lists(st.sampled_from(LINES), min_size=1, max_size=6).map(b"".join) | st.binary(min_size=1, max_size=9)
MAILBOXES = st.sampled_from([0, 1, 2, *[2 * LINES_OF_A_PIECE] * 4, *[3 * LINES_OF_A_PIECE] * 2])
"""Most are so large that a listing of them comes in pieces."""
SELDOM = st.sampled_from([False] * 19 + [True])
"""For what ends a session, or no walk comes far."""
MANY = [StoredMessage(n, f"u{n}", (NEW, CUR)[n % 2], name=f"u{n}") for n in range(3 * LINES_OF_A_PIECE)]
ANSWERS = {
    "list": ["opened"] * 9 + ["cannot_open"],
    "open": ["piece"] * 6 + ["gone", "unreadable"],
    "read": ["piece"] * 6 + ["broke_off"],
    "update": ["updated"] * 6 + ["cannot_update"],
}
"""What the disk may say to each job."""


class Driver:
    """Does what a session does, as far as the machine can see it, and holds the machine to the rules of the verbs."""

    def __init__(self) -> None:
        self.job = ""
        """What the disk is asked for."""
        self.expects = False
        self.endings: list[str] = []
        self.updates = 0
        self.sent = 0
        """Octets during this entry."""
        self.in_message = False
        self.quit_given = False

    def _alive(self) -> None:
        assert not self.endings, "a verb after the end"

    def _ask(self, job: str) -> None:
        self._alive()
        assert self.job == "", f"{job} while the disk is busy with {self.job}"
        self.job = job

    def send(self, reply: bytes) -> None:
        self._alive()
        assert not self.in_message, "a reply inside a message"
        assert reply.endswith(b"\r\n")
        self.sent += len(reply)

    def send_content(self, piece: bytes) -> None:
        self._alive()
        self.in_message = True
        self.sent += len(piece)

    def open_mailbox(self, _request: object) -> None:
        self._ask("list")

    def open_message(self, _message: StoredMessage, _lines: int | None) -> None:
        self._ask("open")

    def read_on(self) -> None:
        assert self.in_message
        self._ask("read")

    def update(self, deleted: list[StoredMessage], read: list[StoredMessage]) -> None:
        self._ask("update")
        assert deleted or read
        assert self.quit_given
        self.updates += 1

    def expect_within(self, _seconds: float) -> None:
        self._alive()
        self.expects = True

    def expect_nothing(self) -> None:
        self._alive()
        self.expects = False

    def note(self, _message: object, **fields: object) -> None:
        self._alive()
        assert fields["mailbox"]

    def count(self, _counter: str) -> None:
        self._alive()

    def end(self, ending: str, _reason: str) -> None:
        self._alive()
        self.endings.append(ending)


class Walked(Machine):
    """The machine, which also writes down its moves."""

    def __init__(self, driver: Driver, moves: Counter[tuple[Phase, Phase]]) -> None:
        super().__init__(driver, ("TOP", "UIDL"))  # type: ignore[arg-type]
        self.moves = moves
        self.path = [self.phase]

    def _move(self, phase: Phase) -> None:
        self.moves[self.phase, phase] += 1
        super()._move(phase)
        self.path.append(phase)


class Walk(RuleBasedStateMachine):
    """One session. A rule is what may happen to it, whenever it may happen."""

    moves: Counter[tuple[Phase, Phase]] = Counter()
    """How often each move was made, in all walks."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.machine = Walked(self.driver, self.moves)
        self.heard = b""

    @initialize(request=st.sampled_from([b"", REQUEST, REQUEST, REQUEST]), more=SAID)
    def begins(self, request: bytes, more: bytes) -> None:
        """Most walks begin with a good request: what is after it is larger."""
        self.says(request + more)

    def tell(self, entry: str, *lookups: object, **named: object) -> None:
        self.driver.sent = 0
        getattr(self.machine, entry)(*lookups, **named)
        assert self.driver.sent <= 3 * ENOUGH + 4096, "too much at a time"

    def alive(self) -> bool:
        return not self.driver.endings

    @precondition(lambda self: self.machine.wants is Want.OCTETS)
    @rule(data=SAID)
    def client_says(self, data: bytes) -> None:
        self.says(data)

    def says(self, data: bytes) -> None:
        self.heard += data
        self.driver.quit_given = b"QUIT" in self.heard.upper()
        self.tell("says", data)

    @precondition(lambda self: self.machine.wants in (Want.ROOM, Want.TURN))
    @rule()
    def takes_all(self) -> None:
        self.tell("proceed")

    @precondition(lambda self: self.alive() and self.driver.job)
    @rule(data=st.data())
    def disk_answers(self, data: st.DataObject) -> None:
        job, self.driver.job = self.driver.job, ""
        answer = data.draw(st.sampled_from(ANSWERS[job]))
        if answer == "opened":
            count, odd = data.draw(MAILBOXES), data.draw(st.integers(0, 30))
            self.tell("opened", MANY[:count], [ListingNote(NOT_A_MESSAGE, "f", "d")] * odd)
        elif answer == "piece":
            late, last = self.machine.phase is not Phase.SENDING, data.draw(st.booleans())
            self.tell("piece", data.draw(st.binary(max_size=50)), last=last)
            if last and not late:
                self.driver.in_message = False
        elif answer == "updated":
            self.tell("updated", data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3)), [])
        else:
            self.tell(answer, *([] if answer == "gone" else ["EIO"]))

    @precondition(lambda self: self.alive())
    @rule(now=SELDOM, what=st.sampled_from(["client_ends", "reset", "auth", "step", "idle", "session"]))
    def goes_wrong(self, now: bool, what: str) -> None:
        possible = {
            "client_ends": self.machine.wants is Want.OCTETS,
            "reset": True,
            "auth": self.machine.request is None,
            "step": self.driver.expects,
        }
        if not now or not possible.get(what, self.machine.request is not None):
            return
        if what == "step":
            self.driver.expects = False
        if what in ("client_ends", "reset"):
            self.tell(what)
        else:
            self.tell("expired", what)
        assert self.machine.wants is not Want.OCTETS

    @precondition(lambda self: not self.alive())
    @rule()
    def is_over(self) -> None:
        """Nothing can happen any more."""

    @invariant()
    def ends_once(self) -> None:
        """One ending, in ENDED; one UPDATE at most. That each move is legal, the machine asserts itself."""
        driver, machine = self.driver, self.machine
        assert len(driver.endings) == (machine.phase is Phase.ENDED)
        assert driver.updates <= 1
        assert driver.updates == self.machine.path.count(Phase.UPDATING)

    @invariant()
    def waits_for_something_that_comes(self) -> None:
        """It never waits for what nobody was asked for: no session hangs."""
        wants, phase = self.machine.wants, self.machine.phase
        if self.alive():
            assert wants is not Want.FACT or (self.driver.job and self.driver.expects)
            assert phase is not Phase.ENDING or self.driver.expects
            assert wants is not Want.OCTETS or phase in (Phase.ASKED_NOTHING, Phase.SERVING)


def test_random_walks() -> None:
    """No exception, no illegal move, one ending, nothing after it, no session that hangs, one UPDATE at most and only
    after QUIT; and the walks come through every phase."""
    Walk.moves.clear()
    run_state_machine_as_test(Walk, settings=settings(max_examples=250, stateful_step_count=40, deadline=None))
    assert {after for _, after in Walk.moves} == set(Phase) - {Phase.ASKED_NOTHING}
