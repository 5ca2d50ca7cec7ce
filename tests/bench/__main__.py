"""`python -m tests.bench`: prints what a session costs, for pproxy and its peers.

Starts the storage server, then, round by round and workload by workload, each contestant that is installed, and
prints the medians of all rounds and how they stand to HAProxy's figure of the same round. Loopback only; ends by
itself; leaves no process and no file behind (but the compiled programs in tests/bench/bin, and --json FILE).
Exit: 0 all measured, 1 a contestant failed (the others go on), 2 usage, 130 or 143 interrupted.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import processes
from tests.bench.contestants import BENCH, BIN, CONTESTANTS, Contestant, Place, Running
from tests.bench.workloads import WORKLOADS, Size, Workload, compile_programs

REFERENCE = "haproxy"
QUICK = {"rounds": 2, "sessions": 2000, "hold": 500}
USUAL = {"rounds": 5, "sessions": 5000, "hold": 2000}


@dataclass
class Results:
    """What was measured, by contestant and workload, one entry per round; and who failed, and why."""

    measured: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, contestant: str, workload: str, round_number: int, told: dict[str, Any]) -> None:
        self.measured.setdefault((contestant, workload), []).append({"round": round_number, **told})

    def values(self, contestant: str, workload: str) -> dict[int, float]:
        """The figures by round."""
        return {told["round"]: told["value"] for told in self.measured.get((contestant, workload), [])}

    def ratios(self, contestant: str, workload: str) -> list[float]:
        """The figure over HAProxy's figure of the same round, for the rounds that have both."""
        reference = self.values(REFERENCE, workload)
        own = self.values(contestant, workload)
        return [value / reference[number] for number, value in own.items() if reference.get(number)]


