"""How many instructions a session costs a worker, in user space, counted by valgrind's callgrind.

.venv/bin/python -m tests.bench.instructions [login|empty] [--at-once N] [--traces N [--of SORT]] [--profile FILE]

Unlike a time it is the same on a quiet machine and on a busy one. One worker runs under callgrind, alone. What is
counted behind a warm-up, less what an idle worker costs in the same time, is shared out among the sessions.
`--traces`: while so many users are traced, or networks, backends, virtual servers (`--of`), and none of them comes into
it. `--profile` keeps the dump, for callgrind_annotate.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import processes
from tests.bench.contestants import BENCH, BIN
from tests.bench.workloads import compile_programs
from tests.patience import patient

WARM_UP = 50
SESSIONS = 200
IDLE_SECONDS = 4.0
"""Without sessions, a worker shows once a second that it lives, and turns its wheel: that is no session's cost."""

_RC = """
set maxsession 1000
backend conf b1 host 127.0.0.1 port {backend} prot {prot} state online
pdm add a any b1
vserv conf v1 iface 127.0.0.1 port {port} namespace bench state online
"""


@dataclass(frozen=True)
class Kind:
    """A kind of session: the state of the backend it goes to, and whether that is asked at all."""

    prot: str
    state: str = "online"


KINDS = {"login": Kind("POP3"), "empty": Kind("POP3", "fake")}
"""`login`: USER, PASS, STAT, QUIT through to a backend; `empty`: the mailbox without mail that the proxy shows."""


TRACED = {"user": "nobody{}", "network": "198.51.100.{}", "backend": "other{}", "vserv": "other{}"}
"""Names of what is traced."""


def _others(of: str, number: int) -> str:
    """Lines that make them."""
    names = [TRACED[of].format(one) for one in range(number)] if of in ("backend", "vserv") else []
    return "".join(f"{of} conf {name} state offline\n" for name in names)


def measure(
    kind: str,
    *,
    sessions: int = SESSIONS,
    at_once: int = 1,
    traces: int = 0,
    of: str = "user",
    profile: Path | None = None,
) -> int:
    """Instructions of the worker for each session. Raises NotReady where valgrind, or the program, does not work."""
    if shutil.which("valgrind") is None:
        raise processes.NotReady("valgrind is not installed")
    compile_programs(BENCH)
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        directory = Path(name)
        with processes.helper([BIN / "pop3sink"], directory / "sink.log") as backend:
            port = processes.free_port()
            rc = _RC.format(backend=backend, port=port, prot=KINDS[kind].prot) + _others(of, traces)
            (directory / "rc").write_text(rc.replace("state online\npdm", f"state {KINDS[kind].state}\npdm"))
            process = processes.start(_command(directory), directory / "output", cwd=BENCH.parent.parent)
            try:
                processes.wait_until_answering(port, process, directory / "output", patient(60))
                for number in range(traces):
                    _say(directory, f"trace start {of} {TRACED[of].format(number)} for 1h max 4K")
                return _measure(process, directory, port, sessions, at_once, profile)
            finally:
                processes.stop(process)


def _command(directory: Path) -> Sequence[str | Path]:
    """One worker, and nothing beside it; the hashes of names are always the same, so that dictionaries are too."""
    callgrind = [
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={directory}/counts.%p",
        "--trace-children=yes",
        "--instr-atstart=no",
        "--quiet",
    ]
    program = [sys.executable, Path(sys.executable).with_name("pproxy")]
    options = ["-r", directory / "run", "-l", directory / "log", "-c", directory / "rc", "-w", "1", "-n", "1000"]
    return ["env", "PYTHONHASHSEED=0", *callgrind, *program, *options, "--metrics", "off", "--ringd", "off"]


def _measure(
    process: subprocess.Popen[str], directory: Path, port: int, sessions: int, at_once: int, profile: Path | None
) -> int:
    (worker,) = [pid for pid in processes.tree(process.pid) if pid != process.pid]
    _control(worker, "--instr=on")
    _run(port, WARM_UP, at_once)
    _control(worker, "--dump")
    began = time.monotonic()
    _run(port, sessions, at_once)
    _control(worker, "--dump")
    seconds = time.monotonic() - began
    time.sleep(IDLE_SECONDS)
    _control(worker, "--dump")
    *_, busy, idle = sorted(directory.glob(f"counts.{worker}.*"), key=lambda path: int(path.suffix[1:]))
    if profile is not None:
        shutil.copy(busy, profile)
    return round((_total(busy) - _total(idle) * seconds / IDLE_SECONDS) / sessions)


def _run(port: int, sessions: int, at_once: int) -> None:
    command = [BIN / "pop3load", "-p", port, "-s", sessions, "-c", at_once, "-t", 300]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=patient(300))


def _say(directory: Path, command: str) -> None:
    words = [Path(sys.executable).with_name("pcontrol"), "-r", directory / "run", *command.split()]
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=patient(60))


def _control(worker: int, order: str) -> None:
    """Gives callgrind an order: to begin to count, or to write what was counted since the last dump into a file."""
    subprocess.run(["callgrind_control", order, str(worker)], check=True, capture_output=True, timeout=patient(60))


def _total(dump: Path) -> int:
    for line in dump.read_text().splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise processes.NotReady(f"{dump} has no totals")


def main() -> None:
    """Prints one figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.instructions")
    parser.add_argument("kind", nargs="?", default="login", choices=KINDS)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--traces", type=int, default=0)
    parser.add_argument("--of", default="user", choices=TRACED)
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    chosen = {"sessions": options.sessions, "at_once": options.at_once, "traces": options.traces, "of": options.of}
    print(measure(options.kind, **chosen, profile=options.profile))


if __name__ == "__main__":
    main()
