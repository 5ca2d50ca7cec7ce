"""A machine that hides processes (`hidepid=invisible`, systemd's ProtectProc=invisible): what each process shows of
itself is all that there is, and it is enough.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patient
from tests.system.site import need

USER = "daemon"
_MAY_MOUNT = [need("unshare"), "--mount", "--pid", "--fork", "--kill-child"]
_HIDDEN = "mount -t proc -o hidepid=invisible proc /proc"

_INSIDE = """
import json, os, pwd, sys
from pathlib import Path
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

place, port = Path(sys.argv[1]), free_port()
lines = [f"vserv conf v iface {LOOPBACK} port {port} state fake"]
with Proxy(place, lines, metrics=f"{LOOPBACK}:0", options=["--user", sys.argv[2]]) as proxy:
    with PopClient(port) as client:
        client.greeted()
        assert client.log_in().startswith(b"+OK")
        wait_until(lambda: all(row["resident_bytes"] for row in proxy.state().workers()), "the workers have shown it")
        seen = scrape(proxy)
    workers = [row["slot"] for row in proxy.state().workers()]
    user = pwd.getpwnam(sys.argv[2])
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        seen_by_the_user = {name for name in os.listdir("/proc") if name.isdecimal()} - {str(os.getpid())}
        os._exit(len(seen_by_the_user))
    hidden = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(json.dumps({
        "hidden": hidden,
        "memory": [seen.value("popular_worker_resident_memory_bytes", worker=str(slot)) for slot in workers],
        "descriptors": [seen.value("popular_worker_open_fds", worker=str(slot)) for slot in workers],
        "processor": seen.value("popular_cpu_seconds_total"),
        "workers": seen.value("popular_workers"),
    }))
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that everybody can go through; pytest's own are for their user."""
    with tempfile.TemporaryDirectory(prefix="popular-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def may_mount() -> bool:
    """Whether this user may give a process a /proc of its own; a container often may not."""
    tried = subprocess.run([*_MAY_MOUNT, "sh", "-c", _HIDDEN], capture_output=True, timeout=patient(20), check=False)
    return tried.returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a /proc, and become somebody else")
def test_where_processes_are_hidden_each_tells_of_itself(reachable: Path) -> None:
    """Memory, descriptors and processor time of every worker are in the metrics, although whoever the program runs as
    sees no process but the one that looks.
    """
    if not may_mount():
        pytest.skip("this machine does not permit to mount a /proc")
    inside = [
        *_MAY_MOUNT,
        "sh",
        "-c",
        f'{_HIDDEN} && exec "$@"',
        "sh",
        sys.executable,
        "-c",
        _INSIDE,
        str(reachable),
        USER,
    ]
    done = subprocess.run(
        inside, capture_output=True, text=True, timeout=patient(60), cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["hidden"], "nobody sees another one's process"
    assert told["workers"] == len(told["memory"]) == 2
    assert min(told["memory"]) > 1 << 20
    assert min(told["descriptors"]) > 5
    assert told["processor"] > 0
