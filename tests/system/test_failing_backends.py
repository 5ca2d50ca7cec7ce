"""Two backends of which one is gone: the status page, `pstatus` and the metrics say so at once."""

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from tests.patience import patient
from tests.system.scrape import address, scrape
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, pop3_server, program, wait_until


def pstatus(proxy: Proxy, *options: str) -> str:
    command = [program("pstatus"), "--rundir", str(proxy.rundir), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=True).stdout


def status(proxy: Proxy) -> Any:
    host, port = address(proxy)
    with urllib.request.urlopen(f"http://{host}:{port}/status.json", timeout=patient(10)) as answer:
        return json.load(answer)


def log_in(port: int, user: str) -> bytes:
    with PopClient(port) as client:
        client.greeted()
        return client.log_in(user)


def test_a_backend_that_fails_is_seen_at_once(tmp_path: Path) -> None:
    """In the headline, in front of the others, with its share, the last error, since when and for how many users, of
    whom one counts once however often he comes; and no more when it is gone from the configuration.
    """
    port = free_port()
    users = tmp_path / "users"
    users.write_text("n:joe:{PLAIN}secret:good:x\nn:ann:{PLAIN}secret:dead:x\n")
    users.chmod(0o600)
    with ScriptedBackend(pop3_server([])) as server:
        lines = [
            f"backend conf good host {LOOPBACK} port {server.port} prot POP3 state online",
            f"backend conf dead host {LOOPBACK} port {free_port()} prot POP3 state online",
            f"backend conf idle host {LOOPBACK} port {free_port()} prot POP3 state online",
            f"pdm add users passwd {users}",
            f"vserv conf v iface {LOOPBACK} port {port} namespace n state online",
        ]
        with Proxy(tmp_path, lines, metrics=f"{LOOPBACK}:0") as proxy:
            wait_until(lambda: status(proxy)["backends"], "the facts have come")
            assert [one["failing"] for one in status(proxy)["backends"]] == [False] * 3
            assert log_in(port, "joe").startswith(b"+OK")
            for _ in range(3):
                assert log_in(port, "ann").startswith(b"-ERR [SYS/TEMP]")
            wait_until(lambda: "1 of 3 backends fails" in status(proxy)["headline"]["text"], "the headline says so")

            told = status(proxy)
            assert told["headline"]["tone"] == "busy"
            assert told["headline"]["detail"].startswith("dead: 3 of 3 failed in the last minute, connect, since ")
            assert told["headline"]["detail"].endswith(", for about 1 user.")
            (broken,) = told["broken"]["rows"]
            assert (broken["what"], broken["users"], broken["refused"]) == ("backend dead", 1, 3)
            assert [one["id"] for one in told["backends"]] == ["dead", "good", "idle"], "what fails stands first"
            dead, good, idle = told["backends"]
            assert (dead["share"], dead["tried"], dead["reason"], dead["failing"]) == (1.0, 3, "connect", True)
            assert told["taken"] - dead["since"] < patient(60)
            assert (good["share"], good["since"], idle["share"]) == (0.0, None, None)

            shown = pstatus(proxy).splitlines()
            assert "1 of 3 backends fails" in shown[1]
            assert [line.split()[:6] for line in shown if line.startswith("dead")] == [
                ["dead", "fails", "3", "3", "100%", "connect"]
            ]
            assert next(line.split()[-1] for line in shown if line.startswith("dead")) == "1"
            assert not [line for line in shown if line.startswith("good")]
            assert next(line.split() for line in shown if line.startswith("load "))[1].count(".") == 1
            healths = json.loads(pstatus(proxy, "--json"))["healths"]["backend"]
            assert {one["ident"]: (one["bad"], one["users"]) for one in healths} == {
                "good": (0, 0), "dead": (3, 1), "idle": (0, 0)
            }  # fmt: skip

            seen = scrape(proxy)
            assert seen.value("popular_backend_recent_failures_ratio", backend="dead") == 1
            assert seen.value("popular_backend_recent_failures_ratio", backend="good") == 0
            assert seen.value("popular_backend_affected_users", backend="dead") == 1
            assert seen.value("popular_backend_failing_seconds", backend="dead") > 0
            assert seen.value("popular_backend_failing_seconds", backend="idle") == 0

            users.write_text("n:joe:{PLAIN}secret:good:x\n")
            proxy.said("pdm reload users")
            proxy.said("backend del dead")
            wait_until(lambda: "fails" not in status(proxy)["headline"]["text"], "it is gone")
            assert "fails" not in pstatus(proxy)
