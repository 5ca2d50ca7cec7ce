"""The reader of expressions that the checks of dashboards and rules stand on."""

import pytest

from tests.deploy.promql import Selection, selections


def test_a_selection() -> None:
    """Metric, matchers, span, functions around it, and labels that are grouped by: all are found."""
    assert selections('100 * sum by (a, b) (rate(m_total{x=~"1|2", y!="q\\"}"}[5m] offset 1d)) > bool 0.5e3') == [
        Selection("m_total", {"x": "=~1|2", "y": '!=q\\"}'}, "5m", ("sum", "rate"), frozenset({"a", "b"}))
    ]


def test_several_selections() -> None:
    """Each has the functions and labels that are around it, and the labels by which all are matched."""
    found = selections("max by (a) (m) / on (c) (n > 0) or time() - o # p\n unless inf")
    assert [(it.metric, it.inside, set(it.labels)) for it in found] == [
        ("m", ("max",), {"a", "c"}),
        ("n", (), {"c"}),
        ("o", (), {"c"}),
    ]


def test_variables_of_a_dashboard() -> None:
    """They may stand where a span or the value of a matcher stands."""
    (found,) = selections('rate(m_total{job=~"$job"}[$__rate_interval])')
    assert (found.matchers, found.span) == ({"job": "=~$job"}, "$__rate_interval")


@pytest.mark.parametrize("text", ["sum(m) by (a)", "{a='b'}", "sum(m", "m &", "m}"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    """So that nothing escapes the checks unseen."""
    with pytest.raises(ValueError):
        selections(text)
