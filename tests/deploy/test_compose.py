"""The compose site: valid, consistent, and running: its services' own command lines behind a real HAProxy.

No container engine takes part: the services run as `image.py` tells, and only ports and addresses are others, because
all share the host's network.
"""

import ipaddress
import os
import poplib
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from popular.pdm.guarded import Terms
from popular.proxy.checks import checker
from popular.proxy.settings.resolving import MOST_AT_ONCE
from supervisor.serving.context import POOL_THREADS
from supervisor.version import VERSION
from tests.deploy.image import HOME, Container, Image, serves, words
from tests.patience import patient
from tests.store.test_trusted import refuses_strangers
from tests.system.certificates import Authority
from tests.system.site import LOOPBACK, STARTED, PopClient, free_port, need, wait_until

COMPOSE = Path(__file__).parents[2] / "deploy/compose"
SITE: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, Any] = SITE["services"]
NEIGHBOURS = "127.0.0.0/30"
"""Stands for the network of the storage server: the proxies connect from 127.0.0.1, clients from 127.0.0.5."""
OURS = ("pproxy1", "pproxy2", "pserv", "pcheckd")


def option(service: str, name: str) -> str:
    """The word after an option of a service's command."""
    command = SERVICES[service]["command"]
    return str(command[command.index(name) + 1])


def test_schema() -> None:
    """The file is what the compose specification says."""
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*tool, COMPOSE / "compose.yaml"], capture_output=True, text=True, timeout=patient(60))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_hardened(name: str) -> None:
    """Read-only, without capabilities, limited, watched, of a pinned version, published on loopback only."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert "healthcheck" in service or name.startswith("pproxy"), "the image has one for pproxy"
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"])
    assert name not in OURS or service["image"] == f"popular:{VERSION}"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_a_proxy_may_have_all_its_threads() -> None:
    """Its workers' threads, those of as many that finish their sessions meanwhile, and of the checks and a lookup."""
    worker = 2 + POOL_THREADS + 3 * Terms().threads  # two: the loop, and one that makes a service ready or closes it
    workers = 2 * int(option("pproxy1", "--workers")) * worker
    few = 16  # master, exporter, jobs, ringd, and a healthcheck's commands
    limit = SERVICES["pproxy1"]["deploy"]["resources"]["limits"]["pids"]
    assert limit >= workers + 1 + checker._THREADS + 1 + MOST_AT_ONCE + few


def test_names_lead_somewhere() -> None:
    """Networks and volumes are declared, and what is mounted from the project is there."""
    for service in SERVICES.values():
        assert set(service.get("networks", [])) <= set(SITE["networks"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE / source).exists() if source[0] == "." else source in SITE["volumes"], source
    used = {volume.split(":")[0] for one in SERVICES.values() for volume in one.get("volumes", [])}
    assert set(SITE["volumes"]) <= used


def test_addresses_agree() -> None:
    """Who is believed, who is asked and who listens are stated in several files, and the same."""
    proxy, store = (COMPOSE / "pproxy/pproxy.rc").read_text(), (COMPOSE / "pserv/pserv.rc").read_text()
    subnets = {name: one["ipam"]["config"][0]["subnet"] for name, one in SITE["networks"].items() if "ipam" in one}
    assert set(re.findall(r"trusted (\S+)", proxy)) == {subnets["front"]}
    assert "front" in SERVICES["haproxy"]["networks"]
    place = SERVICES["pserv"]["networks"]["store"]
    assert ipaddress.ip_address(place["ipv4_address"]) in ipaddress.ip_network(subnets["store"])
    assert re.findall(r"trusted (\S+)", store) == [subnets["store"]] == [option("pcheckd", "--trusted")]
    assert re.findall(r"iface (\S+)", store) == [place["ipv4_address"]] == [option("pcheckd", "--host")]
    assert re.findall(r"backend conf \w+ host (\S+)", proxy) == place["aliases"]
    assert SITE["networks"]["store"]["internal"] is True


def test_haproxy_takes_its_file() -> None:
    """HAProxy finds nothing wrong with it but that the proxies' names are those of another network."""
    check: list[str | Path] = [need("haproxy"), "-c", "-f", COMPOSE / "haproxy/haproxy.cfg"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=patient(60))
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "[WARNING]" in line]
    assert all("could not resolve address 'pproxy" in line for line in warned)


