"""The short form of `make sanitize`, and that the sanitizers would report what there is. By night: to compile the core
for them takes longer than the tests.
"""

import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from supervisor import compiled
from tests.patience import patient
from tests.sanitize import build
from tests.sanitize.__main__ import fuzz, run_tests
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, need, wait_until

pytestmark = [pytest.mark.nightly, pytest.mark.slow, pytest.mark.timeout(patient(600))]
LIBRARY = "import ctypes, os; library = ctypes.CDLL(None); library.malloc.restype = ctypes.c_void_p\n"
PLANTED = {
    "what was freed, and two megabytes of other things behind it": (
        "place = library.malloc(100)\n"
        "for one in (place, *(library.malloc(2000) for _ in range(1000))): library.free(ctypes.c_void_p(one))\n"
        "kept = [library.malloc(100) for _ in range(10_000)]  # without a quarantine one of them has its place\n"
        "ctypes.memset(place, 0, 1)",
        "heap-use-after-free",
    ),
    "an octet behind the end": ("ctypes.memset(library.malloc(100), 0, 101)", "heap-buffer-overflow"),
    "a leak": ("[library.malloc(100) for _ in range(500)]; os._exit(0)", "detected memory leaks"),
    "a leak where nobody may look in": (
        "library.prctl(4, 0, 0, 0, 0); [library.malloc(100) for _ in range(500)]; os._exit(0)",
        "detected memory leaks",
    ),
}
CRASHING = """
import ctypes
from popular.pdm.libpdm_any import Any

LIBRARY = ctypes.CDLL(None)
LIBRARY.malloc.restype = ctypes.c_void_p

class Crashing(Any):
    def check(self, question):
        if question.user == "crash":
            ctypes.memset(LIBRARY.malloc(8), 0, 9)
        return super().check(question)

def open_module(ident, arguments):
    return Crashing(ident, ["b"])
"""


@pytest.fixture(scope="module", autouse=True)
def core() -> None:
    """The watched core."""
    need("gcc")
    if compiled.hindrance():
        pytest.skip(compiled.hindrance())
    build.build()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where reports go."""
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports" / "report"


def test_all_of_the_core_is_watched() -> None:
    """Each module calls the sanitizers."""
    for name in compiled.hot_modules():
        code = (build.TREE / f"{name.replace('.', '/')}{EXTENSION_SUFFIXES[0]}").read_bytes()
        assert (b"__asan_" in code, b"__ubsan_" in code) == (True, True), name


@pytest.mark.parametrize(("code", "said"), PLANTED.values(), ids=list(PLANTED))
def test_what_is_wrong_is_reported(log: Path, code: str, said: str) -> None:
    """In a process that imports the core, as ours do."""
    code = f"import popular.proxy.session.session\n{LIBRARY}{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=build.TREE, env=build.watched(log), capture_output=True)
    (report,) = build.reports(log)
    assert said in report
    assert (done.returncode != 0) == said.startswith("heap-"), "a fault ends the process"


def test_transcripts(log: Path) -> None:
    """On the machine alone, and through real processes."""
    assert run_tests(log, "tests/transcripts") == 0
    assert build.reports(log) == []


def test_mutated_dialogues(log: Path) -> None:
    """A few for each configuration; `make sanitize` goes on for ten minutes."""
    count = fuzz(log, 0, seed=1, a_round=4)
    assert build.reports(log) == []
    print(f"{count} dialogues")


def test_a_crash_costs_the_sessions_of_its_worker(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is not its own ends a worker: the others' sessions do not notice, and a successor serves."""
    for name, value in build.watched(log).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "libpdm_crashing.py").write_text(CRASHING)
    port = free_port()
    lines = [f"set pdmdir {tmp_path}", "backend conf b host 127.0.0.1 state fake", "pdm add c crashing"]
    lines += [f"vserv conf v iface {LOOPBACK} port {port} state online"]
    with Proxy(tmp_path, lines, workers=2) as proxy:
        clients: dict[int, PopClient] = {}
        while len(clients) < 2:
            client = PopClient(port)
            client.log_in("ann")
            if clients.setdefault(proxy.sessions()[-1]["pid"], client) is not client:
                client.close()
        with PopClient(port) as crashing:
            crashing.ask("USER crash")
            crashing.say(b"PASS x\r\n")
            wait_until(lambda: len(proxy.log("worker_died")) == 1, "the death is noticed")
        (died,) = proxy.log("worker_died")
        assert died.fields["cause"] == "SIGABRT"
        survivor = next(client for pid, client in clients.items() if pid != int(died.fields["worker"]))
        assert survivor.ask("STAT") == b"+OK 0 0"
        wait_until(lambda: len(proxy.workers()) == 2, "a successor sits in the slot")
        with PopClient(port) as later:
            assert later.log_in("bob").startswith(b"+OK")
        for client in clients.values():
            client.close()
    (report,) = build.reports(log)
    assert "heap-buffer-overflow" in report
