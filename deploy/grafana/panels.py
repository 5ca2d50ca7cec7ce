"""The kinds of panels and lines that the boards are written in, and the colours of values. Pure."""

from typing import Any

from deploy.grafana.classic import Panel, PanelLine, Step
from deploy.grafana.queries import Expression, gauge, quantile, rate, share
from supervisor.runtime.load import Level

_DAY = 86400
NEAR_LIMIT: tuple[Step, ...] = ((None, "green"), (0.8, "yellow"), (0.9, "orange"), (1.0, "red"))
"""Shares of a limit at which supervisor/runtime/load.py changes its state."""
LEVELS: tuple[Step, ...] = ((None, "green"), (Level.WARN, "orange"), (Level.MAX, "red"))
LEVEL_WORDS = tuple(level.name for level in Level)
GOOD_IS_ONE: tuple[Step, ...] = ((None, "red"), (1, "green"))
BAD_IS_ONE: tuple[Step, ...] = ((None, "green"), (1, "orange"))
MANY_FAIL: tuple[Step, ...] = ((None, "green"), (0.2, "yellow"), (0.5, "red"))
"""Colours for failed logins: users mistype. Red where deploy/prometheus/alerts.yml has PopularLoginFailureRatioHigh."""
SOME_FAIL: tuple[Step, ...] = ((None, "green"), (0.1, "orange"), (0.5, "red"))
"""Colours for failing attempts at a backend: orange where the status page counts it as failing."""
SLOW: tuple[Step, ...] = ((None, "green"), (1, "yellow"), (5, "red"))
LASTING: tuple[Step, ...] = ((None, "green"), (1, "yellow"), (60, "orange"), (600, "red"))
ANY_IS_BAD: tuple[Step, ...] = ((None, "green"), (0.001, "orange"), (1, "red"))
TIME_LEFT: tuple[Step, ...] = ((None, "red"), (2 * _DAY, "orange"), (14 * _DAY, "green"))
"""Orange where deploy/prometheus/alerts.yml says PopularCertificateExpiresSoon."""


def now(title: str, *lines: Expression | PanelLine, **options: Any) -> Panel:
    """A number as it is now. Options are the fields of a Panel."""
    return Panel(title, tuple(map(_line, lines)), "stat", 3)._replace(**options)


def graph(title: str, *lines: Expression | PanelLine, **options: Any) -> Panel:
    """How it went."""
    return Panel(title, tuple(map(_line, lines)))._replace(**options)


def _line(it: Expression | PanelLine) -> PanelLine:
    return it if isinstance(it, PanelLine) else PanelLine(it)


def limit(expression: Expression, legend: str = "limit") -> PanelLine:
    """What the other lines of the graph must not reach."""
    return PanelLine(expression, legend, limit=True)


def quantiles(name: str) -> list[PanelLine]:
    """What half, and nearly all, of the observations of all instances together do not exceed."""
    return [PanelLine(quantile(part, name), f"{part:.0%}") for part in (0.5, 0.95, 0.99)]


def failing(failures: str, successes: str, *by: str) -> Expression:
    """The failures as a share of all attempts."""
    return share(rate(failures, *by), rate(successes, *by), rate(failures, *by))


def of_limit(value: str, most: str, *by: str, how: str = "max") -> Expression:
    """A gauge as a share of its limit."""
    return share(gauge(value, *by, how=how), gauge(most, *by, how="max"))
