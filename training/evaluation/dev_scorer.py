"""What dev says of a network during training: its loss by torch, its measures by the service's own task code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from service.bundle.load import Bundle
from service.bundle.manifest import Manifest, TaskName
from service.errors import InvalidInput
from service.tasks.catalogue import AnyTask, answer, task_of
from training.config.recipe import Recipe
from training.data.records import (
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    Passage,
    Record,
    SentencePair,
    TaggedSentence,
)
from training.evaluation.answers import evaluate_records
from training.evaluation.forecast_samples import forecast_samples
from training.evaluation.scoring import LEAST_CHARACTERS, perplexity_per_word
from training.evaluation.torch_runner import TorchRunner, evaluating, transitions_of
from training.fit.gradient import Carried
from training.fit.trainer import DevScore
from training.networks.network import Network
from training.onnx_graph.manifest_draft import draft_bundle, draft_manifest
from training.preprocessing.batching import training_set
from training.preprocessing.vocabulary import Vocabulary
from training.preprocessing.windows import one_series

#: Which measures are worth a curve; the first one that is there chooses the best epoch. Without one, the loss does.
MEASURES: dict[TaskName, tuple[str, ...]] = {
    "tagging": ("sentence_accuracy", "f1", "accuracy", "label_accuracy"),
    "classification": ("accuracy", "f1"),
    "translation": ("bleu", "chrf"),
    "captioning": ("token_f1", "exact", "bleu1", "bleu4"),
    "generation": (),
    "forecasting": (),
}
NUM_SAMPLES = 5
#: Epochs are compared by greedy translations: a beam costs several times as much and ranks them alike.
QUICK_PARAMETERS: dict[TaskName, dict[str, Any]] = {"translation": {"num_beams": 1}, "captioning": {"num_beams": 1}}
SAMPLE_PARAMETERS: dict[str, Any] = {"do_sample": True, "temperature": 0.8, "seed": 1}
NUM_SAMPLE_TOKENS = 120


class DevScorer:
    """Scores a network on dev. Loss is over dev less a last window, measures over `training.evaluate_records` of it."""

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[Record]) -> None:
        self._recipe = recipe
        self._vocabulary = vocabulary
        self._losses = training_set(recipe, vocabulary, records, is_dev=True)
        self._drafted: Manifest | None = None
        limit = recipe.training.evaluate_records or len(records)
        self._records = [records[i] for i in range(0, len(records), max(1, len(records) // limit))][:limit]

    def __call__(self, network: Network) -> DevScore:
        task = self._recipe.task
        loss = self.loss(network)
        measures = {"loss": loss, **self._per_word(loss)}
        bundle = Bundle(
            Path(), self._manifest(network), self._vocabulary.tokenizers, transitions=transitions_of(network)
        )
        runner = TorchRunner(network)
        if MEASURES[task]:
            scores = evaluate_records(bundle, runner, self._records, parameters=QUICK_PARAMETERS.get(task))
            measures |= {name: scores[name] for name in MEASURES[task] if name in scores}
        chosen = next((measures[name] for name in MEASURES[task] if name in measures), -measures["loss"])
        return DevScore(chosen, measures, self._samples(bundle, runner))

    @torch.no_grad()
    def loss(self, network: Network) -> float:
        """Mean loss over dev, in nats, as the network's own `loss` counts it."""
        device = next(network.parameters()).device
        total, rows = 0.0, 0
        carried: Carried = ()
        with evaluating(network):
            for order in self._losses.epoch(0):
                loss, carried = network.loss(self._losses.batch(order).to(device), carried)
                total, rows = total + float(loss) * len(order), rows + len(order)
        return total / max(1, rows)

    def _per_word(self, loss: float) -> dict[str, float]:
        """A language model's perplexity by words, where its tokens are words or parts of them."""
        texts = [record.text for record in self._records if isinstance(record, Passage)]
        num_tokens = sum(len(self._vocabulary.tokenizers["text"].encode(text)) for text in texts)
        of_characters = num_tokens >= LEAST_CHARACTERS * sum(map(len, texts))
        return {} if of_characters else perplexity_per_word(loss * (num_tokens - 1), texts)

    def _manifest(self, network: Network) -> Manifest:
        """What task code asks of a bundle. Training changes weights alone, so it is written once."""
        if self._drafted is None:
            graphs = {name: graph.spec(f"{name}.onnx") for name, graph in network.graphs().items()}
            files = {role: f"{role}.json" for role in self._vocabulary.tokenizers}
            self._drafted = draft_manifest(draft_bundle(self._recipe, self._vocabulary), network, graphs, files)
        return self._drafted

    def _samples(self, bundle: Bundle, runner: TorchRunner) -> tuple[str, ...]:
        """Example predictions as lines for people."""
        task = task_of(bundle)
        if self._recipe.task == "forecasting":
            return forecast_samples(bundle, runner, one_series(self._records))
        if self._recipe.task == "generation":
            prompt = next(iter(self._recipe.examples), _first_line(self._records[0]))
            return (repr(prompt + _text(task, runner, prompt, self._sampling())),)
        return tuple(_sample(task, runner, record) for record in self._records[:NUM_SAMPLES])

    def _sampling(self) -> dict[str, Any]:
        """How to continue a prompt of any length within the limits of the recipe."""
        limits = self._recipe.limits
        new_tokens = min(NUM_SAMPLE_TOKENS, limits.max_new_tokens)
        return {**SAMPLE_PARAMETERS, "max_new_tokens": new_tokens, "truncate": limits.max_input_tokens}


def _first_line(record: Record) -> str:
    return str(record[0]).strip().splitlines()[0]


def _text(task: AnyTask, runner: TorchRunner, prompt: str, parameters: dict[str, Any]) -> str:
    return str(answer(task, runner, prompt, parameters).model_dump()["generated_text"])


def _sample(task: AnyTask, runner: TorchRunner, record: Record) -> str:
    """One dev record with the prediction, and what would have been right where it is not."""
    inputs = _inputs(record)
    try:
        predicted = answer(task, runner, inputs, {}).model_dump()
    except InvalidInput as refusal:  # a text beyond the model's limits is no reason to end a run
        return f"{str(inputs)[:80]} -> refused: {refusal}"
    if isinstance(record, TaggedSentence):
        triples = zip(record.words, record.tags, predicted["tokens"], strict=True)
        tagged = " ".join(f"{word}/{_beside(token['tag'], tag)}" for word, tag, token in triples)
        return f"{tagged} -> {_beside(predicted['label'], record.label)}" if "label" in predicted else tagged
    if isinstance(record, LabelledSignal):
        return f"{len(record.values)} of {record.kind} -> {_beside(predicted['label'], record.label)}"
    if isinstance(record, LabelledText):
        return f"{record.text} -> {_beside(predicted['label'], record.label)}"
    if isinstance(record, CaptionedPicture):
        return f"{record.group or 'picture'}: {_beside(predicted['text'], record.caption)}"
    assert isinstance(record, SentencePair)
    return f"{record.source} -> {predicted['text']} (reference: {record.target})"


def _inputs(record: Record) -> Any:
    match record:
        case TaggedSentence(words):
            return list(words)
        case LabelledSignal() | CaptionedPicture():
            return record.value
        case _:
            return record[0]


def _beside(predicted: str, right: str) -> str:
    return predicted if predicted == right else f"{predicted} (not {right})"
