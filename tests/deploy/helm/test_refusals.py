"""Wrong values are refused before anything is applied, with a message that names the value and what to set."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.deploy.helm.conftest import CHART, Helm, Refused, Values, preset

#: Values that the schema refuses, and what the message says.
MISTAKES: list[tuple[Values, str]] = [
    ({"replica": 2}, "additional properties 'replica' not allowed"),
    ({"gpu": {"enable": True}}, "at '/gpu': additional properties 'enable' not allowed"),
    ({"autoscaling": {"keda": {"pollInterval": 5}}}, "at '/autoscaling/keda': additional properties 'pollInterval'"),
    ({"probes": {"liveness": {"periodSecond": 5}}}, "at '/probes/liveness': additional properties 'periodSecond'"),
    ({"replicas": "three"}, "at '/replicas': got string, want integer"),
    ({"replicas": -1}, "at '/replicas'"),
    ({"grpc": {"enabled": "yes"}}, "at '/grpc/enabled': got string, want boolean"),
    ({"gpu": {"enabled": True, "count": 0}}, "at '/gpu/count': minimum: got 0, want 1"),
    ({"workers": 0}, "at '/workers'"),
    ({"workers": "many"}, "at '/workers'"),
    ({"service": {"port": 70_000}}, "at '/service/port'"),
    ({"models": {"source": "s3"}}, "at '/models/source': value must be one of 'volume', 'image', 'none'"),
    ({"models": {"volume": {"size": "5 GB"}}}, "at '/models/volume/size'"),
    ({"settings": {"LOG_LEVEL": "info"}}, "at '/settings': additional properties 'LOG_LEVEL' not allowed"),
    ({"settings": {"UNROLL_DRAIN_TIMEOUT_S": "soon"}}, "at '/settings/UNROLL_DRAIN_TIMEOUT_S'"),
    ({"settings": None}, "at '': missing property 'settings'"),
    ({"autoscaling": {"keda": None}}, "at '/autoscaling': missing property 'keda'"),
    ({"replicas": 1e9}, "at '/replicas': maximum"),
    ({"image": {"tag": 1.0}}, "at '/image/tag': got number, want string"),
    ({"apiKeys": {"existingSecret": "keys", "file": "../keys"}}, "at '/apiKeys/file'"),
    ({"httpRoute": {"path": '/a b"c'}}, "at '/httpRoute/path'"),
    ({"extraEnv": [{"value": "x"}]}, "at '/extraEnv/0': missing property 'name'"),
    ({"settings": {"UNROLL_READY": ["a"]}}, "at '/settings/UNROLL_READY': got array"),
    ({"fullnameOverride": "x" * 47}, "at '/fullnameOverride': maxLength: got 47, want 46"),
    ({"fullnameOverride": "Unroll_1"}, "at '/fullnameOverride'"),
    ({"image": {"digest": "sha256:abc"}}, "at '/image/digest'"),
    ({"redis": {"url": "redis.example.com"}}, "at '/redis/url'"),
    ({"autoscaling": {"laneUtilization": 75}}, "at '/autoscaling/laneUtilization': maximum: got 75, want 1"),
    ({"networkPolicy": {"clients": [{"namespace": "web"}]}}, "at '/networkPolicy/clients/0'"),
    ({"httpRoute": {"parentRefs": [{"nam": "public"}]}}, "at '/httpRoute/parentRefs/0'"),
    ({"ingress": {"hosts": ["https://models.example.com"]}}, "at '/ingress/hosts/0'"),
]
PARENT = {"name": "public", "namespace": "gateway"}
KEYLESS = {"existingSecret": ""}
#: Values that are right by themselves and wrong together, and what the message says.
CONFLICTS: list[tuple[Values, str]] = [
    ({"autoscaling": {"hpa": {"enabled": True}, "keda": {"enabled": True}}}, "exclude each other"),
    ({"autoscaling": {"minReplicas": 5, "maxReplicas": 4}}, "minReplicas 5 is more than maxReplicas 4"),
    ({"redis": {"enabled": True}}, "redis.enabled needs redis.url, or redis.existingSecret"),
    ({"redis": {"url": "redis://redis:6379/0"}}, "redis.url is set, but redis.enabled is false"),
    ({"redis": {"enabled": True, "url": "redis://:word@redis:6379/0"}}, "redis.url holds a password"),
    ({"redis": {"enabled": True, "url": "redis://r", "existingSecret": "r"}}, "redis.url and redis.existingSecret"),
    ({"redis": {"enabled": True, "url": "redis://r"}, "secrets": KEYLESS, "replicas": 1}, "with UNROLL_STATE_KEYS"),
    ({"secrets": KEYLESS}, "3 pods need the same UNROLL_STATE_KEYS"),
    (
        {"secrets": KEYLESS, "replicas": 1, "autoscaling": {"hpa": {"enabled": True}}},
        "12 pods need the same UNROLL_STATE_KEYS",
    ),
    ({"gpu": {"enabled": True}, "settings": {"UNROLL_DEVICE": "cpu"}}, "settings.UNROLL_DEVICE is cpu"),
    ({"settings": {"UNROLL_DEVICE": "cuda:0"}}, "gpu.enabled is false, so the pods get no GPU"),
    ({"settings": {"UNROLL_GRPC_PORT": 9000}}, "settings.UNROLL_GRPC_PORT: set grpc.enabled and grpc.port instead"),
    ({"settings": {"UNROLL_STATE_KEYS": "x"}}, "set secrets.existingSecret, as an entry of it instead"),
    ({"tls": {"enabled": True}}, "tls.enabled needs tls.existingSecret"),
    ({"tls": {"existingSecret": "tls"}}, "tls.existingSecret is set, but tls.enabled is false"),
    ({"monitoring": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}, "scraped twice"),
    (
        {"settings": {"UNROLL_METRICS_NEED_KEY": True}, "monitoring": {"podMonitor": {"enabled": True}}},
        "Prometheus needs monitoring.apiKey.existingSecret",
    ),
    ({"httpRoute": {"enabled": True}}, "httpRoute.enabled needs httpRoute.parentRefs"),
    (
        {"httpRoute": {"enabled": True, "parentRefs": [PARENT], "path": "/a"}, "ingress": {"enabled": True}},
        "httpRoute.path /a and ingress.path / differ",
    ),
    ({"grpcRoute": {"enabled": True, "parentRefs": [PARENT]}}, "grpcRoute.enabled needs grpc.enabled"),
    ({"grpc": {"enabled": True, "port": 8000}}, "grpc.port 8000 is the port of HTTP"),
    (
        {
            "grpc": {"enabled": True},
            "httpRoute": {"enabled": True, "parentRefs": [PARENT], "hostnames": ["a.example.com"]},
            "grpcRoute": {"enabled": True, "parentRefs": [PARENT], "hostnames": ["a.example.com"]},
        },
        "attached to the same listener for a.example.com",
    ),
    ({"settings": {"UNROLL_DRAIN_TIMEOUT_S": 60}}, "set 80 or more"),
    ({"preStopSeconds": 30}, "set 60 or more"),
    ({"strategy": {"maxSurge": 0, "maxUnavailable": "0%"}}, "strategy: maxSurge and maxUnavailable are both 0"),
    ({"podLabels": {"app.kubernetes.io/name": "x"}}, "is a label by which the release finds its pods"),
]


@pytest.mark.parametrize(("values", "message"), MISTAKES, ids=[json.dumps(values)[:60] for values, _ in MISTAKES])
def test_a_misspelt_value_and_a_wrong_type_are_refused_with_their_path(
    values: Values, message: str, helm: Helm
) -> None:
    with pytest.raises(Refused) as refused:
        helm.render(values)
    assert message in str(refused.value)


@pytest.mark.parametrize(("values", "message"), CONFLICTS, ids=[message[:60] for _, message in CONFLICTS])
def test_values_that_do_not_fit_together_are_refused(values: Values, message: str, helm: Helm) -> None:
    with pytest.raises(Refused) as refused:
        helm.render(values)
    assert message in str(refused.value)


def test_all_that_does_not_fit_is_said_at_once(helm: Helm) -> None:
    with pytest.raises(Refused) as refused:
        helm.render({"tls": {"enabled": True}, "redis": {"enabled": True}, "httpRoute": {"enabled": True}})
    said = [line for line in str(refused.value).splitlines() if line.startswith("- ")]
    assert len(said) == 3
    assert all("needs" in line for line in said)


def test_one_pod_needs_no_keys_and_several_may_get_them_otherwise(helm: Helm) -> None:
    """The refusal of several pods without keys does not hit those that have them from elsewhere."""
    secret = {"secretKeyRef": {"name": "keys", "key": "states"}}
    for values in (
        {"replicas": 1},
        {"extraEnv": [{"name": "UNROLL_STATE_KEYS", "valueFrom": secret}]},
        {"extraEnvFrom": [{"secretRef": {"name": "keys"}}]},
    ):
        assert helm.render({"secrets": KEYLESS} | values).resources


def test_a_release_that_begins_with_a_digit_is_told_to_name_its_resources(helm: Helm) -> None:
    with pytest.raises(Refused, match="must begin with a letter"):
        helm.render(name="1st")
    assert helm.render({"fullnameOverride": "first"}, name="1st").resources


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    """One that is not in the schema would be refused, one of the schema alone would do nothing; null removes none."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    del schema["properties"]["global"]  # may come from a chart above this one
    assert unlike(schema, values) == []


def unlike(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> list[str]:
    """Paths that only one of schema and values has, down to lists and to objects that are empty by default."""
    found = [f"{path}/{name}" for name in schema["properties"].keys() ^ values.keys()]
    found += [f"{path} does not require {name}" for name in values.keys() ^ schema["required"]]
    for name in schema["properties"].keys() & values.keys():
        below = schema["properties"][name]
        if "properties" in below and "patternProperties" not in below and values[name]:
            found += unlike(below, values[name], f"{path}/{name}")
    return found


def test_a_preset_with_a_mistake_fails_lint_too(helm: Helm) -> None:
    assert any("replica" in finding for finding in helm.lint(preset("cpu") | {"replica": 1}))
