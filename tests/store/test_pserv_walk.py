"""Random walks through the storage server's machine, with every client, disk and clock that there may be."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from popular.protocol.transaction import LINES_OF_A_PIECE
from popular.store.listing import CUR, NEW, Message, Note
from popular.store.messages import NOT_A_MESSAGE
from popular.store.pserv.machine import ENOUGH, Machine, Want
from popular.store.pserv.phases import Phase

LINES = [b"joe\r\n", b"p.1\r\n", b"\r\n", b"M\r\n", b"joe\r\np.1\r\n\r\n", b"STAT\r\n", b"UIDL\r\n", b"LIST\r\n"]
LINES += [b"RETR 1\r\n", b"TOP 2 0\r\n", b"RETR 9\r\n", b"DELE 1\r\n", b"DELE 2\r\n", b"RSET\r\n", b"NOOP\r\n", b"NO"]
LINES += [b"QUIT\r\n", b"CAPA\r\n"]
SAID = st.lists(st.sampled_from(LINES), min_size=1, max_size=6).map(b"".join) | st.binary(min_size=1, max_size=30)
MAILBOXES = st.sampled_from([0, 1, 2, 5, LINES_OF_A_PIECE, 3 * LINES_OF_A_PIECE])
REASONS = st.sampled_from(["EIO", "EACCES"])


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

    def open_message(self, _message: Message, _lines: int | None) -> None:
        self._ask("open")

    def read_on(self) -> None:
        assert self.in_message
        self._ask("read")

    def update(self, deleted: list[Message], read: list[Message]) -> None:
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


class Walk(RuleBasedStateMachine):
    """One session. A rule is what may happen to it, whenever it may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.machine = Machine(self.driver, ("TOP", "UIDL"))
        self.path = [self.machine.phase]
        self.heard = b""

    def enter(self, entry: str, *facts: object, **named: object) -> None:
        self.driver.sent = 0
        getattr(self.machine, entry)(*facts, **named)
        assert self.driver.sent <= 3 * ENOUGH + 4096, "too much at a time"
        if self.machine.phase is not self.path[-1]:
            self.path.append(self.machine.phase)

    def alive(self) -> bool:
        return not self.driver.endings

    def disk(self, *jobs: str) -> bool:
        return self.alive() and self.driver.job in jobs

    def comes(self, entry: str, *facts: object, **named: object) -> None:
        self.driver.job = ""
        self.enter(entry, *facts, **named)

    @precondition(lambda self: self.machine.wants is Want.OCTETS)
    @rule(data=SAID)
    def says(self, data: bytes) -> None:
        self.heard += data
        self.driver.quit_given = b"QUIT" in self.heard.upper()
        self.enter("says", data)

    @precondition(lambda self: self.machine.wants is Want.OCTETS)
    @rule()
    def opens_and_leaves(self) -> None:
        self.enter("client_ends")
        assert self.machine.wants is not Want.OCTETS

    @precondition(lambda self: self.machine.wants in (Want.ROOM, Want.TURN))
    @rule()
    def takes_all(self) -> None:
        self.enter("proceed")

    @precondition(lambda self: self.disk("list"))
    @rule(count=MAILBOXES, odd=st.integers(0, 30))
    def lists(self, count: int, odd: int) -> None:
        folders = (NEW, CUR)
        messages = [Message(n, f"u{n}", folders[n % 2], f"u{n}") for n in range(count)]
        self.comes("opened", messages, [Note(NOT_A_MESSAGE, "f", "d")] * odd)

    @precondition(lambda self: self.disk("list"))
    @rule(reason=REASONS)
    def cannot_list(self, reason: str) -> None:
        self.comes("cannot_open", reason)

    @precondition(lambda self: self.disk("open", "read"))
    @rule(last=st.booleans(), content=st.binary(max_size=50))
    def reads(self, last: bool, content: bytes) -> None:
        late = self.machine.phase is not Phase.SENDING
        self.comes("piece", content + b"\r\n.\r\n" * last, last=last)
        if last and not late:
            self.driver.in_message = False

    @precondition(lambda self: self.disk("open"))
    @rule(entry=st.sampled_from(["gone", "unreadable"]), reason=REASONS)
    def cannot_send(self, entry: str, reason: str) -> None:
        self.comes(entry, *([reason] if entry == "unreadable" else []))

    @precondition(lambda self: self.disk("read"))
    @rule(reason=REASONS)
    def breaks_off(self, reason: str) -> None:
        self.comes("broke_off", reason)

    @precondition(lambda self: self.disk("update"))
    @rule(removed=st.integers(0, 3), failed=st.integers(0, 3))
    def updates(self, removed: int, failed: int) -> None:
        self.comes("updated", removed, failed, [])

    @precondition(lambda self: self.disk("update"))
    @rule(reason=REASONS)
    def cannot_update(self, reason: str) -> None:
        self.comes("cannot_update", reason)

    @precondition(lambda self: self.alive() and self.driver.expects)
    @rule()
    def is_slow(self) -> None:
        self.driver.expects = False
        self.enter("expired", "step")

    @precondition(lambda self: self.alive() and self.machine.request is None)
    @rule()
    def requests_nothing(self) -> None:
        self.enter("expired", "auth")

    @precondition(lambda self: self.alive() and self.machine.request is not None)
    @rule(deadline=st.sampled_from(["idle", "session"]), last=st.integers(0, 4))
    def is_here_too_long(self, deadline: str, last: int) -> None:
        if last == 0:  # seldom: else no walk comes far
            self.enter("expired", deadline)

    @precondition(lambda self: self.alive())
    @rule(last=st.integers(0, 9))
    def breaks(self, last: int) -> None:
        if last == 0:
            self.enter("reset")

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
        assert driver.updates == self.path.count(Phase.UPDATING)

    @invariant()
    def waits_for_something_that_comes(self) -> None:
        """It never waits for what nobody was asked for: no session hangs."""
        wants, phase = self.machine.wants, self.machine.phase
        if self.alive():
            assert wants is not Want.FACT or (self.driver.job and self.driver.expects)
            assert phase is not Phase.ENDING or self.driver.expects
            assert wants is not Want.OCTETS or phase in (Phase.ASKED_NOTHING, Phase.SERVING)


TestWalk = Walk.TestCase