def arguments() -> argparse.Namespace:
    names = [contestant.name for contestant in CONTESTANTS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default {USUAL['rounds']}")
    parser.add_argument("--sessions", type=int, metavar="N", help=f"per measurement; default {USUAL['sessions']}")
    parser.add_argument("--hold", type=int, metavar="N", help=f"idle connections; default {USUAL['hold']}")
    parser.add_argument("--at-once", type=int, metavar="N", help="sessions at any moment, for all workloads")
    parser.add_argument("--segment", type=int, metavar="N", default=0, help="largest TCP segment, such as 1448")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--workload", metavar="NAME,NAME", help=f"of {', '.join(row.name for row in WORKLOADS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds: a look, not a figure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="no new round after; default 30")
    options = parser.parse_args()
    for name, usual in (QUICK if options.quick else USUAL).items():
        if getattr(options, name) is None:
            setattr(options, name, usual)
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    if options.at_once is not None and not 1 <= options.at_once <= 1000:
        parser.error("--at-once must be between 1 and 1000")
    if options.segment and not 536 <= options.segment <= 32767:
        parser.error("--segment must be 0 or between 536 and 32767")
    options.only = chosen(parser, "--only", options.only, names)
    options.workload = chosen(parser, "--workload", options.workload, [row.name for row in WORKLOADS])
    return options


def chosen(parser: argparse.ArgumentParser, option: str, words: str | None, allowed: list[str]) -> list[str]:
    """The names of a comma-separated option; all if it was not given."""
    names = words.split(",") if words else allowed
    for name in names:
        if name not in allowed:
            parser.error(f"{option}: {name!r} is none of {', '.join(allowed)}")
    return names


def measure(contestant: Contestant, program: str, workload: Workload, size: Size, place: Place) -> dict[str, Any]:
    """One measurement of one contestant, from start to stop."""
    with Running(contestant, program, place) as running:
        return workload.measure(running, size)


def run_rounds(
    options: argparse.Namespace, programs: dict[str, str], directory: Path, servers: dict[str, int]
) -> Results:
    """All rounds, the contestants taking turns. A contestant that fails is left out from then on."""
    results = Results()
    size = Size(options.sessions, options.at_once, options.hold, options.segment)
    ends = time.monotonic() + options.minutes * 60
    for number in range(1, options.rounds + 1):
        if time.monotonic() > ends:
            print(f"out of time after {number - 1} rounds", file=sys.stderr)
            break
        for workload in (row for row in WORKLOADS if row.name in options.workload):
            able = (row for row in CONTESTANTS if row.speaks_tls or not workload.in_tls)
            for contestant in (row for row in able if row.name in programs and row.name not in results.failed):
                name = f"{contestant.name}-{workload.name}-{number}"
                ports = processes.free_port(), processes.free_port()
                place = Place(directory / name, *ports, directory / "key.pem", **servers)
                try:
                    told = measure(contestant, programs[contestant.name], workload, size, place)
                except (processes.NotReady, OSError, ValueError, subprocess.SubprocessError) as error:
                    results.failed[contestant.name] = f"{workload.name}: {error}"
                    continue
                results.add(contestant.name, workload.name, number, told)
                if sys.stderr.isatty():
                    print(
                        f"\r\033[Kround {number}: {name} {told['value']:.1f} {workload.unit}", end="", file=sys.stderr
                    )
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return results


def cell(results: Results, contestant: str, workload: Workload) -> str:
    """The median and its ratio to HAProxy's, as `196 1.00`; both medians over the rounds."""
    values = results.values(contestant, workload.name)
    if not values:
        return "–"
    digits = 0 if workload.unit == "µs" else 1
    ratios = results.ratios(contestant, workload.name)
    ratio = f"{statistics.median(ratios):.2f}" if ratios else "–"
    return f"{statistics.median(values.values()):.{digits}f} {ratio:>6}"


def show(options: argparse.Namespace, programs: dict[str, str], results: Results) -> None:
    """Prints the table."""
    rows = [row for row in WORKLOADS if row.name in options.workload]
    print(f"{'':10}" + "".join(f"{row.name + ' ' + row.unit + ' ×ref':>20}" for row in rows))
    for name in (row.name for row in CONTESTANTS if row.name in options.only):
        if name not in programs:
            print(f"{name:10}  not installed")
        else:
            print(f"{name:10}" + "".join(f"{cell(results, name, row):>20}" for row in rows))
    print()
    for row in rows:
        what = "CPU time per session" if row.unit == "µs" else "memory (PSS) per connection"
        print(f"{row.name:10}{row.title}: {what}")
    print(f"{'×ref':10}median of the ratios to {REFERENCE} in the same round")
    print(f"{options.rounds} rounds; {options.sessions} sessions, {options.hold} idle connections in each")
    for name, why in results.failed.items():
        print(f"{name} failed at {why}", file=sys.stderr)


def make_certificate(pem: Path) -> None:
    """A key and its self-signed certificate for localhost, for all contestants (RSA 2048, valid for two days)."""
    words = "req -x509 -newkey rsa:2048 -noenc -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    made = ["openssl", *words.split(), "-keyout", "-"]
    pem.write_bytes(subprocess.run(made, capture_output=True, timeout=60, check=True).stdout)
    pem.chmod(0o600)


def write_json(file: Path, options: argparse.Namespace, results: Results) -> None:
    size = Size(options.sessions, options.at_once, options.hold, options.segment)
    measured = [
        {"contestant": contestant, "workload": workload, **told}
        for (contestant, workload), entries in results.measured.items()
        for told in entries
    ]
    file.write_text(json.dumps({"size": asdict(size), "failed": results.failed, "measured": measured}, indent=1) + "\n")


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` ends what it started
    compile_programs(BENCH)
    found = {row.name: row.program() for row in CONTESTANTS if row.name in options.only}
    programs = {name: program for name, program in found.items() if program is not None}
    life = ["-t", str(int(options.minutes * 60) + 600)]
    with tempfile.TemporaryDirectory(prefix="bench-") as text:
        directory = Path(text)
        directory.chmod(0o755)  # the peers' unprivileged users must reach their directories
        make_certificate(directory / "key.pem")
        log = directory / "servers"
        with (
            processes.helper([BIN / "pop3sink", "-g", str(options.segment), *life], log) as backend,
            processes.helper([BIN / "auth_http", "-b", str(backend), *life], log) as auth,
        ):
            results = run_rounds(options, programs, directory, {"backend": backend, "auth": auth})
    show(options, programs, results)
    if options.json:
        write_json(options.json, options, results)
    return 1 if results.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
