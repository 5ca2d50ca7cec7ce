"""Lookups and jobs."""

import os
import pickle
from pathlib import Path

import pytest

from supervisor.control.language.lookups import (
    FindDirectory,
    FindLocalAddress,
    Job,
    Lookups,
    NeedsLookup,
    ReadFile,
    ResolveHost,
    Result,
    Unfit,
    run,
)


@pytest.mark.parametrize(
    "job", [ResolveHost("localhost"), FindDirectory("/"), ReadFile("/dev/zero", 3), FindLocalAddress("127.0.0.1")]
)
def test_errands_travel(job: Job) -> None:
    """A job is found again after a trip through a pipe, and so is what came of it."""
    copy = pickle.loads(pickle.dumps(job))

    assert {job: 1}[copy] == 1
    assert pickle.loads(pickle.dumps(run(copy))) == run(job)


def test_a_fact_is_wanted_then_known() -> None:
    """What is not known raises NeedsLookup with its job; what was stored is given."""
    lookups = Lookups()
    with pytest.raises(NeedsLookup) as needed:
        lookups.read("/dev/zero", 3)
    lookups.store(needed.value.job, run(needed.value.job))

    assert lookups.read("/dev/zero", 3) == b"\0\0\0"
    with pytest.raises(NeedsLookup):
        lookups.read("/dev/zero", 4)


def test_a_failed_fact_is_unfit() -> None:
    """What cannot be found out is refused with a text for people."""
    lookups = Lookups()
    lookups.store(FindDirectory("/nothing"), run(FindDirectory("/nothing")))
    lookups.store(ResolveHost("x"), Result(failure="no answer in time"))

    with pytest.raises(Unfit, match='"/nothing": No such file or directory'):
        lookups.directory("/nothing")
    with pytest.raises(Unfit, match="no answer in time"):
        lookups.address("x")


def test_reading_stops_at_the_bound_and_at_the_end(tmp_path: Path) -> None:
    """A device is read up to the bound, a file up to its end, a pipe until it closes."""
    (tmp_path / "file").write_bytes(b"abc")
    os.mkfifo(tmp_path / "pipe")

    assert run(ReadFile("/dev/urandom", 100_000)).value.__sizeof__() == bytes(100_000).__sizeof__()
    assert run(ReadFile(str(tmp_path / "file"), 10)).value == b"abc"
    assert run(ReadFile(str(tmp_path), 10)).failure == f'"{tmp_path}": Is a directory'


def test_a_seed_does_not_show() -> None:
    """What was read stays out of the repr of a result."""
    assert "secret" not in repr(Result(b"secret"))


def test_our_own_addresses_are_known() -> None:
    """Loopback is ours without a job; an address of documentation is not ours."""
    assert Lookups().local_address("127.0.0.5") is True
    assert run(FindLocalAddress("127.0.0.1")).value is True
    assert run(FindLocalAddress("192.0.2.1")).value is False


def test_an_errand_never_raises() -> None:
    """Whatever goes wrong becomes a failure with a text."""
    assert run(ResolveHost("x" * 300)).failure
    assert run(ReadFile("/x\0y", 1)).failure
    assert run(Job()).failure
