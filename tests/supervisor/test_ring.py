"""The master's end of ringd: sockets for each copy, clear refusals, and coming back by itself."""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from supervisor.ringd import client as ring_module
from supervisor.ringd import keeper as ringkeeper
from supervisor.ringd.client import Ring, absent
from supervisor.ringd.wire import Claim, Granted, Release, Restore, decode, encode
from supervisor.runtime.log import Log
from supervisor.runtime.loop import READ, Loop
from supervisor.sockets.listener import Address, Listener, ListenerCopy
from tests.supervisor.ringdesk import Console, is_open
from tests.supervisor.turning import closed_loop, turn_until
from tests.system.site import LOOPBACK, free_port, log_entries

Answer = tuple[list[list[socket.socket]] | None, str]


class Program:
    """A master, as far as its listening sockets go."""

    def __init__(self, loop: Loop, directory: Path, name: str = "pproxy") -> None:
        self._loop = loop
        self._logfile = directory / f"{name}.log"
        log = Log(name, str(self._logfile))
        log.options = frozenset({"RINGD"})
        self.ring = Ring(directory / "ringd.ctrl", log, "pproxy")
        self.ring.attach(loop)
        self.sockets: dict[ListenerCopy, list[socket.socket]] = {}

    def ask(self, copies: Sequence[ListenerCopy]) -> str:
        """Opens copies; the reason if they are refused."""
        answers: list[Answer] = []
        self.ring.open(copies, 16, lambda sockets, reason: answers.append((sockets, reason)))
        turn_until(self._loop, lambda: answers)
        ((sockets, reason),) = answers
        self.sockets |= dict(zip(copies, sockets or [], strict=bool(sockets)))
        return reason

    def close(self, copies: Sequence[ListenerCopy]) -> None:
        for copy in copies:
            for one in self.sockets.pop(copy):
                one.close()

    def let_go(self) -> None:
        self.close(list(self.sockets))
        self.ring.let_go()

    def said(self, name: str) -> list[dict[str, str]]:
        return [entry.fields for entry in log_entries(self._logfile) if entry.name == name]


def listener(port: int, name: str = "v", host: str = LOOPBACK) -> Listener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Listener(name, family, (host, port), dual_stack=False)


def copies(port: int, slots: range, name: str = "v") -> list[ListenerCopy]:
    return [(listener(port, name), slot) for slot in slots]


def inodes(program: Program, wanted: Sequence[ListenerCopy]) -> list[list[int]]:
    return [[ringkeeper.name_of(one) for one in program.sockets[copy]] for copy in wanted]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closed_loop() as loop:
        yield loop


