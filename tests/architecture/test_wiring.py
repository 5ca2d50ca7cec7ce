"""Parts are put together in one way: by name where they are many, and at once."""

import ast
from functools import cache

from tests.architecture.tree import sources
from tests.architecture.wiring import long_calls, long_signatures, set_from_outside

ROWS = {
    "ControlCommand": "pattern, handler, help, slots",
    "Message": "number, level, name, help",
    "Metric": "name, help, source, labels",
    "Verb": "keyword, states, fewest and most arguments, source",
}
"""What stands in tables of its own, line by line, and is read as such: its values go by their column."""

CALLED_IN_C = {
    "popular.net.tlscore.tls_of",
    "popular.protocol.clienthello._past",
    "popular.proxy.session.session_log.log_end",
    "popular.proxy.session.tracing.trace_buffer.TraceBuffer._keep",
}
"""Functions of the compiled core that are called for each connection, or each line: a call of C knows no names."""


@cache
def trees() -> dict[str, ast.Module]:
    """All sources, read when somebody asks."""
    return sources("supervisor", "metrics", "popular")


def test_nothing_that_is_called_is_set_later() -> None:
    """Who reads how a part is made has seen all that it calls; no attribute waits to be filled."""
    assert set_from_outside(trees()) == []


def test_whoever_takes_more_than_three_values_takes_the_rest_by_name() -> None:
    """So that no caller has to count."""
    assert set(long_signatures(trees())) == CALLED_IN_C


def test_what_has_more_than_three_parts_is_made_by_name() -> None:
    """Also where a class has no signature of its own, as a dataclass or a tuple with names."""
    made_by_place = {call.rpartition(" ")[2] for call in long_calls(trees(), ROWS)}
    assert made_by_place == set()
