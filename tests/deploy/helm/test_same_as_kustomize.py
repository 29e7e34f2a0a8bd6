"""The chart and kustomize make the same: each difference is named here, with its reason, and nothing else differs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.helm.conftest import Helm, Values, preset
from tests.deploy.kubernetes.manifests import Resource, build, copy_with_secrets

Settled = dict[str, Resource]
#: Defaults of Kubernetes that one of the two writes out.
_DEFAULTS = {"imagePullPolicy": "IfNotPresent", "type": "ClusterIP"}


def _without_labels_of_helm(resource: Resource) -> None:
    """Releases of the same chart can stand side by side, and `helm list` finds what belongs to one."""
    for labels in _all(resource, ("labels", "matchLabels", "selector")):
        for name in ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"):
            labels.pop(name, None)
        labels.pop("helm.sh/chart", None)


def _without_labels_of_the_application(resource: Resource) -> None:
    """Kustomize labels only what something looks for; Helm's conventions ask for labels on every resource."""
    labels = resource["metadata"].pop("labels", {})
    assert set(labels) <= {"app.kubernetes.io/name", "app.kubernetes.io/component"}


def _one_way_to_roll_out_settings(resource: Resource) -> None:
    """Kustomize names the ConfigMap by its content; Helm, which would leave the old ones behind, annotates the pod."""
    if resource["kind"] == "Deployment":
        annotations = resource["spec"]["template"]["metadata"].get("annotations", {})
        annotations.pop("checksum/settings", None)
        if not annotations:
            resource["spec"]["template"]["metadata"].pop("annotations", None)
    for place in _all(resource, ("configMapRef", "secretRef", "metadata")):
        for stem in ("unroll-settings", "unroll-secrets"):
            if place.get("name", "").startswith(f"{stem}-"):
                place["name"] = stem


def _chosen_by_name_alone(resource: Resource) -> None:
    """The ServiceMonitor of kustomize finds all of the application; the chart's finds its own release."""
    if resource["kind"] == "ServiceMonitor":
        resource["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component", None)


def _without_peers_that_are_off(resource: Resource) -> None:
    """The chart's network policy opens to Redis and the collector only with `redis` and `tracing`, and to its test."""
    if resource["kind"] != "NetworkPolicy":
        return
    spec = resource["spec"]
    spec["egress"] = [rule for rule in spec["egress"] if {port["port"] for port in rule["ports"]} <= {53}]
    spec["ingress"] = [
        rule
        for rule in spec["ingress"]
        if rule["from"] != [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "test"}}}]
    ]


def _kept_claim(resource: Resource) -> None:
    """`helm uninstall` would delete the bundles; `kubectl delete -k` is told what to delete."""
    if resource["kind"] == "PersistentVolumeClaim" and "annotations" in resource["metadata"]:
        assert resource["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}


def _without_defaults(resource: Resource) -> None:
    """The chart writes out what its values can change."""
    for place in _all(resource):
        for name, default in _DEFAULTS.items():
            if place.get(name) == default:
                del place[name]


def _in_one_order(resource: Resource) -> None:
    """Kustomize puts what a patch adds first; the order of ports, volumes and mounts says nothing."""
    for place in _all(resource):
        for name, key in (("volumes", "name"), ("volumeMounts", "mountPath"), ("ports", "name")):
            items = place.get(name, [])
            if all(key in item for item in items):
                items.sort(key=itemgetter(key))


def _without_namespace(resource: Resource) -> None:
    """Helm takes the namespace from its command line."""
    resource["metadata"].pop("namespace", None)


SETTLED: list[Callable[[Resource], None]] = [
    _without_labels_of_helm,
    _without_labels_of_the_application,
    _one_way_to_roll_out_settings,
    _chosen_by_name_alone,
    _without_peers_that_are_off,
    _kept_claim,
    _without_defaults,
    _in_one_order,
    _without_namespace,
]
#: Resources that only one of the two makes. Helm does not make its namespace, and should not make Secrets, which each
#: revision would keep. Kustomize has no tests.
ONLY_ONE_HAS = {"Namespace", "Secret", "Pod"}


def settled(resources: list[Resource]) -> Settled:
    """The resources by kind, without the named differences."""
    found = {}
    for resource in copy.deepcopy(resources):
        if resource["kind"] in ONLY_ONE_HAS:
            continue
        for settle in SETTLED:
            settle(resource)
        found[resource["kind"]] = resource
    return found


def _all(resource: Any, names: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Every object in the resource, at any depth; with names, those under one of them."""
    if isinstance(resource, list):
        return [found for item in resource for found in _all(item, names)]
    if not isinstance(resource, dict):
        return []
    if names:
        here = [value for name, value in resource.items() if name in names and isinstance(value, dict)]
    else:
        here = [resource]
    return here + [found for value in resource.values() for found in _all(value, names)]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_with_secrets(tmp_path_factory.mktemp("kustomize"))


def overlay(manifests: Path, name: str, *components: str) -> list[Resource]:
    """The base with these components, built with the image of the release."""
    folder = manifests / "overlays" / name
    folder.mkdir(exist_ok=True)
    text = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../base"],
        "components": [f"../../components/{component}" for component in components],
        "images": [{"name": "unroll-service", "newTag": "0.1.0"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    return build(folder)


def test_the_defaults_are_the_base_with_a_volume_of_bundles(manifests: Path, helm: Helm) -> None:
    assert settled(helm.render().resources) == settled(overlay(manifests, "plain", "models-volume"))


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_preset_is_the_overlay_of_its_name(name: str, manifests: Path, helm: Helm) -> None:
    assert settled(helm.render(preset(name)).resources) == settled(build(manifests / "overlays" / name))


def test_components_are_values(manifests: Path, helm: Helm) -> None:
    """Workers, an Ingress, routes of a Gateway, gRPC, KEDA, a PodMonitor and bundles from an image."""
    parents = [{"name": "public", "namespace": "gateway"}]
    host = "unroll.example.com"
    routes = ("ingress", "gateway", "gateway/grpc")
    components = ("models-image", "workers", "grpc", *routes, "keda", "monitoring", "pod-monitor")
    built = settled(overlay(manifests, "all", *components))
    values: Values = {
        "models": {"source": "image"},
        "workers": "auto",
        "grpc": {"enabled": True},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": [host],
            "annotations": built["Ingress"]["metadata"]["annotations"],
        },
        "httpRoute": {"enabled": True, "parentRefs": parents, "hostnames": [host]},
        "grpcRoute": {"enabled": True, "parentRefs": parents, "hostnames": [f"grpc.{host}"]},
        "autoscaling": {"keda": {"enabled": True}},
        "monitoring": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    }
    assert settled(helm.render(values).resources) == built


def test_a_difference_that_is_not_named_is_noticed(helm: Helm) -> None:
    ours, changed = (settled(helm.render({"preStopSeconds": seconds}).resources) for seconds in (10, 11))
    assert ours != changed
    assert {kind for kind in ours if ours[kind] != changed[kind]} == {"Deployment"}
