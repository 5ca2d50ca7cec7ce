"""The lifeline: messages come whole and in order, each with its descriptors, however small the pieces."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.lifeline import Lifeline, LifelineLost

Pair = tuple[Lifeline, Lifeline]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends."""
    one, other = (Lifeline(end) for end in socket.socketpair())
    yield one, other
    one.close()
    other.close()


def _exchange(sender: Lifeline, receiver: Lifeline, count: int) -> list[tuple[Any, list[int]]]:
    """Flushes and receives until so many messages are there."""
    heard: list[tuple[Any, list[int]]] = []
    for _ in range(100_000):
        sender.flush()
        heard += receiver.receive()
        if len(heard) >= count and not sender.wants_write:
            return heard
    raise AssertionError(f"{len(heard)} of {count} messages")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(st.one_of(st.text(max_size=20), st.binary(max_size=300_000)), min_size=1, max_size=8))
def test_messages_come_whole_and_in_order(pair: Pair, messages: list[object]) -> None:
    """Small ones in one piece, large ones in many: what was sent is what is received."""
    for message in messages:
        pair[0].send(message)
    assert [message for message, _fds in _exchange(*pair, len(messages))] == messages


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 400, 450])
def test_descriptors_come_with_their_message(pair: Pair, count: int) -> None:
    """Every descriptor leads to its file, in order, also when they do not fit into one system call."""
    files = [os.memfd_create(f"file{number}") for number in range(count)]
    try:
        for number, file in enumerate(files):
            os.write(file, str(number).encode())
        pair[0].send("before")
        pair[0].send(["with", "x" * 100_000], files)
        pair[0].send("after")
        before, (message, fds), after = _exchange(*pair, 3)
    finally:
        for file in files:
            os.close(file)
    try:
        assert (before, after) == (("before", []), ("after", []))
        assert message == ["with", "x" * 100_000]
        assert [int(os.pread(fd, 10, 0)) for fd in fds] == list(range(count))
        assert all(not os.get_inheritable(fd) for fd in fds)
    finally:
        for fd in fds:
            os.close(fd)


def test_a_full_buffer_waits(pair: Pair) -> None:
    """What the kernel does not take stays with the sender, which says so and does not block."""
    sender, receiver = pair
    messages = [bytes([number]) * 100_000 for number in range(20)]
    for message in messages:
        sender.send(message)
    assert sender.wants_write
    assert [message for message, _fds in _exchange(sender, receiver, 20)] == messages
    assert not sender.wants_write


def test_nothing_to_hear_is_nothing(pair: Pair) -> None:
    """A receiver that is called too early gets no messages, and no error."""
    assert pair[1].receive() == []
    pair[0].socket.send(b"\x05\x00\x00\x00")  # not even a whole head
    assert pair[1].receive() == []


def test_the_end_is_noticed(pair: Pair) -> None:
    """What was sent before the other side went is still heard; then it is lost, for both directions."""
    sender, receiver = pair
    sender.send("last words")
    sender.close()
    assert receiver.receive() == [("last words", [])]
    with pytest.raises(LifelineLost):
        receiver.receive()
    with pytest.raises(LifelineLost):
        receiver.send("is anybody there?")
