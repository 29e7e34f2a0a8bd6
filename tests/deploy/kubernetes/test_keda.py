"""KEDA scales by the numbers of the HorizontalPodAutoscaler, which its queries get from Prometheus itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.deploy.kubernetes.manifests import KUBERNETES, read
from tests.programs import find_program

SCALED = read(KUBERNETES / "components" / "keda" / "scaledobject.yaml")["spec"]
AUTOSCALER = read(KUBERNETES / "components" / "autoscaling" / "horizontalpodautoscaler.yaml")["spec"]
#: Two pods, of which one is busy for 1.5 s per second on two lanes and the other for 1 s; and one of another release.
_SERIES = {
    "unroll-5d8f7c9b64-x2x4z": ("0+22.5x8", "2+0x8", "0 0 0 0 0 0 0.2 0 0"),
    "unroll-5d8f7c9b64-p9p9p": ("0+15x8", "2+0x8", "0+0x8"),
    "unroll-canary-7c9b645d8f-q8q8q": ("0+30x8", "2+0x8", "9+0x8"),
}
_NAMES = ("unroll_lane_busy_seconds_total", "unroll_lanes", "unroll_queue_oldest_age_seconds")
#: Sums over the pods: KEDA divides them by the number of pods.
_WANTED = {"lane-utilization": 0.75 + 0.5, "queue-age": 0.2}


def test_targets_and_behaviour_are_those_of_the_autoscaler() -> None:
    thresholds = [float(trigger["metadata"]["threshold"]) for trigger in SCALED["triggers"]]
    targets = [metric["pods"]["target"]["averageValue"] for metric in AUTOSCALER["metrics"]]
    assert [f"{threshold * 1000:.0f}m" for threshold in thresholds] == targets
    assert SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == AUTOSCALER["behavior"]
    bounds = (SCALED["minReplicaCount"], SCALED["maxReplicaCount"])
    assert bounds == (AUTOSCALER["minReplicas"], AUTOSCALER["maxReplicas"])
    assert SCALED["scaleTargetRef"] == AUTOSCALER["scaleTargetRef"]


def test_the_queries_are_those_of_the_adapter_added_up() -> None:
    """Filled in for the pods of the Deployment, a rule of the adapter is the query within the sum."""
    rules = read(KUBERNETES / "adapter" / "config.yaml")["rules"]
    pods = 'namespace="unroll",pod=~"unroll-[0-9a-z]+-[0-9a-z]+"'
    for rule, trigger in zip(rules, SCALED["triggers"], strict=True):
        query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].split("{")[0])
        query = query.replace("<<.LabelMatchers>>", pods).replace("<<.GroupBy>>", "namespace,pod")
        assert trigger["metadata"]["query"] == f"sum({query})"


def test_prometheus_answers_the_queries_with_one_number_for_the_deployment(tmp_path: Path) -> None:
    """Another Deployment whose name begins alike is left out."""
    series = [
        {"series": f'{name}{{namespace="unroll",pod="{pod}"}}', "values": values}
        for pod, all_values in _SERIES.items()
        for name, values in zip(_NAMES, all_values, strict=True)
    ]
    asked = [
        {
            "expr": f"round({trigger['metadata']['query']}, 0.001)",
            "eval_time": "2m",
            "exp_samples": [{"labels": "{}", "value": _WANTED[trigger["name"]]}],
        }
        for trigger in SCALED["triggers"]
    ]
    tests = {"rule_files": [], "evaluation_interval": "15s"}
    file = tmp_path / "keda.yml"
    file.write_text(
        yaml.safe_dump(tests | {"tests": [{"interval": "15s", "input_series": series, "promql_expr_test": asked}]}),
        encoding="utf-8",
    )
    command = [find_program("promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
