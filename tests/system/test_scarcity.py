"""The master has no descriptor left: what needs one is refused or waits, and nothing else happens to it."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.pcontrol.connection import encode_request
from tests.bench import processes
from tests.system.site import LOOPBACK, PATIENCE, PopClient, Proxy, free_port, need, wait_until

MOST_DESCRIPTORS = 48


class Poor(Proxy):
    """A proxy whose processes may have few descriptors."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._command = [need("prlimit"), f"--nofile={MOST_DESCRIPTORS}:{MOST_DESCRIPTORS}", *self._command]


@contextlib.contextmanager
def _without_descriptors(proxy: Proxy) -> Iterator[socket.socket]:
    """Control connections take all that the master has left; gives the first of them."""
    with contextlib.ExitStack() as held:
        clients = []

        def take_one() -> bool:
            client = held.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(PATIENCE)
            client.connect(str(proxy.rundir / "pproxy.ctrl"))
            clients.append(client)
            return len(os.listdir(f"/proc/{proxy.pid}/fd")) == MOST_DESCRIPTORS

        wait_until(take_one, "the master has no descriptor left")
        yield clients[0]


def _exporter(proxy: Proxy) -> list[int]:
    return [pid for pid in processes.tree(proxy.pid)[1:] if pid not in proxy.workers()]


@pytest.fixture
def port() -> int:
    """A free one, for the virtual server."""
    return free_port()


@pytest.fixture
def proxy(tmp_path: Path, port: int) -> Iterator[Proxy]:
    """A poor proxy that serves somebody at the end of each test."""
    with Poor(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"], metrics=f"{LOOPBACK}:0") as proxy:
        wait_until(lambda: proxy.log("exporter_listens"), "the exporter is there")
        yield proxy
        with PopClient(port) as client:
            assert client.line().startswith(b"+OK")


@pytest.mark.parametrize("command", ["backend conf b host localhost port 110", "workers recycle"])
def test_a_command_is_refused_with_the_reason(proxy: Proxy, command: str) -> None:
    """What cannot be found out, and who cannot be born, is told; later it is possible."""
    with _without_descriptors(proxy) as control:
        control.sendall(encode_request(command))
        answer = control.recv(4096)
        assert answer.startswith(b"-ERR")
        assert b"Too many open files" in answer
    wait_until(lambda: proxy.control(command).ok, "it is possible again")


def test_a_worker_has_a_successor_as_soon_as_there_can_be_one(proxy: Proxy) -> None:
    """Until then it is tried again, and said once."""
    dead, other = proxy.workers()
    with _without_descriptors(proxy):
        os.kill(dead, signal.SIGKILL)
        os.kill(other, signal.SIGKILL)
        wait_until(lambda: proxy.log("no_birth"), "nobody can be born")
    wait_until(lambda: len(proxy.workers()) == 2, "successors are born")
    assert [entry.fields["reason"] for entry in proxy.log("no_birth")] == ["Too many open files"]


def test_an_exporter_has_a_successor_as_soon_as_there_can_be_one(proxy: Proxy) -> None:
    """Until then it is tried again; of the one that was killed the log tells by what."""
    wait_until(lambda: len(_exporter(proxy)) == 1, "no job is at work beside it")
    (exporter,) = _exporter(proxy)
    with _without_descriptors(proxy):
        os.kill(exporter, signal.SIGKILL)
        wait_until(lambda: proxy.log("exporter_waits"), "it cannot be born")
    wait_until(lambda: len(proxy.log("exporter_listens")) == 2, "its successor listens")
    assert [entry.fields["code"] for entry in proxy.log("exporter_died")] == ["-9"]


def test_too_few_descriptors_for_the_sessions_are_told(tmp_path: Path) -> None:
    """By what is configured, not by what is the default; and again when there may be more."""
    file = tmp_path / "start.rc"
    file.write_text("set maxsession 200\n")
    with Poor(tmp_path, options=("-n", "1000", "-c", str(file))) as proxy:
        wait_until(lambda: _wanted(proxy) == ["656"], "it is told")
        reply = proxy.said("set maxsession 300").text
        assert "48 files" in reply
        assert "856 are wanted" in reply
        wait_until(lambda: _wanted(proxy) == ["656", "856"], "it is told again")
        proxy.said("set maxsession 300")
        proxy.said("set grace 1")
        assert _wanted(proxy) == ["656", "856"]


def _wanted(proxy: Proxy) -> list[str]:
    return [entry.fields["wanted"] for entry in proxy.log("limit_low")]
