"""What the pods of deploy/kubernetes do: their containers' own command lines, probes and hooks, in the image.

Each container runs as `image.py` tells, with its volumes; what the kubelet does (files of ConfigMaps, probes, preStop)
the test does. Only ports and addresses are others, because all share the host's network.
"""

import os
import poplib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import argon2
import pytest

from tests.deploy.image import HOME, Container, Image
from tests.deploy.kustomize import Resource, containers, find, pod, render
from tests.deploy.test_kubernetes import MANIFESTS
from tests.patience import patient
from tests.store.test_trusted import refuses_strangers
from tests.system.certificates import Authority
from tests.system.site import LOOPBACK, STARTED, PopClient, free_port, wait_until

PORTS = {"1110": free_port(), "1995": free_port(), "1100": free_port(), "9110": free_port(), "9111": free_port()}
CHECK = free_port()


POD_NETWORK = "10.42.0.0/16"
"""The value of the overlay; here it is where the proxy connects from, 127.0.0.1, and not 127.0.0.5."""


def moved(text: str) -> str:
    """With the ports of this test, on loopback."""
    for port, ours in PORTS.items():
        text = re.sub(rf"(port |:){port}\b", rf"\g<1>{ours}", text)
    text = text.replace(POD_NETWORK, "127.0.0.0/30")
    text = text.replace("iface ANY", f"iface {LOOPBACK}").replace("[::]", LOOPBACK)
    return text.replace("host store1", f"host {LOOPBACK}")


def project(directory: Path, files: dict[str, str], mode: int = 0o644) -> None:
    """Files as the kubelet puts them into a volume: all change at once, by one symbolic link."""
    data = directory / f"..{len(list(directory.iterdir()))}"
    data.mkdir()
    for name, text in files.items():
        (data / name).write_text(text)
        (data / name).chmod(mode)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    fresh = directory / "..fresh"
    fresh.symlink_to(data.name)
    fresh.replace(directory / "..data")


class Pod:
    """The pod of a Deployment or StatefulSet. `volumes` is a directory for each of its volumes, by name."""

    def __init__(self, image: Image, resource: Resource, directory: Path) -> None:
        self._image = image
        self._containers = {one["name"]: one for one in containers(resource)}
        template = pod(resource)
        assert template is not None
        claims = resource["spec"].get("volumeClaimTemplates", [])
        names = [one["name"] for one in template["spec"]["volumes"]] + [one["metadata"]["name"] for one in claims]
        self.volumes = {name: directory / name for name in names}
        for path in self.volumes.values():
            path.mkdir(parents=True)
        for one in template["spec"]["volumes"]:
            if "emptyDir" in one:
                self.volumes[one["name"]].chmod(0o2777)
        STARTED.add(self.volumes["run"] / "pod")
        self._directory = directory
        self._stack = ExitStack()

    def __enter__(self) -> "Pod":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _mounts(self, name: str) -> dict[str, Path]:
        mounts = {one["mountPath"]: self.volumes[one["name"]] for one in self._containers[name]["volumeMounts"]}
        mounts.pop("/dev/shm", None)  # the sandbox has one of its own
        return mounts

    def start(self, name: str, *more: str) -> Container:
        """Starts a container."""
        one = self._containers[name]
        command = [*one["command"], *map(moved, one["args"]), *more]
        return self._stack.enter_context(
            self._image.running(command, self._mounts(name), self._directory / f"{name}.out")
        )

    def pre_stop(self, name: str) -> Container:
        """Begins what is done before the container is stopped."""
        command = self._containers[name]["lifecycle"]["preStop"]["exec"]["command"]
        return self._stack.enter_context(
            self._image.running(command, self._mounts(name), self._directory / "preStop.out")
        )

    def run(self, name: str, command: list[str], given: str = "") -> int:
        """Runs a command in the container's file system."""
        return self._image.run(command, self._mounts(name), given).returncode

    def probe(self, name: str, kind: str) -> int:
        """The status that the kubelet gets; 0 if it gets none."""
        get = self._containers[name][f"{kind}Probe"]["httpGet"]
        (port,) = [one["containerPort"] for one in self._containers[name]["ports"] if one["name"] == get["port"]]
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{PORTS[str(port)]}{get['path']}", timeout=patient(5)
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0


