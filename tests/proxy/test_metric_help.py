"""The help of a metric says what the words of its labels mean."""

from popular.proxy.metrics import METRICS
from popular.proxy.session.shared.module_chain import ANSWERS


def test_each_answer_of_a_module_is_explained() -> None:
    """All words that are counted stand in it, each with its meaning."""
    (metric,) = (one for one in METRICS if one.name == "popular_module_answers_total")
    assert [word for word, meaning in ANSWERS.items() if f"{word}: {meaning}" not in metric.help] == []
