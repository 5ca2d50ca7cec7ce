"""What was measured: figures by workload, contestant and round, and how they stand to each other.

`Results` is what all that is shown is made from: table, pages, picture. It can be written as JSON, and read again.
"""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.workloads import WORKLOADS, Workload

REFERENCE = "haproxy"
DIGITS = 5


class Spread(NamedTuple):
    """The median over the rounds, and the least and the most of them."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


@dataclass
class Results:
    """`figures`: by workload and contestant, one for each round, in its place even where another round failed.

    `about`: machine, versions, date, sizes. `seconds`: by run, how long it took in the whole. `failed`, `left_out`: why
    a contestant ("" for all) has no figure, by run.
    """

    about: dict[str, Any]
    contestants: list[str]
    workloads: list[str]
    figures: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, workload: str, contestant: str, number: int, value: float) -> None:
        short = float(f"{value:.{DIGITS}g}")
        self.figures.setdefault(workload, {}).setdefault(contestant, {})[number] = short

    def rows(self) -> list[Workload]:
        return [row for row in WORKLOADS if row.name in self.workloads]

    def of(self, workload: str, contestant: str) -> dict[int, float]:
        """The figures by round."""
        return self.figures.get(workload, {}).get(contestant, {})

    def values(self, row: Workload, contestant: str) -> Spread | None:
        return spread(list(self.of(row.name, contestant).values()))

    def ratios(self, row: Workload, contestant: str, against: str = REFERENCE) -> Spread | None:
        """To the other's figure of the same round, for the rounds that have both."""
        others = self.of(row.reference or row.name, against)
        own = self.of(row.name, contestant)
        return spread([value / others[number] for number, value in own.items() if others.get(number)])

    def rounds(self) -> int:
        return max((len(rounds) for row in self.figures.values() for rounds in row.values()), default=0)

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")


def read(file: Path) -> Results:
    """What `write` wrote."""
    told = Results(**json.loads(file.read_text("utf-8")))
    for row in told.figures.values():
        for contestant, rounds in row.items():
            row[contestant] = {int(number): value for number, value in rounds.items()}
    return told
