"""The state of the program in one line."""

from typing import Any

import pytest

from metrics.headline import BUSY, CLOSED, GOOD, Headline, headline
from metrics.servers import ServersSeen
from metrics.silence import silence_of_workers, silent_workers
from metrics.trouble import lost_lines
from supervisor.table.segment import HealthReading

NOW = 1_800_000_000.0
WELL = {
    "draining": 0,
    "workers": 2,
    "maxsession": 500,
    "session_state": 0,
    "load_state": 0,
    "load_hundredths": 142,
    "pressure_hundredths": 0,
}
MISSING = {"workers": 4, "workers_configured": 4, "workers_missing": 1, "workers_missing_since": int(NOW) - 187}
"""One of those who are there only finishes its sessions."""
FACTS: dict[str, Any] = {
    "variables": {"maxlocalload": 32, "maxpressure": 40},
    "vservs": [{"id": "v", "state": "online"}, {"id": "w", "state": "offline"}],
}


def said_of(gauges: dict[str, int], sessions: int, facts: dict[str, Any], *backends: HealthReading) -> Headline:
    """The headline of a proxy with these backends."""
    states = tuple(one["state"] for one in facts["vservs"]) if facts else ()
    servers = ServersSeen("virtual server", states) if facts else None
    return headline(gauges, sessions, facts, healths={"backend": backends}, now=NOW, servers=servers)


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
        (MISSING, 7, BUSY, "Serving 7 sessions; 1 of 4 workers is missing"),
        (MISSING | {"workers_missing": 4}, 0, CLOSED, "Not accepting: no worker serves; 4 of 4 workers are missing"),
        ({"draining": 1}, 12, CLOSED, "Draining, 12 left"),
        ({"draining": 1, "load_state": 2}, 0, CLOSED, "Draining, nobody left"),
    ],
)
def test_what_is_said(gauges: dict[str, int], sessions: int, tone: str, text: str) -> None:
    """What an operator must know first comes first."""
    said = said_of(WELL | gauges, sessions, FACTS)
    assert (said.tone, said.text) == (tone, text)
    assert (said.detail == "") is (tone == GOOD)


def test_details() -> None:
    """Why, and what comes next."""
    assert said_of(WELL | {"session_state": 1}, 460, FACTS).detail == "Near the limit of 500."
    assert said_of(WELL | {"load_state": 1, "load_hundredths": 3000}, 4, FACTS).detail == (
        "The load is 30; at 32 nobody is accepted."
    )
    assert said_of(WELL | MISSING, 7, FACTS).detail == (
        "Since 3m07s; the others accept who comes; no_birth or worker_retry in the log says why."
    )
    assert "below 28.8" in said_of(WELL | {"load_state": 2, "load_hundredths": 4000}, 4, FACTS).detail


def test_no_virtual_server_is_online() -> None:
    """Nobody can come in; what there is instead is told. Before the facts are known, nothing is claimed."""
    away = FACTS | {"vservs": [{"id": "v", "state": "disabled"}, {"id": "w", "state": "offline"}]}
    assert said_of(WELL, 0, away).text == "Not serving: no virtual server is online"
    assert said_of(WELL, 0, away).detail == "Configured are: disabled, offline."
    assert said_of(WELL, 0, FACTS | {"vservs": []}).detail == "None is configured."
    assert said_of(WELL, 0, FACTS | {"vservs": [{"id": "v", "state": "fake"}]}).tone == GOOD
    assert said_of(WELL, 0, {}).tone == GOOD


def test_who_gives_no_sign_of_life_is_in_the_headline() -> None:
    """All workers: nobody is served; some: look at it. Who was never heard of is only being born."""
    beats = [{"heartbeat_ns": beat} for beat in (int(93e9), int(92e9))]
    assert silence_of_workers(beats, int(100e9)) == "all 2 workers have been silent for 7 s"
    assert silence_of_workers(beats[:1], int(100e9)) == "the only worker has been silent for 7 s"
    assert silence_of_workers(beats, int(97e9)) == silence_of_workers([], 0) == ""
    assert silence_of_workers([*beats, {"heartbeat_ns": 0}], int(100e9)) == ""
    (some,) = silent_workers([*beats, {"heartbeat_ns": int(99e9)}], int(100e9))
    said = headline(WELL, 3, FACTS, healths={}, now=NOW, more=[some])
    assert (said.tone, said.text) == (BUSY, "Serving 3 sessions; 2 of 3 workers have been silent for 8 s")
    assert silent_workers(beats, int(96e9)) == []
    stuck = headline(WELL, 3, FACTS, healths={}, now=NOW, standstill="the master has been silent for 12 s")
    assert (stuck.tone, stuck.text) == (CLOSED, "The master has been silent for 12 s")


