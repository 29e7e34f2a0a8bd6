"""The manifests are valid and consistent with the service."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from prometheus_client import CollectorRegistry

from deploy.kubernetes.prometheus_rule import TARGET, prometheus_rule, text_of
from service.observability.metrics import Metrics
from service.settings import ENV_PREFIX, Settings, refuse_unknown_variables
from tests.conftest import running_service
from tests.deploy.kubernetes.manifests import (
    KSERVE,
    KUBERNETES,
    RAY_SERVICE,
    ROOT,
    STATE_KEYS,
    assert_valid,
    read,
    resource_files,
)

DEPLOYMENT = read(KUBERNETES / "base" / "deployment.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SERVICE = read(KUBERNETES / "base" / "service.yaml")
AUTOSCALER = read(KUBERNETES / "components" / "autoscaling" / "horizontalpodautoscaler.yaml")
ADAPTER = read(KUBERNETES / "adapter" / "config.yaml")
RUNTIME = read(KSERVE / "serving-runtime.yaml")
INFERENCE_SERVICE = read(KSERVE / "inference-service.yaml")
_RAY_GROUP = ("spec", "rayClusterConfig", "workerGroupSpecs", 0)
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
DOCKERFILE = (ROOT / "deploy" / "docker" / "service.Dockerfile").read_text(encoding="utf-8")


def variables(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("path", resource_files(), ids=lambda path: path.name)
def test_every_resource_is_valid_and_has_no_unknown_field(path: Path) -> None:
    assert_valid(read(path))


def spoiled(resource: dict[str, Any], *way: str | int, value: object) -> dict[str, Any]:
    """Return a copy in which the field at the path is changed or added."""
    changed = copy.deepcopy(resource)
    place: Any = changed
    for step in way[:-1]:
        place = place[step]
    place[way[-1]] = value
    return changed


@pytest.mark.parametrize(
    "resource",
    [
        spoiled(DEPLOYMENT, "spec", "template", "spec", "containers", 0, "readinesProbe", value={}),
        spoiled(DEPLOYMENT, "spec", "replicas", value="three"),
        spoiled(AUTOSCALER, "spec", "metrics", 0, "pods", "targt", value={}),
        spoiled(SERVICE, "spec", "ports", 0, "port", value="eight thousand"),
        spoiled(RUNTIME, "spec", "containers", 0, "imag", value="x"),
        spoiled(RUNTIME, "spec", "supportedModelFormat", value=[]),
        spoiled(INFERENCE_SERVICE, "spec", "predictor", "minReplicas", value="3"),
        spoiled(read(RAY_SERVICE), "spec", "serveConfig", value="x"),
        spoiled(read(RAY_SERVICE), *_RAY_GROUP, "replica", value=1),
        spoiled(read(RAY_SERVICE), *_RAY_GROUP, "template", "spec", "containers", 0, "resource", value={}),
        spoiled(read(TARGET), "spec", "groups", 0, "rules", 0, "alerts", value="x"),
    ],
)
def test_a_misspelt_field_and_a_wrong_type_are_noticed(resource: dict[str, Any]) -> None:
    """Schema validation rejects a misspelt field and a wrong type."""
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        assert_valid(resource)


@pytest.mark.parametrize("container", [CONTAINER, RUNTIME["spec"]["containers"][0]], ids=["kubernetes", "kserve"])
def test_probes_ask_what_the_service_answers(container: dict[str, Any], tiny_models: Path) -> None:
    """The probes use the service's health endpoints, and only readiness depends on the models."""
    with running_service(tiny_models) as client:
        status = {probe: client.get(container[probe]["httpGet"]["path"]).status_code for probe in PROBES}
    assert status == dict.fromkeys(PROBES, 200)
    paths = [container[probe]["httpGet"]["path"] for probe in PROBES]
    assert paths == ["/health/live", "/health/live", "/health/ready"]


def test_ports_and_labels_lead_from_the_service_to_the_image() -> None:
    (port,) = CONTAINER["ports"]
    assert f"EXPOSE {port['containerPort']}" in DOCKERFILE
    assert f"UNROLL_PORT={port['containerPort']}" in DOCKERFILE
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}
    assert [entry["targetPort"] for entry in SERVICE["spec"]["ports"]] == [port["name"]]
    assert SERVICE["spec"]["selector"] == DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert SERVICE["spec"]["sessionAffinity"] == "None"


