"""Results as a picture: for each workload a line, on it a dot for each contestant, where its ratio to HAProxy's stands.

An SVG of our own, which follows the reader's light or dark. Thin lines are the spread over the rounds. Where more is
better the ratio is turned over, so that to the left is always the cheaper side.
"""

import math
from collections.abc import Iterator
from html import escape

from tests.bench.results import REFERENCE, Results, Spread
from tests.bench.workloads import Workload

LEFT, WIDTH, LINE, TOP = 330, 460, 24, 56
LEAST, MOST = 0.25, 4.0
TICKS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)
COLOURS = {
    "floor": "#8a8a8a",
    "nginx": "#2a9d4a",
    "dovecot": "#c77d0a",
    "pproxy": "#d6336c",
    "pproxy-pure": "#8e5bd0",
    "other": "#2f7fd1",
}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222 } .small { font-size: 11px; fill: #666 }
.grid { stroke: #ddd } .one { stroke: #555; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .small { fill: #999 } .grid { stroke: #444 } .one { stroke: #bbb }
}
"""


def _across(ratio: float) -> float:
    """Where a ratio stands; the scale is logarithmic, so that twice and half are equally far from 1."""
    part = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return round(LEFT + WIDTH * part, 1)


def _cost(results: Results, row: Workload, contestant: str) -> Spread | None:
    ratio = results.ratios(row, contestant)
    if ratio is None or not row.more_is_better:
        return ratio
    return Spread(1 / ratio.median, 1 / ratio.most, 1 / ratio.least)


def _line(results: Results, row: Workload, y: int) -> Iterator[str]:
    yield f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(row.title)}</text>'
    yield f'<line class="grid" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y}" y2="{y}"/>'
    for name in results.contestants:
        found = _cost(results, row, name)
        if name == REFERENCE or found is None:
            continue
        colour, size = COLOURS.get(name, "#2f7fd1"), 6 if name == "pproxy" else 4.5
        ends = _across(found.least), _across(found.most)
        yield f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        told = f"{name}: {found.median:.2f} ({found.least:.2f}–{found.most:.2f})"
        place = f'cx="{_across(found.median)}" cy="{y}" r="{size}"'
        yield f'<circle {place} fill="{colour}"><title>{told}</title></circle>'


def _legend(names: list[str]) -> Iterator[str]:
    x = LEFT
    for name in names:
        yield f'<circle cx="{x}" cy="14" r="5" fill="{COLOURS.get(name, "#2f7fd1")}"/>'
        yield f'<text x="{x + 9}" y="18">{name}</text>'
        x += 24 + 8 * len(name)


def draw(results: Results) -> str:
    """The whole picture."""
    others = [name for name in results.contestants if name != REFERENCE]
    rows = [row for row in results.rows() if any(results.ratios(row, name) for name in others)]
    bottom = TOP + LINE * len(rows)
    parts = list(_legend(others))
    for tick in TICKS:
        x, kind = _across(tick), "one" if tick == 1 else "grid"
        parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{TOP - 14}" y2="{bottom}"/>')
        parts.append(f'<text class="small" x="{x}" y="{TOP - 18}" text-anchor="middle">{tick:g}</text>')
    for index, row in enumerate(rows):
        parts += _line(results, row, TOP + LINE * index + LINE // 2)
    told = f"cost for one session, {REFERENCE} = 1; to the left is cheaper"
    parts.append(f'<text class="small" x="{LEFT}" y="{bottom + 18}">{told}</text>')
    size = f'viewBox="0 0 {LEFT + WIDTH + 20} {bottom + 28}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(told)}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])
