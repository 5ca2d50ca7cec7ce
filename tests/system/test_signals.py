"""Signals that ask for no end: SIGUSR1 opens the log anew, others are told and do nothing; nobody dies of one."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from supervisor.runtime import signals
from tests.system.ring import RingDaemon
from tests.system.site import Entry, Proxy, log_entries, wait_until

HARMLESS = (*signals.REOPENS, *signals.IGNORED)


class Daemon(NamedTuple):
    """A running program: its first process, and its log."""

    pid: int
    logfile: Path

    def log(self, name: str) -> list[Entry]:
        """The entries of one name in the log as it is now."""
        return [entry for entry in log_entries(self.logfile) if entry.name == name]


@pytest.fixture(params=["pproxy", "pserv", "ringd"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    """One of the daemons, with its workers and its exporter."""
    if request.param == "ringd":
        with RingDaemon(tmp_path) as ringd:
            yield Daemon(ringd.process.pid, ringd.logfile)
        return
    with Proxy(tmp_path, name=request.param, metrics="127.0.0.1:0") as proxy:
        wait_until(lambda: proxy.log("exporter_listens"), "the exporter is there")
        yield Daemon(proxy.pid, proxy.logfile)


def test_usr1_opens_the_log_anew(daemon: Daemon) -> None:
    """As SIGHUP does: it is what many recipes for logrotate send."""
    daemon.logfile.rename(daemon.logfile.with_suffix(".1"))
    os.kill(daemon.pid, signal.SIGUSR1)
    wait_until(daemon.logfile.exists, "there is a new log")
    wait_until(lambda: len(daemon.log("log_reopened")) == 1, "it says why")


def test_what_means_nothing_is_told(daemon: Daemon) -> None:
    """A line for each, and the program goes on: it hears the next one."""
    for count, number in enumerate(signals.IGNORED, 1):
        os.kill(daemon.pid, number)
        wait_until(lambda count=count: len(daemon.log("signal_ignored")) == count, f"{number.name} is told")
    told = [entry.fields["signal"] for entry in daemon.log("signal_ignored")]
    assert told == [number.name for number in signals.IGNORED]


def test_no_process_dies_of_them(daemon: Daemon) -> None:
    """Whoever signals all processes of a program ends none: workers and exporter ignore what the master hears."""
    family = _family(daemon.pid)
    ends = {
        pid: [number.name for number in HARMLESS if number is not signal.SIGHUP and not _survives(pid, number)]
        for pid in family
    }
    assert {pid: names for pid, names in ends.items() if names} == {}


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _survives(pid: int, number: signal.Signals) -> bool:
    """Whether a process catches or ignores a signal, as the kernel knows it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn:", "SigCgt:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
