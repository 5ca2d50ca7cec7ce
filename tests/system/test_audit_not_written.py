"""An audit log that cannot be written: whoever watches is told, and later the file itself says what is missing."""

import json
import shutil
from pathlib import Path
from typing import Any

from supervisor.master.audit import LOST, Audit
from supervisor.runtime.logfile import LogFile
from tests.supervisor.changing import QUIET
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, Proxy, wait_until


def _entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_directory_that_was_deleted(tmp_path: Path) -> None:
    """Each line is told and counted until the directory is there again; a file alone that was deleted is made anew."""
    audit = tmp_path / "audit" / "pproxy"
    audit.parent.mkdir()
    with Proxy(tmp_path, options=["--auditlog", str(audit)], metrics=f"{LOOPBACK}:0") as proxy:
        audit.unlink()
        proxy.said("set backlog 101")
        assert [entry["command"] for entry in _entries(audit)] == ["set backlog 101"]
        shutil.rmtree(audit.parent)
        proxy.said("set backlog 102")
        proxy.said("set backlog 103")
        wait_until(lambda: scrape(proxy).value("popular_audit_not_written") == 2, "the metric tells it")
        assert [entry.fields["line"] for entry in proxy.log("audit_lost")] == ["set backlog 102", "set backlog 103"]
        audit.parent.mkdir()
        proxy.said("set backlog 104")
        lost, change = _entries(audit)
        assert (lost["event"], lost["lines"], change["command"]) == (LOST, 2, "set backlog 104")
        wait_until(lambda: scrape(proxy).value("popular_audit_not_written") == 0, "the metric tells that it is over")


def test_a_full_disk_that_has_room_again(tmp_path: Path) -> None:
    """Without another change it is written how many lines are missing."""
    file = LogFile("/dev/full")
    audit = Audit("proxy", file, QUIET)
    audit.told("other", "lock user ann")
    assert audit.not_written == 1
    file.reopen(str(tmp_path / "audit"))
    audit.look()
    assert audit.not_written == 0
    assert [(entry["event"], entry["lines"]) for entry in _entries(tmp_path / "audit")] == [(LOST, 1)]
