"""Nothing is lost with a session: after very many of them a worker has the memory that it had after a few."""

import os
import re
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system import crowd
from tests.system.site import Proxy, free_port

SESSIONS = int(os.environ.get("POPULAR_TEST_SESSIONS", "20000"))
"""200,000 in .ci/nightly."""
A_ROUND = 10_000
MOST_KIB = 256
"""What a worker may grow by: 13 octets a session here, one octet by night."""


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(patient(60 + SESSIONS / 250))
def test_memory_does_not_grow_with_sessions(tmp_path: Path) -> None:
    """The first ten thousand take what is kept for reuse; all others together take nothing."""
    port = free_port()
    with Proxy(tmp_path, crowd.site(1, port), workers=1) as proxy:

        def round_of_sessions(number: int) -> int:
            directory = tmp_path / str(number)
            directory.mkdir()
            with crowd.backend(directory) as sink:
                proxy.said(f"backend conf sink port {sink}")
                crowd.run_sessions(port, A_ROUND)
            proxy.wait_until_quiet()
            return _private(proxy.workers()[0])

        worker = proxy.workers()
        held = [round_of_sessions(number) for number in range(1 + SESSIONS // A_ROUND)]
        print(f"{SESSIONS} sessions: {held} KiB")
        assert proxy.workers() == worker
        assert max(held[1:]) - held[0] < MOST_KIB, held


def _private(pid: int) -> int:
    """KiB of memory that no file holds."""
    (found,) = re.findall(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found)
