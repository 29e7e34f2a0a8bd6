"""The Helm chart renders to valid resources that belong together, by default and with each file of `ci/`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.helm.values_table import README, documented_values, readme_with, table
from deploy.kubernetes.prometheus_rule import CHART_TARGET, prometheus_rule, text_of
from service.settings import Settings, refuse_unknown_variables
from tests.deploy.helm.conftest import CHART, PRESETS, Helm, Rendered, Values, preset
from tests.deploy.kubernetes.manifests import ROOT, STATE_KEYS, Resource, assert_valid, one
from tests.live_server import live_server

ALL_VALUES: dict[str, Values] = {"defaults": {}} | {
    path.stem.removesuffix("-values"): yaml.safe_load(path.read_text(encoding="utf-8")) for path in PRESETS
}

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.fixture(scope="module", params=ALL_VALUES)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> Rendered:
    return helm.render(ALL_VALUES[request.param], name="texts")


def pods(resources: list[Resource]) -> list[dict[str, Any]]:
    """The metadata and spec of every pod that the resources make."""
    return [
        resource["spec"]["template"] if resource["kind"] == "Deployment" else resource
        for resource in resources
        if resource["kind"] in ("Deployment", "Pod")
    ]


@pytest.mark.parametrize("name", ALL_VALUES)
def test_lint_finds_nothing(name: str, helm: Helm) -> None:
    assert helm.lint(ALL_VALUES[name]) == []


def test_every_rendered_resource_is_valid_and_has_no_unknown_field(rendered: Rendered) -> None:
    for resource in rendered.resources:
        assert_valid(resource)
        assert resource["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_names_lead_from_each_resource_to_the_next(rendered: Rendered) -> None:
    """Selectors choose the pods of this release and not that of its test; ports and settings exist where named."""
    resources = rendered.resources
    deployment = one(resources, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for resource in resources:
        spec = resource.get("spec", {})
        for chosen in (spec.get("podSelector"), spec.get("selector")):
            selector = (chosen or {}).get("matchLabels", chosen or {})
            assert selector.items() <= labels.items()
            assert not selector or not selector.items() <= one(resources, "Pod")["metadata"]["labels"].items()
        for route in spec.get("rules", []):
            for backend in route.get("backendRefs", []):
                ports = {port["port"] for port in one(resources, "Service")["spec"]["ports"]}
                assert backend["name"] == one(resources, "Service")["metadata"]["name"]
                assert backend["port"] in ports
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"][0]["configMapRef"]["name"] == one(resources, "ConfigMap")["metadata"]["name"]
    for resource in resources:
        if resource["kind"] == "ServiceMonitor":
            found_by = resource["spec"]["selector"]["matchLabels"]
            assert found_by.items() <= one(resources, "Service")["metadata"]["labels"].items()
    open_ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in one(resources, "Service")["spec"]["ports"]} == open_ports


def test_every_pod_meets_the_restricted_standard(rendered: Rendered) -> None:
    """No pod asks for more than the Pod Security Standard `restricted` allows, that of `helm test` included."""
    for pod in pods(rendered.resources):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]


def test_every_setting_is_one_of_the_service_with_a_value_it_takes(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap holds text alone, and large numbers are not written in the form that Helm gives them (4e+09)."""
    settings = one(rendered.resources, "ConfigMap")["data"]
    assert all(isinstance(value, str) for value in settings.values())
    refuse_unknown_variables(settings)
    for name, value in {"UNROLL_STATE_KEYS": STATE_KEYS, **settings}.items():
        monkeypatch.setenv(name, value)
    assert Settings().drain_timeout_s == 20.0
    assert Settings().model_memory_bytes in (0, 4_000_000_000)


def test_a_change_of_a_setting_is_a_new_pod(helm: Helm) -> None:
    def template(**settings: str) -> dict[str, Any]:
        pod: dict[str, Any] = one(helm.render({"settings": settings}).resources, "Deployment")["spec"]["template"]
        return pod

    assert template(UNROLL_LOG_LEVEL="debug") != template(UNROLL_LOG_LEVEL="info") == template()


def test_workers_get_their_setting_and_memory_to_share(helm: Helm) -> None:
    for workers, wanted in ((4, "4"), ("auto", "auto"), ("2", "2")):
        resources = helm.render({"workers": workers}).resources
        pod = one(resources, "Deployment")["spec"]["template"]["spec"]
        assert one(resources, "ConfigMap")["data"]["UNROLL_WORKERS"] == wanted
        assert {"name": "shared-memory", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]
        assert {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}} in pod["volumes"]
    assert "UNROLL_WORKERS" not in one(helm.render().resources, "ConfigMap")["data"]


def test_a_gpu_is_added_to_requests_and_limits_as_they_are(helm: Helm) -> None:
    amounts = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}}
    values = {"gpu": {"enabled": True, "count": 2, "resourceName": "amd.com/gpu", "resources": amounts}}
    assert container_of(helm.render(values))["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi", "amd.com/gpu": 2},
        "limits": {"cpu": "2", "memory": "6Gi", "amd.com/gpu": 2},
    }


def test_a_path_of_a_route_is_told_to_the_service(helm: Helm) -> None:
    """The service takes requests under it, and probes, which know nothing of it."""
    for values in (preset("gateway"), {"ingress": {"enabled": True, "path": "/unroll/"}}):
        assert one(helm.render(values).resources, "ConfigMap")["data"]["UNROLL_ROOT_PATH"] == "/unroll"
    assert "UNROLL_ROOT_PATH" not in one(helm.render(preset("secured")).resources, "ConfigMap")["data"]


