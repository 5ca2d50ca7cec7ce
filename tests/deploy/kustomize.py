"""The part of kustomize that deploy/kubernetes uses, for machines without it: what `kubectl apply -k` would send.

It knows resources, components, generated ConfigMaps without a hash in their name, labels, namespace, images, replicas
and strategic-merge patches, each as far as our files go, and refuses everything else.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

MERGED_BY = {"containers": "name", "topologySpreadConstraints": "topologyKey", "volumeMounts": "mountPath"}
"""Lists that a patch merges item by item, with the field that tells items apart; it replaces other lists."""
CLUSTER_WIDE = {"Namespace"}


def render(directory: Path, resources: list[Resource] | None = None) -> list[Resource]:
    """All resources of a kustomization, in their final form. Raises KeyError for what it does not know."""
    text: dict[str, Any] = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert text.pop("kind") == ("Component" if resources is not None else "Kustomization")
    text.pop("apiVersion")
    assert text.pop("generatorOptions", {"disableNameSuffixHash": True}) == {"disableNameSuffixHash": True}
    resources = [] if resources is None else resources
    for name in text.pop("resources", []):
        path = directory / name
        resources += render(path) if path.is_dir() else load(path)
    for name in text.pop("components", []):
        render(directory / name, resources)
    for field in ("configMapGenerator", "patches", "labels", "replicas", "images", "namespace"):  # kustomize's order
        if field in text:
            STEPS[field](directory, resources, text.pop(field))
    if text:
        raise KeyError(f"{directory}: this renderer does not know {', '.join(text)}")
    return resources


def load(path: Path) -> list[Resource]:
    """The documents of a file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def find(resources: list[Resource], kind: str, name: str) -> Resource:
    """The one resource of this kind and name."""
    (found,) = [one for one in resources if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def _generate(directory: Path, resources: list[Resource], generators: list[Any]) -> None:
    for generator in generators:
        assert set(generator) <= {"name", "files", "behavior"}
        data = {name: (directory / name).read_text() for name in generator["files"]}
        if generator.get("behavior", "create") == "replace":
            find(resources, "ConfigMap", generator["name"])["data"] = data
        else:
            metadata = {"name": generator["name"]}
            resources.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _patch(directory: Path, resources: list[Resource], patches: list[Any]) -> None:
    for patch in patches:
        (path,) = patch.values()
        for one in load(directory / path):
            target = find(resources, one["kind"], one["metadata"]["name"])
            target |= merged(target, one)


def merged(old: Any, new: Any, name: str = "") -> Any:
    """A strategic merge."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merged(old.get(key), value, key) for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list) and name in MERGED_BY:
        key = MERGED_BY[name]
        changes = {item[key]: item for item in new}
        known = {item[key] for item in old}
        assert changes.keys() <= known, "our patches change items; they add none"
        return [merged(item, changes.get(item[key], {})) for item in old]
    return copy.deepcopy(new)


def _label(_directory: Path, resources: list[Resource], labels: list[Any]) -> None:
    for one in labels:
        (pairs,) = one.values()
        for resource in resources:
            resource["metadata"].setdefault("labels", {}).update(pairs)


def _replicate(_directory: Path, resources: list[Resource], replicas: list[Any]) -> None:
    for one in replicas:
        find(resources, "Deployment", one["name"])["spec"]["replicas"] = one["count"]


def _name_images(_directory: Path, resources: list[Resource], images: list[Any]) -> None:
    for container in (container for one in resources for container in containers(one)):
        for image in images:
            if container["image"].split(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"


def _settle(_directory: Path, resources: list[Resource], namespace: str) -> None:
    for one in resources:
        if one["kind"] not in CLUSTER_WIDE:
            one["metadata"]["namespace"] = namespace


STEPS: dict[str, Callable[[Path, list[Resource], Any], None]] = {
    "configMapGenerator": _generate,
    "patches": _patch,
    "labels": _label,
    "replicas": _replicate,
    "images": _name_images,
    "namespace": _settle,
}


def pod(resource: Resource) -> Resource | None:
    """The template of the pods that a resource makes, if it makes any."""
    template: Resource | None = resource["spec"].get("template") if "spec" in resource else None
    return template


def containers(resource: Resource) -> list[Resource]:
    """The containers of its pods."""
    template = pod(resource)
    return list(template["spec"]["containers"]) if template is not None else []
