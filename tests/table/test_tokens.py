"""Tokens: the pipe holds them all, and after a worker's death each is found again, exactly once."""

import itertools
import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.table.contents import BASE_CELLS
from supervisor.table.segment import Segment, remove
from supervisor.table.tokens import MOST_TOKENS, TOKEN_SIZE, TokenPipe, lost
from tests.table import sample


@pytest.mark.parametrize("most", [1, 1000, 1024, 16384, 16385, 65536, MOST_TOKENS])
def test_all_tokens_fit_whatever_was_taken(most: int) -> None:
    """A pipe for N tokens takes back each token that was read from it, also when all others are in it."""
    pipe = TokenPipe(most)
    try:
        pipe.put(range(most))
        for _ in range(3000):
            pipe.put([int.from_bytes(os.read(pipe.read_end, TOKEN_SIZE), "little") - 1])
        assert pipe.count() == most
        assert pipe.drain() == set(range(most))
    finally:
        pipe.close()


def test_tokens_in_portions_fit_too() -> None:
    """`maxsession` raised in many odd steps up to a limit that fills whole pages: no write finds the pipe full."""
    most, steps = 16384, 123
    pipe = TokenPipe(most)
    try:
        for first in range(0, most, steps):
            pipe.put(range(first, min(most, first + steps)))
        assert pipe.drain() == set(range(most))
        assert pipe.count() == 0
    finally:
        pipe.close()


def test_an_empty_pipe_does_not_block() -> None:
    """Who finds no token is told so at once."""
    pipe = TokenPipe(3)
    try:
        with pytest.raises(BlockingIOError):
            os.read(pipe.read_end, TOKEN_SIZE)
        assert pipe.drain() == set()
    finally:
        pipe.close()


# The audit, as a model: workers and the master in any interleaving of their single steps, and deaths at any of them.


@dataclass
class World:
    """What is shared: the pipe, the hands and the last writers. `held` is the truth that nobody in it can see."""

    tokens: range
    pipe: deque[int]
    hands: dict[int, int | None] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    held: dict[int, set[int]] = field(default_factory=dict)

    def take(self, worker: int) -> int:
        token = self.pipe.popleft()
        self.hands[worker] = token
        self.held[worker].add(token)
        return token

    def give_back(self, worker: int, token: int) -> None:
        self.held[worker].discard(token)
        self.pipe.append(token)


def _worker(world: World, worker: int, dice: random.Random) -> Iterator[None]:
    """One worker: each `yield` is a moment in which it can be interrupted or killed."""
    sessions: list[int] = []
    while True:
        yield
        if sessions and dice.random() < 0.4:
            token = sessions.pop(dice.randrange(len(sessions)))
            world.owners[token] = worker  # the row, as free
            yield
            world.give_back(worker, token)
        elif world.pipe:
            token = world.take(worker)
            yield
            world.owners[token] = worker  # the first row of a session; or, if nobody was there, the row as free
            yield
            world.hands[worker] = None
            yield
            if dice.random() < 0.3:  # nobody was there, or the session is over at once
                world.owners[token] = worker
                yield
                world.give_back(worker, token)
            else:
                sessions.append(token)


def _audit(world: World, dead: int, living: set[int]) -> Iterator[None]:
    """The master's: the pipe, then the hands, then the rows; workers go on between any two looks."""
    dropped = world.hands.pop(dead, None)
    del world.held[dead]
    in_pipe = set(world.pipe)
    assert len(in_pipe) == len(world.pipe), "a token twice in the pipe"
    world.pipe.clear()
    yield
    hands: set[int | None] = set()
    for worker in sorted(living):
        hands.add(world.hands.get(worker))
        yield
    owners = {}
    for token in world.tokens:
        owners[token] = world.owners.get(token, 0)
        yield
    missing = lost(
        world.tokens, in_pipe, {one for one in hands if one is not None}, owners=owners, living=living, dropped=dropped
    )
    for token in missing:
        world.owners[token] = MASTER
        yield
    for token in [*in_pipe, *missing]:
        world.pipe.append(token)
        yield


MASTER = -1
MODEL_STEPS = 400


