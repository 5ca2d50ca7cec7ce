"""A running proxy with the module `cdb`: a new database is taken up in all workers, a bad one changes nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, pop3_server, program, wait_until


def pcdb(database: Path, *lines: str) -> None:
    given = "".join(f"{line}\n" for line in lines)
    command = [program("pcdb"), "--quiet", str(database)]
    subprocess.run(command, input=given, text=True, check=True, timeout=patient(30))


def test_a_new_database_is_taken_up(tmp_path: Path) -> None:
    """Without a word from anybody; a truncated one is told and left alone; sessions go on."""
    database, port = tmp_path / "users.cdb", free_port()
    pcdb(database, "default:joe:{PLAIN}secret:b:joe")
    with ScriptedBackend(pop3_server([b"Subject: x\r\n\r\nx\r\n"])) as backend:
        rc = [
            "set pdmwatch 1s",
            f"backend conf b host {LOOPBACK} port {backend.port} state online",
            f"pdm add users cdb {database}",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, rc, workers=2) as proxy, PopClient(port) as client:
            assert client.log_in("joe", "secret").startswith(b"+OK")

            def lets_in(user: str) -> bool:
                with PopClient(port) as another:
                    return another.log_in(user, "secret").startswith(b"+OK")

            assert not lets_in("ann")
            pcdb(database, "default:ann:{PLAIN}secret:b:ann")
            wait_until(lambda: all(lets_in("ann") for _ in range(4)), "ann is let in by every worker", patient(20))
            assert not lets_in("joe")
            assert client.ask("STAT").startswith(b"+OK 1 ")

            cut_off = tmp_path / "cut_off"
            cut_off.write_bytes(database.read_bytes()[:2100])
            cut_off.chmod(0o640)
            os.replace(cut_off, database)
            wait_until(lambda: "broken off" in " ".join(proxy.said("pdm show users").lines), "it is told", patient(20))
            assert lets_in("ann"), "what was open before is in use"
            assert len(proxy.said("workers").lines) >= 2
            pcdb(database, "default:joe:{PLAIN}secret:b:joe")
            wait_until(lambda: all(lets_in("joe") for _ in range(4)), "joe is let in again", patient(20))


@pytest.mark.parametrize("lines", [0, 1])
def test_what_is_no_database_is_refused(tmp_path: Path, lines: int) -> None:
    """`pdm add` says why, and nothing has changed."""
    database = tmp_path / "users.cdb"
    database.write_text("default:joe:{PLAIN}secret:b:joe\n" * lines)
    with Proxy(tmp_path) as proxy:
        refused = proxy.control(f"pdm add users cdb {database}")
        assert not refused.ok
        assert f"{database} cannot be used: it is too short for a cdb" in refused.text
        assert proxy.said("pdm list").lines == []
