"""The manifests: rendered, checked against Kubernetes' own schemas, and consistent among themselves.

No cluster takes part: kubectl renders (`kustomize.py`). What a pod does is in `test_pod.py`.
"""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.program import Program
from supervisor.version import VERSION
from supervisor.worker.worker import PATIENCE_SECONDS
from tests.deploy.kustomize import Resource, containers, find, pod, render
from tests.system.site import Proxy

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy/kubernetes"
BUILT = ("pproxy", "pserv", "overlays/production")
MADE_BY_HAND = {"Secret": {"popular-users", "popular-tls"}}
"""What the README says is to be made before."""


@pytest.fixture(scope="module", params=BUILT)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return render(MANIFESTS / request.param)


@pytest.fixture(scope="module")
def production() -> list[Resource]:
    return render(MANIFESTS / "overlays/production")


def quantity(text: str) -> int:
    """Octets of `64Mi`, seconds of `10m`."""
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * {"Mi": 2**20, "Gi": 2**30, "s": 1, "m": 60}[unit]


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    return [one for one in resources if one["kind"] == kind]


def selected(resources: list[Resource], selector: dict[str, str]) -> list[Resource]:
    """The resources whose pods carry these labels; a StatefulSet's pods carry their names, too."""
    found = []
    for one in resources:
        template = pod(one)
        if template is not None:
            labels = template["metadata"]["labels"]
            if one["kind"] == "StatefulSet":
                labels = labels | {"statefulset.kubernetes.io/pod-name": f"{one['metadata']['name']}-0"}
            if selector.items() <= labels.items():
                found.append(one)
    return found


def port_names(resource: Resource) -> set[str]:
    return {port["name"] for one in containers(resource) for port in one.get("ports", [])}


def test_schemas(resources: list[Resource]) -> None:
    """Everything but the operator's kind is valid for Kubernetes, and has no field that it does not know."""
    checked = [one for one in resources if one["kind"] != "PodMonitor"]
    for one in checked:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    assert len(checked) >= 5


def test_schemas_refuse() -> None:
    """The check would find a field in the wrong place."""
    broken = find(render(MANIFESTS / "pproxy"), "Deployment", "pproxy")
    broken["spec"]["template"]["spec"]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_monitor_finds_the_pods(production: list[Resource]) -> None:
    """It selects both programs by labels they have, and scrapes a port they have, under jobs that the alerts know."""
    (monitor,) = of_kind(production, "PodMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(monitor["spec"]) == {"selector", "jobLabel", "podMetricsEndpoints"}
    (rule,) = monitor["spec"]["selector"]["matchExpressions"]
    assert (rule["key"], rule["operator"]) == (monitor["spec"]["jobLabel"], "In")
    for value in rule["values"]:
        (target,) = selected(production, {rule["key"]: value})
        assert {one["port"] for one in monitor["spec"]["podMetricsEndpoints"]} <= port_names(target)


def test_versions_and_configurations_agree(production: list[Resource]) -> None:
    """Every image is of the project's version; the overlay's proxies differ from the base's in size and namespace."""
    for resources in (production, render(MANIFESTS / "pproxy")):
        images = [one["image"] for resource in resources for one in containers(resource)]
        assert {image.rpartition(":")[2] for image in images} == {VERSION}
    base, ours = ((MANIFESTS / where / "pproxy.rc").read_text() for where in ("pproxy", "overlays/production"))
    assert ours == base.replace("maxsession 5000", "maxsession 10000").replace("namespace example", "namespace mail")


def test_pods_are_restricted(resources: list[Resource]) -> None:
    """Each pod passes the restricted level of the pod security standards, and its root file system is read-only."""
    seen = 0
    for one in resources:
        template = pod(one)
        if template is None:
            continue
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["automountServiceAccountToken"] is False
        context = spec["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        kinds = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI"}
        assert all(set(volume) - {"name"} <= kinds for volume in spec["volumes"])
        for container in spec["containers"]:
            seen += 1
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= set(container["resources"])
    assert seen >= 2


def test_every_name_leads_somewhere(resources: list[Resource]) -> None:
    """Volumes, mounts, ports of probes, services, policies and budgets name what is there; nothing is by subPath."""
    maps = {one["metadata"]["name"]: set(one["data"]) for one in of_kind(resources, "ConfigMap")}
    for one in resources:
        template = pod(one)
        if template is not None:
            assert one["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
            volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
            claimed = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
            mounts = [mount for container in containers(one) for mount in container["volumeMounts"]]
            assert {mount["name"] for mount in mounts} == set(volumes) | claimed
            assert not any("subPath" in mount for mount in mounts)
            for volume in volumes.values():
                assert volume.get("configMap", {}).get("name") in {None, *maps}
                assert volume.get("secret", {}).get("secretName") in {None, *MADE_BY_HAND["Secret"]}
            for container in containers(one):
                probes = [container[name] for name in container if name.endswith("Probe")]
                own = {port["name"] for port in container.get("ports", [])}
                assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= own
        elif one["kind"] == "Service":
            (target,) = selected(resources, one["spec"]["selector"])
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= port_names(target)
        elif one["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            spec = one["spec"]
            (target,) = selected(resources, (spec.get("podSelector") or spec["selector"])["matchLabels"])
            named = {port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]}
            assert named <= port_names(target)
    readme = (MANIFESTS / "README.md").read_text()
    assert all(name in readme for name in MADE_BY_HAND["Secret"])


def test_nobody_is_lost_in_a_rollout(production: list[Resource]) -> None:
    """A pod goes when another is ready; Kubernetes waits longer than pcontrol, and pcontrol longer than the drain."""
    proxy = find(production, "Deployment", "pproxy")
    assert proxy["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert find(production, "Service", "pproxy")["spec"]["externalTrafficPolicy"] == "Local"
    assert find(production, "PodDisruptionBudget", "pproxy")["spec"]["maxUnavailable"] < proxy["spec"]["replicas"]
    for one in (proxy, find(production, "StatefulSet", "pserv")):
        main = containers(one)[0]
        text = " ".join(main["lifecycle"]["preStop"]["exec"]["command"])
        grace, deadline = re.search(r"grace (\d+\w*) deadline (\d+m)", text).groups()
        (timeout,) = re.findall(r"--timeout=(\d+)", text)
        accepting = 0 if grace == "0" else quantity(grace)
        assert (
            accepting + quantity(deadline) + max(PATIENCE_SECONDS.values()) + 20
            <= int(timeout)
            < pod(one)["spec"]["terminationGracePeriodSeconds"]
        )


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "pproxy"), ("StatefulSet", "pserv")])
def test_the_table_fits(production: list[Resource], tmp_path: Path, kind: str, name: str) -> None:
    """/dev/shm has room for the session table that the program makes, twice, and the memory limit for /dev/shm."""
    one = find(production, kind, name)
    main = containers(one)[0]
    chosen = [word for word in main["args"] if word.startswith(("--sessionlimit", "--workers"))]
    with Proxy(tmp_path, options=chosen, name=name) as running:
        size = (running.rundir / f"{name}.state").stat().st_size
    (shm,) = [_room(volume) for volume in pod(one)["spec"]["volumes"] if volume["name"] == "shm"]
    assert 2**20 < 2 * size < shm
    assert 4 * shm <= quantity(main["resources"]["limits"]["memory"])


