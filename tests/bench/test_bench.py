"""The bench itself: it measures what is there, says what is not, and its pages are made from one file."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from supervisor import compiled
from tests.bench import picture, report, results, surroundings
from tests.bench.contestants import BENCH, CONTESTANTS, HAPROXY, PROJECT, Contestant, Place, other
from tests.bench.measures import Size
from tests.bench.rounds import AskedLogin, Rounds, grounds, hindrance_of, turns
from tests.bench.workloads import WORKLOADS, Run, Workload, compile_programs
from tests.patience import patient
from tests.system.site import need

BY_NAME = {row.name: row for row in WORKLOADS}
OURS = next(row for row in CONTESTANTS if row.ours)
TINY = Size(sessions=20, at_once=None, hold=10, segment=0)


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    need("cc")
    need("openssl")
    command = [sys.executable, "-m", "tests.bench", "--rounds", "1", "--sessions", "20", "--hold", "10", *options]
    return subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=patient(120), check=False, env={**os.environ}
    )


def blank(*contestants: str, workloads: Sequence[str] = tuple(BY_NAME)) -> results.Results:
    """Nothing measured yet."""
    return results.Results({"full": True}, list(contestants), list(workloads))


def test_a_small_run(tmp_path: Path) -> None:
    """Each row that is chosen has a figure of each contestant; nothing is written but what was asked for."""
    pages = {path: path.read_bytes() for path in (*BENCH.glob("RESULTS.*"), report.README)}
    rows = ["busy", "busy-rate", "cxpop", "mails", "idle", "latency-p50", "latency-p99"]
    done = bench("--only", "floor,pproxy", "--workload", ",".join(rows), "--json", str(tmp_path / "single.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "single.json").read_text())
    measured = {(one["run"], one["contestant"]) for one in told["measured"]}
    runs = {BY_NAME[row].run.name for row in rows}
    assert measured == {(run, name) for run in runs for name in ("floor", "pproxy")} - {("cxpop", "floor")}
    assert all(one.get("errors", 0) == 0 for one in told["measured"])
    assert "FAILED" not in done.stdout
    assert pages == {path: path.read_bytes() for path in pages}


@pytest.mark.nightly
@pytest.mark.parametrize(("workload", "most"), [("idle", 1800), ("idle-tls", 16000)])
def test_an_idle_session_is_small(workload: str, most: int, tmp_path: Path) -> None:
    """Octets of its own that a session holds which waits for its client; its row of the table comes to them. They
    vary by a twentieth from run to run: 1,636 to 1,733 and 15,466 to 15,876 were seen.
    """
    if compiled.IN_USE is None:
        pytest.skip("in pure Python it is larger")
    options = ("--only", "pproxy", "--workload", workload, "--hold", "2000", "--json", str(tmp_path / "idle.json"))
    done = bench(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    (measured,) = json.loads((tmp_path / "idle.json").read_text())["measured"]
    assert measured["anonymous"] * 1024 <= most


def test_another_checkout_takes_part(tmp_path: Path) -> None:
    """It is found by its environment; one that has none is told to be missing, and the others go on."""
    done = bench("--only", "floor", "--workload", "busy", "--other", str(PROJECT))
    assert (done.returncode, "FAILED" in done.stdout, " other" in done.stdout) == (0, False, True), done.stdout
    done = bench("--only", "floor", "--workload", "busy", "--other", str(tmp_path))
    assert (done.returncode, "left out: other is not installed" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize(
    "options", [["--workload", "nothing"], ["--only", "other"], ["--rounds", "0"], ["--at-once", "0"]]
)
def test_a_wrong_option_is_refused(options: list[str]) -> None:
    """Before anything starts."""
    assert bench(*options).returncode == 2


def forgetful(program: str, place: Place) -> list[str | Path]:
    """An HAProxy that neither gives tickets nor remembers sessions."""
    text = HAPROXY.format(workers=2, connections=100, **place.words())
    text = text.replace("maxconn", "tune.ssl.cachesize 0\n    maxconn")
    path = place.directory / "haproxy.cfg"
    path.write_text(text.replace(f"crt {place.pem}", f"crt {place.pem} no-tls-tickets"))
    return [program, "-db", "-q", "-f", path]


def rounds(tmp_path: Path, entrants: Sequence[AskedLogin], workloads: Sequence[str]) -> results.Results:
    compile_programs(BENCH)
    told = blank(*(one.contestant.name for one in entrants), workloads=workloads)
    with grounds(tmp_path, 0, 120) as place:
        Rounds(told, entrants, TINY, place=place).go(2, float("inf"))
    return told


def test_who_does_not_resume_has_no_figure(tmp_path: Path) -> None:
    """He fails in that row, in the first round; what he can do is measured in both."""
    need("cc")
    program = need("haproxy")
    contestant = Contestant("forgetful", lambda: program, forgetful)
    told = rounds(tmp_path, [AskedLogin(contestant, program)], ["tls-rsa", "tls-resumed"])
    assert list(told.failed) == ["tls-resumed"]
    assert told.of("tls-resumed", "forgetful") == {}
    assert list(told.of("tls-rsa", "forgetful")) == [1, 2]


def test_who_cannot_start_has_no_figure_and_holds_nobody_up(tmp_path: Path) -> None:
    """Why is told, without the path of the program."""
    need("cc")
    dead = Contestant("dead", lambda: "/bin/false", lambda program, _: [program])
    floor = CONTESTANTS[0]
    told = rounds(tmp_path, [AskedLogin(dead, "/bin/false"), AskedLogin(floor, floor.program() or "")], ["login"])
    assert "false does not answer" in told.failed["login"]["dead"]
    assert "/" not in told.failed["login"]["dead"]
    assert list(told.of("login", "floor")) == [1, 2]


def test_turns_are_reversed_every_round() -> None:
    """A workload's contestants are those that can do it."""
    entrants = [AskedLogin(row, "") for row in (*CONTESTANTS, other(Path()))]
    names = [one.contestant.name for one in turns(entrants, BY_NAME["tls-rsa"].run, 1)]
    assert names == ["haproxy", "nginx", "dovecot", "pproxy", "pproxy-pure", "other"]
    assert [one.contestant.name for one in turns(entrants, BY_NAME["tls-rsa"].run, 2)] == names[::-1]
    assert [one.contestant.name for one in turns(entrants, BY_NAME["cxpop"].run, 1)] == [
        "pproxy",
        "pproxy-pure",
        "other",
    ]