@pytest.fixture(scope="module")
def manifests() -> list[Resource]:
    return render(MANIFESTS / "overlays/production")


@pytest.fixture
def store(image: Image, manifests: list[Resource], tmp_path: Path) -> Iterator[Pod]:
    """A running pserv pod; joe has one mail."""
    with Pod(image, find(manifests, "StatefulSet", "pserv"), tmp_path / "pserv") as store:
        files = find(manifests, "ConfigMap", "pserv")["data"]
        project(store.volumes["rc"], {name: moved(text) for name, text in files.items()})
        deliver = [f"/{HOME}/bin/pdeliver", "--logfile", "-", "-m", "/var/spool/popular", "joe"]
        assert store.run("pserv", deliver, "Subject: hello\n\nHello.\n") == 0
        store.start("pserv")
        store.start("pcheckd", "--port", str(CHECK), "--host", LOOPBACK)
        wait_until(lambda: store.probe("pserv", "readiness") == 200, "pserv is ready", patient(30))
        yield store


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_pods_serve_change_and_go(image: Image, manifests: list[Resource], tmp_path: Path) -> None:
    """A mail is read through both pods, over TLS. A changed ConfigMap counts soon after, a faulty one changes nothing.
    Before it stops, the proxy says that it is not ready, still takes clients for its grace, and then waits for them.
    """
    authority = Authority()
    leaf = authority.issue("localhost")
    rc = moved(find(manifests, "ConfigMap", "pproxy")["data"]["pproxy.rc"]) + f"set checkport {CHECK}\n"
    (namespace,) = set(re.findall(r"namespace (\w+)", rc))
    with Pod(image, find(manifests, "Deployment", "pproxy"), tmp_path / "pproxy") as proxy:
        project(proxy.volumes["rc"], {"pproxy.rc": rc})
        hashed = argon2.PasswordHasher(time_cost=1).hash("joe")
        project(proxy.volumes["users"], {"users": f"{namespace}:joe:{hashed}:store1:joe\n"}, 0o440)
        project(proxy.volumes["tls"], {"default.pem": leaf.chain.decode(), "default.key": leaf.key.decode()}, 0o440)
        apply = proxy.start("apply")
        main = proxy.start("pproxy")
        wait_until(lambda: proxy.probe("pproxy", "readiness") == 200, "it is ready", patient(30))
        assert [proxy.probe("pproxy", kind) for kind in ("startup", "liveness")] == [200, 200]

        client = poplib.POP3_SSL("localhost", PORTS["1995"], timeout=patient(10), context=authority.trusting())
        client.user("joe")
        client.pass_("joe")
        assert client.stat()[0] == 1
        assert b"Subject: hello" in client.retr(1)[1]

        def banner() -> bytes:
            with PopClient(PORTS["1110"]) as another:
                return another.greeted()

        assert banner() == b"+OK POP3 server ready"
        project(proxy.volumes["rc"], {"pproxy.rc": rc.replace('"POP3 server ready"', "new")})
        wait_until(lambda: banner() == b"+OK new", "the change is in force", patient(30))
        project(proxy.volumes["rc"], {"pproxy.rc": rc.replace("state online", "state on-line")})
        wait_until(lambda: "on-line" in apply.said(), "the fault is told", patient(30))
        assert banner() == b"+OK new"

        stopping = proxy.pre_stop("pproxy")
        wait_until(lambda: proxy.probe("pproxy", "readiness") == 503, "it is not ready any more")
        assert proxy.probe("pproxy", "liveness") == 200
        assert banner() == b"+OK new"
        assert client.noop().startswith(b"+OK")
        client.quit()
        refuses_strangers(PORTS["1100"], CHECK, "127.0.0.5")
        assert stopping.process.wait(patient(30)) == 0
        assert main.process.wait(patient(10)) == 0
        os.kill(apply.pid, 15)
        assert apply.process.wait(patient(10)) == 0
        (own,) = proxy.volumes["run"].iterdir()
        assert own.stat().st_mode & 0o777 == 0o700
        assert list(own.iterdir()) == []
        (state,) = proxy.volumes["state"].iterdir()
        assert (state / "history").is_dir(), "which goes with the pod"
        assert state.stat().st_mode & 0o777 == 0o700
        assert "directory_shared" not in main.said()