@pytest.mark.parametrize("name", ["", "unroll", "texts", "a.b.c", "x" * 53, "unroll-" + "y" * 46])
@pytest.mark.parametrize("override", ["", "unroll-of-another-name-that-is-46-characters-ok"[:46]])
def test_names_are_valid_and_fit_into_those_of_pods(name: str, override: str, helm: Helm) -> None:
    """Whatever the release is called, names are labels of DNS that leave room for NAME-HASH-SUFFIX of pods."""
    resources = helm.render({"fullnameOverride": override} | preset("gateway"), name=name or "r").resources
    names = {resource["metadata"]["name"] for resource in resources}
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found) for found in names), names
    assert all(len(found) <= 63 for found in names)
    deployment = one(resources, "Deployment")["metadata"]["name"]
    assert len(deployment) <= 46
    assert not override or deployment == override
    query = one(resources, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    (pattern,) = set(re.findall(r'pod=~"([^"]*)"', query))
    assert re.fullmatch(pattern, f"{deployment}-5d8f7c9b64-x2x4z")
    assert not re.fullmatch(pattern, f"{deployment}-canary-5d8f7c9b64-x2x4z")


def test_names_that_yaml_would_take_for_something_else_stay_names(helm: Helm) -> None:
    values = {"fullnameOverride": "true", "priorityClassName": "yes", "serviceAccountName": "1e3"}
    resources = helm.render(values | {"secrets": {"existingSecret": "0123"}}, name="null").resources
    assert one(resources, "Service")["metadata"]["name"] == "true"
    assert one(resources, "Service")["spec"]["selector"]["app.kubernetes.io/instance"] == "null"
    for resource in resources:
        assert_valid(resource)


def test_two_long_names_that_begin_alike_do_not_meet(helm: Helm) -> None:
    first, second = (helm.render(name="x" * 52 + last).resources for last in "ab")
    assert one(first, "Deployment")["metadata"]["name"] != one(second, "Deployment")["metadata"]["name"]


def test_the_notes_name_what_is_missing(helm: Helm) -> None:
    """Without a cluster no Secret is found, so the notes say how to make it; one pod without one gets a warning."""
    assert "create secret generic unroll-secrets" in helm.render().notes
    assert "WARNING: without a Secret" in helm.render(preset("small")).notes
    assert "WARNING: workers" in helm.render({"gpu": {"enabled": True}, "workers": 2}).notes
    assert "WARNING" not in helm.render({"workers": 2}).notes
    assert "https://models.example.com/" in helm.render(preset("secured")).notes


def test_the_program_of_helm_test_asks_a_service(helm: Helm, tiny_models: Path) -> None:
    """Run here against a live service, as in the pod: it ends well, and badly where nothing listens."""
    (container,) = one(helm.render().resources, "Pod")["spec"]["containers"]
    command = [sys.executable, *container["command"][1:], *container["args"]]
    with live_server(tiny_models) as service:
        environment = {"HOST": "127.0.0.1", "PORT": str(service.port), "SPEAKS": "http"}
        well = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert well.returncode == 0, well.stderr
    assert '"ready"' in well.stdout
    badly = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert badly.returncode != 0


def test_where_clients_show_a_certificate_the_image_asks_itself(helm: Helm) -> None:
    """The kubelet has none: readiness is the health check that the image carries, and liveness an open port."""
    dockerfile = (ROOT / "deploy" / "docker" / "service.Dockerfile").read_text(encoding="utf-8")
    (health_check,) = re.findall(r"^    CMD (\[.*\])$", dockerfile, re.MULTILINE)
    asked_inside, asked_by_kubelet = (container_of(helm.render(preset(name))) for name in ("mutual-tls", "secured"))
    assert asked_inside["readinessProbe"]["exec"]["command"] == yaml.safe_load(health_check)
    assert asked_inside["livenessProbe"]["tcpSocket"] == {"port": "http"}
    assert {asked_by_kubelet[probe]["httpGet"]["scheme"] for probe in PROBES} == {"HTTPS"}


def container_of(rendered: Rendered) -> dict[str, Any]:
    """The service's container."""
    container: dict[str, Any]
    (container,) = one(rendered.resources, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container


def test_the_chart_is_of_this_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_the_rules_are_those_of_prometheus(helm: Helm) -> None:
    """The file is up to date (python -m deploy.kubernetes.prometheus_rule); its own templates are not Helm's."""
    assert CHART_TARGET.read_text(encoding="utf-8") == text_of(prometheus_rule()["spec"])
    assert one(helm.render(preset("cpu")).resources, "PrometheusRule")["spec"] == prometheus_rule()["spec"]


def test_every_value_is_described_and_the_table_is_up_to_date() -> None:
    """Regenerate with: python -m deploy.helm.values_table"""
    values = documented_values()
    written = README.read_text(encoding="utf-8")
    assert readme_with(table(values), written) == written
    described = {value.path for value in values}
    assert undescribed(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")), described) == []


def undescribed(values: Any, described: set[str], path: str = "") -> list[str]:
    """Paths of values that neither have a comment nor are part of one that has."""
    if path in described:
        return []
    if not isinstance(values, dict):
        return [path]
    return [
        found for key, value in values.items() for found in undescribed(value, described, f"{path}.{key}".lstrip("."))
    ]
