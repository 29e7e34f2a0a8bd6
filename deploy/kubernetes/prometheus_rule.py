"""Generate the PrometheusRule of kustomize and the rules of the Helm chart from the rule files of Prometheus.

Run it after a change under deploy/prometheus/rules: `python -m deploy.kubernetes.prometheus_rule`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1]
RULES = DEPLOY / "prometheus" / "rules"
TARGET = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
#: The `spec` alone: the chart gives the resource its name and labels.
CHART_TARGET = DEPLOY / "helm" / "unroll" / "files" / "rules.yaml"
_HEADING = "# Written from deploy/prometheus/rules by deploy/kubernetes/prometheus_rule.py: change it there.\n"
_NO_WRAPPING = 10_000


def prometheus_rule(folder: Path = RULES) -> dict[str, Any]:
    """Rule groups of all files in the folder, as one resource."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yml"))]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "unroll", "labels": {"app.kubernetes.io/name": "unroll"}},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }


def text_of(resource: dict[str, Any]) -> str:
    """YAML of the resource: keys in the order of the rules, multi-line texts as blocks."""
    return _HEADING + yaml.dump(resource, Dumper=_Dumper, sort_keys=False, width=_NO_WRAPPING, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Dumper that writes multi-line texts as blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


if __name__ == "__main__":
    TARGET.write_text(text_of(prometheus_rule()), encoding="utf-8")
    CHART_TARGET.write_text(text_of(prometheus_rule()["spec"]), encoding="utf-8")
