"""A real Prometheus on loopback, which scrapes every second, with our rules; for tests.

    with Prometheus(tmp_path, {"pproxy": port}) as prometheus:
        prometheus.wait_for_scrapes(5)
        prometheus.ask("sum(popular_sessions)")

It gets the configuration of deploy/prometheus with nothing changed but intervals and targets.
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.bench import processes
from tests.patience import patient
from tests.system.site import LOOPBACK, free_port, need, wait_until

RULES = Path(__file__).parents[2] / "deploy/prometheus"


class NotAnswered(Exception):
    """Prometheus refused a question; the text is its own."""


class Prometheus:
    """Use it in a `with` block; its data are in the directory, and go with it."""

    def __init__(self, directory: Path, targets: Mapping[str, int]) -> None:
        """`targets`: job and port on loopback."""
        self._directory = directory / "prometheus"
        self._targets = targets
        self._port = free_port()

    def __enter__(self) -> "Prometheus":
        program = need("prometheus")
        self._directory.mkdir()
        config = self._directory / "prometheus.yml"
        config.write_text(json.dumps(self._configuration()))
        log = self._directory / "log"
        words = (
            f"--config.file={config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self._port}",
        )
        self._process = processes.start([program, *words], log)
        try:
            wait_until(self._is_ready, f"Prometheus is ready; its log is {log}", patient(30))
        except BaseException:
            processes.stop(self._process)
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        processes.stop(self._process)

    def _configuration(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load((RULES / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES / name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [f"{LOOPBACK}:{self._targets[job['job_name']]}"]}]
        return config

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._directory / "log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self._port}/-/ready", timeout=patient(5)) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API. Raises NotAnswered."""
        url = f"http://{LOOPBACK}:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=patient(20)) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise NotAnswered(error.read().decode()) from None

    def ask(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of the result, as it is now."""
        data = self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(it["metric"], float(it["value"][1])) for it in data["result"]]

    def wait_for_scrapes(self, count: int) -> None:
        """Until every target was read so many times from now on, without a fault."""
        began = time.time()
        good = f"min(count_over_time((up == 1)[{{}}s:1s])) >= {count}"
        wait_until(
            lambda: self.ask(good.format(int(time.time() - began) + 1)), f"{count} scrapes of all targets", patient(60)
        )
        assert [it["lastError"] for it in self.get("targets")["activeTargets"]] == [""] * len(self._targets)