def test_prometheus_scrapes_what_there_is(tmp_path: Path) -> None:
    """Its configuration is right, and each target is where a service has its metrics."""
    file = COMPOSE / "prometheus/prometheus.yml"
    jobs = yaml.safe_load(file.read_text())["scrape_configs"]
    targets = {target for job in jobs for one in job["static_configs"] for target in one["targets"]}
    ports = {name: option(name, "--metrics").rpartition(":")[2] for name in OURS if name != "pcheckd"}
    assert targets == {f"{name}:{port}" for name, port in ports.items()}
    rules = tmp_path / "rules"
    rules.mkdir()
    for source, place in (volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"]):
        if place.startswith("/etc/prometheus/rules/"):
            (rules / Path(place).name).write_text((COMPOSE / source).read_text())
    (tmp_path / "prometheus.yml").write_text(file.read_text().replace("/etc/prometheus/rules", str(rules)))
    check: list[str | Path] = [need("promtool"), "check", "config", tmp_path / "prometheus.yml"]
    assert subprocess.run(check, capture_output=True, timeout=patient(60)).returncode == 0


class Site:
    """The services, running."""

    def __init__(self, image: Image, directory: Path, stack: ExitStack) -> None:
        self.image = image
        self.directory = directory
        self._stack = stack
        self.front, self.front_tls = free_port(), free_port()
        self.ports = {
            name: {port: free_port() for port in ("1110", "1995", "9110", "1100", "9111")}
            for name in ("pproxy1", "pproxy2")
        }
        self.ports["pserv"] = self.ports["pcheckd"] = {"1100": free_port(), "9111": free_port()}
        self.check = str(free_port())
        self.authority = Authority()
        self.running: dict[str, Container] = {}
        self.volumes: dict[str, Path] = {}

    def moved(self, name: str, text: str) -> str:
        """A service's words and files, on this test's ports."""
        for port, ours in {**self.ports["pserv"], **self.ports[name]}.items():
            ours = self.ports["pserv"].get(port, ours)
            text = re.sub(rf"(port |:){port}\b", rf"\g<1>{ours}", text)
        text = re.sub(r"0\.0\.0\.0|10\.110\.2\.10|\bANY\b|\bstore1(?= port)", LOOPBACK, text)
        return text.replace("10.110.1.0/24", "127.0.0.0/8").replace("10.110.2.0/24", NEIGHBOURS)

    def mounts(self, name: str) -> dict[str, Path]:
        found = {}
        for volume in SERVICES[name]["volumes"]:
            source, place = volume.split(":")[:2]
            path = self.directory / (f"{name}-etc" if source[0] == "." else source)
            path.mkdir(exist_ok=True)
            if source[0] == ".":
                self._copy(name, COMPOSE / source, path)
            found[place] = path
            if place == "/var/run/popular":
                STARTED.add(path)
        return found

    def _copy(self, name: str, source: Path, target: Path) -> None:
        for file in source.iterdir():
            if file.is_file():
                text = self.moved(name, file.read_text())
                if name.startswith("pproxy") and file.suffix == ".rc":
                    text += f"set checkport {self.check}\n"
                (target / file.name).write_text(text)
        if name.startswith("pproxy"):
            (target / "tls").mkdir(exist_ok=True)
            self.authority.issue("localhost").write(target / "tls", "default")

    def start(self, name: str) -> None:
        """Starts a service, and waits until its own health check is content."""
        service = SERVICES[name]
        command = service.get("entrypoint", words("ENTRYPOINT")) + service["command"]
        more = ["--port", self.check] if name == "pcheckd" else []
        output, mounts = self.directory / f"{name}.out", self.mounts(name)
        started = self.image.running([self.moved(name, word) for word in command] + more, mounts, output)
        self.running[name] = self._stack.enter_context(started)
        health = service["healthcheck"]["test"][1:] if "healthcheck" in service else words("HEALTHCHECK")
        health = [self.moved(name, word) for word in health] + more
        wait_until(lambda: self.image.run(health, mounts).returncode == 0, f"{name} is healthy", patient(30))

    def is_ready(self, name: str) -> bool:
        """What HAProxy asks a proxy."""
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.ports[name]['9110']}/readyz", timeout=patient(5)
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def start_haproxy(self) -> None:
        """The real one, with the site's file."""
        text = (COMPOSE / "haproxy/haproxy.cfg").read_text().replace(" resolvers docker init-addr libc,none", "")
        for name in ("pproxy1", "pproxy2"):
            for port in ("1110", "1995"):
                there = f"{LOOPBACK}:{self.ports[name][port]} port {self.ports[name]['9110']}"
                text = text.replace(f"{name}:{port}", there)
        for port, ours in (("1110", self.front), ("1995", self.front_tls)):
            text = text.replace(f"bind :{port}", f"bind {LOOPBACK}:{ours}")
        text = text.replace("127.0.0.1:8404", f"{LOOPBACK}:{free_port()}").replace("maxconn 10000", "maxconn 100")
        file = self.directory / "haproxy.cfg"
        file.write_text(text)
        process = subprocess.Popen([need("haproxy"), "-q", "-f", file], stdout=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        wait_until(lambda: serves(self.front), "HAProxy listens")


@pytest.fixture
def site(image: Image, tmp_path: Path) -> Iterator[Site]:
    """The whole site; joe has one mail."""
    with ExitStack() as stack:
        site = Site(image, tmp_path, stack)
        deliver = [f"/{HOME}/bin/pdeliver", "--logfile", "-", "-m", "/var/spool/popular", "joe"]
        assert image.run(deliver, site.mounts("pserv"), "Subject: hello\n\nHello.\n").returncode == 0
        for name in ("pserv", "pcheckd", "pproxy1", "pproxy2"):
            site.start(name)
        wait_until(lambda: site.is_ready("pproxy1") and site.is_ready("pproxy2"), "both are ready", patient(30))
        site.start_haproxy()
        yield site


class FromElsewhere(poplib.POP3_SSL):
    """A client with an address that is not the load balancer's."""

    def _create_socket(self, timeout: float) -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, self.port), timeout, source_address=("127.0.0.5", 0))
        context: ssl.SSLContext = self.context  # type: ignore[attr-defined]
        return context.wrap_socket(plain, server_hostname="localhost")


