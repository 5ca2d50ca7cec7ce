"""What many questions leave behind in the exporter: nothing."""

import asyncio
import functools
import gc
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metrics.exporter import EACH_SECOND, ROUTES, HttpServer
from metrics.programseen import ProgramSeen
from popular.proxy.program import PROGRAM
from supervisor.common_metrics import metrics_of
from supervisor.exporterline import Pulse, Queue
from supervisor.master.accounting import table_layout
from supervisor.table import segment
from supervisor.table.segment import Segment, View, path_of

WARM, QUESTIONS = 30, 60
FACTS: dict[str, Any] = {
    "variables": {"maxlocalload": 32, "maxpressure": 0},
    "vservs": [{"id": "v", "state": "online", "iface": "::", "port": 110, "protocol": "POP3"}],
    "backends": [{"id": "store", "state": "online", "host": "192.0.2.1", "port": 110, "protocol": "XPOP", "moved": 0}],
    "certificates": [],
}


@pytest.fixture
def program() -> Iterator[ProgramSeen]:
    made = Segment.create(f"/popular-test-memory-{os.getpid()}", table_layout(PROGRAM, 3, {"sessionlimit": 50}))
    try:
        program = ProgramSeen(
            "pproxy",
            "2.0",
            os.getpid(),
            table=path_of(made.name),
            view=View(made.map),
            watched=PROGRAM.watched,
            facts=FACTS,
        )
        program.metrics = metrics_of(PROGRAM)
        program.hear(Pulse(False, 1, (Queue("v", 0, 2, limit=128),)))
        yield program
    finally:
        segment.remove(made.name)


def _raise(error: Exception) -> None:
    raise error


async def _ask(where: str, path: str) -> None:
    reader, writer = await asyncio.open_unix_connection(where)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    writer.close()
    await writer.wait_closed()


def _objects() -> Counter[str]:
    """How many objects there are of each type, of those that can hold others."""
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects())


async def _left_behind(program: ProgramSeen, where: str) -> Counter[str]:
    """What there is more after many questions than after some of each kind."""
    server = HttpServer({path: functools.partial(answer, program) for path, answer in ROUTES.items()}, _raise)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(where)
    await server.listen_at(listening)

    async def many(count: int) -> Counter[str]:
        for number in range(count):
            await _ask(where, ("/metrics", "/status.json", "/")[number % 3])
            for look in EACH_SECOND:
                look(program)
        await asyncio.sleep(0.1)
        return _objects()

    before = await many(WARM)
    left = await many(QUESTIONS) - before
    asyncio.get_running_loop().remove_reader(listening)
    listening.close()
    return left


def test_questions_leave_nothing_behind(program: ProgramSeen, tmp_path: Path) -> None:
    """Over real connections, with the looks of every second in between: not one object for each."""
    left = asyncio.run(_left_behind(program, str(tmp_path / "http")))
    print(f"after {QUESTIONS} questions more there are: {dict(left)}")
    assert left.total() < QUESTIONS / 3
