"""Answer questions about a chart with the Helm SDK: one line of JSON each. Runs in the environment `helm`."""

from __future__ import annotations

import json
import sys
from typing import Any

import helm_python

_WARNING = 2


def _answer(chart: Any, path: str, question: dict[str, Any]) -> Any:
    if question["do"] == "render":
        return chart.render(question["values"], name=question["name"], namespace=question["namespace"])
    found = helm_python.lint(path, question["values"], strict=True)["messages"]
    return [f"{finding['path']}: {finding['error']}" for finding in found if finding["severity"] >= _WARNING]


def _main(path: str) -> None:
    with helm_python.Chart.load(path) as chart:
        for line in sys.stdin:
            try:
                answer = {"result": _answer(chart, path, json.loads(line))}
            except helm_python.HelmError as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
