"""Classifiers without recurrence: order-independent, exportable, and without recurrent settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_signals import CONFIGS, records_of, signal_draft, signal_network
from tests.training.config.test_recipe import fault_of, smallest
from tests.training.exportable import classifier
from training.config.signals import SignalKind
from training.evaluation.task import Question
from training.preprocessing.signal_values import json_form
from training.publish.export import export_bundle


def test_it_knows_no_order() -> None:
    """A feed-forward classifier gives a text and its reversal the same scores, unlike a recurrent one."""
    words, lengths = torch.tensor([[4, 5, 6, 7, 8]]), torch.tensor([5])
    for cell, is_blind in (("none", True), ("gru", False)):
        network = classifier(cell, "max+mean").eval()  # type: ignore[arg-type]
        with torch.no_grad():
            forth, back = network.logits(words, lengths), network.logits(words.flip(1), lengths)
        assert torch.allclose(forth, back, atol=1e-5) == is_blind


@pytest.mark.parametrize("kind", ["frames", "waveform"])
def test_numbers_can_be_classified_without_a_recurrence(kind: SignalKind, tmp_path: Path) -> None:
    """With convolutions, pooling and hidden layers only, the graph equals torch under padding."""
    network = signal_network(CONFIGS[kind], cell="none")
    assert len(network.hidden.linears) == 2
    questions = [Question(json_form(record)) for record in records_of(kind)[:2]]
    exported = export_bundle(network, signal_draft(CONFIGS[kind], "tiny"), questions, tmp_path)
    assert exported.report.passed


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ({"pooling": "last+max+mean"}, "has no last state: set pooling to mean, max, attention or max+mean"),
        ({"characters": "rnn"}, "reads no characters by recurrence: set characters to cnn or none"),
        ({"layer_norm": True}, "connection and layer_norm belong to recurrent layers"),
    ],
)
def test_what_needs_a_recurrence_is_refused_with_what_to_set(network: dict[str, object], reason: str) -> None:
    values = smallest(task="classification", data={"train": "a.csv"}, network={"cell": "none", **network})
    assert reason in fault_of(values)
