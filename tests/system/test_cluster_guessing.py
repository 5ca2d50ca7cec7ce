"""Guessing at two proxies at once that tell each other who guesses."""

import contextlib
import statistics
import time
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.test_cluster import RedisServer
from tests.system.test_login_limits import Guessers, Site

RATE = 30
SECONDS = 60.0


@pytest.mark.nightly
@pytest.mark.timeout(patient(150))
def test_guessing_at_two_proxies_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each lets a burst through before it knows of the other's, half of a minute's guesses; for what is beyond the rate
    then all wait. The user whose password they guess notices nothing at home, at neither.
    """
    source = "127.0.0.9"
    with RedisServer(tmp_path) as server, contextlib.ExitStack() as stack:
        sites = []
        for name in ("p1", "p2"):
            (directory := tmp_path / name).mkdir()
            sites.append(site := Site(directory))
            stack.enter_context(site.proxy)
            for words in (f"set clusterpasswordfile {server.secret}", f"set cluster {server.url}"):
                site.proxy.said(words)
            stack.enter_context(site.limits(authdelay="1s", guessrate=str(RATE)))
        took = []
        with Guessers(sites[0], 10, source), Guessers(sites[1], 10, source):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                for site in sites:
                    began = time.monotonic()
                    assert site.tries("joe").startswith(b"+OK")
                    took.append(time.monotonic() - began)
                time.sleep(0.05)
        guesses = [site.failures(source) for site in sites]

    with capsys.disabled():
        print(f"\n{guesses} guesses in a minute; at home a login took {1000 * statistics.median(took):.1f} ms")
    assert sum(guesses) <= RATE + RATE // 2
    assert statistics.median(took) < patient(0.1)
