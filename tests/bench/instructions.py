"""How many instructions a session costs a worker, in user space, counted by valgrind's callgrind.

.venv/bin/python -m tests.bench.instructions [KIND] [--at-once N] [--traces N [--of SORT]] [--profile FILE]

Unlike a time it is the same on a quiet machine and on a busy one. One worker runs under callgrind, alone. What is
counted after a warm-up, less what an idle worker costs in the same time, is shared out among the sessions.
`--traces`: while so many users are traced, or networks, backends, virtual servers (`--of`), and none of them comes into
it. `--profile` keeps the dump, for callgrind_annotate.
"""

import argparse
import json
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
from tests.bench.rounds import KEYS, make_certificate
from tests.bench.workloads import compile_programs, has_tls
from tests.patience import patient

WARM_UP = 50
SESSIONS = 200
IDLE_SECONDS = 4.0
"""Without sessions, a worker shows once a second that it lives, and turns its wheel: that is no session's cost."""

_RC = """
set maxsession 1000
set checkport {backend}
backend conf b1 host 127.0.0.1 port {backend} prot {prot} state {state}
pdm add a any b1
vserv conf v1 iface 127.0.0.1 port {port} namespace bench state online
"""
_RC_OF_TLS = """
set tlsdir {directory}/tls
vserv conf v2 iface 127.0.0.1 port {tls} prot POP3s namespace bench state online
"""


@dataclass(frozen=True)
class Kind:
    """A kind of session: what the backend speaks that it goes to, its state, and whether the client finds no mail.

    `tls`: it comes in TLS, with these options of pop3load; `resumed`: by a ticket of the warm-up.
    """

    prot: str
    state: str = "online"
    without_mail: bool = False
    tls: tuple[str, ...] | None = None
    resumed: bool = False


KINDS = {
    "login": Kind("POP3"),
    "empty": Kind("POP3", "fake", without_mail=True),
    "checked": Kind("CXPOP", without_mail=True),
    "tls": Kind("POP3", tls=()),
    "resumed": Kind("POP3", tls=(), resumed=True),
    "resumed12": Kind("POP3", tls=("-2",), resumed=True),
}
"""USER, PASS, STAT, QUIT: `login` through to a backend; `empty` in the mailbox without mail that the proxy shows;
`checked` the same, when the backend has said by UDP that there is none; `tls` a login by POP3S, its handshake with TLS
1.3 and a key on P-256; `resumed`, `resumed12` resumed, with TLS 1.3 and 1.2.
"""


@dataclass(frozen=True)
class Clients:
    """How pop3load is run. Its warm-up keeps a ticket, with which sessions that are resumed begin."""

    program: tuple[str | Path, ...]
    at_once: int
    ticket: Path
    resumed: bool

    def run(self, sessions: int, *, warm_up: bool = False) -> None:
        """All of them, one after the other or so many at once.

        Raises NotReady where one is not served as it expects: then another session was measured than is meant.
        """
        words = [*self.program, "-s", sessions, "-c", self.at_once, "-t", 300]
        if self.resumed:
            words += ["-k" if warm_up else "-r", self.ticket]
        run = [str(word) for word in words]
        done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=patient(300))
        told = json.loads(done.stdout)
        if told["errors"] or (not warm_up and told["resumed"] != sessions * self.resumed):
            raise processes.NotReady(f"the clients say: {done.stdout}")


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
    wanted = KINDS[kind]
    if wanted.tls is not None and not has_tls():
        raise processes.NotReady("needs openssl/ssl.h (Debian: libssl-dev)")
    compile_programs(BENCH)
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        directory = Path(name)
        sink: list[str | Path] = [BIN / "pop3sink", *(["-x"] if wanted.prot != "POP3" else [])]
        with processes.helper(sink, directory / "sink.log") as backend:
            port, tls = processes.free_port(), processes.free_port()
            rc = _RC.format(backend=backend, port=port, prot=wanted.prot, state=wanted.state) + _others(of, traces)
            load: tuple[str | Path, ...] = (BIN / "pop3load", "-p", str(port))
            if wanted.tls is not None:
                (directory / "tls").mkdir()
                pem = directory / "tls" / "default.pem"
                make_certificate(pem, KEYS["ec"])
                rc += _RC_OF_TLS.format(directory=directory, tls=tls)
                load = (BIN / "pop3load-tls", "-p", str(tls), "-T", pem, *wanted.tls)
            if wanted.without_mail:
                load = (*load, "-e")
            (directory / "rc").write_text(rc)
            most = traces + 2 if of in ("backend", "vserv") else 0
            clients = Clients(load, at_once, directory / "ticket", wanted.resumed)
            process = processes.start(_command(directory, more=most), directory / "output", cwd=BENCH.parent.parent)
            try:
                processes.wait_until_answering(port, process, directory / "output", patient(60))
                for number in range(traces):
                    _say(directory, f"trace start {of} {TRACED[of].format(number)} for 1h max 4K")
                return _measure(process, directory, clients, sessions=sessions, profile=profile)
            finally:
                processes.stop(process)


def _command(directory: Path, *, more: int) -> Sequence[str | Path]:
    """One worker, and nothing beside it; the hashes of names are always the same, so that dictionaries are too."""
    callgrind: list[str | Path] = [
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={directory}/counts.%p",
        "--trace-children=yes",
        "--instr-atstart=no",
        "--quiet",
    ]
    program: list[str | Path] = [sys.executable, Path(sys.executable).with_name("pproxy")]
    options: list[str | Path] = ["-r", directory / "run", "-l", directory / "log", "-c", directory / "rc"]
    options += ["-w", "1", "-n", "1000"]
    if more:  # rows of the table that are traced: the usual number has no room for them
        options += ["--max-backends", str(more), "--max-vservs", str(more)]
    return ["env", "PYTHONHASHSEED=0", *callgrind, *program, *options, "--metrics", "off", "--ringd", "off"]


def _measure(
    process: subprocess.Popen[str], directory: Path, clients: Clients, *, sessions: int, profile: Path | None
) -> int:
    (worker,) = [pid for pid in processes.tree(process.pid) if pid != process.pid]
    _control(worker, "--instr=on")
    clients.run(WARM_UP, warm_up=True)
    _control(worker, "--dump")
    began = time.monotonic()
    clients.run(sessions)
    _control(worker, "--dump")
    seconds = time.monotonic() - began
    time.sleep(IDLE_SECONDS)
    _control(worker, "--dump")
    *_, busy, idle = sorted(directory.glob(f"counts.{worker}.*"), key=lambda path: int(path.suffix[1:]))
    if profile is not None:
        shutil.copy(busy, profile)
    return round((_total(busy) - _total(idle) * seconds / IDLE_SECONDS) / sessions)


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