@pytest.fixture
def console(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    monkeypatch.setattr(ringkeeper, "SETTLING_SECONDS", 0.0)
    console = Console(loop, tmp_path)
    yield console
    console.close()


@pytest.fixture
def program(loop: Loop, console: Console, tmp_path: Path) -> Iterator[Program]:  # noqa: ARG001
    program = Program(loop, tmp_path)
    yield program
    program.let_go()


@pytest.mark.parametrize(
    ("before", "after", "spread"),
    [(2, 2, [1, 1]), (4, 2, [2, 2]), (3, 2, [2, 1]), (5, 1, [5]), (1, 3, [1, 1, 1])],
)
def test_the_next_program(
    loop: Loop, console: Console, tmp_path: Path, before: int, after: int, spread: list[int]
) -> None:
    """With as many slots, fewer or more, it holds every socket of the one before, spread over its slots; none is left
    without somebody who accepts from it, and all are non-blocking.
    """
    port = free_port()
    old, new = Program(loop, tmp_path, "old"), Program(loop, tmp_path, "new")
    was, now = copies(port, range(before)), copies(port, range(after))
    assert old.ask(was) == ""
    assert new.ask(now) == ""
    assert [len(one) for one in inodes(new, now)] == spread
    assert {name for one in inodes(old, was) for name in one} == {name for one in inodes(new, now) for name in one}
    assert not any(_waits(one) for ones in new.sockets.values() for one in ones)
    old.let_go()
    new.let_go()
    turn_until(loop, lambda: console.log("ring_unclaimed"))
    assert is_open(port)


def _waits(listening: socket.socket) -> bool:
    """The mode of the descriptor itself, not what the object believes."""
    return os.get_blocking(listening.fileno())


def test_more_slots_later(program: Program) -> None:
    """The new slots get new sockets; giving them up leaves the first ones."""
    port = free_port()
    first, more = copies(port, range(2)), copies(port, range(2, 4))
    program.ask(first)
    program.ask(more)
    names = [name for one in inodes(program, first + more) for name in one]
    assert len(set(names)) == 4
    program.close(more)
    program.ring.give_up(more)
    program.ask(copies(port, range(2, 3), "other"))
    assert is_open(port)


def test_a_new_name_for_the_same_address(program: Program, console: Console) -> None:
    """The name is not part of the address: the port stays open while one of the two wants it."""
    port = free_port()
    old, new = copies(port, range(1), "old"), copies(port, range(1), "new")
    program.ask(old)
    program.ask(new)
    program.close(old)
    program.ring.give_up(old)
    program.ask(copies(free_port(), range(1)))
    assert is_open(port)
    program.close(new)
    program.ring.give_up(new)
    turn_until(program._loop, lambda: not is_open(port))
    assert console.log("ring_closed")[-1]["left"] == "0"


def test_all_or_none(program: Program, console: Console) -> None:
    """One of three ports is taken: the reason names it, and the others are given up again."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        ports = [free_port(), taken.getsockname()[1], free_port()]
        reason = program.ask([(listener(port, f"v{port}"), 0) for port in ports])
        assert reason == f"v{ports[1]}: {LOOPBACK} port {ports[1]} is in use by another program"
        turn_until(program._loop, lambda: len(console.log("ring_closed")) == 2)
    assert not any(map(is_open, ports))


def test_what_ringd_may_not(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason stands after the listener's name."""
    monkeypatch.setattr(ringkeeper, "SETTLING_SECONDS", 0.0)
    console = Console(loop, tmp_path, allowed="110")
    program = Program(loop, tmp_path)
    assert program.ask(copies(8110, range(1))) == "v: port 8110 is not among those that ringd may open"
    program.let_go()
    console.close()


def test_addresses_with_zones_are_refused(program: Program) -> None:
    """They cannot be written down in a packet; nothing is sent."""
    reason = program.ask([(listener(free_port(), host="fe80::1%lo"), 0)])
    assert reason == "v: fe80::1%lo cannot be asked of ringd"


def test_nobody_there(loop: Loop, tmp_path: Path) -> None:
    """The refusal says where ringd was looked for and why it failed; it is logged once, however often it is tried."""
    program = Program(loop, tmp_path)
    loop.after(0.5, lambda: waited.append(True))
    waited: list[bool] = []
    turn_until(loop, lambda: waited)
    reason = program.ask(copies(free_port(), range(1)))
    assert reason == absent(tmp_path / "ringd.ctrl", "No such file or directory")
    assert len(program.said("ringd_lost")) == 1
    program.let_go()


def test_back_again(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ringd ends and a new one comes: it is given all sockets, and what could not be opened meanwhile now can."""
    monkeypatch.setattr(ring_module, "STEADY_SECONDS", 0.1)
    port, other = free_port(), free_port()
    first = Console(loop, tmp_path)
    program = Program(loop, tmp_path)
    wanted = copies(port, range(200))
    assert program.ask(wanted) == ""
    first.close()
    turn_until(loop, lambda: program.said("ringd_lost"))
    assert "is not there" in program.ask(copies(other, range(1)))
    first.path.unlink()

    second = Console(loop, tmp_path)
    turn_until(loop, lambda: program.said("ringd_back"))
    assert sum(int(entry["sockets"]) for entry in second.log("ring_restored")) == 200
    assert program.ask(copies(other, range(1))) == ""
    names = inodes(program, wanted)
    program.let_go()
    heir = Program(loop, tmp_path, "heir")
    assert heir.ask(wanted) == ""
    assert sorted(inodes(heir, wanted)) == sorted(names)
    heir.let_go()
    second.close()


class Mute:
    """A ringd that hears and answers only when it is told to."""

    def __init__(self, loop: Loop, path: Path) -> None:
        self._loop = loop
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.bind(str(path))
        self._control.listen()
        self.heard: list[tuple[object, int]] = []
        loop.watch(self._control, READ, self._accept)

    def _accept(self, _events: int) -> None:
        self.end, _address = self._control.accept()
        self._loop.watch(self.end, READ, self._hear)

    def _hear(self, _events: int) -> None:
        packet = self.end.recv(4096)
        if packet:
            self.heard.append(decode(packet))
        else:
            self._loop.unwatch(self.end)

    def close(self) -> None:
        for one in (self.end, self._control):
            self._loop.unwatch(one)
            one.close()


def test_no_answer(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused after a while. An answer that comes too late is given back, so that ringd does not think we accept
    from sockets that we do not have.
    """
    monkeypatch.setattr(ring_module, "ANSWER_SECONDS", 0.1)
    ringd = Mute(loop, tmp_path / "ringd.ctrl")
    program = Program(loop, tmp_path)
    assert program.ask(copies(free_port(), range(1))) == "ringd does not answer"
    (claim, sequence) = ringd.heard[0]
    assert isinstance(claim, Claim)
    with socket.create_server((LOOPBACK, 0)) as late:
        socket.send_fds(ringd.end, [encode(Granted(0), sequence)], [late.fileno()])
        turn_until(loop, lambda: len(ringd.heard) == 2)
        assert ringd.heard[1][0] == Release((ringkeeper.name_of(late),))
    program.let_go()
    ringd.close()


@pytest.mark.parametrize(
    "packet",
    [b"nonsense", encode(Restore(Address(int(socket.AF_INET), (LOOPBACK, 1), False), 1)), encode(Granted(0), 1)],
)
def test_a_ringd_that_talks_nonsense(loop: Loop, tmp_path: Path, packet: bytes) -> None:
    """What waits is refused, and the connection is begun anew."""
    ringd = Mute(loop, tmp_path / "ringd.ctrl")
    program = Program(loop, tmp_path)
    answers: list[str] = []
    program.ring.open(copies(free_port(), range(1)), 5, lambda _sockets, reason: answers.append(reason))
    turn_until(loop, lambda: ringd.heard)
    first = ringd.end
    ringd.end.send(packet)
    turn_until(loop, lambda: answers)
    assert "is not there" in answers[0]
    turn_until(loop, lambda: ringd.end is not first)
    loop.unwatch(first)
    first.close()
    program.let_go()
    ringd.close()
