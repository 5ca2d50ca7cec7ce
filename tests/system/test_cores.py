"""What holds passwords or keys leaves no core file, and its own user can neither trace it nor read its memory."""

import ctypes
import os
import pwd
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.bench import processes
from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, program, wait_until

NOBODY = pwd.getpwnam("nobody").pw_uid
_PTRACE_ATTACH = 16


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may pass through, and where cores would lie."""
    path = Path(tempfile.mkdtemp(prefix="popular-test-"))
    path.chmod(0o755)
    yield path
    for state in path.glob("run/*.state"):  # of a master that crashed
        state.readlink().unlink(missing_ok=True)
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def _asked_for() -> Iterator[None]:
    """What the tests start may leave cores, as far as those who run them allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def _may_leave_cores(pid: int) -> bool:
    (line,) = [one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in one]
    return line.split()[4:6] != ["0", "0"]


def _can_be_traced(pid: int) -> bool:
    """Whether a debugger may look at it: of a process that cannot be traced, root has the files in /proc (proc(5))."""
    return Path(f"/proc/{pid}/environ").stat().st_uid != 0


def _all_processes(proxy: Proxy) -> list[int]:
    """Master, workers and exporter."""
    wait_until(lambda: bool(proxy.log("exporter_listens")), "the exporter is there")
    found = processes.tree(proxy.pid)
    assert len(found) == 4
    return found


@pytest.mark.parametrize("name", ["pproxy", "pserv"])
def test_no_process_shows_its_memory(place: Path, name: str) -> None:
    """Master, workers and exporter, also those born later, whatever limit they were started with; unless --cores."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    options = ["-u", "nobody"] if os.getuid() == 0 else []
    for number, cores in enumerate((False, True)):
        directory = place / f"{number}"
        directory.mkdir(mode=0o755)
        with Proxy(
            directory, options=[*options, *(["--cores"] if cores else [])], name=name, metrics=f"{LOOPBACK}:0"
        ) as proxy:
            wait_until(lambda proxy=proxy: len(proxy.log("worker_born")) == 2, "both workers are born")
            os.kill(proxy.workers()[0], signal.SIGKILL)
            wait_until(lambda proxy=proxy: len(proxy.log("worker_born")) == 3, "a successor is born")
            for pid in _all_processes(proxy):
                assert (_may_leave_cores(pid), _can_be_traced(pid)) == (cores and hard != 0, cores)
            if not cores and os.getuid() == 0:
                _assert_no_way_in(proxy.workers()[0])


def _assert_no_way_in(pid: int) -> None:
    """As the user of the program, by its memory and by ptrace(2)."""
    pid_of_it = os.fork()
    if pid_of_it == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        tries = (partial(open, f"/proc/{pid}/mem", "rb"), partial(_attach, pid))
        os._exit(sum(not _is_forbidden(one) for one in tries))
    assert os.waitstatus_to_exitcode(os.waitpid(pid_of_it, 0)[1]) == 0


def _attach(pid: int) -> None:
    if ctypes.CDLL(None, use_errno=True).ptrace(_PTRACE_ATTACH, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _is_forbidden(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    return False


def test_a_crash_leaves_no_core(place: Path) -> None:
    """The kernel tells of the master, and of ptestpdm, that they left none; and of one with --cores that it did."""
    pproxy: list[str | Path] = [program("pproxy"), "-r", place / "run", "-l", place / "log", "-w", "1"]
    pproxy += ["--metrics", "off"]
    assert not _core_of(pproxy, place, lambda: _runs(place, 1))
    commands, data = place / "commands", place / "data"
    os.mkfifo(commands)
    assert not _core_of([program("ptestpdm"), commands, data], place, lambda: _is_opened(commands))
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY:
        assert _core_of([*pproxy, "--cores"], place, lambda: _runs(place, 2)), "but with --cores it does"


def _runs(place: Path, starts: int) -> bool:
    """It was started so often, and can be found: so its shared memory can be, when it has crashed."""
    return len(_lines(place / "log")) == starts and (place / "run/pproxy.state").is_symlink()


def _lines(log: Path) -> list[str]:
    return [] if not log.exists() else [line for line in log.read_text().splitlines() if " start " in line]


def _is_opened(fifo: Path) -> bool:
    """Somebody reads from it."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _core_of(command: Sequence[str | Path], directory: Path, ready: Callable[[], bool]) -> bool:
    """Whether a core was written when the program crashed."""
    process = subprocess.Popen(list(map(str, command)), cwd=directory, stdin=subprocess.DEVNULL)
    wait_until(ready, "it runs", patient(30))
    process.send_signal(signal.SIGSEGV)
    _pid, status = os.waitpid(process.pid, 0)
    process.returncode = -signal.SIGSEGV
    assert os.WIFSIGNALED(status)
    return os.WCOREDUMP(status)
