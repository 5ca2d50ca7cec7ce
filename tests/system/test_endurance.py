"""A worker killed a thousand times, and workers recycled a hundred times: the table is whole, and nothing grows."""

import mmap
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.table.rows import RowReader
from supervisor.table.segment import View
from tests.system import crowd
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

DEATHS = 1000
WORKERS = 8
MOST = 200
_SID = re.compile(r"\w+\.\d{10}\.(\d+)(-\d+)?")


class Witness:
    """Reads the whole table again and again while it is written, and notes whatever is not as it should be."""

    def __init__(self, state: Path) -> None:
        with state.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = View(self._map)
        self._rows = RowReader(self._view.layout, self._map)
        self._used: set[int] = set()
        self._counted: dict[str, int] = {}
        self.reads = 0
        self.seen = 0
        self.strange: list[str] = []

    def look(self) -> None:
        """One read of everything."""
        for row in range(self._view.layout.row_count):
            if self._rows.owner(row):
                self._used.add(row)
            elif row in self._used:
                self.strange.append(f"row {row} cannot be read any more")
        sessions = self._view.sessions()
        self.strange += [f"row {row}" for row in sessions if not _is_whole(row)]
        now = flat(self._view.counters())
        self.strange += [
            f"{name} fell to {number}"
            for name, number in now.items()
            if number < self._counted.get(name, 0) and name not in crowd.PRESENT
        ]
        self._counted = now
        self.reads += 1
        self.seen += len(sessions)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Reads without a pause during the block."""
        over = threading.Event()

        def read() -> None:
            while not over.wait(0.005):
                self.look()

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _is_whole(row: dict[str, object]) -> bool:
    """Whether the columns of a row belong together."""
    sid = _SID.fullmatch(str(row["sid"]))
    now = time.time()
    return (
        sid is not None
        and int(sid[1]) == row["pid"]
        and (row["client"], row["vserv"]) == (LOOPBACK, "v")
        and isinstance(row["started"], float)
        and isinstance(row["since"], float)
        and now - 120 < row["started"] <= row["since"] < now + 1
        and re.fullmatch(r"(user\d+)?", str(row["user"])) is not None
        and row["backend"] in ("", "sink")
    )


def flat(counters: dict[str, int | dict[str, int]]) -> dict[str, int]:
    """All counters by one name each."""
    numbers: dict[str, int] = {}
    for name, value in counters.items():
        numbers |= {f"{name}[{label}]": n for label, n in value.items()} if isinstance(value, dict) else {name: value}
    return numbers


@pytest.mark.slow
def test_a_thousand_deaths(tmp_path: Path) -> None:
    """Workers are killed a thousand times at random moments, while sessions come and go as fast as they can. Every read
    of the table in between is whole and no counter falls; afterwards no session is left that was started, and
    maxsession can be filled to the last one, which proves that every token is there.
    """
    port, dice = free_port(), random.Random(11)
    with (
        crowd.backend(tmp_path) as sink,
        Proxy(tmp_path, crowd.site(sink, port), workers=WORKERS, options=["-n", str(MOST)]) as proxy,
    ):
        witness = Witness(proxy.rundir / "pproxy.state")
        with crowd.start_sessions(port, 1_000_000, 60) as load:
            try:
                with witness.watching():
                    _kill_workers(proxy, dice)
                assert load.poll() is None, "the load goes on"
            finally:
                load.kill()
        wait_until(lambda: len(proxy.workers()) == WORKERS, "all slots are filled in the end")
        proxy.wait_until_quiet()

        assert witness.strange == []
        assert witness.reads > 100
        assert witness.seen > 1000
        assert sum(entry.fields["cause"] == "SIGKILL" for entry in proxy.log("worker_died")) == DEATHS
        ended = proxy.state().counters()["sessions_ended"]
        assert isinstance(ended, dict)
        assert proxy.state().counters()["sessions_started"] == sum(ended.values())
        assert ended["worker_died"] == sum(int(entry.fields["sessions"]) for entry in proxy.log("worker_died")) > 500
        with crowd.hold(port, MOST, logged_in=False):
            assert len(proxy.state().sessions()) == MOST
            with PopClient(port, patience=0.3) as one_too_many, pytest.raises(TimeoutError):
                one_too_many.line()
        print(f"{DEATHS} deaths: {ended['worker_died']} of {sum(ended.values())} sessions, {witness.reads} reads")


def _kill_workers(proxy: Proxy, dice: random.Random) -> None:
    """Kills workers that serve, in bursts of one to four, DEATHS in all."""
    killed: set[int] = set()
    while len(killed) < DEATHS:
        alive = [row["pid"] for row in proxy.state().workers() if row["heartbeat_ns"] and row["pid"] not in killed]
        if len(alive) < WORKERS // 2:
            time.sleep(0.005)
            continue
        for pid in dice.sample(alive, min(dice.randint(1, 4), DEATHS - len(killed))):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(dice.uniform(0.0, 0.05))


@pytest.mark.slow
def test_a_hundred_generations(tmp_path: Path) -> None:
    """100 × `workers recycle`, with one session that is older than all of them: the master's descriptors, memory and
    shared memory are what they were.
    """
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state fake"]) as proxy, PopClient(port) as oldest:
        oldest.log_in()
        shared = (proxy.rundir / "pproxy.state").readlink()

        def recycle(times: int) -> None:
            for _ in range(times):
                proxy.said("workers recycle")
            wait_until(lambda: len(proxy.workers()) == 3, "two new workers, and the one of the oldest session")

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{proxy.pid}/fd"))

        recycle(20)
        held, resident, size = descriptors(), _resident(proxy.pid), shared.stat().st_size
        recycle(100)
        # The master may not have noticed yet, here or above, that a client of the control socket left.
        wait_until(lambda: descriptors() <= held, f"{held} descriptors, not {descriptors()}")
        assert _resident(proxy.pid) - resident < 256, "KiB, which is less than 1.3 KiB a worker"
        assert (shared.stat().st_size, list(shared.parent.glob(f"{shared.name}*"))) == (size, [shared])
        assert max(row["generation"] for row in proxy.state().workers()) >= 242
        assert oldest.ask("STAT") == b"+OK 0 0"
        assert oldest.ask("QUIT").startswith(b"+OK")
        wait_until(lambda: len(proxy.workers()) == 2, "the oldest worker leaves with it")
        assert proxy.log("worker_died") == []


def _resident(pid: int) -> int:
    """KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")
