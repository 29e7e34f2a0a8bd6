"""The overlays build with kustomize to the intended resources."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.kubernetes.manifests import (
    STATE_KEYS,
    Resource,
    assert_valid,
    build,
    containers,
    copy_with_secrets,
    kustomize,
    one,
)

KINDS = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Namespace",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PrometheusRule",
    "Secret",
    "Service",
    "ServiceMonitor",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Resource]]:
    """Return the resources of an overlay."""
    manifests = copy_with_secrets(tmp_path_factory.mktemp("kustomize"))
    return lambda overlay: build(manifests / "overlays" / overlay)


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_an_overlay_is_whole_and_every_resource_of_it_is_valid(
    overlay: str, built: Callable[[str], list[Resource]]
) -> None:
    resources = built(overlay)
    assert {resource["kind"] for resource in resources} == KINDS
    for resource in resources:
        assert_valid(resource)
        assert resource["metadata"].get("namespace", resource["metadata"]["name"]) == "unroll"


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_pods_get_the_generated_settings_and_secrets_and_read_the_models(
    overlay: str, built: Callable[[str], list[Resource]]
) -> None:
    """Pods use the generated ConfigMap and Secret, and mount the models read-only."""
    resources = built(overlay)
    (container,) = containers(one(resources, "Deployment"))
    sources = {name for source in container["envFrom"] for name in (value["name"] for value in source.values())}
    assert sources == {one(resources, kind)["metadata"]["name"] for kind in ("ConfigMap", "Secret")}
    keys = one(resources, "Secret")["data"]["UNROLL_STATE_KEYS"]
    assert base64.b64decode(keys).decode() == STATE_KEYS
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    assert "replicas" not in one(resources, "Deployment")["spec"]


def test_the_component_of_grpc_opens_its_port_everywhere(tmp_path: Path) -> None:
    """In the settings, the pod, the Service and the network policy; an overlay without it has none of them."""
    manifests = copy_with_secrets(tmp_path)
    overlay = manifests / "overlays" / "cpu" / "kustomization.yaml"
    text = overlay.read_text(encoding="utf-8")
    assert "grpc" not in str(build(overlay.parent)).lower()
    overlay.write_text(text.replace("images:", "  - ../../components/grpc\nimages:"), encoding="utf-8")
    resources = build(overlay.parent)
    for resource in resources:
        assert_valid(resource)
    (container,) = containers(one(resources, "Deployment"))
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8000, "grpc": 9000}
    assert one(resources, "ConfigMap")["data"]["UNROLL_GRPC_PORT"] == "9000"
    ports = {port["name"]: port for port in one(resources, "Service")["spec"]["ports"]}
    assert (ports["grpc"]["targetPort"], ports["grpc"]["appProtocol"]) == ("grpc", "kubernetes.io/h2c")
    rules = one(resources, "NetworkPolicy")["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules] == [["http"], ["grpc"]]


def test_the_gpu_overlay_asks_for_one_gpu_and_for_cuda(built: Callable[[str], list[Resource]]) -> None:
    """Only the GPU overlay requests one GPU and selects CUDA."""
    for overlay, device, num_gpus in (("cpu", "cpu", 0), ("gpu", "cuda", 1)):
        resources = built(overlay)
        pod = one(resources, "Deployment")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["limits"].get("nvidia.com/gpu", 0) == num_gpus
        assert one(resources, "ConfigMap")["data"]["UNROLL_DEVICE"] == device
        assert ("gpu" in container["image"]) == bool(num_gpus)
        assert bool(pod.get("tolerations")) == bool(num_gpus)


def test_without_secrets_nothing_is_built_and_the_message_names_the_file(tmp_path: Path) -> None:
    manifests = copy_with_secrets(tmp_path)
    (manifests / "base" / "secrets.env").unlink()
    refused = kustomize(manifests / "overlays" / "cpu")
    assert refused.returncode != 0
    assert "secrets.env" in refused.stderr


def test_a_misspelt_field_in_a_patch_is_noticed(tmp_path: Path) -> None:
    """Validation of the build output rejects a misspelt field in a patch."""
    manifests = copy_with_secrets(tmp_path)
    patch = manifests / "overlays" / "gpu" / "gpu.yaml"
    patch.write_text(patch.read_text(encoding="utf-8").replace("tolerations:", "toleration:"), encoding="utf-8")
    deployment = one(build(manifests / "overlays" / "gpu"), "Deployment")
    with pytest.raises(Exception, match="toleration"):
        assert_valid(deployment)


def test_models_may_come_from_an_image_instead_of_a_volume(tmp_path: Path) -> None:
    manifests = copy_with_secrets(tmp_path)
    overlay = manifests / "overlays" / "cpu" / "kustomization.yaml"
    text = overlay.read_text(encoding="utf-8")
    overlay.write_text(text.replace("models-volume", "models-image"), encoding="utf-8")
    resources = build(overlay.parent)
    assert {resource["kind"] for resource in resources} == KINDS - {"PersistentVolumeClaim"}
    deployment = one(resources, "Deployment")
    assert_valid(deployment)
    copying, serving = containers(deployment)
    (into,) = copying["volumeMounts"]
    assert copying["command"][-1] == into["mountPath"]
    assert {"name": into["name"], "mountPath": "/models", "readOnly": True} in serving["volumeMounts"]
    assert copying["image"] == "unroll-models:1"
    assert copying["securityContext"] == serving["securityContext"]
