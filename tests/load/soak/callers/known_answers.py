"""Questions with their answers, known before the server is asked: recorded in the bundles, or computed in fp32."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.bundle.models_folder import find_bundles
from service.errors import InvalidInput
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.tasks.catalogue import generates
from service.tasks.recorded import TOLERANCE, differences

#: Made from the words of the recorded examples, beside the examples themselves.
_MADE_PER_BUNDLE = 12
_MAX_MADE_WORDS = 6
#: Tokens of a text that is continued from part to part.
_PASSAGE_TOKENS = 24
_PASSAGE_RULES: Sequence[Mapping[str, Any]] = (
    {"do_sample": False},
    {"do_sample": True, "temperature": 0.9, "seed": 11},
    {"do_sample": True, "top_k": 20, "seed": 7, "repetition_penalty": 1.2},
)


@dataclass(frozen=True)
class Question:
    """One input, and its answer by each version of the model; asked without a version if there are several."""

    model: str
    inputs: Any
    parameters: Mapping[str, Any]
    answers: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        """The request, but for the inputs."""
        named = {"model": self.model, "parameters": dict(self.parameters)}
        return named if len(self.answers) > 1 else {**named, "version": next(iter(self.answers))}

    def faults(self, version: str, found: Any) -> list[str]:
        """One sentence for each place where an answer is not the known one."""
        if version not in self.answers:
            return [f"version {version!r} answered; there are {', '.join(self.answers)}"]
        return differences(self.answers[version], found, TOLERANCE["fp32"])


@dataclass(frozen=True)
class Passage:
    """A prompt and its uninterrupted continuation by `num_tokens` tokens."""

    model: str
    prompt: str
    rules: Mapping[str, Any]
    num_tokens: int
    text: str

    def body(self, num_tokens: int) -> dict[str, Any]:
        """The request for so many tokens, but for the inputs."""
        return {"model": self.model, "parameters": {**self.rules, "max_new_tokens": num_tokens}}


@dataclass(frozen=True)
class ChunkedInput:
    """Words that a tagger reads in parts, and the tag of each."""

    model: str
    words: Sequence[str]
    tags: Sequence[str]


@dataclass
class KnownAnswers:
    """Everything that can be asked."""

    predictions: list[Question] = field(default_factory=list)
    texts: list[Question] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    chunked: list[ChunkedInput] = field(default_factory=list)

    def alike(self, question: Question) -> list[Question]:
        """The predictions that one request can ask together with this one."""
        return [each for each in self.predictions if each.body() == question.body()]


def known_answers(models: Path, second_versions: Path, seed: int = 0) -> KnownAnswers:
    """The answers of every bundle under `models`.

    `second_versions` has bundles of the same names, which are published and withdrawn while the server runs.
    """
    rng, known = random.Random(seed), KnownAnswers()
    for path in find_bundles(models):
        opened = _open(path)
        others = [_open(other) for other in find_bundles(second_versions) if other.parent.name == path.parent.name]
        if generates(opened.task):
            known.texts += _questions(opened, (), rng)
            known.passages += _passages(opened)
        else:
            known.predictions += _questions(opened, others, rng)
            known.chunked += _chunked(opened, rng)
    return known


def _open(path: Path) -> OpenBundle:
    return open_bundle(path, "cpu", threads=1, precision="fp32")


def _questions(opened: OpenBundle, others: Sequence[OpenBundle], rng: random.Random) -> Iterator[Question]:
    manifest = opened.bundle.manifest
    for example in opened.bundle.examples:
        answers = {manifest.version: example.answer} | _answers(others, example.inputs, example.parameters)
        yield Question(manifest.name, example.inputs, example.parameters, answers)
    for inputs, parameters in _made_inputs(opened, rng):
        try:
            yield Question(manifest.name, inputs, parameters, _answers([opened, *others], inputs, parameters))
        except InvalidInput:  # such as words without a letter that this model reads
            continue


def _answers(several: Sequence[OpenBundle], inputs: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        each.bundle.manifest.version: answer_one(each, inputs, parameters).model_dump(mode="json") for each in several
    }


def _made_inputs(opened: OpenBundle, rng: random.Random) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Other texts and lists of words. Numbers, sounds and pictures are asked as they were recorded."""
    readable = [each for each in opened.bundle.examples if isinstance(each.inputs, str | list)]
    words = [word for each in readable for word in _words(each.inputs)]
    for _ in range(_MADE_PER_BUNDLE if words else 0):
        example = rng.choice(readable)
        chosen = rng.choices(words, k=rng.randint(1, _MAX_MADE_WORDS))
        yield " ".join(chosen) if isinstance(example.inputs, str) else chosen, example.parameters


def _words(inputs: Any) -> list[str]:
    return inputs.split() if isinstance(inputs, str) else list(inputs)


def _passages(opened: OpenBundle) -> Iterator[Passage]:
    """Texts that do not end by themselves before their last token."""
    manifest = opened.bundle.manifest
    num_tokens = min(_PASSAGE_TOKENS, manifest.limits.max_new_tokens or _PASSAGE_TOKENS)
    for example in opened.bundle.examples:
        for rules in _PASSAGE_RULES:
            wanted = {**rules, "max_new_tokens": num_tokens, "details": True}
            found = answer_one(opened, example.inputs, wanted).model_dump(mode="json")
            if found["details"]["generated_tokens"] == num_tokens:
                yield Passage(manifest.name, example.inputs, rules, num_tokens, found["generated_text"])


def _chunked(opened: OpenBundle, rng: random.Random) -> Iterator[ChunkedInput]:
    manifest = opened.bundle.manifest
    if manifest.task != "tagging" or not manifest.state:
        return
    words = [word for each in opened.bundle.examples for word in _words(each.inputs)]
    for _ in range(_MADE_PER_BUNDLE):
        chosen = rng.choices(words, k=3 * _MAX_MADE_WORDS)
        found = answer_one(opened, chosen, {}).model_dump(mode="json")
        yield ChunkedInput(manifest.name, chosen, [token["tag"] for token in found["tokens"]])
