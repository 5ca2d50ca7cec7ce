"""What `kubectl apply -k` would send: kubectl renders a kustomization of deploy/kubernetes, without a cluster."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.patience import patient

Resource = dict[str, Any]


def render(directory: Path) -> list[Resource]:
    """All resources of a kustomization, in their final form. Fails with what kubectl says."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, timeout=patient(60))
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def find(resources: list[Resource], kind: str, name: str) -> Resource:
    """The one resource of this kind and name."""
    (found,) = [one for one in resources if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod(resource: Resource) -> Resource | None:
    """The template of the pods that a resource makes, if it makes any."""
    template: Resource | None = resource["spec"].get("template") if "spec" in resource else None
    return template


def containers(resource: Resource) -> list[Resource]:
    """The containers of its pods."""
    template = pod(resource)
    return list(template["spec"]["containers"]) if template is not None else []
