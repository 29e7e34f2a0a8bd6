"""Reads, builds and validates the manifests under `deploy/kubernetes`, `deploy/kserve` and `deploy/ray`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.deploy.kubernetes.custom_resources import SCHEMAS
from tests.programs import find_program

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KSERVE = ROOT / "deploy" / "kserve"
RAY_SERVICE = ROOT / "deploy" / "ray" / "ray-service.yaml"
#: The oldest release that supports the `sleep` lifecycle hook without a feature gate, and the newest with schemas.
RELEASES = ("1.30.0", kubernetes_validate.latest_version())
STATE_KEYS = "a secret of more than sixteen characters"

Resource = dict[str, Any]

#: Files for kustomize itself, and patches.
_NOT_RESOURCES = {
    *("kustomization.yaml", "gpu.yaml", "mount.yaml", "copy.yaml"),
    *("container-port.yaml", "service-port.yaml", "ingress-rule.yaml", "shared-memory.yaml"),
}


def resource_files() -> list[Path]:
    """Return the files that contain whole resources."""
    files = [*KUBERNETES.rglob("*.yaml"), *KSERVE.rglob("*.yaml"), RAY_SERVICE]
    return sorted(path for path in files if path.name not in _NOT_RESOURCES and path.parent.name != "adapter")


def read(path: Path) -> Resource:
    resource: Resource = yaml.safe_load(path.read_text(encoding="utf-8"))
    return resource


def assert_valid(resource: Resource) -> None:
    """Fail with the path of the invalid field; unknown fields are invalid."""
    schema = SCHEMAS.get(resource["kind"])
    if schema is None:
        _assert_known_to_kubernetes(resource)
        return
    jsonschema.validate(resource, schema)
    if resource["kind"] == "ScaledObject":  # it becomes a HorizontalPodAutoscaler
        behavior = resource["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        spec = {"scaleTargetRef": resource["spec"]["scaleTargetRef"], "maxReplicas": 1, "behavior": behavior}
        scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": resource["metadata"]}
        _assert_known_to_kubernetes(scaler | {"spec": spec})
    if resource["kind"] == "RayService":
        cluster = resource["spec"]["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())):
            pod = {"metadata": resource["metadata"], **group["template"]}
            _assert_known_to_kubernetes({"apiVersion": "v1", "kind": "Pod", **pod})
    if resource["kind"] == "ServingRuntime":  # its containers have the schema of a pod's
        spec = {"containers": resource["spec"]["containers"]}
        _assert_known_to_kubernetes({"apiVersion": "v1", "kind": "Pod", "metadata": resource["metadata"], "spec": spec})


def _assert_known_to_kubernetes(resource: Resource) -> None:
    for release in RELEASES:
        kubernetes_validate.validate(resource, release, strict=True)


def copy_with_secrets(folder: Path) -> Path:
    """Copy the manifests and add a `secrets.env`, as an operator does."""
    copy = Path(shutil.copytree(KUBERNETES, folder / "kubernetes"))
    example = (copy / "base" / "secrets.env.example").read_text(encoding="utf-8")
    filled = example.replace("UNROLL_STATE_KEYS=", f"UNROLL_STATE_KEYS={STATE_KEYS}")
    (copy / "base" / "secrets.env").write_text(filled, encoding="utf-8")
    return copy


def kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build an overlay with kubectl."""
    return subprocess.run(
        [find_program("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )


def build(folder: Path) -> list[Resource]:
    """Return the resources of an overlay as applied to the cluster."""
    built = kustomize(folder)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def one(resources: list[Resource], kind: str) -> Resource:
    (found,) = (resource for resource in resources if resource["kind"] == kind)
    return found


def containers(resource: Resource) -> Iterator[dict[str, Any]]:
    """Return every container of a Deployment, init containers included."""
    pod = resource["spec"]["template"]["spec"]
    yield from pod.get("initContainers", [])
    yield from pod["containers"]
