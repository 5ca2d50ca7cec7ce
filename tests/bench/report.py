"""Results for people: the table on the terminal, the page RESULTS.md, and the table of the project's README.

All of them are made from `Results` alone, so that whoever has RESULTS.json can make them again, and a test can tell
whether somebody has written into one by hand.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.contestants import PROJECT
from tests.bench.results import REFERENCE, Results, Spread, spread
from tests.bench.workloads import Goal, Workload

BEGIN, END = "<!-- from tests/bench/RESULTS.md: make bench -->", "<!-- end of it -->"
FINE, WHOLE = 10, 1000
README = PROJECT / "README.md"


def number(value: float) -> str:
    """As many digits as say something: 0.42, 3.3, 121, 5,190."""
    if value < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < FINE else f"{value:,.0f}" if value >= WHOLE else f"{value:.0f}"


def cell(results: Results, row: Workload, contestant: str) -> str:
    """The median and its ratio to HAProxy's, as `196 ×1.00`; both medians over the rounds."""
    values = results.values(row, contestant)
    if values is None:
        return "failed" if contestant in results.failed.get(row.run.name, {}) else "–"
    ratios = results.ratios(row, contestant)
    return number(values.median) + (f" ×{ratios.median:.2f}" if ratios else "")


def text(results: Results) -> str:
    """The table on the terminal, with what it means."""
    width = max(len(row.name) + len(row.unit) for row in results.rows()) + 2
    columns = [max(14, len(name) + 2) for name in results.contestants]
    lines = [" " * width + "".join(f"{name:>{room}}" for name, room in zip(results.contestants, columns, strict=True))]
    for row in results.rows():
        cells = (cell(results, row, name) for name in results.contestants)
        shown = "".join(f"{one:>{room}}" for one, room in zip(cells, columns, strict=True))
        lines.append(f"{row.name + ' ' + row.unit:{width}}{shown}")
    lines += ["", *(f"{row.name:{width}}{row.title}" for row in results.rows())]
    lines.append(f"{'×':{width}}median of the ratios to {REFERENCE} in the same round; {results.rounds()} rounds")
    lines += ["", "seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in results.seconds.items())]
    return "\n".join([*lines, *notes(results)])


def notes(results: Results) -> Iterator[str]:
    """Who has no figure, and why."""
    for what, told in (("left out", results.left_out), ("FAILED", results.failed)):
        runs: dict[tuple[str, str], list[str]] = {}
        for run, why in told.items():
            for contestant, reason in why.items():
                runs.setdefault((contestant, reason), []).append(run)
        for (contestant, reason), names in runs.items():
            yield f"{what}: {contestant or 'all'} in {', '.join(names)}: {reason.strip()}"


def _cells(words: Sequence[str]) -> str:
    return "| " + " | ".join(words) + " |"


def _head(words: Sequence[str]) -> list[str]:
    return [_cells(words), "|" + "---|" * len(words)]


def summary(results: Results) -> str:
    """The table of the README: ratios only, and what HAProxy's 1 is."""
    names = [name for name in results.contestants if name != REFERENCE]
    lines = _head(["", f"{REFERENCE} = 1", *names])
    for row in (row for row in results.rows() if row.goal):
        values = spread(list(results.of(row.reference or row.name, REFERENCE).values()))
        is_it = f"{number(values.median)} {row.unit}" if values else "–"
        ratios = [results.ratios(row, name) or results.values(row, name) for name in names]
        told = [f"{ratio.median:.2f}" if ratio else "–" for ratio in ratios]
        lines.append(_cells([row.title, is_it, *told]))
    about = results.about
    rounds = f"Median of {results.rounds()} rounds" if about["full"] else "**A quick look, not a figure**"
    what = "processor time or memory of the proxy for one session; rates and MB/s: more is better"
    lines += ["", f"{rounds}, {about['date']}, commit {about['commit']}, {about['machine']}: {what}."]
    return "\n".join([BEGIN, "", *lines, "", END])


def page(results: Results) -> str:
    """RESULTS.md."""
    about = results.about
    lines = ["# What a session costs: the last run", "", "Written by `make bench`; README.md explains it.", ""]
    if not about["full"]:
        lines += ["**Not a figure:** a quick look, or a busy machine.", ""]
    lines += [summary(results), "", "![The ratios as a picture](RESULTS.svg)", ""]
    lines += [
        "## Where",
        "",
        f"- {about['date']}, commit {about['commit']}",
        f"- {about['machine']}, {about['kernel']}; load before {about['load before']:.2f}",
        f"- Python {about['python']}, {about['openssl']}",
        *(f"- {name}: {version}" for name, version in about["versions"].items() if version),
        f"- {results.rounds()} rounds of {about['sessions']:,} sessions, and {about['hold']:,} idle connections",
    ]
    lines += [
        "",
        "## Figures",
        "",
        "Median (least–most) over the rounds, and the ratio to HAProxy's of the same round.",
    ]
    lines += ["", *_figures(results), "", "## Goals", "", *_goals(results)]
    told = list(notes(results))
    if told:
        lines += ["", "## No figure", "", *(f"- {one}" for one in told)]
    lines += ["", "## Seconds", "", ", ".join(f"{name} {took:.0f}" for name, took in results.seconds.items()), ""]
    return "\n".join(lines)


def _between(found: Spread, form: str = "") -> str:
    shown = [format(one, form) if form else number(one) for one in found]
    return f"{shown[0]} ({shown[1]}–{shown[2]})"


def _figures(results: Results) -> Iterator[str]:
    yield from _head(["", "", *results.contestants])
    for row in results.rows():
        cells = []
        for name in results.contestants:
            values, ratios = results.values(row, name), results.ratios(row, name)
            told = _between(values) if values else "–"
            cells.append(told + (f"<br>×{_between(ratios, '.2f')}" if ratios and name != REFERENCE else ""))
        yield _cells([f"`{row.name}`", row.unit, *cells])


def _goals(results: Results) -> Iterator[str]:
    yield from _head(["", "to", "goal", "pproxy", ""])
    for row in results.rows():
        for against, ratio in _reached(results, row, row.goal):
            assert row.goal is not None
            limit = row.goal.limit
            sign = "≥" if row.more_is_better else "≤"
            missed = limit - ratio.median if row.more_is_better else ratio.median - limit
            told = f"missed by {missed:.2f}" if missed > 0 else "reached"
            yield _cells([f"`{row.name}`", against, f"{sign} {limit:.2f}", _between(ratio, ".2f"), told])


def _reached(results: Results, row: Workload, goal: Goal | None) -> Iterator[tuple[str, Spread]]:
    """What a goal speaks of: the ratio to each of the others, or the figure itself."""
    if goal is None:
        return
    for against in goal.against:
        ratio = results.ratios(row, "pproxy", against)
        if ratio:
            yield against, ratio
    own = results.values(row, "pproxy")
    if not goal.against and own:
        yield "itself", own


def block(document: str) -> str:
    """What stands between the two marks in a page, with them. Raises ValueError if they are not there."""
    return document[document.index(BEGIN) : document.index(END) + len(END)]


def put_into(readme: Path, results: Results) -> None:
    """Replaces the table."""
    document = readme.read_text("utf-8")
    readme.write_text(document.replace(block(document), summary(results)), "utf-8")
