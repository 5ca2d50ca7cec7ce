"""The state of the program in one line."""

from typing import Any

import pytest

from metrics.headline import BUSY, CLOSED, GOOD, headline

WELL = {
    "draining": 0,
    "workers": 2,
    "maxsession": 500,
    "session_state": 0,
    "load_state": 0,
    "load_hundredths": 142,
    "pressure_hundredths": 0,
}
FACTS: dict[str, Any] = {
    "variables": {"maxlocalload": 32, "maxpressure": 40},
    "vservs": [{"id": "v", "state": "online"}, {"id": "w", "state": "offline"}],
}


@pytest.mark.parametrize(
    ("gauges", "sessions", "tone", "text"),
    [
        ({}, 412, GOOD, "Serving 412 sessions"),
        ({}, 1, GOOD, "Serving 1 session"),
        ({"maxsession": 20_000}, 12_345, GOOD, "Serving 12,345 sessions"),
        ({}, 0, GOOD, "Ready, nobody is connected"),
        ({"session_state": 1}, 460, BUSY, "Serving 460 sessions"),
        ({"session_state": 2}, 500, CLOSED, "Full: 500 of 500 sessions"),
        ({"load_state": 1, "load_hundredths": 3000}, 4, BUSY, "Serving 4 sessions"),
        ({"load_state": 2, "load_hundredths": 4010}, 4, CLOSED, "Not accepting: load 40.1 ≥ 32"),
        ({"load_state": 2, "load_hundredths": 3000}, 4, CLOSED, "Not accepting: load 30 near 32"),
        ({"load_state": 2, "pressure_hundredths": 9000}, 4, CLOSED, "Not accepting: pressure 90 ≥ 40"),
        ({"workers": 0}, 0, CLOSED, "Not accepting: no worker lives"),
        ({"draining": 1}, 12, CLOSED, "Draining, 12 left"),
        ({"draining": 1, "load_state": 2}, 0, CLOSED, "Draining, nobody left"),
    ],
)
def test_what_is_said(gauges: dict[str, int], sessions: int, tone: str, text: str) -> None:
    """What an operator must know first comes first."""
    said = headline(WELL | gauges, sessions, FACTS)
    assert (said.tone, said.text) == (tone, text)
    assert (said.detail == "") is (tone == GOOD)


def test_details() -> None:
    """Why, and what comes next."""
    assert headline(WELL | {"session_state": 1}, 460, FACTS).detail == "Near the limit of 500."
    assert headline(WELL | {"load_state": 1, "load_hundredths": 3000}, 4, FACTS).detail == (
        "The load is 30; at 32 nobody is accepted."
    )
    assert "below 28.8" in headline(WELL | {"load_state": 2, "load_hundredths": 4000}, 4, FACTS).detail


def test_no_virtual_server_is_online() -> None:
    """Nobody can come in; what there is instead is told. Before the facts are known, nothing is claimed."""
    away = FACTS | {"vservs": [{"id": "v", "state": "disabled"}, {"id": "w", "state": "offline"}]}
    assert headline(WELL, 0, away).text == "Not serving: no virtual server is online"
    assert headline(WELL, 0, away).detail == "Configured are: disabled, offline."
    assert headline(WELL, 0, FACTS | {"vservs": []}).detail == "None is configured."
    assert headline(WELL, 0, FACTS | {"vservs": [{"id": "v", "state": "fake"}]}).tone == GOOD
    assert headline(WELL, 0, {}).tone == GOOD