def _log_in(site: Site) -> poplib.POP3_SSL:
    client = FromElsewhere(LOOPBACK, site.front_tls, timeout=patient(10), context=site.authority.trusting())
    client.user("joe")
    client.pass_("joe")
    return client


def _has_greeting(port: int) -> bool:
    with PopClient(port) as client:
        return client.greeted() == b"+OK POP3 server ready"


@pytest.mark.slow
def test_a_site_that_loses_a_proxy(site: Site) -> None:
    """Mail is read through HAProxy, TLS, either proxy and the storage server, and the proxies know the clients'
    addresses. One proxy is stopped as the engine does it: HAProxy sends nobody there any more, no client is turned
    away, and who was there finishes.
    """
    refuses_strangers(int(site.ports["pserv"]["1100"]), int(site.check), "127.0.0.5")
    clients = [_log_in(site) for _ in range(4)]
    assert all(client.stat()[0] == 1 for client in clients)
    assert b"Subject: hello" in clients[0].retr(1)[1]
    os.kill(site.running["pproxy1"].pid, signal.SIGPWR)
    until = time.monotonic() + float(option("pproxy1", "--grace")) + 1
    while time.monotonic() < until:
        assert _has_greeting(site.front)
        time.sleep(0.05)
    assert not serves(site.ports["pproxy1"]["1110"])
    assert all(client.noop().startswith(b"+OK") for client in clients)
    for client in clients:
        client.quit()
    assert site.running["pproxy1"].process.wait(patient(10)) == 0
    for name in ("pproxy1", "pproxy2"):
        assert site.running[name].said().count("127.0.0.5") >= 2, "each had two of the four, and knows from where"
    os.kill(site.running["pproxy2"].pid, signal.SIGTERM)
    os.kill(site.running["pserv"].pid, signal.SIGTERM)
    assert [site.running[name].process.wait(patient(10)) for name in ("pproxy2", "pserv")] == [0, 0]