@pytest.mark.parametrize(
    ("kind", "name", "program"), [("Deployment", "pproxy", PPROXY), ("StatefulSet", "pserv", PSERV)]
)
def test_the_state_fits(production: list[Resource], kind: str, name: str, program: Program) -> None:
    """What history and traces may take leaves half of the volume to the orders; where they are is not in memory."""
    (tracespace,) = [one for one in program.variables if one.name == "tracespace"]
    template = pod(find(production, kind, name))
    (main,) = [one for one in containers(find(production, kind, name)) if one["name"] == name]
    (statedir,) = [Path(word.partition("=")[2]) for word in main["args"] if word.startswith("--statedir=")]
    (volume,) = [mount["name"] for mount in main["volumeMounts"] if Path(mount["mountPath"]) == statedir.parent]
    (place,) = [one["emptyDir"] for one in template["spec"]["volumes"] if one["name"] == volume]
    assert tracespace.first({}) * 2**20 * 2 <= quantity(place["sizeLimit"])
    assert "medium" not in place


def _room(volume: dict[str, Any]) -> int:
    assert volume["emptyDir"]["medium"] == "Memory"
    return quantity(volume["emptyDir"]["sizeLimit"])


def test_the_proxy_is_where_the_store_expects_it(production: list[Resource]) -> None:
    """Only pods with the proxies' label may speak to the storage server."""
    policy = find(production, "NetworkPolicy", "pserv")["spec"]["ingress"][0]
    (peer,) = policy["from"]
    assert selected(production, peer["podSelector"]["matchLabels"]) == [find(production, "Deployment", "pproxy")]


def test_the_pod_network_is_a_value_of_the_overlay(production: list[Resource]) -> None:
    """Said once there, it is what both programs of the storage server trust; the base has another one."""
    (value,) = re.findall(r"cidr=(\S+)", (MANIFESTS / "overlays/production/kustomization.yaml").read_text())

    def trusted(resources: list[Resource]) -> list[str]:
        rc = find(resources, "ConfigMap", "pserv")["data"]["trusted.rc"]
        (option,) = [
            word.partition("=")[2]
            for one in containers(find(resources, "StatefulSet", "pserv"))
            for word in one["args"]
            if word.startswith("--trusted=")
        ]
        return [rc.split("trusted ")[1].strip(), *option.split(",")]

    assert trusted(production) == [value, "127.0.0.1", value]
    assert "pod-network" not in {one["metadata"]["name"] for one in production}
    base, _, again = trusted(render(MANIFESTS / "pserv"))
    assert base == again != value