def test_too_few_descriptors_leave_a_row_out() -> None:
    """And it is told how many are needed."""
    asks = dataclasses.replace(BY_NAME["crowd"].run, descriptors=10**9)
    assert "needs 1,000,000,000 descriptors" in hindrance_of(asks)
    assert hindrance_of(dataclasses.replace(asks, descriptors=10)) == ""


def test_ratios_are_of_the_same_round() -> None:
    """A round that one of the two has missed counts for neither; the medians are of ratios, not of figures."""
    told = blank("haproxy", "pproxy")
    for number, (theirs, ours) in enumerate([(100, 110), (200, 240), (400, 400)], 1):
        told.add("busy", "haproxy", number, theirs)
        told.add("busy", "pproxy", number, ours)
    told.add("busy", "pproxy", 4, 9999)
    told.add("cxpop", "pproxy", 2, 100)
    assert told.ratios(BY_NAME["busy"], "pproxy") == (1.1, 1.0, 1.2)
    assert told.ratios(BY_NAME["cxpop"], "pproxy") == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "ours", "said"),
    [("busy", 104, "reached"), ("busy", 110, "missed by 0.05"), ("big", 90, "missed by 0.10"), ("big", 101, "reached")],
)
def test_goals(name: str, ours: float, said: str) -> None:
    """At most, or where more is better at least."""
    told = blank("haproxy", "pproxy", workloads=[name])
    told.add(name, "haproxy", 1, 100)
    told.add(name, "pproxy", 1, ours)
    told.about |= surroundings.about([]) | dataclasses.asdict(TINY)
    (line,) = [line for line in report.page(told).splitlines() if line.startswith(f"| `{name}` | haproxy |")]
    assert line.endswith(f"| {said} |")


def test_every_row_says_what_it_is() -> None:
    """Names are unique, a row that is compared with another one names one, and a run's name means one run."""
    assert len(BY_NAME) == len(WORKLOADS)
    assert {row.reference for row in WORKLOADS} - {""} <= BY_NAME.keys()
    runs: dict[str, Run] = {}
    assert [row.name for row in WORKLOADS if runs.setdefault(row.run.name, row.run) is not row.run] == []
    assert all(isinstance(row, Workload) and row.title for row in WORKLOADS)


def test_a_busy_machine_gives_no_figures() -> None:
    """The load is told before the first round."""
    processors = os.cpu_count() or 1
    assert surroundings.is_busy({"load before": 0.6 * processors})
    assert not surroundings.is_busy({"load before": 0.4 * processors})


def test_the_pages_are_made_from_the_results() -> None:
    """RESULTS.md and its picture are what RESULTS.json gives: `python -m tests.bench --again`."""
    told = results.read(BENCH / "RESULTS.json")
    assert (BENCH / "RESULTS.md").read_text("utf-8") == report.page(told)
    assert (BENCH / "RESULTS.svg").read_text("utf-8") == picture.draw(told)


def test_the_readme_has_the_table_of_the_last_run() -> None:
    """And says so where it was no full run."""
    shown = report.block(report.README.read_text("utf-8"))
    assert shown == report.block((BENCH / "RESULTS.md").read_text("utf-8"))
    full = results.read(BENCH / "RESULTS.json").about["full"]
    assert ("not a figure" in shown) != full


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    """Rounds are numbers, also from JSON."""
    told = blank(OURS.name)
    told.add("busy", OURS.name, 2, 123.456789)
    told.write(tmp_path / "file")
    assert results.read(tmp_path / "file") == told
    assert told.of("busy", OURS.name) == {2: 123.46}
