"""The Helm chart, rendered and linted by the SDK of Helm in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from tests.deploy.kubernetes.manifests import ROOT, Resource

CHART = ROOT / "deploy" / "helm" / "unroll"
PRESETS = sorted((CHART / "ci").glob("*.yaml"))

Values = dict[str, Any]


class Refused(Exception):
    """Helm's message when it cannot render."""


@dataclass(frozen=True)
class Rendered:
    """What a release would apply, and what it would say."""

    resources: list[Resource]
    notes: str


@dataclass(frozen=True)
class Helm:
    """A process with Helm in it, which answers a line of JSON with a line of JSON."""

    questions: IO[str]
    answers: IO[str]

    def render(self, values: Values | None = None, name: str = "unroll", namespace: str = "unroll") -> Rendered:
        """Render the chart as `helm template` does.

        Raises:
            Refused: The values are refused, or a template fails.
        """
        texts = self._ask({"do": "render", "values": values or {}, "name": name, "namespace": namespace})
        notes = texts.pop("unroll/templates/NOTES.txt")
        documents = [document for text in texts.values() for document in yaml.safe_load_all(text) if document]
        return Rendered(documents, notes)

    def lint(self, values: Values) -> list[str]:
        """The warnings and errors of `helm lint --strict`."""
        findings: list[str] = self._ask({"do": "lint", "values": values})
        return findings

    def _ask(self, question: dict[str, Any]) -> Any:
        self.questions.write(json.dumps(question) + "\n")
        self.questions.flush()
        answer = json.loads(self.answers.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]


@pytest.fixture(scope="package")
def helm() -> Iterator[Helm]:
    python = ROOT / ".venv-clients" / "helm" / "bin" / "python"
    assert python.exists(), f"{python} is missing: run `make test-env`"
    settings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(python), str(Path(__file__).parent / "render.py"), str(CHART)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=settings
    ) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        yield Helm(started.stdin, started.stdout)
        started.stdin.close()


def preset(name: str) -> Values:
    """The values of a file of `ci/`."""
    values: Values = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text(encoding="utf-8"))
    return values
