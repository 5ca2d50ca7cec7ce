"""`python -m tests.bench`: prints what a session costs, for pproxy and its peers.

Starts the storage servers, then, round by round and workload by workload, each contestant that is installed, and
prints the medians of all rounds and how they stand to HAProxy's figure of the same round. Loopback only; ends by
itself; leaves no process and no file behind (but the compiled programs in tests/bench/bin, and what --json and
--results write). Exit: 0 all measured, 1 a contestant failed (the others go on), 2 usage, 130 or 143 interrupted.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import picture, report, surroundings
from tests.bench.contestants import BENCH, CONNECTIONS, CONTESTANTS, DESCRIPTORS, Contestant, other
from tests.bench.measures import Size
from tests.bench.modules import SOURCES
from tests.bench.modules import main as main_of_modules
from tests.bench.results import Results, read
from tests.bench.rounds import AskedLogin, Rounds, grounds
from tests.bench.workloads import QUICK as QUICK_WORKLOADS
from tests.bench.workloads import WORKLOADS, compile_programs

QUICK = {"rounds": 2, "sessions": 1000, "hold": 500}
USUAL = {"rounds": 5, "sessions": 4000, "hold": 2000}
SPARE = 100
"""Connections that are not held, and must find room beside."""
QUICK_CONTESTANTS = ("haproxy", "pproxy")
LONGEST_ROUND_SECONDS = 1200
RESULTS = BENCH / "RESULTS.json"


def parser_of_options(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default {USUAL['rounds']}")
    parser.add_argument("--sessions", type=int, metavar="N", help=f"per measurement; default {USUAL['sessions']}")
    parser.add_argument("--hold", type=int, metavar="N", help=f"idle connections; default {USUAL['hold']}")
    parser.add_argument("--at-once", type=int, metavar="N", help="sessions at any moment, for all workloads")
    parser.add_argument("--segment", type=int, metavar="N", default=0, help="largest TCP segment, such as 1448")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"of {', '.join(names)}; default all but pproxy-pure")
    parser.add_argument(
        "--other", type=Path, metavar="DIR", help="another checkout with its .venv, measured as `other`"
    )
    parser.add_argument("--workload", metavar="NAME,NAME", help=f"of {', '.join(row.name for row in WORKLOADS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds: a look, not a figure")
    parser.add_argument("--minutes", type=float, default=25, metavar="N", help="no round beyond; default 25")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    parser.add_argument("--results", action="store_true", help="write RESULTS.md, .json, .svg, and the README's table")
    parser.add_argument(
        "--modules", action="store_true", help="what a login costs by module instead; --only MODULE,MODULE for some"
    )
    parser.add_argument("--again", action="store_true", help="measure nothing: write these anew from RESULTS.json")
    return parser


def arguments() -> tuple[argparse.Namespace, list[Contestant]]:
    """The options, and who is asked for."""
    known = [*CONTESTANTS, other(Path())]
    parser = parser_of_options([row.name for row in known])
    options = parser.parse_args()
    for name, usual in (QUICK if options.quick else USUAL).items():
        if getattr(options, name) is None:
            setattr(options, name, usual)
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    if options.hold > CONNECTIONS - SPARE:
        options.hold = CONNECTIONS - SPARE
        print(f"only {options.hold} idle connections: the hard limit is {DESCRIPTORS:,} descriptors a process")
    if options.at_once is not None and not 1 <= options.at_once <= 1000:
        parser.error("--at-once must be between 1 and 1000")
    if options.segment and not 536 <= options.segment <= 32767:
        parser.error("--segment must be 0 or between 536 and 32767")
    asked = chosen(parser, "--only", options.only, [row.name for row in known])
    if "other" in asked and options.other is None:
        parser.error("--only: `other` is what --other names")
    options.workload = chosen(parser, "--workload", options.workload, [row.name for row in WORKLOADS])
    if not asked:
        asked = list(QUICK_CONTESTANTS) if options.quick else [row.name for row in known if not row.only_asked]
    options.workload = options.workload or list(QUICK_WORKLOADS if options.quick else (row.name for row in WORKLOADS))
    options.workload += [row.reference for row in WORKLOADS if row.name in options.workload and row.reference]
    wanted = [row for row in CONTESTANTS if row.name in asked]
    return options, wanted + ([other(options.other)] if options.other else [])


def chosen(parser: argparse.ArgumentParser, option: str, words: str | None, allowed: list[str]) -> list[str]:
    """The names of a comma-separated option."""
    names = words.split(",") if words else []
    for name in names:
        if name not in allowed:
            parser.error(f"{option}: {name!r} is none of {', '.join(allowed)}")
    return names


def installed(wanted: list[Contestant]) -> list[AskedLogin]:
    """Says of the others that they are not."""
    found = [(row, row.program()) for row in wanted]
    for row, program in found:
        if program is None:
            print(f"left out: {row.name} is not installed")
    return [AskedLogin(row, program) for row, program in found if program is not None]


def bench(options: argparse.Namespace, entrants: list[AskedLogin]) -> tuple[Results, list[dict[str, Any]]]:
    """All rounds, and what became of them."""
    size = Size(options.sessions, options.at_once, options.hold, options.segment)
    about = surroundings.about(entrants) | vars(size)
    as_usual = all(getattr(options, name) >= usual for name, usual in USUAL.items())
    everything = {row.name for row in WORKLOADS} == set(options.workload) and not (
        options.only or options.at_once or options.segment
    )
    about["full"] = as_usual and everything and not surroundings.is_busy(about)
    results = Results(about, [one.contestant.name for one in entrants], sorted(set(options.workload)))
    seconds = int(options.minutes * 60)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the peers' unprivileged users must reach their directories
        with grounds(directory, size.segment, seconds + LONGEST_ROUND_SECONDS) as place:
            rounds = Rounds(results, entrants, size, place=place)
            rounds.go(options.rounds, time.monotonic() + seconds)
    about["full"] = about["full"] and results.rounds() >= USUAL["rounds"]
    return results, rounds.single


def write(results: Results) -> None:
    """The page, its picture, and the README's table."""
    results.write(RESULTS)
    RESULTS.with_suffix(".md").write_text(report.page(results), "utf-8")
    RESULTS.with_suffix(".svg").write_text(picture.draw(results), "utf-8")
    report.put_into(report.README, results)


def bench_of_modules(argv: list[str]) -> int:
    """Another bench, with the options that it has in common with this one."""
    options = parser_of_options(list(SOURCES)).parse_args(argv)
    compile_programs(BENCH)
    only = options.only.split(",") if options.only else []
    return main_of_modules(options.sessions or USUAL["sessions"], only, options.results)


def main() -> int:
    if "--modules" in sys.argv:
        return bench_of_modules(sys.argv[1:])
    options, wanted = arguments()
    if options.again:
        write(read(RESULTS))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` ends what it started
    missing = [name for name in ("cc", "openssl") if shutil.which(name) is None]
    if missing:
        print(f"{' and '.join(missing)} must be installed", file=sys.stderr)
        return 2
    compile_programs(BENCH)
    results, single = bench(options, installed(wanted))
    print(report.text(results))
    if surroundings.is_busy(results.about):
        print(f"NOT A FIGURE: the machine was busy (load {results.about['load before']})", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps({"about": results.about, "measured": single}, indent=1) + "\n")
    if options.results:
        write(results)
    return 1 if results.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
