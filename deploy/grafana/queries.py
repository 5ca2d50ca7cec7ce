"""PromQL made of the metric families: what is asked for must exist, with these labels, and be of that kind. Pure.

    rate("logins_total", "vserv")                   per second, summed up but for the labels that are named
    gauge("sessions", "state", vserv="pop3")        only those that match
    quantile(0.95, "login_duration_seconds")        of a histogram
    share(rate("a_total"), rate("b_total"))         the first over the second, and nothing where the second is nothing

Each looks at the jobs and instances that are chosen in the dashboard. Instances are summed up unless they are named.
A family or label that does not exist is a ValueError when the dashboards are made.
"""

from typing import NamedTuple

from deploy.all_metrics import METRICS
from supervisor.metric import COUNTER, GAUGE, HISTOGRAM, PREFIX, Metric

TARGET = ("job", "instance")
"""Labels that Prometheus adds to everything."""
_BY_NAME = {family.name.removeprefix(PREFIX): family for family in METRICS}
_UNITS = {"s": "s", "bytes": "bytes", "ratio": "percentunit", "": "short"}
"""How Grafana calls the unit of a family."""
_UNITS_PER_SECOND = {"s": "percentunit", "bytes": "Bps", "": "cps"}
"""How Grafana calls the unit of a family's growth. Seconds of processor time in a second are a share of one."""


class Expression(NamedTuple):
    """PromQL, whose metrics it reads, in which of Grafana's units the result is, and which labels it has."""

    text: str
    families: tuple[Metric, ...]
    unit: str
    by: tuple[str, ...] = ()


def rate(name: str, *by: str, **where: str) -> Expression:
    """How fast a counter counts. `where` values are regular expressions."""
    family = _family(name, COUNTER, by, where)
    text = _aggregated("sum", f"rate({_selector(name, where)}[$__rate_interval])", by)
    return Expression(text, (family,), _UNITS_PER_SECOND[family.unit], by)


def gauge(name: str, *by: str, how: str = "sum", **where: str) -> Expression:
    """What a gauge says; `how` (sum, max, min) puts those together that are not told apart by `by`."""
    family = _family(name, GAUGE, by, where)
    return Expression(_aggregated(how, _selector(name, where), by), (family,), _UNITS[family.unit], by)


def quantile(part: float, name: str, *by: str) -> Expression:
    """The value that this part (0-1) of the observations does not exceed."""
    whole = buckets(name, *by)
    return Expression(f"histogram_quantile({part}, {whole.text})", whole.families, whole.unit, by)


def buckets(name: str, *by: str) -> Expression:
    """How many observations a second are in each bucket of a histogram, those of smaller buckets included."""
    family = _family(name, HISTOGRAM, by, {})
    text = _aggregated("sum", f"rate({_selector(f'{name}_bucket', {})}[$__rate_interval])", ("le", *by))
    return Expression(text, (family,), _UNITS[family.unit], by)


def share(part: Expression, *whole: Expression) -> Expression:
    """The part over the sum of the wholes, where that is more than 0: never a division of nothing by nothing."""
    total = " + ".join(expression.text for expression in whole)
    families = dict.fromkeys(family for expression in (part, *whole) for family in expression.families)
    return Expression(f"{part.text} / ({total} > 0)", tuple(families), "percentunit", part.by)


def worst(count: int, expression: Expression) -> Expression:
    """The highest so many of them."""
    return expression._replace(text=f"topk({count}, {expression.text})")


def since(name: str, *by: str) -> Expression:
    """Seconds since a moment."""
    moment = _moment(name, by)
    return moment._replace(text=f"time() - {moment.text}")


def until(name: str, *by: str) -> Expression:
    """Seconds until a moment; below 0 when it is over."""
    moment = _moment(name, by)
    return moment._replace(text=f"{moment.text} - time()")


def _moment(name: str, by: tuple[str, ...]) -> Expression:
    family = _family(name, GAUGE, by, {})
    if family.unit != "timestamp":
        raise ValueError(f"{family.name} is no moment")
    return Expression(_aggregated("min", _selector(name, {}), by), (family,), "s", by)


def _family(name: str, kind: str, by: tuple[str, ...], where: dict[str, str]) -> Metric:
    family = _BY_NAME.get(name)
    if family is None:
        raise ValueError(f"there is no metric {PREFIX}{name}")
    if family.kind != kind:
        raise ValueError(f"{family.name} is a {family.kind}, not a {kind}")
    unknown = {*by, *where} - {*family.labels, *TARGET}
    if unknown:
        raise ValueError(f"{family.name} has no label {', '.join(sorted(unknown))}")
    return family


def _selector(name: str, where: dict[str, str]) -> str:
    matchers = [*(f'{label}=~"${label}"' for label in TARGET), *(f'{label}=~"{it}"' for label, it in where.items())]
    return f"{PREFIX}{name}{{{', '.join(matchers)}}}"


def _aggregated(how: str, inner: str, by: tuple[str, ...]) -> str:
    return f"{how} by ({', '.join(by)}) ({inner})" if by else f"{how}({inner})"
