"""Dev score of a network during training: its loss by torch, its measures by the service's own task code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from service.bundle.load import Bundle
from service.bundle.manifest import Manifest
from training.config.recipe import ConfigFault, Recipe
from training.data.records import Record
from training.evaluation.evaluate import evaluate_records
from training.evaluation.scoring import LOWER_IS_BETTER
from training.evaluation.task import TrainingTask
from training.evaluation.torch_runner import TorchRunner, evaluating, transitions_of
from training.fit.gradient import Carried
from training.fit.trainer import DevScore
from training.networks.network import Network
from training.onnx_graph.manifest_draft import draft_bundle, draft_manifest
from training.preprocessing.vocabulary import Vocabulary


class DevScorer:
    """Scores a network on dev: the loss over all of it, the measures over `training.evaluate_records` of it."""

    def __init__(
        self, task: TrainingTask[Any], recipe: Recipe, vocabulary: Vocabulary, records: Sequence[Record]
    ) -> None:
        self._task = task
        self._recipe = recipe
        self._vocabulary = vocabulary
        self._losses = task.training_set(recipe, vocabulary, records, is_dev=True)
        self._drafted: Manifest | None = None
        limit = recipe.training.evaluate_records or len(records)
        self._chosen_by = _chosen_by(recipe, task)
        self._records = [records[i] for i in range(0, len(records), max(1, len(records) // limit))][:limit]

    def __call__(self, network: Network) -> DevScore:
        task, tokenizers = self._task, self._vocabulary.tokenizers
        loss = self.loss(network)
        measures = {"loss": loss, **task.loss_measures(loss, self._records, tokenizers)}
        bundle = Bundle(Path(), self._manifest(network), tokenizers, transitions=transitions_of(network))
        runner = TorchRunner(network)
        if task.dev_measures:
            scores = evaluate_records(task, bundle, runner, self._records, parameters=task.quick_parameters)
            measures |= {name: scores[name] for name in task.dev_measures if name in scores}
        by_preference = (self._chosen_by, *task.dev_measures)
        chosen = next((name for name in by_preference if name in measures), "loss")
        value = -measures[chosen] if chosen in LOWER_IS_BETTER else measures[chosen]
        return DevScore(value, measures, task.samples(bundle, runner, self._recipe, self._records))

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

    def _manifest(self, network: Network) -> Manifest:
        """The manifest that task code reads. Training changes nothing but weights, so it is drafted once."""
        if self._drafted is None:
            graphs = {name: graph.spec(f"{name}.onnx") for name, graph in network.graphs().items()}
            options = self._task.options(self._recipe, self._vocabulary)
            files = {role: f"{role}.json" for role in self._vocabulary.tokenizers}
            draft = draft_bundle(self._recipe, self._vocabulary, options)
            self._drafted = draft_manifest(draft, network, graphs, files)
        return self._drafted


def _chosen_by(recipe: Recipe, task: TrainingTask[Any]) -> str:
    """The measure that the recipe names, if any. Raises ConfigFault if the task does not measure it."""
    wanted = recipe.training.chosen_by
    if wanted and wanted not in (*task.dev_measures, "loss"):
        allowed = ", ".join((*task.dev_measures, "loss"))
        raise ConfigFault(f"training.chosen_by: {recipe.task} does not measure {wanted!r} on dev; it may be {allowed}")
    return wanted
