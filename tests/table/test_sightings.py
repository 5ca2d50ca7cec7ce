"""Whom workers have seen: each once, bounded, whole or not at all."""

import fcntl
import os
import signal
from collections.abc import Iterator

import pytest

from supervisor.table.sightings import _LOCK, MOST_SIGHTINGS, SIGHTINGS_OCTETS, Sighting, Sightings

JOE = Sighting("tls", "default", "joe", where="v1", network="192.0.2.1", how="TLSv1.2", last=10.0)


@pytest.fixture
def memory() -> memoryview:
    return memoryview(bytearray(SIGHTINGS_OCTETS))


@pytest.fixture
def sightings(memory: memoryview) -> Iterator[Sightings]:
    locks = os.memfd_create("locks")
    yield Sightings(memory, locks=locks)
    os.close(locks)


def test_who_is_seen_again_is_counted(sightings: Sightings) -> None:
    """From where, by what and when are those of the last time; who was seen last comes first."""
    assert sightings.listed("tls") == []
    sightings.see(JOE)
    sightings.see(JOE._replace(user="ann", last=11.0))
    sightings.see(JOE._replace(network="192.0.2.2", how="TLSv1.1", last=12.0))
    joe, ann = sightings.listed("tls")
    assert joe == JOE._replace(network="192.0.2.2", how="TLSv1.1", times=2, first=10.0, last=12.0)
    assert (ann.user, ann.times, ann.first) == ("ann", 1, 11.0)


def test_another_user_report_or_place_is_another_one(sightings: Sightings) -> None:
    """So they are counted apart."""
    others = [JOE, JOE._replace(namespace="n"), JOE._replace(where="v2"), JOE._replace(about="cleartext")]
    for one in others:
        sightings.see(one)
    assert [one.times for one in (*sightings.listed("tls"), *sightings.listed("cleartext"))] == [1] * len(others)


def test_there_is_an_end_to_it(sightings: Sightings) -> None:
    """Whoever comes: who was not seen for the longest time goes, and who comes all the time stays."""
    for number in range(2 * MOST_SIGHTINGS):
        sightings.see(JOE._replace(user=f"u{number}", last=float(number)))
        sightings.see(JOE._replace(last=float(number)))
    users = [one.user for one in sightings.listed("tls")]
    assert MOST_SIGHTINGS // 2 < len(users) <= MOST_SIGHTINGS
    assert {"joe", f"u{2 * MOST_SIGHTINGS - 1}"} <= set(users)
    assert "u0" not in users


def test_a_long_name_is_found_again(sightings: Sightings) -> None:
    """Also one whose last character would be cut in two."""
    long = JOE._replace(user="x" * 95 + "ü", how="ü" * 200, namespace="\udcff")
    for _ in range(3):
        sightings.see(long)
    (seen,) = sightings.listed("tls")
    assert (seen.user, seen.how, seen.namespace, seen.times) == ("x" * 95, "ü" * 56, "?", 3)


def test_what_is_half_written_is_free(sightings: Sightings, memory: memoryview) -> None:
    """Whoever wrote it is dead: it is not shown, and the next one is written there."""
    sightings.see(JOE)
    place = next(place for place, octet in enumerate(memory) if octet)
    memory[place + 30] ^= 1
    assert sightings.listed("tls") == []
    sightings.see(JOE)
    assert sightings.listed("tls") == [JOE._replace(first=10.0)]


@pytest.mark.processes
def test_nobody_waits_for_the_lock(sightings: Sightings) -> None:
    """While somebody else writes, one that comes is left out."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        fcntl.lockf(sightings._locks, fcntl.LOCK_EX, 1, _LOCK)
        os.close(ours)
        os.write(theirs, b"x")
        signal.pause()
    os.close(theirs)
    assert os.read(ours, 1) == b"x"
    sightings.see(JOE)
    assert sightings.listed("tls") == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ours)
    sightings.see(JOE)
    assert sightings.listed("tls") == [JOE._replace(first=10.0)]