def test_kserve_leads_to_the_port_of_grpc_by_its_name() -> None:
    """KServe takes a port for HTTP/2 if it is called h2c, and the runtime differs from that of HTTP in nothing else."""
    grpc, (http,) = read(KSERVE / "serving-runtime-grpc.yaml"), RUNTIME["spec"]["containers"]
    (container,) = grpc["spec"]["containers"]
    (port,) = container["ports"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert port == {"name": "h2c", "containerPort": int(environment.pop("UNROLL_GRPC_PORT")), "protocol": "TCP"}
    assert environment == {entry["name"]: entry["value"] for entry in http["env"]}
    assert container["readinessProbe"]["grpc"] == {"port": port["containerPort"]}
    assert grpc["spec"]["protocolVersions"] == ["grpc-v2"]
    assert RUNTIME["spec"]["protocolVersions"] == ["v1", "v2"]
    assert grpc["spec"]["annotations"] == RUNTIME["spec"]["annotations"]
    assert RUNTIME["spec"]["annotations"]["prometheus.kserve.io/port"] == str(http["ports"][0]["containerPort"])
    differing = ("ports", "env", "readinessProbe")
    assert {name: container[name] for name in container if name not in differing} == {
        name: http[name] for name in http if name not in differing
    }


@pytest.mark.parametrize("name", ["poddisruptionbudget.yaml", "networkpolicy.yaml"])
def test_what_guards_the_pods_chooses_the_pods(name: str) -> None:
    spec = read(KUBERNETES / "base" / name)["spec"]
    chosen = spec.get("selector") or spec["podSelector"]
    assert chosen["matchLabels"] == DEPLOYMENT["spec"]["selector"]["matchLabels"]


def test_the_pod_may_do_nothing_but_serve() -> None:
    """The pod runs as the image's user with a read-only root file system, without token or capabilities."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    user, group = POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsGroup"]
    assert re.search(rf"^USER {user}(:{group})?$", DOCKERFILE, re.MULTILINE)
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_every_variable_is_a_setting_with_a_value_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every environment variable in the manifests is a setting with a valid value."""
    settings = variables(KUBERNETES / "base" / "settings.env")
    secrets = variables(KUBERNETES / "base" / "secrets.env.example") | {"UNROLL_STATE_KEYS": STATE_KEYS}
    kserve = {entry["name"]: entry["value"] for entry in RUNTIME["spec"]["containers"][0]["env"]}
    for name, value in (settings | secrets | kserve).items():
        monkeypatch.setenv(name, value)
    refuse_unknown_variables(settings | secrets | kserve)
    assert {f"{ENV_PREFIX}{name.upper()}" for name in Settings().model_fields_set} >= set(settings)


def test_variables_of_other_services_do_not_reach_the_settings() -> None:
    """Service links are disabled, because a Service called `unroll` would set UNROLL_PORT to a URL."""
    assert POD["enableServiceLinks"] is False
    assert INFERENCE_SERVICE["spec"]["predictor"]["enableServiceLinks"] is False


def test_a_pod_has_time_to_leave() -> None:
    settings = variables(KUBERNETES / "base" / "settings.env")
    announced_s = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    detected_s = CONTAINER["readinessProbe"]["periodSeconds"] * CONTAINER["readinessProbe"]["failureThreshold"]
    assert announced_s >= detected_s
    needed_s = announced_s + float(settings["UNROLL_DRAIN_TIMEOUT_S"])
    for pod in (POD, INFERENCE_SERVICE["spec"]["predictor"]):
        assert pod["terminationGracePeriodSeconds"] >= needed_s + 10


def test_cores_are_whole_and_promised() -> None:
    """The CPU request equals the limit, which is a whole number because it sets the number of parallel graphs."""
    resources = CONTAINER["resources"]
    assert resources["requests"] == resources["limits"]
    assert float(resources["limits"]["cpu"]).is_integer()


def test_the_autoscalers_metrics_come_out_of_the_adapter_and_go_into_it_from_the_service() -> None:
    wanted = {entry["pods"]["metric"]["name"] for entry in AUTOSCALER["spec"]["metrics"]}
    assert wanted == {rule["name"]["as"] for rule in ADAPTER["rules"]}
    for rule in ADAPTER["rules"]:
        series = rule["seriesQuery"].split("{")[0]
        assert rule["name"]["matches"] == f"^{series}$"
        asked = {series, *re.findall(r"\bunroll_\w+", rule["metricsQuery"])}
        assert asked <= known_series()


def known_series() -> set[str]:
    """Return the names of all series that the service can export."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "service").rglob("*.py"))
    registry = CollectorRegistry()
    Metrics(registry)
    declared = {sample for family in registry.collect() for sample in (family.name, f"{family.name}_total")}
    return declared | {name for quoted in re.findall(r'"(unroll_\w+)"', source) for name in (quoted, f"{quoted}_total")}


def test_the_autoscaler_scales_the_deployment_within_what_can_be_drained() -> None:
    spec = AUTOSCALER["spec"]
    assert spec["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert 2 <= spec["minReplicas"] <= DEPLOYMENT["spec"]["replicas"] <= spec["maxReplicas"]


def test_the_operators_rules_are_those_of_prometheus() -> None:
    """The PrometheusRule is up to date; regenerate with: python -m deploy.kubernetes.prometheus_rule"""
    assert TARGET.read_text(encoding="utf-8") == text_of(prometheus_rule())
    assert prometheus_rule()["spec"]["groups"]


def test_the_operators_prometheus_finds_the_service_under_the_name_that_rules_ask_for() -> None:
    monitor = read(KUBERNETES / "components" / "monitoring" / "servicemonitor.yaml")["spec"]
    labels = SERVICE["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["jobLabel"]] == "unroll"
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in SERVICE["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"


def test_the_runtime_reads_bundles_where_kserve_puts_them() -> None:
    (container,) = RUNTIME["spec"]["containers"]
    assert container["name"] == "kserve-container"
    assert {"name": "UNROLL_MODELS_DIR", "value": "/mnt/models"} in container["env"]
    (supported,) = RUNTIME["spec"]["supportedModelFormats"]
    model = INFERENCE_SERVICE["spec"]["predictor"]["model"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert model["modelFormat"].items() <= supported.items()


def test_the_images_are_those_of_this_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for overlay in ("cpu", "gpu"):
        (image,) = read(KUBERNETES / "overlays" / overlay / "kustomization.yaml")["images"]
        assert (image["name"], image["newTag"]) == (CONTAINER["image"], project["version"])
    assert RUNTIME["spec"]["containers"][0]["image"] == f"unroll-service:{project['version']}"