@settings(deadline=None, max_examples=600)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 5), st.integers(0, 1 << 32))
def test_an_audit_finds_exactly_the_lost_tokens(tokens: int, slots: int, kills: int, seed: int) -> None:
    """Workers take tokens, write rows, and give tokens back; some are killed between any two steps, and audited while
    the others go on. In the end each token is in the pipe once, or with one living worker.
    """
    dice = random.Random(seed)
    world = World(range(tokens), deque(range(tokens)))
    pids = itertools.count(1)
    living: dict[int, Iterator[None]] = {}
    unburied: list[int] = []
    audit: Iterator[None] | None = None

    def give_birth() -> None:
        pid = next(pids)
        world.held[pid] = set()
        living[pid] = _worker(world, pid, dice)

    for _ in range(slots):
        give_birth()
    killed_at = {dice.randrange(MODEL_STEPS) for _ in range(kills)}
    for step in range(MODEL_STEPS):
        if step in killed_at and living:
            pid = dice.choice(sorted(living))
            del living[pid]
            unburied.append(pid)
        if audit is None and unburied:
            buried = unburied.pop(0)
            audit = _audit(world, buried, {*living, *unburied})
        if audit is not None and (dice.random() < 0.5 or not living):
            if next(audit, MASTER) is MASTER:
                audit = None
                give_birth()
        elif living:
            next(living[dice.choice(sorted(living))])
    for _ in audit or ():
        pass
    while unburied:
        buried = unburied.pop(0)
        for _ in _audit(world, buried, {*living, *unburied}):
            pass

    places = Counter([*world.pipe, *itertools.chain(*world.held.values())])
    assert places == Counter(world.tokens)


# The same with real processes


def _take_and_give(pipe: TokenPipe, segment: Segment, block: int) -> None:
    """A worker that holds up to three rows; ends by being killed."""
    signal.alarm(60)
    pid, dice, sessions = os.getpid(), random.Random(os.getpid()), list[int]()
    hand_octets = segment.token_cell(block)
    hand = hand_octets.cast("I")
    while True:
        if sessions and (len(sessions) == 3 or dice.random() < 0.5):
            token = sessions.pop()
            segment.rows.write(token, state=0, pid=pid, started=0.0, since=0.0, sid=b"", octets=0, port=0)
            pipe.put([token])
            continue
        try:
            os.readv(pipe.read_end, [hand_octets])
        except BlockingIOError:
            continue
        token = hand[0] - 1
        segment.rows.write(token, state=1, pid=pid, started=0.0, since=0.0, sid=b"here", octets=token, port=1)
        hand[0] = 0
        sessions.append(token)


HAND = BASE_CELLS.index("hand")
TOKENS = 24
ROUNDS = 40


@pytest.mark.processes
def test_tokens_of_killed_processes_are_found_while_others_go_on() -> None:
    """Forty times one of two processes that juggle tokens is killed and audited: no token is lost, none is doubled."""
    name = f"/popular-test-tokens-{os.getpid()}"
    segment = Segment.create(name, sample.layout(rows=TOKENS))
    remove(name)
    pipe = TokenPipe(TOKENS)
    pipe.put(range(TOKENS))
    workers: dict[int, int] = {}
    dice = random.Random(1)
    try:
        for _ in range(ROUNDS):
            for block in {1, 2} - set(workers):
                pid = os.fork()
                if pid == 0:
                    try:
                        _take_and_give(pipe, segment, block)
                    finally:
                        os._exit(1)
                workers[block] = pid
            time.sleep(dice.uniform(0.001, 0.01))
            _kill_and_audit(pipe, segment, workers, dice.choice([1, 2]))
        for block in list(workers):
            _kill_and_audit(pipe, segment, workers, block)
        assert sorted(pipe.drain()) == list(range(TOKENS))
        assert segment.reader.rows() == []
    finally:
        for block in list(workers):
            _kill(workers, block)
        pipe.close()


def _kill_and_audit(pipe: TokenPipe, segment: Segment, workers: dict[int, int], block: int) -> None:
    _kill(workers, block)
    dropped = segment.block(block)[HAND] - 1
    in_pipe = pipe.drain()
    hands = {segment.block(other)[HAND] - 1 for other in workers}
    owners = {token: segment.reader.owner(token) for token in range(TOKENS)}
    missing = lost(range(TOKENS), in_pipe, hands, owners=owners, living=set(workers.values()), dropped=dropped)
    for token in missing:
        segment.free_row(token, os.getpid())
    segment.block(block)[HAND] = 0
    pipe.put([*in_pipe, *missing])


def _kill(workers: dict[int, int], block: int) -> None:
    os.kill(workers[block], signal.SIGKILL)
    os.waitpid(workers.pop(block), 0)
