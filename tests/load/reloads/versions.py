"""The models of the reload test: versions of a classifier and of a language model, and what each of them answers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from service.inference.engines.open_bundle import answer_one, open_bundle
from tests.tiny_bundles import write_tiny_bundle

CLASSIFIER, GENERATOR = "reloaded-classifier", "reloaded-generator"
TEXTS = ("hello world", "one two one", "the cat sat on a mat", "ada lives in london")
PROMPTS = ("Hello ", "a", "The cat ")
MAX_NEW_TOKENS = 12
#: What the log says of the broken versions.
REFUSED = "its sha256 is not the one in the manifest"
FIRST, SECOND, BROKEN = "1", "2", "3"


class Versions(NamedTuple):
    """What the server reads, and what is put into it for a while."""

    models: Path
    others: Path


@dataclass(frozen=True)
class Known:
    """Answers by version and input."""

    labels: dict[str, dict[str, Any]]
    texts: dict[str, dict[str, str]]


def write_versions(under: Path) -> Versions:
    """First versions in `models`; second ones, and third ones that are broken, beside it."""
    versions = Versions(under / "models", under / "others")
    for task, name in (("classification", CLASSIFIER), ("generation", GENERATOR)):
        write_tiny_bundle(versions.models, task, name)  # type: ignore[arg-type]
        write_tiny_bundle(versions.others, task, name, version=SECOND, seed=1)  # type: ignore[arg-type]
        broken = write_tiny_bundle(versions.others, task, name, version=BROKEN, seed=2)  # type: ignore[arg-type]
        graph = next(broken.glob("*.onnx"))
        graph.write_bytes(graph.read_bytes()[:-100])
    return versions


def known_answers(versions: Versions) -> Known:
    """What each version answers, asked alone before the server is."""
    known = Known({}, {})
    parameters = {"max_new_tokens": MAX_NEW_TOKENS}
    for version, root in ((FIRST, versions.models), (SECOND, versions.others)):
        opened = open_bundle(root / CLASSIFIER / version, "cpu")
        known.labels[version] = {text: answer_one(opened, text, {}).model_dump(mode="json") for text in TEXTS}
        opened = open_bundle(root / GENERATOR / version, "cpu")
        known.texts[version] = {
            prompt: answer_one(opened, prompt, parameters).model_dump(mode="json")["generated_text"]
            for prompt in PROMPTS
        }
    return known


def publish(versions: Versions, name: str, version: str) -> None:
    """Copy a version into a hidden folder, and show it by one rename."""
    target = versions.models / name / version
    hidden = target.with_name(f".{version}")
    shutil.copytree(versions.others / name / version, hidden)
    hidden.rename(target)


def withdraw(versions: Versions, name: str, version: str) -> None:
    """Hide a version by one rename, and delete it."""
    target = versions.models / name / version
    hidden = target.with_name(f".{version}")
    target.rename(hidden)
    shutil.rmtree(hidden)