def test_lines_that_are_missing_in_the_log_are_in_the_headline() -> None:
    """That is urgent in the last minute; since the start it is worth a word."""
    for count, of_late, tone, text in (
        (1, True, BUSY, "1 log line was lost in the last minute"),
        (1234, False, GOOD, "1,234 log lines were lost since the start"),
    ):
        said = headline(WELL, 1, FACTS, healths={}, now=NOW, more=lost_lines(count, of_late=of_late))
        assert (said.tone, said.text) == (tone, f"Serving 1 session; {text}")
    assert lost_lines(0, of_late=True) == []


WELL_ONE = HealthReading("b1", 100, 0, reason="", failed=0, since=0)
BROKEN = HealthReading("b7", 0, 12, reason="connect", failed=int(NOW) - 2, since=int(NOW) - 187, users=1)
HALF = HealthReading("b9", 60, 40, reason="timeout", failed=int(NOW) - 1, since=int(NOW) - 61, users=12_499)


@pytest.mark.parametrize(
    ("backend", "fails"),
    [
        (WELL_ONE, False),
        (BROKEN, True),
        (HALF, True),
        (HealthReading("b", 91, 9, reason="timeout", failed=1, since=1), False),
        (HealthReading("b", 90, 10, reason="timeout", failed=1, since=1), True),
        (HealthReading("b", 0, 0, reason="timeout", failed=1, since=0), False),
    ],
)
def test_which_backend_fails(backend: HealthReading, fails: bool) -> None:
    """A tenth of what was tried, be it much or little."""
    said = said_of(WELL, 4, FACTS, WELL_ONE, backend)
    assert (said.tone == BUSY, "fail" in said.text) == (fails, fails)


def test_failing_backends_are_in_the_headline() -> None:
    """How many, and of the worst their share, the last error, since when and for how many users, about."""
    said = said_of(WELL, 412, FACTS, WELL_ONE, HALF, BROKEN)
    assert said.text == "Serving 412 sessions; 2 of 3 backends fail"
    assert said.detail == (
        "b7: 12 of 12 failed in the last minute, connect, since 3m07s, for about 1 user; "
        "b9: 40 of 100 failed in the last minute, timeout, since 1m01s, for about 12,000 users."
    )
    five = [BROKEN._replace(ident=f"b{number}") for number in range(5)]
    assert said_of(WELL, 1, FACTS, *five).detail.endswith("; and 2 more.")


@pytest.mark.parametrize(
    ("gauges", "tone", "text"),
    [
        ({"waiting": 1}, GOOD, "Serving 1 session; 1 client waits to be accepted"),
        ({"waiting": 17}, BUSY, "Serving 1 session; 17 clients wait to be accepted"),
        ({"soonest_end": int(NOW) + 5 * 86400 + 60}, BUSY, "Serving 1 session; a certificate ends in 5 days"),
        ({"soonest_end": int(NOW) + 22 * 86400}, GOOD, "Serving 1 session"),
        ({"orders_not_kept": 1}, BUSY, "Serving 1 session; 1 order is not kept on disk"),
        ({"orders_not_kept": 3}, BUSY, "Serving 1 session; 3 orders are not kept on disk"),
        ({"audit_not_written": 1}, BUSY, "Serving 1 session; 1 line of the audit log could not be written"),
        ({"soonest_end": int(NOW) - 60}, BUSY, "Serving 1 session; a certificate has expired"),
        ({"waiting": 17, "draining": 1}, CLOSED, "Draining, 1 left"),
    ],
)
def test_who_waits_and_what_ends(gauges: dict[str, int], tone: str, text: str) -> None:
    """Clients in the queues, and certificates near their end; what is more important stands alone."""
    said = said_of(WELL | gauges, 1, FACTS)
    assert (said.tone, said.text) == (tone, text)
